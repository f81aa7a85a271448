"""docs/benchmarks.md and docs/benchmarks.svg."""

import json
import subprocess
from collections.abc import Iterator, Sequence

from report import OURS, WATCH, Row, Section, number
from world import HERE, versions

DOCS = HERE.parent / "docs"
CHART = HERE.parent / ".bench" / "chart" / "bin" / "python"  # has matplotlib, which nothing else needs
CHARTED = {
    "Idle tick": (OURS, "time", "CPU of its processes", "CPU of Dolt"),
    "Dispatching tick": (OURS, "time", "CPU of its processes", "CPU of Dolt"),
    "One idle day": (WATCH, "CPU of its processes", "CPU of Dolt"),
    "Assign to accepted": (WATCH, "one at a time, p50", "one at a time, p95", "back to back, p50", "back to back, p95"),
    "A backlog": (WATCH, "jobs of 2 s", "jobs of 8 s"),
}


def write(sections: Sequence[Section]) -> None:
    head = (HERE / "page.template").read_text().format(versions=versions(), **_summary(sections))
    body = "\n\n".join(section.markdown() for section in sections)
    (DOCS / "benchmarks.md").write_text(f"{head}\n{body}\n")
    chart = [CHART, HERE / "chart.py", DOCS / "benchmarks.svg"]
    subprocess.run(chart, input=json.dumps(list(_bars(sections))), text=True, check=True)


def _bars(sections: Sequence[Section]) -> Iterator[dict[str, object]]:
    """What the chart shows: headings, and bars with a ratio, its least and its most. Less is better in each."""
    for section in sections:
        for title, (side, *figures) in CHARTED.items():
            if section.title.startswith(title):
                yield {"label": f"{section.title}: {side}", "ratio": None}
                for row in section.rows:
                    if row.what.endswith(tuple(figures)) and (found := row.ratio(side)):
                        yield _bar(row, found)


def _bar(row: Row, found: tuple[float, float, float]) -> dict[str, object]:
    if not row.more_is_better:
        return {"label": row.what, "ratio": found}
    return {"label": f"time per bead, {row.what}", "ratio": _cost(found)}


def _cost(rate: tuple[float, float, float]) -> tuple[float, float, float]:
    middle, least, most = rate
    return 1 / middle, 1 / most, 1 / least


def _summary(sections: Sequence[Section]) -> dict[str, str]:
    """The figures in page.template's first lines."""

    def watch(title: str, what: str) -> str:
        return number(_rows(sections, title, what)[0].middle(WATCH))

    def ratios(title: str, what: str) -> str:
        found = sorted(ratio[0] for row in _rows(sections, title, what) if (ratio := row.ratio(OURS)))
        return f"{found[0]:.2f}–{found[-1]:.2f}"

    return {
        "idle_cpu": ratios("Idle tick", "CPU of its processes"),
        "idle_dolt": ratios("Idle tick", "CPU of Dolt"),
        "dispatching_time": ratios("Dispatching tick", "time"),
        "dispatching_cpu": ratios("Dispatching tick", "CPU of its processes"),
        "assign_p50": watch("Assign", "one at a time, p50"),
        "assign_p95": watch("Assign", "one at a time, p95"),
        "backlog": watch("A backlog", ""),
        "recovery": watch("Recovery", ""),
        "end_p50": watch("An agent", "p50"),
        "end_p95": watch("An agent", "p95"),
    }


def _rows(sections: Sequence[Section], title: str, what: str) -> list[Row]:
    """By how they begin."""
    found = [section for section in sections if section.title.startswith(title)]
    return [row for section in found for row in section.rows if row.what.startswith(what)]
