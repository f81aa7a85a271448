"""The life of a claim: made, verified, then recorded or released.

Two claims of one bead both succeed under bd 1.0.2, so only the queue's lock decides between two dispatchers.
"""

from dataclasses import replace
from functools import partial

from beads_dispatch.core import claim, eligibility, ledger, marks, notes, outcomes
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.claim import Claim
from beads_dispatch.core.errors import BdFailed, Failure, NotAsExpected
from beads_dispatch.core.ledger import Entry
from beads_dispatch.core.writes import release
from beads_dispatch.jobs.cycle import Cycle
from beads_dispatch.jobs.holding import count_run
from beads_dispatch.jobs.writing import fetch, until_settled


def make(cycle: Cycle, chosen: Bead, known: Entry | None, just_read: Bead | None = None) -> Claim | None:
    """Claim a bead in one write that is never retried. Return None if the bead is no longer eligible.

    `known`: what the ledger remembers of it. `just_read`: as bd returned it a moment ago.
    Raise BdFailed if the claim could not be written; DoltFailed if the lock is lost.
    """
    bead, now = fetch(cycle, chosen.id, just_read), cycle.now()
    # Nobody has asked yet whether such a job still runs.
    ran = bead is not None and marks.last_job(bead) != marks.last_job(chosen)
    undone = bead is not None and ledger.taken_back(bead, known)
    if bead is None or ran or undone or not eligibility.claimable(bead, cycle.settings.assignee, now):
        cycle.info("changed", "changed since it was selected: left alone", chosen)
        return None
    claimed = Claim(bead, cycle.outside.new_token(), now)
    try:
        claimed = _write(cycle, claimed)
    except NotAsExpected:
        cycle.info("changed", "changed before it was claimed: left alone", bead)
        return None
    cycle.info("claimed", f"claimed (tick {claimed.token})", bead, tick=claimed.token)
    return claimed


def _write(cycle: Cycle, claimed: Claim) -> Claim:
    before, now = claimed.bead, claimed.at
    change, line = marks.claimed(before, claimed.token, now), notes.claimed(now, claimed.token)
    try:
        answer = cycle.outside.bd.update(before, status="in_progress", note=line, marks=change)
        found, problem = replace(claimed, written=answer), "bd's answer does not show our claim"
    except NotAsExpected:
        raise
    except BdFailed as error:  # the write may have happened anyway: the token shows it
        found, problem = replace(claimed, written=fetch(cycle, before.id)), str(error)
    if not claim.stands(found.written, claimed):
        raise BdFailed(problem)
    return found


def verify(cycle: Cycle, claimed: Claim) -> bool:
    """Return whether the bead is still ours, right before the start. Release it if not.

    The ledger is written last: a start that it does not know could be repeated after an import.
    Raise Failure if the database was lost, and perhaps the lock with it.
    """
    try:
        bead = fetch(cycle, claimed.bead.id, claimed.written)
    except Failure as error:
        # Not released: while our bd was slow, another tick may have had the lock, and dispatched the bead before our
        # claim was written over its own. (bd 1.0 has no guard. Found by the simulation.)
        raise Failure(f"{claimed.bead.id}: claimed but not dispatched, the sweep will block it: {error}") from None
    reason = claim.lost_reason(bead, claimed)
    if reason:
        cycle.info("changed", f"not dispatched: {reason}", claimed.bead, tick=claimed.token)
    elif cycle.outside.stopping():
        reason = "stopped before dispatch"
    else:
        reason = _remember(cycle, claimed)
    if reason and claim.releasable(bead, claimed):
        line = notes.returned(reason)
        intent = partial(release, claimed=claimed, line=line, became=outcomes.RETURNED, change={}, status="open")
        until_settled(cycle, claimed.bead.id, line, intent)
    return not reason


def _remember(cycle: Cycle, claimed: Claim) -> str:
    """Write the start into the ledger. Return why that failed; empty if it is written."""
    try:
        cycle.outside.queue.remember(_entry(claimed))
        count_run(cycle, 1)
    except Failure as error:
        cycle.error("not_remembered", f"its start cannot be recorded: {error}", claimed.bead)
        return "its start could not be recorded"
    return ""


def remember_job(cycle: Cycle, claimed: Claim, job: str) -> None:
    """Add the job to the ledger, so that a bead that is taken back waits while it runs.

    Only to our own entry: after a slow start another tick may have sent the bead again, because a person reopened it.
    With our entry over that tick's, an import that goes back to our claim would send it a third time.
    """
    started = _entry(claimed)
    try:
        cycle.outside.queue.remember(replace(started, job=job), over=started)
    except Failure as error:
        cycle.error("not_remembered", f"its job cannot be recorded: {error}", claimed.bead)


def _entry(claimed: Claim) -> Entry:
    return ledger.entry(claimed.bead, claimed.token, claimed.at)
