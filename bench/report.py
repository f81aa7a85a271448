"""Figures, and how they read: the ratio first, then each side's median, with the least and the most of each."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

BASE = "shell"


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was measured. `samples`: for each side, in the order in which they were taken.

    Runs alternate between the sides, so the n-th of one side and the n-th of another met the same machine.
    """

    section: str
    what: str
    unit: str
    samples: dict[str, list[float]]
    note: str = ""

    def ratio(self, side: str) -> tuple[float, float, float] | None:
        """To the shell pair: of the medians, the least and the most of a pair of runs. None where it used nothing."""
        base, own = self.samples[BASE], self.samples[side]
        if not statistics.median(base):
            return None
        pairs = [one / other for one, other in zip(own, base, strict=False) if other]
        return statistics.median(own) / statistics.median(base), min(pairs), max(pairs)


def number(value: float) -> str:
    """Three digits, and no more zeros than needed."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return (
        f"{value:.2f}"
        if abs(value) >= 0.1 and abs(value) < 10
        else f"{value:.1f}"
        if abs(value) >= 10
        else f"{value:.3f}"
    )


def spread(values: Sequence[float]) -> str:
    """The median, and the least and the most where they differ."""
    middle, least, most = number(statistics.median(values)), number(min(values)), number(max(values))
    return middle if least == most else f"{middle} ({least}–{most})"


def ratio(row: Row, side: str) -> str:
    found = row.ratio(side)
    if found is None:
        return "–"
    middle, least, most = (f"{value:.2f}" for value in found)
    return f"**{middle}**" if least == most else f"**{middle}** ({least}–{most})"


def table(rows: Sequence[Row]) -> str:
    """The rows of one section in Markdown."""
    sides = [side for side in rows[0].samples if side != BASE]
    head = ["", *(f"{side} ÷ shell" for side in sides), *sides, BASE]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        what = f"{row.what}, {row.unit}" if row.unit else row.what
        lines.append(
            [what, *(ratio(row, side) for side in sides), *(spread(row.samples[side]) for side in [*sides, BASE])]
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
