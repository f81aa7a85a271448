"""A claim, and how to tell whether a bead is still ours."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from beads_dispatch.core import marks, notes
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.eligibility import blank
from beads_dispatch.core.marks import Change

RECORD_AGE = timedelta(minutes=10)  # after this, don't restore our lines: the agent may have removed them on purpose


@dataclass(frozen=True, slots=True)
class Claim:
    """A bead as it was right before our claim, and the token and the time (UTC) of the claim's mark and note.

    `written`: the bead as bd returned it after the claim, if it did.
    """

    bead: Bead
    token: str
    at: datetime
    written: Bead | None = None


def lost_record(bead: Bead, now: datetime) -> tuple[str | None, Change]:
    """Return what another client's write has removed of a dispatch's record: the note, the marks.

    bd 1.0.2 loses a line to an agent's note, and a mark to its --metadata, written in the same fraction of a second.
    """
    by_mark, by_line = marks.job(bead), notes.newest_job(bead.notes)
    if bead.status != "in_progress" or not marks.last_job(bead) or bool(by_mark) == bool(by_line):
        return None, {}
    claimed = marks.claim(bead) or notes.newest_claim(bead.notes)
    if not (claimed and claimed[1] and now - claimed[1] < RECORD_AGE):
        return None, {}
    if by_mark:
        return notes.dispatched(by_mark), {}
    # The count was lost with the marks. The notes still show a lower bound.
    count = {marks.RUNS: str(max(marks.runs(bead), notes.dispatches(bead.notes)))}
    token, at = notes.newest_claim(bead.notes) or ("", None)
    claim = {marks.CLAIM: marks.claim_value(token, at)} if token and at else {}
    return None, {**claim, marks.JOB: marks.job_value(by_line), **count}


def lost_records(beads: Iterable[Bead], now: datetime) -> list[Bead]:
    """Return the beads that lack one half of their dispatch's record."""
    return [bead for bead in beads if lost_record(bead, now) != (None, {})]


def dispatch_recorded(bead: Bead) -> bool:
    """Return whether the newest claim is followed by a record that the bead was sent."""
    return bool(marks.job(bead)) or notes.dispatch_recorded(bead.notes)


def lost_reason(bead: Bead | None, claimed: Claim) -> str | None:
    """Return why a bead that we claimed must not be started. None: it is still ours."""
    reason = _not_ours(bead, claimed)
    if reason or bead is None:
        return reason
    if job := marks.job(bead):
        return f"job {job} was recorded on it meanwhile"
    return "its acceptance criteria are gone" if blank(bead.acceptance_criteria) else None


def stands(bead: Bead | None, claimed: Claim) -> bool:
    """Return whether our claim stands: in progress, our assignee's, our claim the newest."""
    return not _not_ours(bead, claimed)


def releasable(bead: Bead | None, claimed: Claim) -> bool:
    """Return whether we may still release a bead: our claim stands, and no job is on it.

    A person can reopen it during a slow start. The job of that start is then recorded beside our claim.
    """
    return bead is not None and stands(bead, claimed) and not marks.job(bead)


def _not_ours(bead: Bead | None, claimed: Claim) -> str | None:
    if bead is None:
        return "it is gone"
    if bead.status != "in_progress":
        return f"its status is now {bead.status}"
    if bead.assignee != claimed.bead.assignee:
        return f"it is now assigned to {bead.assignee or 'nobody'}"
    known = marks.claim(bead)
    if known is None or known[0] != claimed.token:
        return "our claim is no longer the newest on it"
    return None
