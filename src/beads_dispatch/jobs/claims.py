"""The life of a claim: made, verified, then recorded or released.

Two claims of one bead both succeed under bd 1.0.2, so only the queue's lock decides between two dispatchers.
"""

from beads_dispatch.core import claim, eligibility, marks, notes
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.claim import Claim
from beads_dispatch.core.errors import BdFailed, DoltFailed, Failure, NotAsExpected
from beads_dispatch.core.marks import Change
from beads_dispatch.jobs.cycle import Cycle
from beads_dispatch.jobs.persistence import Left, until_written


def make(cycle: Cycle, chosen: Bead) -> Claim | None:
    """Claims a bead in one write that is never retried. None: it is no longer eligible, go on with the next one.

    Raises BdFailed where the claim could not be written; DoltFailed where the lock is lost.
    """
    bead, now = fetch(cycle, chosen), cycle.now()
    # Nobody has asked yet whether such a job still runs.
    ran = bead is not None and marks.last_job(bead) != marks.last_job(chosen)
    if bead is None or ran or not eligibility.claimable(bead, cycle.settings.assignee, now):
        cycle.info("changed", "changed since it was selected: left alone", chosen)
        return None
    claimed = Claim(bead, cycle.outside.new_token())
    try:
        _write(cycle, claimed)
    except NotAsExpected:
        cycle.info("changed", "changed before it was claimed: left alone", bead)
        return None
    cycle.info("claimed", f"claimed (tick {claimed.token})", bead, tick=claimed.token)
    return claimed


def fetch(cycle: Cycle, known: Bead) -> Bead | None:
    """The bead as it now is. Raises DoltFailed where another tick may hold our lock by now."""
    locked, bead = cycle.outside.queue.fetch(known.id)
    if not locked:
        raise DoltFailed("the lock was lost: another tick may hold it")
    return bead


def _write(cycle: Cycle, claimed: Claim) -> None:
    before, now = claimed.bead, cycle.now()
    change, line = marks.claimed(before, claimed.token, now), notes.claimed(now, claimed.token)
    try:
        found: Bead | None = cycle.outside.bd.update(before, status="in_progress", note=line, marks=change)
        problem = "bd's answer does not have our claim"
    except NotAsExpected:
        raise
    except BdFailed as error:  # the write may have happened all the same: the token shows it
        problem, found = str(error), fetch(cycle, before)
    if not claim.holds_claim(found, cycle.settings.assignee, claimed.token):
        raise BdFailed(problem)


def _releasable(cycle: Cycle, bead: Bead | None, claimed: Claim) -> bool:
    return bead is not None and claim.releasable(bead, cycle.settings.assignee, claimed.token)


def verify(cycle: Cycle, claimed: Claim) -> bool:
    """Whether the bead is still ours, right before the POST. If not, it is released.

    Raises Failure where the database was lost, and perhaps the lock with it.
    """
    try:
        bead = fetch(cycle, claimed.bead)
    except Failure as error:
        # Not released: while our bd was slow, another tick may have had the lock, and dispatched the bead before our
        # claim was written over its own. (bd 1.0 has no guard. Found by the simulation.)
        raise Failure(f"{claimed.bead.id}: claimed but not dispatched, the sweep will block it: {error}") from None
    reason = claim.claim_lost_reason(bead, cycle.settings.assignee, claimed.token)
    if reason:
        cycle.info("changed", f"not dispatched: {reason}", claimed.bead, tick=claimed.token)
    elif cycle.outside.stopping():
        reason = "stopped before dispatch"
    if reason and _releasable(cycle, bead, claimed):
        release(cycle, claimed, notes.returned(reason))
    return not reason


def record(cycle: Cycle, claimed: Claim, line: str, change: Change) -> bool:
    """Writes a note and marks until both stand there. Never a status: an agent may have the bead.

    bd 1.0.2 can lose either half to an agent that writes at the same moment, with exit 0 on both sides.
    Reads first where another tick may have claimed the bead meanwhile: a person set it open during a slow POST, and
    the lock is lost. Our job beside that claim would end the other run's bead. (Found by the simulation.)
    """
    fits = notes.fits(claimed.bead.notes, line)  # where it does not fit, the marks alone are the record
    missing: tuple[str | None, Change] | None = (line if fits else None, change) if _alone(cycle) else None

    def step(left: Left) -> bool:
        nonlocal missing
        known, to_write, missing = claimed.bead, missing, None
        if to_write is None:
            bead = read(cycle, known, left)
            if bead is None or _somebody_elses(bead, claimed):
                return True
            known, to_write = bead, _missing(bead, line, change)
        if to_write == (None, {}):
            return True
        cycle.outside.bd.update(known, note=to_write[0], marks=to_write[1], within=left())
        return False

    return until_written(cycle, claimed.bead.id, line, step)


def _alone(cycle: Cycle) -> bool:
    """Whether no other tick can be at work."""
    try:
        return cycle.outside.queue.locked()
    except Failure:
        return False


def _somebody_elses(bead: Bead, claimed: Claim) -> bool:
    known = marks.claim(bead)
    return known is not None and known[0] != claimed.token


def _missing(bead: Bead, line: str, change: Change) -> tuple[str | None, Change]:
    known = bead.metadata or {}
    lacks = {name: value for name, value in change.items() if _text(known.get(name)) != value}
    there = notes.recorded(bead.notes, line) or not notes.fits(bead.notes, line)
    return None if there else line, lacks


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def read(cycle: Cycle, known: Bead, left: Left) -> Bead | None:
    """The bead as it now is, also where our own connection, and with it the lock, is lost. Raises Failure."""
    try:
        return cycle.outside.queue.fetch(known.id)[1]
    except Failure:
        return cycle.outside.bd.show(known.id, within=left())


def release(cycle: Cycle, claimed: Claim, line: str, change: Change | None = None, status: str = "open") -> bool:
    """Undoes the claim in one write, only while the bead has our token, until it is written."""
    first = True

    def step(left: Left) -> bool:
        nonlocal first
        bead = read(cycle, claimed.bead, left)
        if bead is None or not _releasable(cycle, bead, claimed):
            if first:
                cycle.info("changed", f"changed meanwhile, left as it is ({line})", claimed.bead)
            return True
        first = False
        opens = status == "open"
        undone = marks.opened(bead, marks.runs(claimed.bead)) if opens else marks.removed(bead, *marks.ALL)
        note = _undo_line(bead, line) if opens else line
        cycle.outside.bd.update(bead, status=status, note=note, marks={**undone, **(change or {})}, within=left())
        return True

    return until_written(cycle, claimed.bead.id, line, step)


def _undo_line(bead: Bead, line: str) -> str | None:
    """A short line where the long one stands there already."""
    new = line if notes.last_outcome(bead.notes) != line else notes.AS_BEFORE
    return new if notes.fits(bead.notes, new) else None
