"""The table of `status`: rows, a width and the time in; text out."""

import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from beads_dispatch.commands.paint import PLAIN, Paint
from beads_dispatch.core import staleness, times
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.reasons import Standing
from beads_dispatch.core.text import one_line

HEADING = ("BEAD", "P", "STATE", "AGE", "TITLE", "WHY")
GAP = "  "
LEAST = 12  # columns for a title, however long the reasons are
STATES = {"in_progress": "green", "blocked": "red"}


@dataclass(frozen=True, slots=True)
class Look:
    """How a text is shown. `width`: the terminal's columns; None shows every text whole. `zone`: of its times."""

    now: datetime
    zone: tzinfo
    width: int | None = None
    paint: Paint = PLAIN

    def say(self, text: str) -> str:
        """Return the text on one line, with its times as a person reads them."""
        return times.relative(one_line(text, 2000), self.now, self.zone)


def render(rows: Sequence[tuple[Bead, Standing]], look: Look) -> str:
    """Return the rows under a heading, one per line."""
    lines = [cells(bead, standing, look) for bead, standing in rows]
    widths = _widths([HEADING, *lines], look.width)
    first = look.paint(_line(HEADING, widths), "bold")
    return "\n".join([first, *(_painted(row, widths, look.paint) for row in lines)])


def head(name: str, text: str, look: Look) -> str:
    """Return a line above the table: `queue: open`."""
    line = f"{name}: {look.say(text)}"
    return "\n".join(wrapped(line, look.width, " " * (len(name) + 2)))


def wrapped(text: str, width: int | None, indent: str = "") -> list[str]:
    """Return the text in lines of this width; whole if there is none."""
    if not width:
        return [text]
    return textwrap.wrap(text, max(width, 40), subsequent_indent=indent, break_on_hyphens=False)  # ids have hyphens


def cells(bead: Bead, standing: Standing, look: Look) -> tuple[str, ...]:
    """Return the row of a bead under HEADING."""
    age = times.age(staleness.idle_for(bead, look.now).total_seconds())
    return (
        one_line(bead.id),
        str(bead.priority),
        bead.status,
        age,
        one_line(bead.title, 2000),
        look.say(standing.brief),
    )


def _widths(lines: Iterable[Sequence[str]], width: int | None) -> list[int]:
    """Return the columns' widths. If they do not fit, the title gives way to the reason."""
    widest = [max(map(columns, column)) for column in zip(*lines, strict=True)]
    if width is None:
        return widest
    *fixed, title, why = widest
    left = max(width - sum(fixed) - len(GAP) * (len(widest) - 1), 2 * LEAST)
    title = min(title, max(left - why, LEAST))
    return [*fixed, title, min(why, left - title)]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return GAP.join(_pad(cell, width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _painted(cells: Sequence[str], widths: Sequence[int], paint: Paint) -> str:
    state = HEADING.index("STATE")
    before, after = _line(cells[:state], widths[:state]), _line(cells[state + 1 :], widths[state + 1 :])
    return GAP.join([before, paint(_pad(cells[state], widths[state]), STATES.get(cells[state], "")), after])


def _pad(text: str, width: int) -> str:
    shown = cut(text, width)
    return shown + " " * (width - columns(shown))


def cut(text: str, width: int | None) -> str:
    """Return the text, cut to so many columns of a terminal."""
    if width is None or columns(text) <= width:
        return text
    kept, used = "", 1  # for the ellipsis
    for char in text:
        used += columns(char)
        if used > width:
            break
        kept += char
    return kept.rstrip() + "…"


def columns(text: str) -> int:
    """Return how many columns a text takes: two for East Asian wide characters and emoji, none for combining ones."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
