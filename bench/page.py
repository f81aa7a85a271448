"""docs/benchmarks.md and docs/benchmarks.svg."""

import json
import subprocess
from collections.abc import Sequence

from report import Section
from world import HERE, versions

DOCS = HERE.parent / "docs"
CHART = HERE.parent / ".bench" / "chart" / "bin" / "python"  # has matplotlib, which nothing else needs


def write(sections: Sequence[Section]) -> None:
    head = (HERE / "page.md").read_text().format(versions=versions())
    body = "\n\n".join(section.markdown() for section in sections)
    (DOCS / "benchmarks.md").write_text(f"{head}\n{body}\n")
    subprocess.run([CHART, HERE / "chart.py", DOCS / "benchmarks.svg"], input=_bars(sections), text=True, check=True)


def _bars(sections: Sequence[Section]) -> str:
    """Each ratio that can be shown: section, what, side, and the ratio with its least and most."""
    bars = []
    for section in sections:
        for row in section.rows:
            for side in row.sides:
                if found := row.ratio(side):
                    bars.append({"section": section.title, "what": row.what, "side": side, "ratio": found})
    return json.dumps(bars)
