"""A claim, and how to tell whether a bead is still ours."""

from dataclasses import dataclass

from beads_dispatch.core import notes
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.eligibility import blank


@dataclass(frozen=True, slots=True)
class Claim:
    """A bead as it was right before our claim, and the token in the claim's note."""

    bead: Bead
    token: str


def claim_lost_reason(bead: Bead | None, assignee: str, token: str) -> str | None:
    """Why a bead that we claimed with `token` must not be POSTed. None: it is still ours."""
    reason = _not_ours(bead, assignee, token)
    if not reason and bead and blank(bead.acceptance_criteria):
        return "its acceptance criteria are gone"
    return reason


def holds_claim(bead: Bead | None, assignee: str, token: str) -> bool:
    """Whether we may still release a bead: in progress, our assignee's, our claim the newest."""
    return not _not_ours(bead, assignee, token)


def _not_ours(bead: Bead | None, assignee: str, token: str) -> str | None:
    if bead is None:
        return "it is gone"
    if bead.status != "in_progress":
        return f"its status is now {bead.status}"
    if bead.assignee != assignee:
        return f"it is now assigned to {bead.assignee or 'nobody'}"
    if notes.newest_token(bead.notes) != token:
        return "our claim is no longer the newest on it"
    return None
