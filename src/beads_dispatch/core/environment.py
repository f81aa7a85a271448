"""The environment in which an agent finds its bead, whatever runs it. A bead's texts are never part of a command."""

from beads_dispatch.core.bead import Bead

LONGEST_TEXT = 100_000  # bytes; Linux starts no program with a variable of 128 KiB


def of_bead(bead: Bead, job: str) -> dict[str, str]:
    """Return the variables that say what to do."""
    texts = {
        "BEAD_ID": bead.id, "BEAD_TITLE": bead.title, "BEAD_DESCRIPTION": bead.description,
        "BEAD_ACCEPTANCE": bead.acceptance_criteria, "BEAD_NOTES": bead.notes, "BEAD_PRIORITY": str(bead.priority),
        "BEAD_TYPE": bead.issue_type, "BEAD_LABELS": ",".join(sorted(bead.labels)), "BEAD_JOB": job,
    }  # fmt: skip
    if bead.assignee:  # bd 1.3 lets nobody else close the bead
        texts["BEADS_ACTOR"] = bead.assignee
    return {key: cut(text, bead.id) for key, text in texts.items()}


def cut(text: str, bead_id: str) -> str:
    """Return the text as an environment takes it: without NUL, valid UTF-8, and not too long."""
    whole = text.replace("\0", "").encode("utf-8", "replace")
    if len(whole) <= LONGEST_TEXT:
        return whole.decode()
    return f"{whole[:LONGEST_TEXT].decode('utf-8', 'ignore')}\n[cut: the whole text is in `bd show {bead_id}`]"
