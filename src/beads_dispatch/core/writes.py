"""Decide what must still be written on a bead, from the bead as it now is and from what should become of it.

Each intent answers `next(bead, now)`: one write, or that it is settled. `jobs/writing.py` carries it out.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import ClassVar, Protocol

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
    """One call of `bd update`. `status` None: it does not change."""

    note: str | None = None
    status: str | None = None
    marks: Change = field(default_factory=dict)


class Settled(Enum):
    DONE = "it is written"
    LOST = "the bead has changed in the meantime, and is left alone"


Next = Write | Settled


class Intent(Protocol):
    """`checked`: read again after the write, because bd 1.0.2 can lose either half of it with exit 0."""

    @property
    def checked(self) -> bool: ...

    def next(self, bead: Bead | None, now: datetime) -> Next:
        """Return what is still to be written on the bead as it now is. None: the bead is gone."""


@dataclass(frozen=True, slots=True)
class Record:
    """Record what became of a start, as note and marks. Never change the status: an agent may have the bead.

    A bead that another tick has claimed since is left alone: a person reopened it during a slow start, and our
    lock was lost. Our job beside that claim would end the other run's bead. (Found by the simulation.)
    """

    claimed: Claim
    line: str
    marks: Change
    checked: ClassVar[bool] = True

    def next(self, bead: Bead | None, now: datetime) -> Next:
        known = marks.claim(bead) if bead else None
        if bead is None or (known and known[0] != self.claimed.token):
            return Settled.DONE
        metadata = bead.metadata or {}
        lacks = {name: value for name, value in self.marks.items() if _text(metadata.get(name)) != value}
        there = notes.recorded(bead.notes, self.line) or not notes.fits(bead.notes, self.line)
        return Settled.DONE if there and not lacks else Write(None if there else self.line, marks=lacks)


@dataclass(frozen=True, slots=True)
class Release:
    """Undo a claim, but only while the bead bears our token."""

    claimed: Claim
    line: str
    became: str
    marks: Change = field(default_factory=dict)
    status: str = "open"
    checked: ClassVar[bool] = False

    def next(self, bead: Bead | None, now: datetime) -> Next:
        if bead is None or not claim.releasable(bead, self.claimed):
            return Settled.LOST
        if self.status != "open":
            return Write(self.line, self.status, {**marks.blocked(bead, self.became), **self.marks})
        undone = marks.opened(bead, marks.runs(self.claimed.bead), self.became)
        line = self.line if notes.last_outcome(bead.notes) != self.line else notes.AS_BEFORE
        return Write(line if notes.fits(bead.notes, line) else None, "open", {**undone, **self.marks})


@dataclass(frozen=True, slots=True)
class Note:
    """Add a line, unless it is already the newest one that says what became of the bead."""

    line: str
    checked: ClassVar[bool] = False

    def next(self, bead: Bead | None, now: datetime) -> Next:
        if bead is None or notes.last_outcome(bead.notes) == self.line or not notes.fits(bead.notes, self.line):
            return Settled.DONE
        return Write(self.line)


@dataclass(frozen=True, slots=True)
class Restore:
    """Restore the half of a dispatch's record that another client's write has removed."""

    assignee: str
    checked: ClassVar[bool] = False

    def next(self, bead: Bead | None, now: datetime) -> Next:
        if bead is None or bead.assignee != self.assignee:
            return Settled.LOST
        line, change = claim.lost_record(bead, now)
        if (line, change) == (None, {}):
            return Settled.LOST
        return Write(line, marks={**change, marks.RESTORED: utc(now)})


@dataclass(frozen=True, slots=True)
class StopRunning:
    """Block an open bead that must not run again."""

    assignee: str
    checked: ClassVar[bool] = False

    def next(self, bead: Bead | None, now: datetime) -> Next:
        found = eligibility.not_again([bead], now) if bead and bead.assignee == self.assignee else []
        if not (bead and found):
            return Settled.LOST
        reason = found[0][1]
        used_up = reason is eligibility.RUNS_USED_UP
        return _blocked(bead, reason.text, outcomes.RUNS_USED_UP.word if used_up else outcomes.OPENED_LATE.word)


@dataclass(frozen=True, slots=True)
class EndDeferral:
    """Open a bead whose deferral has ended; but block it if an agent may have it. `entry`: the ledger's, if any."""

    assignee: str
    entry: Entry | None = None
    checked: ClassVar[bool] = False

    def next(self, bead: Bead | None, now: datetime) -> Next:
        ended = bead and bead.assignee == self.assignee and eligibility.expired_deferrals([bead], now)
        if not (bead and ended):
            return Settled.LOST
        if self.entry and ledger.taken_back(bead, self.entry):
            return _taken_back(bead, self.entry)
        if marks.possibly_dispatched(bead):
            return _blocked(bead, notes.SENT_BEFORE, outcomes.DEFERRED.word)
        return Write(status="open", marks=marks.reopened(now))


@dataclass(frozen=True, slots=True)
class BlockWoken:
    """Block a bead that bd itself opened at the end of a deferral, although an agent may have it. `known`: as read."""

    known: Bead
    checked: ClassVar[bool] = False

    def next(self, bead: Bead | None, now: datetime) -> Next:
        if bead is None or (bead.status, bead.assignee) != ("open", self.known.assignee):
            return Settled.LOST
        changed = (bead.updated_at, bead.metadata) != (self.known.updated_at, self.known.metadata)
        return Settled.LOST if changed else _blocked(bead, notes.SENT_BEFORE, outcomes.DEFERRED.word)


def _blocked(bead: Bead, why: str, became: str) -> Write:
    return Write(notes.not_dispatched(why), "blocked", marks.blocked(bead, became))


@dataclass(frozen=True, slots=True)
class BlockTakenBack:
    """Block a bead whose record another client has undone. The claim's mark lets a person's reopening be understood."""

    assignee: str
    entry: Entry
    checked: ClassVar[bool] = False

    def next(self, bead: Bead | None, now: datetime) -> Next:
        if bead is None or bead.assignee != self.assignee or not ledger.taken_back(bead, self.entry):
            return Settled.LOST
        return _taken_back(bead, self.entry)


def _taken_back(bead: Bead, known: Entry) -> Write:
    claim_mark = {marks.CLAIM: marks.claim_value(known.token, known.at)}
    change = {**marks.blocked(bead, outcomes.TAKEN_BACK.word), **claim_mark}
    return Write(notes.taken_back(known.at, known.job), "blocked", change)


@dataclass(frozen=True, slots=True)
class BlockSilent:
    """Block a bead in progress that has made no progress for longer than the threshold."""

    assignee: str
    threshold: timedelta
    checked: ClassVar[bool] = False

    def next(self, bead: Bead | None, now: datetime) -> Next:
        if bead is None or bead.assignee != self.assignee or not staleness.stale(bead, now, self.threshold):
            return Settled.LOST
        sent = claim.dispatch_recorded(bead)
        line = notes.blocked(staleness.idle_for(bead, now), self.threshold, sent=sent)
        return Write(line, "blocked", marks.blocked(bead, (outcomes.SILENT if sent else outcomes.NOT_SENT).word))


@dataclass(frozen=True, slots=True)
class EndRun:
    """Write what follows from the end of a run, if the bead is still that run's.

    `known`: the bead as it was when the end was judged, `finished`: when its job ended, UTC, if that is known.
    """

    known: Bead
    end: End
    seconds: float | None
    finished: datetime | None
    recent: Recent
    checked: ClassVar[bool] = False

    def next(self, bead: Bead | None, now: datetime) -> Next:
        if bead is None or _run(bead) != _run(self.known) or runs.taken_over(bead, self.finished):
            return Settled.LOST
        verdict, _ = judge(self.end, bead, self.seconds, self.recent, now)
        return Write(verdict.line, verdict.status, verdict.marks)


def _run(bead: Bead) -> tuple[str, str, str]:
    return bead.status, bead.assignee, marks.job(bead)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
