"""One idle day: 864 pods for either pair's CronJobs, one process for the watcher. Measured over minutes, and scaled."""

import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass

import progress
from process import Cost, Counts, Running, cpu_seconds, measure, running, written_bytes
from report import OURS, SHELL, WATCH, Row, Section
from schedule import DAY, SWEEPS, TICKS
from world import Database, World, command

PROBES = (("/readyz", 10.0), ("/healthz", 30.0), ("/metrics", 30.0))  # the manifests' periods; Prometheus' common one
JOBS = {"dispatcher": TICKS, "reaper": SWEEPS}
SETTLE_SECONDS = 20.0  # Dolt has counted what was written; the watcher has its first snapshot
NOTE = (
    f"Scaled: {TICKS} idle ticks and {SWEEPS} idle sweeps of what one costs, and some minutes of the watcher, which is "
    "probed as the manifests have it and scraped as Prometheus does. Dolt's CPU is what it uses beyond a time without "
    "a client. Not in it, because only a cluster has it: what Kubernetes uses to start and to remove each pod."
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the watcher and Dolt have used: so far, or in a day."""

    client: float
    dolt: float
    kilobytes: float
    requests: float
    statements: float


def measure_day(world: World, quick: bool) -> list[Section]:
    database = world.middle
    title = f"One idle day, {database.size:,} beads"
    costs = _cronjobs(world, database, title, 2 if quick else 8)
    counts = {side: _counts(world, database, side) for side in (SHELL, OURS)}
    days = _watcher(world, database, title, 2 if quick else 4, 5.0 if quick else 30.0)

    def row(what: str, unit: str, pairs: dict[str, list[float]], value: Callable[[Reading], float]) -> Row:
        return Row(what, unit, {**pairs, WATCH: [value(day) for day in days]})

    rows = [
        Row("pods", "", {SHELL: [TICKS + SWEEPS], OURS: [TICKS + SWEEPS], WATCH: [1]}),
        row("CPU of its processes", "s", _days(costs, "cpu"), lambda day: day.client),
        row("CPU of Dolt", "s", _days(costs, "dolt"), lambda day: day.dolt),
        row("bytes written, logs included", "kB", _kilobytes(counts), lambda day: day.kilobytes),
        row("HTTP requests to the services", "", _total(counts, "requests"), lambda day: day.requests),
        row("SQL statements", "", _total(counts, "statements"), lambda day: day.statements),
    ]
    return [Section(title, rows, NOTE)]


def _cronjobs(world: World, database: Database, title: str, runs: int) -> dict[str, list[dict[str, Cost]]]:
    """For each side, and each run: a tick and a sweep."""
    costs: dict[str, list[dict[str, Cost]]] = {SHELL: [], OURS: []}
    for run in progress.counted(f"{title}: idle ticks and sweeps", runs + 1):
        for side in (SHELL, OURS):
            environ = world.environ(side, database)
            one = {job: measure(command(side, job), environ, world.dolt_pid) for job in JOBS}
            if run:
                costs[side].append(one)
    return costs


def _days(costs: dict[str, list[dict[str, Cost]]], what: str) -> dict[str, list[float]]:
    return {
        side: [sum(times * getattr(run[job], what) for job, times in JOBS.items()) for run in runs]
        for side, runs in costs.items()
    }


def _counts(world: World, database: Database, side: str) -> dict[str, Counts]:
    return {job: world.count(command(side, job), side, database) for job in JOBS}


def _total(counts: dict[str, dict[str, Counts]], what: str) -> dict[str, list[float]]:
    return {
        side: [float(sum(times * getattr(jobs[job], what) for job, times in JOBS.items()))]
        for side, jobs in counts.items()
    }


def _kilobytes(counts: dict[str, dict[str, Counts]]) -> dict[str, list[float]]:
    written, log = _total(counts, "written"), _total(counts, "log")
    return {side: [(written[side][0] + log[side][0]) / 1000] for side in counts}


def _watcher(world: World, database: Database, title: str, parts: int, seconds: float) -> list[Reading]:
    """For each part of the time, scaled to a day. Without what Dolt uses, and is asked, when nobody watches."""
    progress.wait(f"{title}: Dolt settles", SETTLE_SECONDS)
    dolt = cpu_seconds(world.dolt_pid)
    progress.wait(f"{title}: Dolt without a client", seconds)
    without = Reading(0.0, cpu_seconds(world.dolt_pid) - dolt, 0.0, 0.0, world.statement_overhead(database))
    days = []
    with (
        running(world.watcher("--listen", "127.0.0.1:0"), world.environ(OURS, database)) as watcher,
        _probes(watcher),
    ):
        progress.wait(f"{title}: the watcher settles", SETTLE_SECONDS)
        world.services.reset()
        for part in range(parts):
            before = _reading(world, database, watcher)
            progress.wait(f"{title}: the watcher, part {part + 1} of {parts}", seconds)
            days.append(_day(before, _reading(world, database, watcher), without, DAY / seconds))
    return days


def _reading(world: World, database: Database, watcher: Running) -> Reading:
    return Reading(
        cpu_seconds(watcher.pid),
        cpu_seconds(world.dolt_pid),
        written_bytes(watcher.pid) / 1000,
        len(world.services.asked),
        world.statements(database),
    )


def _day(before: Reading, after: Reading, without: Reading, times: float) -> Reading:
    moments = zip(astuple(before), astuple(after), astuple(without), strict=True)
    return Reading(*(times * (new - old - base) for old, new, base in moments))


@contextmanager
def _probes(watcher: Running) -> Iterator[None]:
    """As the kubelet and Prometheus ask."""
    base, done = _address(watcher), threading.Event()

    def probe(path: str, period: float) -> None:
        while not done.wait(period):
            urllib.request.urlopen(base + path, timeout=5).read()

    for path, period in PROBES:
        threading.Thread(target=probe, args=(path, period), daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _address(watcher: Running) -> str:
    until = time.monotonic() + 30
    while "/metrics on " not in watcher.printed():
        if time.monotonic() > until:
            raise RuntimeError(f"the watcher does not listen: {watcher.printed()[-1000:]}")
        time.sleep(0.1)
    return watcher.printed().split("/metrics on ")[1].split()[0]
