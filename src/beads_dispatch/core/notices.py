"""The messages to a person, beside the bead's note: one line each."""

from collections.abc import Sequence

from beads_dispatch.core.bead import Bead
from beads_dispatch.core.text import one_line

MOST_LINES = 20  # of one message; a chat would cut it off somewhere
TITLE_CHARACTERS = 80


def notice(bead: Bead, what: str, why: str) -> str:
    """Return a line such as `t-1 blocked: "Refactor it": agent ended: … Look: beads-dispatch explain t-1`.

    `what`: what happened, such as `blocked`.
    """
    title = one_line(bead.title, TITLE_CHARACTERS)
    return f'{bead.id} {what}: "{title}": {one_line(why).rstrip(".")}. Look: beads-dispatch explain {bead.id}'


def message(notices: Sequence[str]) -> str:
    """Return the notices of one tick or sweep, one per line, as one message."""
    left = len(notices) - MOST_LINES
    rest = [f"and {left} more. Look: beads-dispatch status"] if left > 0 else []
    return "\n".join([*notices[:MOST_LINES], *rest])
