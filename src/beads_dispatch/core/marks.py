"""Our marks in a bead's metadata: the record of a dispatch that no edit of the notes can take away.

A change of marks is a mapping from names to values; None removes the mark.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from beads_dispatch.core import notes, outcomes
from beads_dispatch.core.bead import MARK, Bead, read_time
from beads_dispatch.core.text import one_line, utc

Change = Mapping[str, str | None]

CLAIM, JOB, RUNS = MARK + "claim", MARK + "job", MARK + "runs"
ATTEMPTS, FAILED_AT, RETRY_AFTER = MARK + "attempts", MARK + "failed_at", MARK + "retry_after"
REOPENED, OUTCOME = MARK + "reopened", MARK + "outcome"
FAILURES, ENDED, RESTORED = MARK + "failures", MARK + "ended", MARK + "restored"
REMOVING = MARK + "removing"
_LIMITS = MARK + "limits"  # of an earlier version
ALL = (
    CLAIM, JOB, RUNS, ATTEMPTS, FAILED_AT, RETRY_AFTER, REOPENED, OUTCOME, FAILURES, ENDED, RESTORED, REMOVING, _LIMITS,
)  # fmt: skip

FURTHEST = timedelta(hours=1)  # a time mark further ahead than this counts as absent
MOST = 1000
SAME_WRITE = timedelta(seconds=5)  # bd writes slowly, and rounds `updated_at` to the second

# bd reads a value as JSON if it can (`1234567890e5` becomes a number), so a token begins with a letter.
_CLAIM = re.compile(r"t([0-9a-f]{6}) (\S+)")
_FAILURES = re.compile(r"f(\d{1,3}) (\S+)")


def claim(bead: Bead) -> tuple[str, datetime] | None:
    """Return the token and the time (UTC) of the bead's claim, or None."""
    return _claim(bead, "claim")


def _claim(bead: Bead, name: str) -> tuple[str, datetime] | None:
    match = _CLAIM.fullmatch(str(bead.mark(name) or ""))
    time = read_time(match[2]) if match else None
    return (match[1], time) if match and time and time.year < 9999 else None  # what is added to it must be a time too


def claim_value(token: str, now: datetime) -> str:
    return f"t{token} {utc(now)}"


def job(bead: Bead) -> str:
    """Return the id of the job that has this bead; empty if none is recorded."""
    value = bead.mark("job")
    return value.strip('"') if isinstance(value, str) else str(value or "")


def last_job(bead: Bead) -> str:
    """Return the job that may still run, by its mark, or by the notes if a client has removed the mark."""
    return job(bead) or (notes.newest_job(bead.notes) if notes.dispatches(bead.notes) else "")


def job_value(job: str) -> str:
    return f'"{one_line(job, 80)}"'  # with its quotes, or bd stores 1234567890e5 as a number


def runs(bead: Bead) -> int:
    """Return how many dispatches in a row were accepted since a person last reopened the bead.

    If an agent has removed the mark by its --metadata, the notes show a lower bound.
    """
    return notes.dispatches(bead.notes) if bead.mark("runs") is None else _count(bead, "runs")


def attempts(bead: Bead) -> int:
    """Return how many failed dispatches count against this bead. An outage charges only its first failure."""
    return _count(bead, "attempts")


def outcome(bead: Bead) -> str:
    """Return the word for what last became of the bead (see outcomes.py), or nothing."""
    return str(bead.mark("outcome") or "")


def failures(bead: Bead) -> tuple[int, datetime | None]:
    """Return how many of its runs were charged as failures, and when the first run ended without closing it, UTC.

    An accepted dispatch does not reset them: they count runs, and ATTEMPTS counts dispatches.
    """
    match = _FAILURES.fullmatch(str(bead.mark("failures") or ""))
    return (int(match[1]), read_time(match[2])) if match else (0, None)


def ended(bead: Bead) -> tuple[str, datetime] | None:
    """Return how its last run ended without closing it (a word of faults.py) and when, UTC; None if none did."""
    word, _, at = str(bead.mark("ended") or "").partition(" ")
    time = read_time(at)
    return (word, time) if time else None


def removing(bead: Bead) -> str:
    """Return the line that says how its run ended, if its job never ran and is being removed; else nothing.

    The job can be gone before a sweep has written that end. Without this mark nobody would then know why.
    """
    return str(bead.mark("removing") or "")


def failed_at(bead: Bead, now: datetime) -> datetime | None:
    """Return when the bead last failed, UTC, or None."""
    return _time(bead, "failed_at", now)


def retry_after(bead: Bead, now: datetime) -> datetime | None:
    """Return when this bead may be tried again, UTC, or None."""
    return _time(bead, "retry_after", now)


def possibly_dispatched(bead: Bead) -> bool:
    """Return whether an agent may have the bead, by its marks or its notes. Another client's write can lose either."""
    return _has_record(bead) or notes.possibly_dispatched(bead.notes)


def _has_record(bead: Bead) -> bool:
    return any(bead.mark(name) is not None for name in ("claim", "job"))


def opened_late(bead: Bead) -> bool:
    """Return whether a late write of ours opened a bead that had been dispatched in the meantime.

    We open a bead when its deferral has ended, when nothing was started, and after a usage limit. A bd that outlives
    its tick or its lock writes up to 30 s later, and bd 1.0 has no guard. (Found by the simulation.)
    A claim's line alone proves nothing, because bd 1.0 loses the line that undoes it. But a claim's line below the
    line of the claim that we undid is another tick's.
    """
    if bead.mark("reopened") is None:
        return False
    undone = undone_claim(bead)
    another = undone is not None and notes.claimed_after(bead.notes, undone[0])
    return another or _has_record(bead) or notes.sent(bead.notes)


def undone_claim(bead: Bead) -> tuple[str, datetime] | None:
    """Return the token and the time (UTC) of the claim that we undid when we opened the bead, or None."""
    return _claim(bead, "reopened")


def asks(bead: Bead) -> bool:
    """Return whether its agent has blocked the bead to ask a question."""
    return (bead.status == "blocked" and outcome(bead) == outcomes.ASKS.word) or asks_anew(bead)


def asks_anew(bead: Bead) -> bool:
    """Return whether nobody has been told yet. A block of ours takes the job mark away."""
    return bead.status == "blocked" and outcome(bead) in outcomes.SENT and bool(job(bead))


def restored_last(bead: Bead) -> bool:
    """Return whether the bead's last change is that we restored the record of its dispatch."""
    at = read_time(bead.mark("restored"))
    return at is not None and abs(bead.updated_at - at) <= SAME_WRITE


def _count(bead: Bead, name: str) -> int:
    value = bead.mark(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST else 0


def _time(bead: Bead, name: str, now: datetime) -> datetime | None:
    time = read_time(bead.mark(name))
    return time if time and time <= now + FURTHEST else None


def removed(bead: Bead, *names: str) -> Change:
    """Return the change that removes those of the marks that the bead bears."""
    return {name: None for name in names if name in (bead.metadata or ())}


def claimed(bead: Bead, token: str, now: datetime) -> Change:
    """Return the marks of a claim. It counts one more run; what became of the last run is removed."""
    gone = removed(bead, JOB, RETRY_AFTER, REOPENED, OUTCOME, RESTORED, REMOVING)
    return {**gone, CLAIM: claim_value(token, now), RUNS: str(runs(bead) + 1)}


def accepted(bead: Bead, job: str) -> Change:
    """Return the marks of an accepted dispatch. `bead`: as it was before the claim."""
    return {**removed(bead, ATTEMPTS, FAILED_AT), JOB: job_value(job), OUTCOME: outcomes.DISPATCHED.word}


def opened(claimed: Bead, count: int, outcome: str) -> Change:
    """Return the marks of a claimed bead that we reopen: `count` runs still count.

    REOPENED keeps which claim it was until the next one.
    """
    mark = claimed.mark("claim")
    undone = {} if mark is None else {REOPENED: str(mark)}
    counted = {RUNS: str(count)} if count > 0 else removed(claimed, RUNS)
    return {**removed(claimed, CLAIM, JOB, REMOVING), **counted, **undone, OUTCOME: outcome}


def blocked(bead: Bead, outcome: str) -> Change:
    """Return the marks of a bead that we block: nothing counts any more, but its claim stays.

    Without the claim, an agent that replaces the notes leaves no record, and `bd defer` opens the bead when it is due.
    """
    return {**removed(bead, *(name for name in ALL if name not in (CLAIM, OUTCOME))), OUTCOME: outcome}
