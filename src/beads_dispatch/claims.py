"""The life of a claim: made, verified, then recorded or released.

Two claims of one bead both succeed under bd 1.0.2, so only the queue's lock decides between two dispatchers.
"""

from collections.abc import Mapping

from beads_dispatch.core import backoff, claim, eligibility, notes
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.claim import Claim
from beads_dispatch.cycle import Cycle
from beads_dispatch.errors import BdFailed, DoltFailed, Failure, Misconfigured, NotAsExpected


def make(cycle: Cycle, chosen: Bead) -> Claim | None:
    """Claims a bead in one write that is never retried. None: it is not ours, go on with the next one.

    Raises DoltFailed where the lock is lost.
    """
    bead, now = fetch(cycle, chosen), cycle.now()
    if bead is None or not eligibility.claimable(bead, cycle.settings.assignee, now):
        cycle.info("changed", "changed since it was selected: left alone", chosen)
        return None
    claimed = Claim(bead, cycle.outside.new_token())
    return claimed if _write(cycle, claimed, notes.claimed(now, claimed.token)) else None


def fetch(cycle: Cycle, known: Bead) -> Bead | None:
    """The bead as it now is. Raises DoltFailed where another tick may hold our lock by now."""
    locked, bead = cycle.outside.queue.fetch(known.id)
    if not locked:
        raise DoltFailed("the lock was lost: another tick may hold it")
    return bead


def _write(cycle: Cycle, claimed: Claim, note: str) -> bool:
    before = claimed.bead
    try:
        found: Bead | None = cycle.outside.bd.update(
            before, status="in_progress", note=note, unmark=backoff.marks_on(before), tries=1
        )
        problem = "bd's answer does not have our claim"
    except NotAsExpected:
        cycle.info("changed", "changed before it was claimed: left alone", before)
        return False
    except BdFailed as error:  # the write may have happened all the same: the token shows it
        problem, found = str(error), fetch(cycle, before)
    if _ours(cycle, found, claimed):
        cycle.info("claimed", f"claimed (tick {claimed.token})", before)
        return True
    cycle.error("not_claimed", f"could not be claimed: {problem}", before)
    return False


def _ours(cycle: Cycle, bead: Bead | None, claimed: Claim) -> bool:
    return claim.holds_claim(bead, cycle.settings.assignee, claimed.token)


def verify(cycle: Cycle, claimed: Claim) -> bool:
    """Whether the bead is still ours, right before the POST. If not, it is released. Raises Failure."""
    try:
        bead = fetch(cycle, claimed.bead)
    except Failure as error:
        raise Failure(f"{claimed.bead.id}: claimed but not dispatched, the sweep will block it: {error}") from None
    reason = claim.claim_lost_reason(bead, cycle.settings.assignee, claimed.token)
    if reason:
        cycle.info("changed", f"not dispatched: {reason}", claimed.bead)
    elif cycle.outside.stopping():
        reason = "stopped before dispatch"
    if reason and _ours(cycle, bead, claimed):
        release(cycle, claimed, notes.returned(reason), {})
    return not reason


def record(cycle: Cycle, bead: Bead, line: str | None, marks: Mapping[str, str]) -> None:
    """Writes a note and marks, never a status: an agent may have the bead, or it was never claimed."""
    try:
        cycle.outside.bd.update(bead, note=line if line and notes.fits(bead.notes, line) else None, marks=marks)
    except (BdFailed, Misconfigured) as error:
        cycle.error("not_noted", f"{line}: could not be noted: {error}", bead)


def release(cycle: Cycle, claimed: Claim, line: str, marks: Mapping[str, str], status: str = "open") -> None:
    """Undoes the claim in one write, only if the bead, read again, still has our token."""
    try:
        bead = cycle.outside.bd.show(claimed.bead.id)
        if not _ours(cycle, bead, claimed):
            raise NotAsExpected
        new = status != "open" or (notes.last_outcome(bead.notes) != line and notes.fits(bead.notes, line))
        kept = backoff.kept_marks(claimed.bead) if status == "open" else {}
        cycle.outside.bd.update(bead, status=status, note=line if new else None, marks={**kept, **marks})
    except NotAsExpected:
        cycle.info("changed", f"changed meanwhile, left as it is ({line})", claimed.bead)
    except BdFailed as error:
        cycle.error("not_returned", f"{line}: stays claimed, because it could not be released: {error}", claimed.bead)
