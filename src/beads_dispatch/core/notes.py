"""Every text that we write on a bead, and how we recognise it later."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta

from beads_dispatch.core.bead import TOO_LARGE_COMMENTS, read_time
from beads_dispatch.core.text import one_line, utc

# bd's `notes` column holds 64 KB. Beyond this limit an agent could no longer add its own line.
FULL_BYTES = 60_000

RUNS_USED_UP = "5 runs, and it is open again; bd update <id> -s open starts over"
SENT_BEFORE = "its deferral has ended, but an agent may have it; bd update <id> -s open sends it again"
OPENED_LATE = "a late write opened it, but an agent may have it; bd update <id> -s open sends it again"
TOO_LARGE = f"{TOO_LARGE_COMMENTS[0]} (over 48 KB; bd cannot write it safely): shorten its texts"

_CLAIM = re.compile(r"auto-dispatcher claimed at (\S+)(?: \(tick ([0-9a-f]{6})\))?")  # the shell pair had no token
_DISPATCHED = "dispatched: job="
_SENT = (_DISPATCHED, "dispatch unclear")
AS_BEFORE = "returned: not started, as before"  # undoes a claim; the reason already stands in an earlier line
ENDED_AS_BEFORE = "agent ended: as before (open again)"  # the same after a run
# An end after which we open the bead again. (An earlier version did so after a usage limit only.)
_OPEN_AGAIN = re.compile(r"agent ended: (?:usage limit|.*\(open again(?:, attempt \d of \d)?\)$)")
_NOT_SENT = re.compile(rf"dispatch failed|returned: |{_OPEN_AGAIN.pattern}")
_OUTCOME = re.compile(rf"{'|'.join(_SENT)}|{_NOT_SENT.pattern}")
_OURS = re.compile(rf"{_CLAIM.pattern}$|{_OUTCOME.pattern}")
_LAST_ATTEMPT = re.compile(r"\(attempt (\d) of \1\)$")


def claimed(now: datetime, token: str) -> str:
    """Return the line of a claim: `auto-dispatcher claimed at <UTC time> (tick <token>)`."""
    return f"auto-dispatcher claimed at {utc(now)} (tick {token})"


def dispatched(job: str) -> str:
    """Return the line of an accepted dispatch, with the runner's job id."""
    return f"{_DISPATCHED}{one_line(job, 80)}"


def failed(status: int | None, body: str, attempt: str = "") -> str:
    """Return the line of a dispatch that started nothing. `status`: the HTTP status, if any."""
    return _answer("dispatch failed", status, body) + (f" ({attempt})" if attempt else "")


def unclear(status: int | None, body: str) -> str:
    """Return the line of a dispatch that may have started an agent."""
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


def checked(check: str, words: str = "") -> str:
    """Return the line of a run whose work has passed its check: the command, and the agent's final message."""
    last = one_line(words)
    return f"checked: {one_line(check, 80)}" + (f": {last}" if last else "")


def stopped(who: str) -> str:
    """Return the line of a run that a person has stopped."""
    return ended(f"stopped by {one_line(who, 80)}")


def open_again(line: str, attempt: str = "") -> str:
    """Return the line of an end after which the bead is open again, so that a reader of the notes can tell."""
    return f"{line} (open again{', ' + attempt if attempt else ''})"


def returned(why: str) -> str:
    """Return the line of a claim that was released before anything started."""
    return f"returned: {one_line(why)}"


def not_dispatched(why: str) -> str:
    """Return the notice on a bead that a person must fix."""
    return f"not dispatched: {why}"


def taken_back(at: datetime, job: str) -> str:
    """Return the notice on a bead whose record another client has undone. `at`: of its dispatch, UTC."""
    return not_dispatched(
        f"it was dispatched at {utc(at)} (job={one_line(job, 80) or 'unknown'}), and another client has undone the "
        "record of it; bd update <id> -s open sends it again"
    )


def blocked(age: timedelta, threshold: timedelta, *, sent: bool) -> str:
    """Return the reaper's line on a bead that made no progress for `age`. `sent`: whether a dispatch is recorded."""
    lacks = "" if sent else ", no dispatch recorded"
    return (
        f"reaper: no progress for {age // timedelta(minutes=1)}m — blocking "
        f"(threshold {threshold / timedelta(minutes=1):g}m{lacks})"
    )


def too_large_to_block(age: timedelta) -> str:
    """Return the reaper's comment on a bead whose notes have no room for a line."""
    why = f"no progress for {age // timedelta(minutes=1)}m, and bd cannot write it"
    return f"{TOO_LARGE_COMMENTS[1]} to be blocked ({why}): shorten its texts"


def newest_claim(notes: str) -> tuple[str, datetime | None] | None:
    """Return the token and the time (UTC) of the last claim line, or None. The shell pair's lines name no token."""
    match = _CLAIM.fullmatch(_newest(notes, _CLAIM.fullmatch) or "")
    return (match[2] or "", read_time(match[1])) if match else None


def claimed_after(notes: str, token: str) -> bool:
    """Return whether the line of another claim stands below the line of the claim with this token."""
    tokens = [match[2] for line in notes.split("\n") if (match := _CLAIM.fullmatch(line))]
    return token in tokens and tokens[-1] != token


def newest_job(notes: str) -> str:
    """Return the job id in the last of our claim and outcome lines; empty if that line names none."""
    newest = _newest(notes, _OURS.match) or ""
    return newest.removeprefix(_DISPATCHED) if newest.startswith(_DISPATCHED) else ""


def last_outcome(notes: str) -> str | None:
    """Return the newest line that says what became of a dispatch, or None. `AS_BEFORE` lines refer to an older one."""
    return _newest(notes, lambda line: _OUTCOME.match(line) and line not in (AS_BEFORE, ENDED_AS_BEFORE))


def last_line(notes: str) -> str:
    """Return the newest line that is not blank; empty if there is none."""
    return _newest(notes, str.strip) or ""


def question(notes: str) -> str:
    """Return the newest line that is not ours: a fast agent asks before its dispatch is noted."""
    return _newest(notes, lambda line: line.strip() and not _OURS.match(line)) or ""


def last_end(notes: str) -> str:
    """Return the newest line that says how a run ended, or nothing."""
    return _newest(notes, lambda line: line.startswith("agent ended: ")) or ""


def kind_of_outcome(notes: str) -> str:
    """Return the last outcome without its details: `dispatched`, `dispatch unclear` and so on."""
    return re.split(r":| HTTP", last_outcome(notes) or "", maxsplit=1)[0]


def has_line(notes: str, line: str) -> bool:
    """Return whether `line` stands below our last claim or outcome line."""
    return _newest(notes, lambda known: known == line or _OURS.match(known)) == line


def recorded(notes: str, line: str) -> bool:
    """Return whether `line` stands below our last claim."""
    return _newest(notes, lambda known: known == line or _CLAIM.fullmatch(known)) == line


def dispatches(notes: str) -> int:
    """Return how many dispatches the notes record, accepted or unclear, since we last blocked the bead."""
    ends = ("reaper: ", "agent ended: ", "not dispatched: ")
    count = 0
    for line in reversed(notes.split("\n")):
        if (line.startswith(ends) and not _OPEN_AGAIN.match(line)) or _LAST_ATTEMPT.search(line):
            break
        count += line.startswith(_SENT)
    return count


def dispatch_recorded(notes: str) -> bool:
    """Return whether a line below the newest claim says that the bead was sent."""
    newest = _newest(notes, lambda line: line.startswith(_SENT) or _CLAIM.fullmatch(line))
    return newest is not None and newest.startswith(_SENT)


def possibly_dispatched(notes: str) -> bool:
    """Return whether an agent may have the bead, by its notes: there is a claim, and no line undoes it."""
    newest = _newest(notes, _OURS.match)
    return newest is not None and not _NOT_SENT.match(newest)


def sent(notes: str) -> bool:
    """Return whether the last of our claim and outcome lines says that the bead was sent."""
    return (_newest(notes, _OURS.match) or "").startswith(_SENT)


def _newest(notes: str, wanted: Callable[[str], object]) -> str | None:
    """Return the last line that `wanted` accepts, or None."""
    return next((line for line in reversed(notes.split("\n")) if wanted(line)), None)


def fits(notes: str, line: str) -> bool:
    """Return whether the notes have room for one more optional line."""
    return len((notes + line).encode("utf-8", "replace")) < FULL_BYTES
