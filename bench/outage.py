"""BeadBoard and the agent service are away: how long after their return the bead that waits is accepted."""

import progress
from latency import LOOP_SECONDS
from process import running
from report import CRONJOBS, LOOP, WATCH, Row, Section
from schedule import TICK_SECONDS, until_next
from world import Database, World

AWAY_SECONDS = (25.0, 32.0, 39.0)  # at different moments of the watcher's pause
PATIENCE_SECONDS = 120.0
NOTE = (
    "Connections are refused meanwhile; both sides meet the same outages, in two databases. The watcher asks every "
    "15 s at the latest, however long the outage is. CronJobs, either pair's, are arithmetic: just the wait for a "
    f"tick, every {TICK_SECONDS:.0f} s."
)


def measure_outage(world: World, quick: bool) -> list[Section]:
    sides = {LOOP: world.spares[0], WATCH: world.small}
    waited: dict[str, list[float]] = {side: [] for side in sides}
    with (
        running(world.loop(LOOP, LOOP_SECONDS), world.environ(LOOP, sides[LOOP])),
        running(world.loop(WATCH, LOOP_SECONDS), world.environ(WATCH, sides[WATCH])),
    ):
        for number, seconds in enumerate(AWAY_SECONDS[: 1 if quick else None]):
            for side, value in _once(world, sides, number, seconds).items():
                waited[side].append(value)
    samples = {**waited, CRONJOBS: list(until_next(TICK_SECONDS))}
    return [Section("Recovery after an outage", [Row("return to accepted", "s", samples)], NOTE)]


def _once(world: World, sides: dict[str, Database], number: int, seconds: float) -> dict[str, float]:
    world.services.reset(2.0, lambda bead: sides[WATCH if bead.startswith("away-watch") else LOOP].close(bead))
    world.services.stop()
    beads = {side: database.add(f"away-{side.split()[0]}-{number}", 1)[0] for side, database in sides.items()}
    progress.wait(f"outage {number + 1}", seconds)
    back = world.services.start()
    accepted = {side: world.accepted(bead, PATIENCE_SECONDS) - back for side, bead in beads.items()}
    progress.wait(f"after outage {number + 1}", 4.0)
    return accepted
