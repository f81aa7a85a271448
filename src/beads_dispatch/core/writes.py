"""Decide what must still be written on a bead, from the bead as it now is and from what should become of it.

Each intent is a function of the bead and the time, UTC. It returns one write, or that the bead is settled.
`jobs/writing.py` carries it out.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from beads_dispatch.core import claim, eligibility, ledger, marks, notes, outcomes, runs, staleness
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.claim import Claim
from beads_dispatch.core.faults import Recent, judge
from beads_dispatch.core.ledger import Entry
from beads_dispatch.core.marks import Change
from beads_dispatch.core.runs import End
from beads_dispatch.core.text import utc


@dataclass(frozen=True, slots=True)
class Write:
    """One call of `bd update`. `status` None: it does not change.

    `checked`: read again after the write, because bd 1.0.2 can lose either half of it with exit 0.
    """

    note: str | None = None
    status: str | None = None
    marks: Change = field(default_factory=dict)
    checked: bool = False


class Settled(Enum):
    DONE = "it is written"
    LOST = "the bead has changed in the meantime, and is left alone"


Next = Write | Settled
Intent = Callable[[Bead, datetime], Next]


def record(bead: Bead, now: datetime, *, claimed: Claim, line: str, change: Change) -> Next:
    """Record what became of a start, as note and marks. Never change the status: an agent may have the bead.

    A bead that another tick has claimed since is left alone: a person reopened it during a slow start, and our
    lock was lost. Our job beside that claim would end the other run's bead. (Found by the simulation.)
    """
    known, metadata = marks.claim(bead), bead.metadata or {}
    if known and known[0] != claimed.token:
        return Settled.DONE
    lacks = {name: value for name, value in change.items() if str(metadata.get(name)) != str(value)}
    there = notes.recorded(bead.notes, line) or not notes.fits(bead.notes, line)
    return Settled.DONE if there and not lacks else Write(None if there else line, marks=lacks, checked=True)


def release(
    bead: Bead, now: datetime, *, claimed: Claim, line: str, became: outcomes.Outcome, change: Change, status: str
) -> Next:
    """Undo a claim, but only while the bead bears our token."""
    if not claim.releasable(bead, claimed):
        return Settled.LOST
    if status != "open":
        return Write(line, status, {**marks.blocked(bead, became.word), **change})
    undone = marks.opened(bead, marks.runs(claimed.bead), became.word)
    line = line if notes.last_outcome(bead.notes) != line else notes.AS_BEFORE
    return Write(line if notes.fits(bead.notes, line) else None, "open", {**undone, **change})


def note(bead: Bead, now: datetime, *, line: str) -> Next:
    """Add a line, unless it is already the newest one that says what became of the bead."""
    there = notes.last_outcome(bead.notes) == line or not notes.fits(bead.notes, line)
    return Settled.DONE if there else Write(line)


def restore(bead: Bead, now: datetime) -> Next:
    """Restore the half of a dispatch's record that another client's write has removed."""
    line, change = claim.lost_record(bead, now)
    return Write(line, marks={**change, marks.RESTORED: utc(now)}) if line or change else Settled.LOST


def stop_running(bead: Bead, now: datetime) -> Next:
    """Block an open bead that must not run again."""
    found = eligibility.not_again([bead], now)
    if not found:
        return Settled.LOST
    reason = found[0][1]
    used_up = reason is eligibility.RUNS_USED_UP
    return _blocked(bead, reason.text, outcomes.RUNS_USED_UP if used_up else outcomes.OPENED_LATE)


def end_deferral(bead: Bead, now: datetime, *, entry: Entry | None = None) -> Next:
    """Open a bead whose deferral has ended; but block it if an agent may have it. `entry`: the ledger's, if any."""
    if not eligibility.expired_deferrals([bead], now):
        return Settled.LOST
    if entry and ledger.taken_back(bead, entry):
        return block_taken_back(bead, now, entry=entry)
    if marks.possibly_dispatched(bead):
        return _blocked(bead, notes.SENT_BEFORE, outcomes.DEFERRED)
    return Write(status="open", marks={marks.REOPENED: utc(now)})


def block_woken(bead: Bead, now: datetime, *, known: Bead) -> Next:
    """Block a bead that bd itself opened at the end of a deferral, although an agent may have it. `known`: as read."""
    changed = (bead.updated_at, bead.metadata) != (known.updated_at, known.metadata)
    return Settled.LOST if bead.status != "open" or changed else _blocked(bead, notes.SENT_BEFORE, outcomes.DEFERRED)


def block_taken_back(bead: Bead, now: datetime, *, entry: Entry) -> Next:
    """Block a bead whose record another client has undone. The claim's mark lets a person's reopening be understood."""
    if not ledger.taken_back(bead, entry):
        return Settled.LOST
    claim_mark = {marks.CLAIM: marks.claim_value(entry.token, entry.at)}
    change = {**marks.blocked(bead, outcomes.TAKEN_BACK.word), **claim_mark}
    return Write(notes.taken_back(entry.at, entry.job), "blocked", change)


def block_silent(bead: Bead, now: datetime, *, threshold: timedelta) -> Next:
    """Block a bead in progress that has made no progress for longer than the threshold."""
    if not staleness.stale(bead, now, threshold):
        return Settled.LOST
    sent = claim.dispatch_recorded(bead)
    line = notes.blocked(staleness.idle_for(bead, now), threshold, sent=sent)
    return Write(line, "blocked", marks.blocked(bead, (outcomes.SILENT if sent else outcomes.NOT_SENT).word))


def end_run(
    bead: Bead,
    now: datetime,
    *,
    known: Bead,
    end: End,
    seconds: float | None,
    finished: datetime | None,
    recent: Recent,
) -> Next:
    """Write what follows from the end of a run, if the bead is still that run's.

    `known`: the bead as it was when the end was judged, `finished`: when its job ended, UTC, if that is known.
    """
    other = (bead.status, marks.job(bead)) != (known.status, marks.job(known))
    if other or runs.taken_over(bead, finished):
        return Settled.LOST
    verdict, _ = judge(end, bead, seconds, recent, now)
    return Write(verdict.line, verdict.status, verdict.marks)


def _blocked(bead: Bead, why: str, became: outcomes.Outcome) -> Write:
    return Write(notes.not_dispatched(why), "blocked", marks.blocked(bead, became.word))
