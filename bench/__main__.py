"""`make bench`: beads-dispatch beside a plain shell pair, in one run, on the same real Dolt and bd.

Writes docs/benchmarks.md and its chart. With ONLY (such as ONLY=tick,day) or QUICK=1 it prints instead.
"""

import os
import sys
from collections.abc import Callable, Mapping

import page
from backlog import measure_backlog
from day import measure_day
from end import measure_end
from latency import measure_latency
from outage import measure_outage
from progress import say
from report import Section
from tick import measure_ticks
from world import World, missing, open_world

MEASUREMENTS: Mapping[str, Callable[[World, bool], list[Section]]] = {
    "tick": measure_ticks,
    "day": measure_day,
    "latency": measure_latency,
    "backlog": measure_backlog,
    "outage": measure_outage,
    "end": measure_end,
}


def main() -> int:
    quick, only = bool(os.environ.get("QUICK")), os.environ.get("ONLY", "")
    chosen = only.split(",") if only else list(MEASUREMENTS)
    if unknown := set(chosen) - set(MEASUREMENTS):
        return _refuse(f"ONLY: {', '.join(sorted(unknown))}: none of {', '.join(MEASUREMENTS)}")
    if lacking := missing():
        return _refuse(f"{', '.join(lacking)} not found: install what is missing, such as apt-get install {lacking[0]}")
    with open_world((100,) if quick else (100, 10_000, 100_000)) as world:
        sections = [section for name in chosen for section in MEASUREMENTS[name](world, quick)]
    if quick or only:
        print("\n\n".join(section.markdown() for section in sections))
    else:
        page.write(sections)
    say("done")
    return 0


def _refuse(reason: str) -> int:
    print(f"bench: {reason}", file=sys.stderr)
    return 2


sys.exit(main())
