"""The life of a claim: made, verified, then recorded or released.

Two claims of one bead both succeed under bd 1.0.2, so only the queue's lock decides between two dispatchers.
"""

from beads_dispatch.core import claim, eligibility, marks, notes, outcomes
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.claim import Claim
from beads_dispatch.core.errors import BdFailed, Failure, NotAsExpected
from beads_dispatch.core.writes import Release
from beads_dispatch.jobs.cycle import Cycle
from beads_dispatch.jobs.writing import fetch, until_settled


def make(cycle: Cycle, chosen: Bead) -> Claim | None:
    """Claim a bead in one write that is never retried. None: it is no longer eligible, go on with the next one.

    Raises BdFailed if the claim could not be written; DoltFailed if the lock is lost.
    """
    bead, now = fetch(cycle, chosen.id), cycle.now()
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


def _write(cycle: Cycle, claimed: Claim) -> None:
    before, now = claimed.bead, cycle.now()
    change, line = marks.claimed(before, claimed.token, now), notes.claimed(now, claimed.token)
    try:
        found: Bead | None = cycle.outside.bd.update(before, status="in_progress", note=line, marks=change)
        problem = "bd's answer does not show our claim"
    except NotAsExpected:
        raise
    except BdFailed as error:  # the write may have happened all the same: the token shows it
        problem, found = str(error), fetch(cycle, before.id)
    if not claim.stands(found, claimed):
        raise BdFailed(problem)


def verify(cycle: Cycle, claimed: Claim) -> bool:
    """Return whether the bead is still ours, right before the start. If not, it is released.

    Raises Failure if the database was lost, and perhaps the lock with it.
    """
    try:
        bead = fetch(cycle, claimed.bead.id)
    except Failure as error:
        # Not released: while our bd was slow, another tick may have had the lock, and dispatched the bead before our
        # claim was written over its own. (bd 1.0 has no guard. Found by the simulation.)
        raise Failure(f"{claimed.bead.id}: claimed but not dispatched, the sweep will block it: {error}") from None
    reason = claim.lost_reason(bead, claimed)
    if reason:
        cycle.info("changed", f"not dispatched: {reason}", claimed.bead, tick=claimed.token)
    elif cycle.outside.stopping():
        reason = "stopped before dispatch"
    if reason and claim.releasable(bead, claimed):
        line = notes.returned(reason)
        until_settled(cycle, claimed.bead.id, line, Release(claimed, line, outcomes.RETURNED.word))
    return not reason
