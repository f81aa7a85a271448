"""`make simulate`: many schedules on every core, or the story of one."""

import argparse
import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import Pool
from pathlib import Path

from simulation import coverage
from simulation.plan import draw
from simulation.schedule import run
from simulation.shrink import shrink
from simulation.story import story

CHUNK = 100
ROOT = Path(__file__).parents[2]


@dataclass
class Done:
    """What the schedules until now have shown."""

    chunks: set[int] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    broken: dict[int, str] = field(default_factory=dict)

    def add(self, begin: int, counts: dict[str, int], broken: dict[int, str]) -> None:
        self.chunks.add(begin)
        self.counts.update(counts)
        self.broken.update({int(seed): text for seed, text in broken.items()})


def _chunk(begin: int) -> tuple[int, Counter[str], dict[int, str]]:
    counts, broken = Counter[str](), dict[int, str]()
    for seed in range(begin, begin + CHUNK):
        result = run(seed)
        counts.update(result.world.counts)
        counts["steps"] += result.world.steps
        if result.broken:
            broken[seed] = result.broken
    return begin, counts, broken


def _record() -> Path:
    """Where the done chunks are kept. Another version of the code begins anew."""
    files = sorted([*ROOT.glob("src/**/*.py"), *ROOT.glob("tests/simulation/*.py")])
    version = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    folder = ROOT / ".simulated"
    folder.mkdir(exist_ok=True)
    return folder / f"{version}.jsonl"


def _known(record: Path) -> Iterator[tuple[int, dict[str, int], dict[int, str]]]:
    for line in record.read_text().splitlines() if record.exists() else []:
        try:
            yield tuple(json.loads(line))
        except ValueError:  # cut off in the middle of a write
            continue


def _many(begin: int, number: int) -> int:
    done, record, began = Done(), _record(), time.monotonic()
    starts = range(begin, begin + number, CHUNK)
    for chunk in _known(record):
        if chunk[0] in starts:
            done.add(*chunk)
    left = [start for start in starts if start not in done.chunks]
    with Pool(os.cpu_count()) as pool, record.open("a") as file:
        for count, chunk in enumerate(pool.imap_unordered(_chunk, left), 1):
            done.add(*chunk)
            print(json.dumps(chunk), file=file, flush=True)
            _progress(done, len(starts), count * CHUNK / (time.monotonic() - began))
    print(f"\nseeds {begin} to {begin + len(starts) * CHUNK - 1}")
    print(*coverage.report(done.counts), sep="\n")
    for seed, text in sorted(done.broken.items()):
        print(f"make simulate SEED={seed}  # {text}")
    return int(bool(done.broken))


def _progress(done: Done, chunks: int, rate: float) -> None:
    part = len(done.chunks) / chunks
    left = (chunks - len(done.chunks)) * CHUNK / rate
    bar = "#" * int(30 * part)
    text = f"{len(done.chunks) * CHUNK} of {chunks * CHUNK}, {rate:.0f} a second, {left / 60:.0f} min left"
    print(f"\r[{bar:30}] {text}, {len(done.broken)} broken   ", end="", flush=True)


def _one(seed: int) -> int:
    result = run(seed)
    if result.broken:
        print(f"broken: {result.broken}; looking for the shortest schedule ...", file=sys.stderr)
        result = shrink(draw(seed))
    print(*story(result), sep="\n")
    return int(bool(result.broken))


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulate")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--begin", type=int, default=0)
    parser.add_argument("--number", type=int, default=10_000)
    asked = parser.parse_args()
    return _many(asked.begin, asked.number) if asked.seed is None else _one(asked.seed)


if __name__ == "__main__":
    sys.exit(main())
