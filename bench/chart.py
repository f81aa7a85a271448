"""The chart: how each figure of ours compares with the shell pair. Reads bars from stdin, writes the SVG named.

A program of its own, because nothing else needs matplotlib.
"""

import json
import sys

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot
from matplotlib.axes import Axes

mpl.rcParams |= {"svg.hashsalt": "beads-dispatch", "svg.fonttype": "none", "font.size": 9}
MOST = 2.0  # what is beyond is cut, and its figure stands beside it
BETTER, WORSE = "#2a7f62", "#b5523b"


def main(path: str) -> None:
    bars = json.load(sys.stdin)[::-1]
    figure, axes = pyplot.subplots(figsize=(8, 0.8 + 0.24 * len(bars)), layout="constrained")
    for place, bar in enumerate(bars):
        _draw(axes, place, *bar["ratio"])
    axes.set_yticks(range(len(bars)), [bar["label"] for bar in bars])
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlim(0, MOST)
    axes.set_ylim(-0.7, len(bars) - 0.3)
    axes.set_xlabel("ratio to the shell pair or loop (below 1: cheaper or faster); lines: least and most")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def _draw(axes: Axes, place: int, ratio: float, least: float, most: float) -> None:
    axes.barh(place, min(ratio, MOST), height=0.6, color=BETTER if ratio <= 1 else WORSE)
    axes.plot([least, min(most, MOST)], [place, place], color="black", linewidth=1)
    axes.text(min(max(ratio, most), MOST - 0.15) + 0.03, place, f"{ratio:.2f}", va="center")


main(sys.argv[1])
