"""What a command finds in its environment. A bead's texts go in there and never into the command: they are no code."""

from collections.abc import Mapping

from beads_dispatch.core.bead import Bead

# BD_ACTOR would beat BEADS_ACTOR. The others are no agent's business.
NOT_INHERITED = ("BD_ACTOR", "BEADS_NOTIFY_URLS", "API_BEARER_TOKEN")


def environment(inherited: Mapping[str, str], bead: Bead, job: str) -> dict[str, str | bytes]:
    """Return the whole environment of a command. `inherited`: the watcher's own."""
    texts = {
        "BEAD_ID": bead.id, "BEAD_TITLE": bead.title, "BEAD_DESCRIPTION": bead.description,
        "BEAD_ACCEPTANCE": bead.acceptance_criteria, "BEAD_JOB": job,
    }  # fmt: skip
    if bead.assignee:  # bd 1.3 lets nobody else close the bead
        texts["BEADS_ACTOR"] = bead.assignee
    kept = {key: value for key, value in inherited.items() if key not in NOT_INHERITED}
    return {**kept, **{key: text.replace("\0", "").encode("utf-8", "replace") for key, text in texts.items()}}
