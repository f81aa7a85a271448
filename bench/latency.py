"""From `bd assign` until BeadBoard accepts: one bead at a time, and each as soon as the one before is accepted."""

import random
import time
from collections.abc import Sequence

import progress
from process import running
from report import CRONJOBS, LOOP, WATCH, Row, Section
from schedule import TICK_SECONDS, until_next
from world import World

LOOP_SECONDS = 1.0  # between the shell loop's ticks: the watcher looks once a second too
PATIENCE_SECONDS = 60.0
APART = {"one at a time": (1.0, 2.5), "back to back": (0.0, 0.0)}  # seconds from an acceptance to the next bead
NOTE = (
    f"From the return of `bd assign`. The shell loop is the shell pair's dispatcher with {LOOP_SECONDS:g} s between "
    f"its ticks. CronJobs, either pair's, are arithmetic: just the wait for a tick, every {TICK_SECONDS:.0f} s."
)


def measure_latency(world: World, quick: bool) -> list[Section]:
    rounds, beads = (1, 3) if quick else (2, 8)
    rows = []
    for kind in APART:
        waited: dict[str, list[float]] = {LOOP: [], WATCH: []}
        for turn in range(rounds):
            for side in waited:
                names = world.small.add(f"{kind.split()[0]}-{side.split()[0]}-{turn}", beads, assignee="")
                waited[side] += _play(world, side, kind, names)
        samples = {**waited, CRONJOBS: list(until_next(TICK_SECONDS))}
        rows += [Row(f"{kind}, p50", "s", samples), Row(f"{kind}, p95", "s", samples, p95=True)]
    return [Section("Assign to accepted", rows, NOTE)]


def _play(world: World, side: str, kind: str, beads: Sequence[str]) -> list[float]:
    """Seconds that each bead waited."""
    database = world.small
    world.services.reset(2.0, database.close)
    waited = []
    with running(world.loop(side, LOOP_SECONDS), world.environ(side, database)):
        time.sleep(3.0)  # until it has begun
        for number in progress.counted(f"assign to accepted, {kind}: {side}", len(beads)):
            database.place.bd("assign", beads[number], "agent")
            assigned = time.monotonic()
            waited.append(max(0.0, world.accepted(beads[number], PATIENCE_SECONDS) - assigned))
            time.sleep(random.uniform(*APART[kind]))
        time.sleep(3.0)  # until the last one is recorded and closed
    return waited
