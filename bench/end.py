"""From the end of an agent that did not close its bead until the bead says so."""

import time

import progress
from process import running
from report import OURS, SHELL, WATCH, Row, Section
from schedule import SWEEP_SECONDS, THRESHOLD_SECONDS, until_next
from world import Database, World

JOB_SECONDS = 15.0
PATIENCE_SECONDS = 90.0
NOTE = (
    "Jobs fail one after the other, about a second apart, so at every moment of the watcher's round of questions. "
    f"Arithmetic: for the shell pair {THRESHOLD_SECONDS / 60:.0f} minutes of silence and the wait for a "
    f"sweep, every {SWEEP_SECONDS / 60:.0f} minutes; for our CronJobs that wait alone, because a sweep asks for jobs."
)


def measure_end(world: World, quick: bool) -> list[Section]:
    database = world.small
    names = database.add("end", 3 if quick else 10)
    world.services.reset(JOB_SECONDS, exit_code=1)
    with running(world.loop(WATCH, 1.0), world.environ(WATCH, database)):
        noted = _wait(world, database, names)
    seconds = [noted[job.bead] - job.ends for job in world.services.jobs.values()]
    sweeps = list(until_next(SWEEP_SECONDS))
    samples = {SHELL: [THRESHOLD_SECONDS + wait for wait in sweeps], OURS: sweeps, WATCH: seconds}
    rows = [Row("p50", "s", samples), Row("p95", "s", samples, p95=True)]
    return [Section("An agent's end to the note on its bead", rows, NOTE)]


def _wait(world: World, database: Database, beads: list[str]) -> dict[str, float]:
    """When each was seen to be blocked: the note and the status are one write."""
    noted: dict[str, float] = {}
    until = time.monotonic() + PATIENCE_SECONDS
    while len(noted) < len(beads):
        progress.say("an agent's end to the note", f"{len(noted)} of {len(beads)}")
        if time.monotonic() > until:
            raise RuntimeError(f"only {len(noted)} of {len(beads)} ends were noted in {PATIENCE_SECONDS:.0f} s")
        time.sleep(0.25)
        for row in database.sql("SELECT id FROM issues WHERE id LIKE 'end-%%' AND status = 'blocked'"):
            noted.setdefault(str(row["id"]), time.monotonic())
    return noted
