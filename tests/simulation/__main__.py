"""`make simulate`: many schedules on every core, or the story of one."""

import argparse
import os
import sys
import time
from collections import Counter
from multiprocessing import Pool

from simulation.schedule import run, shrink

CHUNK = 100


def _chunk(begin: int) -> tuple[Counter[str], list[int]]:
    happened, broken = Counter[str](), list[int]()
    for seed in range(begin, begin + CHUNK):
        world, problem = run(seed)
        happened.update(world.happened)
        if problem:
            broken.append(seed)
    return happened, broken


def _story(seed: int) -> int:
    _, problem = run(seed)
    world, problem = shrink(seed) if problem else run(seed)
    print(*world.story, sep="\n")
    print(f"seed {seed}, faults that were needed or drawn: {', '.join(sorted(world.faults)) or 'none'}")
    print(problem or "nothing is broken")
    return int(bool(problem))


def _many(begin: int, number: int) -> int:
    happened, broken, began = Counter[str](), list[int](), time.monotonic()
    starts = range(begin, begin + number, CHUNK)
    with Pool(os.cpu_count()) as pool:
        for done, (seen, failed) in enumerate(pool.imap_unordered(_chunk, starts), 1):
            happened += seen
            broken += failed
            rate = done * CHUNK / (time.monotonic() - began)
            print(f"\r{done * CHUNK} of {len(starts) * CHUNK}, {rate:.0f} a second, {len(broken)} broken ", end="")
    print(f"\nseeds {begin} to {begin + len(starts) * CHUNK - 1}")
    print(*(f"{count:10}  {what}" for what, count in sorted(happened.items())), sep="\n")
    print(*(f"broken: make simulate SEED={seed}" for seed in sorted(broken)), sep="\n")
    return int(bool(broken))


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulate")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--begin", type=int, default=0)
    parser.add_argument("--number", type=int, default=10_000)
    asked = parser.parse_args()
    return _many(asked.begin, asked.number) if asked.seed is None else _story(asked.seed)


if __name__ == "__main__":
    sys.exit(main())
