"""Colour, for a terminal only."""

from collections.abc import Mapping
from dataclasses import dataclass

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


@dataclass(frozen=True, slots=True)
class Paint:
    """Colour a text if `on`; otherwise return it unchanged."""

    on: bool = False

    def __call__(self, text: str, colour: str) -> str:
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.on and colour and text else text


PLAIN = Paint()


def for_terminal(environ: Mapping[str, str], *, terminal: bool) -> Paint:
    """Return colours for a terminal, unless NO_COLOR is set (no-color.org) or the terminal shows none."""
    return Paint(terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb")
