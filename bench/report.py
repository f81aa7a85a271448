"""Figures, and how they read: the ratio first, then each side's median, with the least and the most of each."""

import statistics
from dataclasses import dataclass

SHELL, OURS, WATCH = "shell pair", "our CronJobs", "watch"
LOOP = "shell loop"  # the shell pair's dispatcher, again and again without CronJobs
CRONJOBS = "CronJobs"  # either pair's, where only their schedule counts


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was measured.

    `samples`: for each side, in the order in which they were taken; the first side is the one that the others are
    compared with. Runs alternate between the sides, so the n-th of one side and of another met the same machine.
    `p95`: what counts is the 95th percentile, not the median.
    `more_is_better`: a rate, not a cost.
    """

    what: str
    unit: str
    samples: dict[str, list[float]]
    p95: bool = False
    more_is_better: bool = False

    @property
    def base(self) -> str:
        return next(iter(self.samples))

    @property
    def sides(self) -> list[str]:
        """All but the one that they are compared with."""
        return list(self.samples)[1:]

    def middle(self, side: str) -> float:
        values = self.samples[side]
        return statistics.quantiles(values, n=20, method="inclusive")[-1] if self.p95 else statistics.median(values)

    def ratio(self, side: str) -> tuple[float, float, float] | None:
        """Of the medians, the least and the most of a pair of runs. None where the base is nothing."""
        base = self.middle(self.base)
        if not base:
            return None
        middle = self.middle(side) / base
        pairs = zip(self.samples[side], self.samples[self.base], strict=False)
        ratios = [middle] if self.p95 else [one / other for one, other in pairs if other]
        return middle, min(ratios), max(ratios)


@dataclass(frozen=True, slots=True)
class Section:
    """Rows with the same sides. `note`: what a reader must know to read them."""

    title: str
    rows: list[Row]
    note: str = ""

    def markdown(self) -> str:
        sides, base = self.rows[0].sides, self.rows[0].base
        head = ["", *(f"{side} ÷ {base}" for side in sides), *sides, base]
        lines = [head, ["---"] * len(head), *(_line(row) for row in self.rows)]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return "\n\n".join(part for part in (f"### {self.title}", table, self.note) if part)


def _line(row: Row) -> list[str]:
    what = f"{row.what}, {row.unit}" if row.unit else row.what
    return [what, *(_ratio(row, side) for side in row.sides), *(_spread(row, side) for side in [*row.sides, row.base])]


def _ratio(row: Row, side: str) -> str:
    found = row.ratio(side)
    if found is None:
        return ""
    middle, least, most = (f"{value:.2f}" for value in found)
    return f"**{middle}**" if least == most else f"**{middle}** ({least}–{most})"


def _spread(row: Row, side: str) -> str:
    middle = number(row.middle(side))
    least, most = number(min(row.samples[side])), number(max(row.samples[side]))
    return middle if row.p95 or least == most else f"{middle} ({least}–{most})"


def number(value: float) -> str:
    """Three digits."""
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
