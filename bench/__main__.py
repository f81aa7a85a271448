"""`make bench`: beads-dispatch beside a plain shell pair, in one run, on the same real Dolt and bd."""

import os
import sys
from itertools import groupby

from progress import say
from report import table
from tick import measure_ticks
from world import missing, open_world


def main() -> int:
    if lacking := missing():
        print(
            f"bench: {', '.join(lacking)} is missing: install it (apt-get install {' '.join(lacking)})", file=sys.stderr
        )
        return 2
    quick = bool(os.environ.get("QUICK"))
    with open_world((100,) if quick else (100, 10_000, 100_000)) as world:
        rows = measure_ticks(world, quick=quick)
    say("done")
    for section, part in groupby(rows, lambda row: row.section):
        print(f"\n## {section}\n\n{table(list(part))}")
    return 0


sys.exit(main())
