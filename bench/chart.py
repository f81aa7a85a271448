"""The chart: how each figure of ours compares with the shell pair. Reads bars from stdin, writes the SVG named.

A program of its own, because nothing else needs matplotlib.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot
from matplotlib.axes import Axes

mpl.rcParams |= {"svg.hashsalt": "beads-dispatch", "svg.fonttype": "none", "font.size": 9}
MOST = 2.0  # what is beyond is cut, and its figure stands beside it
BETTER, WORSE = "#2a7f62", "#b5523b"
LEGEND = (
    "ratio to the shell pair, or to the shell loop; left of the line: cheaper or faster; thin lines: least and most"
)


def main(path: str) -> None:
    bars = json.load(sys.stdin)[::-1]
    figure, axes = pyplot.subplots(figsize=(8, 0.8 + 0.21 * len(bars)), layout="constrained")
    for place, bar in enumerate(bars):
        if bar["ratio"]:
            _draw(axes, place, *bar["ratio"])
    _label(axes, bars)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlim(0, MOST)
    axes.set_ylim(-0.7, len(bars) - 0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(LEGEND, fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def _draw(axes: Axes, place: int, ratio: float, least: float, most: float) -> None:
    axes.barh(place, min(ratio, MOST), height=0.6, color=BETTER if ratio <= 1 else WORSE)
    axes.plot([min(least, MOST), min(most, MOST)], [place, place], color="black", linewidth=1)
    axes.text(min(max(ratio, most), MOST - 0.15) + 0.03, place, f"{ratio:.2f}", va="center", fontsize=8)


def _label(axes: Axes, bars: Sequence[dict[str, Any]]) -> None:
    axes.set_yticks(range(len(bars)), [bar["label"] for bar in bars])
    axes.tick_params(axis="y", length=0)
    for text, bar in zip(axes.get_yticklabels(), bars, strict=True):
        text.set_fontweight("normal" if bar["ratio"] else "bold")


main(sys.argv[1])
