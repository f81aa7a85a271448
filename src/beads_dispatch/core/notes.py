"""Every text that we write on a bead, and how to recognise it again."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta

from beads_dispatch.core.bead import TOO_LARGE_COMMENTS
from beads_dispatch.core.text import one_line, utc

# bd's `notes` column ends at 64 KB; an agent must still be able to add its own line.
FULL_BYTES = 60_000

RUNS_USED_UP = "5 runs, and it is open again; bd update <id> -s open starts anew"
SENT_BEFORE = "its deferral has ended, but an agent may have it; set it to open to dispatch it again"
OPENED_LATE = "a late write opened it, but an agent may have it; set it to open to dispatch it again"
TOO_LARGE = f"{TOO_LARGE_COMMENTS[0]} (over 48 KB; bd cannot write it safely): shorten its texts"

_CLAIM = re.compile(r"auto-dispatcher claimed at (\S+)(?: \(tick ([0-9a-f]{6})\))?")  # the shell pair had no token
_DISPATCHED = "dispatched: job="
_SENT = (_DISPATCHED, "dispatch unclear")
AS_BEFORE = "returned: not started, as before"  # undoes a claim without a long line that already stands there
ENDED_AS_BEFORE = "agent ended: as before (open again)"  # the same after a run
# An end after which we open the bead again. (An earlier version did so after a usage limit only.)
_OPEN_AGAIN = re.compile(r"agent ended: (?:usage limit|.*\(open again(?:, attempt \d of \d)?\)$)")
_NOT_SENT = re.compile(rf"dispatch failed|returned: |{_OPEN_AGAIN.pattern}")
_OUTCOME = re.compile(rf"{'|'.join(_SENT)}|{_NOT_SENT.pattern}")
_OURS = re.compile(rf"{_CLAIM.pattern}$|{_OUTCOME.pattern}")
_LAST_ATTEMPT = re.compile(r"\(attempt (\d) of \1\)$")


def claimed(now: datetime, token: str) -> str:
    """The line of a claim: `auto-dispatcher claimed at <UTC time> (tick <token>)`."""
    return f"auto-dispatcher claimed at {utc(now)} (tick {token})"


def dispatched(job: str) -> str:
    """The line of an accepted dispatch, with the agent service's job id."""
    return f"{_DISPATCHED}{one_line(job, 80)}"


def failed(status: int | None, body: str, attempt: str = "") -> str:
    """The line of a dispatch that started nothing. `status`: the HTTP status, if there was one."""
    return _answer("dispatch failed", status, body) + (f" ({attempt})" if attempt else "")


def unclear(status: int | None, body: str) -> str:
    """The line of a dispatch that may have started an agent."""
    return _answer("dispatch unclear", status, body)


def _answer(what: str, status: int | None, body: str) -> str:
    http = f" HTTP {status}" if status is not None else ""
    return f"{what}{http}: {one_line(body) or '(empty body)'}"


def attempt(number: int, limit: int) -> str:
    """Return what a line adds if the failure is charged to the bead."""
    return f"attempt {number} of {limit}"


def ended(what: str, words: str = "") -> str:
    """Return the line of a run's end: what happened, and the agent's final message."""
    last = one_line(words)
    return f"agent ended: {what}" + (f": {last}" if last else "")


def open_again(line: str, attempt: str = "") -> str:
    """Return the line of an end after which the bead is open again, so that a reader of the notes can tell."""
    return f"{line} (open again{', ' + attempt if attempt else ''})"


def returned(why: str) -> str:
    """The line of a claim that was released before anything was started."""
    return f"returned: {one_line(why)}"


def not_dispatched(why: str) -> str:
    """The notice on a bead that a person must fix."""
    return f"not dispatched: {why}"


def blocked(age: timedelta, threshold: timedelta, *, sent: bool) -> str:
    """The reaper's line: how long the bead made no progress, the threshold, and whether it was `sent`."""
    lacks = "" if sent else ", no dispatch recorded"
    return (
        f"reaper: no progress for {age // timedelta(minutes=1)}m — blocking "
        f"(threshold {threshold / timedelta(minutes=1):g}m{lacks})"
    )


def too_large_to_block(age: timedelta) -> str:
    """The reaper's comment on a bead that has no room for a note."""
    why = f"no progress for {age // timedelta(minutes=1)}m, and bd cannot write it"
    return f"{TOO_LARGE_COMMENTS[1]} to be blocked ({why}): shorten its texts"


def newest_claim(notes: str) -> tuple[str, str] | None:
    """The (time, token) of the last claim line, or None. The shell pair's lines have no token."""
    match = _CLAIM.fullmatch(_newest(notes, _CLAIM.fullmatch) or "")
    return (match[1], match[2] or "") if match else None


def claimed_after(notes: str, token: str) -> bool:
    """Whether another claim's line stands below the line of the claim with this token."""
    tokens = [match[2] for line in notes.split("\n") if (match := _CLAIM.fullmatch(line))]
    return token in tokens and tokens[-1] != token


def newest_job(notes: str) -> str:
    """The job id in the last line of our claims and outcomes, or nothing."""
    newest = _newest(notes, _OURS.match) or ""
    return newest.removeprefix(_DISPATCHED) if newest.startswith(_DISPATCHED) else ""


def last_outcome(notes: str) -> str | None:
    """The newest line that says what became of a dispatch, or None. (`AS_BEFORE` refers to an older one.)"""
    return _newest(notes, lambda line: _OUTCOME.match(line) and line not in (AS_BEFORE, ENDED_AS_BEFORE))


def last_line(notes: str) -> str:
    """The newest line that is not blank, or nothing."""
    return _newest(notes, str.strip) or ""


def kind_of_outcome(notes: str) -> str:
    """The last outcome without what differs between beads: `dispatched`, `dispatch unclear` and so on."""
    return re.split(r":| HTTP", last_outcome(notes) or "", maxsplit=1)[0]


def has_line(notes: str, line: str) -> bool:
    """Whether `line` stands after our last claim or outcome line."""
    return _newest(notes, lambda known: known == line or _OURS.match(known)) == line


def recorded(notes: str, line: str) -> bool:
    """Whether `line` stands after our last claim."""
    return _newest(notes, lambda known: known == line or _CLAIM.fullmatch(known)) == line


def dispatches(notes: str) -> int:
    """How many dispatches the notes record, accepted or unclear, since the bead was last blocked by us."""
    ends = ("reaper: ", "agent ended: ", "not dispatched: ")
    count = 0
    for line in reversed(notes.split("\n")):
        if (line.startswith(ends) and not _OPEN_AGAIN.match(line)) or _LAST_ATTEMPT.search(line):
            break
        count += line.startswith(_SENT)
    return count


def dispatch_recorded(notes: str) -> bool:
    """Whether the newest claim is followed by a line that says it was sent."""
    newest = _newest(notes, lambda line: line.startswith(_SENT) or _CLAIM.fullmatch(line))
    return newest is not None and newest.startswith(_SENT)


def possibly_dispatched(notes: str) -> bool:
    """Whether the notes say that an agent may have the bead: a claim, and no line that undoes it."""
    newest = _newest(notes, _OURS.match)
    return newest is not None and not _NOT_SENT.match(newest)


def sent(notes: str) -> bool:
    """Whether the last line of our claims and outcomes says that the bead was sent."""
    return (_newest(notes, _OURS.match) or "").startswith(_SENT)


def _newest(notes: str, wanted: Callable[[str], object]) -> str | None:
    """The last line that is wanted, or None."""
    return next((line for line in reversed(notes.split("\n")) if wanted(line)), None)


def fits(notes: str, line: str) -> bool:
    """Whether there is room for one more line that could also be left out."""
    return len((notes + line).encode("utf-8", "replace")) < FULL_BYTES
