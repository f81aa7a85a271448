"""Draw docs/benchmarks.svg from the tables of docs/benchmarks.md: five figures, each in its own unit.

A program of its own, because nothing else needs matplotlib: `.bench/chart/bin/python bench/chart.py`.
"""

import re
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot

mpl.rcParams |= {"svg.hashsalt": "beads-dispatch", "svg.fonttype": "none", "font.size": 9}
DOCS = Path(__file__).parents[1] / "docs"
OURS, PEER = "#2a7f62", "#8a8f98"
CHARTED = (  # what it is, its unit, the table's title, and the rows whose sum it is
    ("pods a day, idle", "", "One idle day", ("pods",)),
    ("CPU a day, idle, Dolt's included", " s", "One idle day", ("CPU of its processes, s", "CPU of Dolt, s")),
    ("assign → accepted", " s", "Assign to accepted", ("one at a time, p50, s",)),
    ("an agent's end → the note on its bead", " s", "An agent's end", ("p50, s",)),
    ("recovery after an outage", " s", "Recovery", ("return to accepted, s",)),
)


def medians(page: str, title: str, rows: tuple[str, ...]) -> dict[str, float]:
    """Return each side's median, summed over the rows."""
    section = re.split(rf"^### {re.escape(title)}.*$", page, flags=re.MULTILINE)[1].partition("\n### ")[0]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    found = {line[0]: dict(zip(table[0][1:], line[1:], strict=True)) for line in table}
    sides = [side for side in table[0][1:] if "÷" not in side]
    return {side: sum(float(found[row][side].split()[0].replace(",", "")) for row in rows) for side in sides}


def draw(page: str) -> None:
    charts = [(name, unit, medians(page, title, rows)) for name, unit, title, rows in CHARTED]
    figure, panels = pyplot.subplots(len(charts), figsize=(8, 6.4), layout="constrained")
    for axes, (name, unit, found) in zip(panels, charts, strict=True):
        sides = sorted(found, key=("watch", "our CronJobs", "CronJobs", "shell pair", "shell loop").index)
        names = ["CronJobs, either pair's" if side == "CronJobs" else side for side in sides]
        colors = [OURS if side in ("watch", "our CronJobs") else PEER for side in sides]
        values = [found[side] for side in sides]
        bars = axes.barh(names, values, height=0.65, color=colors)
        figures = [f"{value:,.0f}{unit}" if value >= 100 or not unit else f"{value:.3g}{unit}" for value in values]
        axes.bar_label(bars, figures, padding=4)
        axes.set_title(name, loc="left", fontweight="bold", fontsize=10)
        axes.set_xlim(0, max(values) * 1.12)  # so that the longest bar's figure fits
        axes.invert_yaxis()
        axes.tick_params(length=0)
        axes.set_xticks([])
        axes.spines[["top", "right", "bottom"]].set_visible(False)
    figure.savefig(DOCS / "benchmarks.svg", metadata={"Date": None})


draw((DOCS / "benchmarks.md").read_text())
