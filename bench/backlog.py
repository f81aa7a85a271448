"""A hundred beads at once, one a tick, ten places: how many are handed over in a minute."""

import time

import progress
from process import running
from report import CRONJOBS, LOOP, WATCH, Row, Section
from schedule import TICK_SECONDS
from world import World

STRETCH = 10  # the rate is taken for so many beads at a time
PATIENCE_SECONDS = 600.0
NOTE = (
    "The agent closes its bead half a second before its end. The shell loop makes no pause between its ticks here. The "
    f"least and the most are of {STRETCH} beads in a row. CronJobs, either pair's, are arithmetic: a bead every "
    f"{TICK_SECONDS:.0f} s."
)


def measure_backlog(world: World, quick: bool) -> list[Section]:
    runs = [(2.0, 20), (8.0, 20)] if quick else [(2.0, 100), (8.0, 40)]
    rows = [_row(world, job_seconds, beads) for job_seconds, beads in runs]
    return [Section("A backlog, one a tick, ten places", rows, NOTE)]


def _row(world: World, job_seconds: float, beads: int) -> Row:
    rates = {side: _rates(world, side, job_seconds, beads) for side in (LOOP, WATCH)}
    samples = {**rates, CRONJOBS: [60 / TICK_SECONDS]}
    return Row(f"{beads} beads, jobs of {job_seconds:g} s", "beads a minute", samples, more_is_better=True)


def _rates(world: World, side: str, job_seconds: float, beads: int) -> list[float]:
    """Beads a minute, for each stretch."""
    database = world.small
    step = f"backlog of {beads} beads, jobs of {job_seconds:g} s: {side}"
    world.services.reset(job_seconds, database.close)
    with running(world.loop(side, 0.0), world.environ(side, database)):
        database.add(f"backlog-{side.split(maxsplit=1)[0]}-{job_seconds:g}", beads)
        moments = _wait(world, step, beads)
        time.sleep(job_seconds + 1.5)  # until the last one is recorded and closed
    firsts = moments[::STRETCH]
    return [60 * STRETCH / (end - begin) for begin, end in zip(firsts, [*firsts[1:], _next(moments)], strict=True)]


def _next(moments: list[float]) -> float:
    """When the bead after the last one would have been accepted."""
    return moments[-1] + (moments[-1] - moments[0]) / (len(moments) - 1)


def _wait(world: World, step: str, beads: int) -> list[float]:
    """The moments at which they were accepted, in order."""
    until = time.monotonic() + PATIENCE_SECONDS
    while len(accepted := world.services.accepted()) < beads:
        progress.say(step, f"{len(accepted)} of {beads}")
        if time.monotonic() > until:
            raise RuntimeError(f"{step}: only {len(accepted)} were accepted in {PATIENCE_SECONDS:.0f} s")
        time.sleep(0.2)
    return sorted(accepted.values())
