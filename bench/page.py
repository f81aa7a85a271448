"""docs/benchmarks.md and docs/benchmarks.svg."""

import subprocess
from collections.abc import Sequence

from report import OURS, WATCH, Row, Section, number
from world import HERE, versions

DOCS = HERE.parent / "docs"
CHART = HERE.parent / ".bench" / "chart" / "bin" / "python"  # has matplotlib, which nothing else needs


def write(sections: Sequence[Section]) -> None:
    head = (HERE / "page.template").read_text().format(versions=versions(), **_summary(sections))
    body = "\n\n".join(section.markdown() for section in sections)
    (DOCS / "benchmarks.md").write_text(f"{head}\n{body}\n")
    subprocess.run([CHART, HERE / "chart.py"], check=True)


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
