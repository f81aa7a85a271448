"""One schedule: dispatchers, a reaper and perhaps a watcher in a world made from a seed, then health."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from beads_dispatch import dispatcher, reaper, watcher
from beads_dispatch.adapters.agent_service import AgentService
from beads_dispatch.adapters.bd import Bd
from beads_dispatch.adapters.beadboard import BeadBoard
from beads_dispatch.adapters.clock import Clock
from beads_dispatch.adapters.queue import ServerQueue
from beads_dispatch.adapters.workspace import Workspace
from beads_dispatch.cycle import Outside
from beads_dispatch.errors import Failure
from beads_dispatch.following import Follower
from beads_dispatch.settings import Settings
from simulation.bd import SimulatedBd
from simulation.dolt import SimulatedDolt
from simulation.ledger import Broken
from simulation.people import meddle
from simulation.services import AGENTS, BOARD, Services
from simulation.world import FAULTS, Crash, World

TICKS = 8
HEALTHY_HOURS = 12  # a usage limit holds the queue for up to 92 minutes, a back-off for 16
NO_WORKSPACE = Workspace(Path(), None)
Outcome = tuple[World, str]


@dataclass
class CountingLog:
    """A log that only counts its events: what the three jobs did."""

    world: World
    who: str

    def info(self, event: str, text: str, **_: object) -> None:
        self.world.happened[f"event {event}"] += 1
        self.world.say(f"{self.who}: ({event}) {text}")

    error = info

    def unreadable(self, lines: object) -> None:
        """No bead here is unreadable."""


@dataclass
class Cast:
    """Who plays in one world."""

    world: World
    settings: Settings
    services: Services
    bd_version: str
    pace: float  # seconds between two ticks of one dispatcher
    clocks: dict[str, float] = field(default_factory=dict)

    def clock(self, who: str) -> Clock:
        """A process's own clock: it may differ by up to a minute."""
        world = self.world
        off = timedelta(seconds=world.random.uniform(-60, 60) if world.hits("skew", 0.5) else 0)
        return Clock(lambda: world.now() + off, lambda: world.seconds, world.sleep)

    def outside(self, who: str, dolt: Any) -> Outside:
        world, clock, ask = self.world, self.clock(who), self.services.request(who)
        process: Any = SimulatedBd(world, self.services, who, self.bd_version)
        log: Any = CountingLog(world, who)
        board = BeadBoard(BOARD, ask, clock, lambda: False, lambda _: None)
        service = AgentService(self.settings.agent_url, "x", ask, lambda _: None)
        queue, bd = ServerQueue(dolt, "agent", clock.now), Bd(process, who, world.sleep)
        return Outside(queue, bd, board, service, clock, self.token, log, lambda: False)

    def token(self) -> str:
        return f"{self.world.random.getrandbits(24):06x}"

    def run(self, who: str, job: Callable[[Outside, Settings], Any]) -> Any:
        """A tick or a sweep with a connection of its own. Raises Failure, Crash."""
        dolt = SimulatedDolt(self.world, who)
        try:
            report = job(self.outside(who, dolt), self.settings)
        finally:
            dolt.close()
        self.services.ticked(who)
        return report

    def once(self, who: str, job: Callable[[Outside, Settings], Any]) -> None:
        """The same as a pod of its own: whatever it dies of ends only it."""
        try:
            self.run(who, job)
        except Crash:
            pass
        except Failure as error:
            self.world.say(f"{who}: {error}")

    def dispatch(self, name: str) -> None:
        for number in range(TICKS):
            self.once(f"tick {name}{number}", dispatcher.tick)
            self.world.sleep(self.pace * (0.5 + self.world.random.random()))

    def reap(self) -> None:
        for number in range(TICKS):
            self.world.sleep(self.pace * (0.5 + self.world.random.random()))
            self.once(f"sweep {number}", reaper.sweep)

    def watch(self) -> None:
        """Started anew where it dies. It turns every five seconds, or a schedule would be mostly that."""
        end = self.world.seconds + TICKS * 60
        while self.world.seconds < end:
            with suppress(Crash, Failure):
                self._watch_once(lambda: self.world.seconds >= end)

    def _watch_once(self, stopping: Callable[[], bool]) -> None:
        who = f"watch {self.token()[:2]}"
        plain, world = self.clock(who), self.world
        clock = Clock(plain.now, plain.monotonic, lambda seconds: world.sleep(max(5.0, seconds)))
        dolts: list[SimulatedDolt] = []
        service = AgentService(self.settings.agent_url, "x", self.services.request(who), lambda _: None)
        follower = Follower(service, clock, self.settings.threshold) if self.settings.agent_url else None

        def open_queue() -> ServerQueue:
            dolts.append(SimulatedDolt(world, who))
            dolt: Any = dolts[-1]
            return ServerQueue(dolt, "agent", clock.now)

        def sweep(gone: frozenset[str]) -> reaper.Report:
            def job(outside: Outside, settings: Settings) -> reaper.Report:
                return reaper.sweep(outside, settings, no_job_left=gone)

            return self.run(f"sweep {who}", job)  # type: ignore[no-any-return]

        log: Any = CountingLog(world, who)
        jobs = watcher.Jobs(
            open_queue=open_queue, tick=lambda: self.run(f"tick {who}", dispatcher.tick), sweep=sweep,
            threshold=self.settings.threshold, clock=clock, jitter=world.random.uniform, log=log, follower=follower,
        )  # fmt: skip
        try:
            watcher.watch(jobs, stopping)
        finally:
            for dolt in dolts:
                dolt.close()

    def recover(self) -> None:
        """All is healthy: every bead finds its end."""
        self.world.heal()
        for number in range(HEALTHY_HOURS * 4):
            self.once(f"tick healthy{number}", dispatcher.tick)
            self.once(f"sweep healthy{number}", reaper.sweep)
            if not self.unsettled():
                return
            self.world.sleep(900)
        raise Broken(
            f"{', '.join(self.unsettled())}: neither dispatched nor blocked, {HEALTHY_HOURS} h after all faults"
        )

    def unsettled(self) -> list[str]:
        rows = self.world.rows.items()
        return [bead for bead, row in rows if row["status"] not in ("closed", "blocked") and bead != self.world.cursed]


def _cast(world: World) -> Cast:
    draw = world.random
    agents = AGENTS if draw.random() < 0.8 else ""
    services = Services(world, asked=bool(agents), token=draw.random() < 0.7, counts=draw.random() < 0.8)
    minutes = timedelta(minutes=draw.choice((5, 30)))
    settings = Settings(NO_WORKSPACE, "agent", "ticker", draw.choice((1, 2, 3)), minutes, BOARD, agents, "x", False)
    return Cast(world, settings, services, draw.choice(("1.0.2", "1.3.0")), draw.choice((10.0, 60.0, 400.0)))


def run(seed: int, without: frozenset[str] = frozenset()) -> Outcome:
    """One schedule: the world after it, and what was broken, or nothing."""
    world = World(seed, without)
    cast = _cast(world)
    horizon = TICKS * cast.pace
    for name in ("A", "B"):
        world.spawn(world.random.random(), lambda name=name: cast.dispatch(name))
    world.spawn(0, cast.reap)
    world.spawn(0, lambda: meddle(world, horizon))
    if world.random.random() < 0.3:
        world.spawn(0, cast.watch)
    world.spawn(horizon * 1.6, cast.recover)
    try:
        world.run()
    except Broken as error:
        return world, str(error)
    return world, ""


def shrink(seed: int) -> Outcome:
    """The same schedule with as few faults as still break it."""
    without: frozenset[str] = frozenset()
    for fault in FAULTS:
        if run(seed, without | {fault})[1]:
            without |= {fault}
    return run(seed, without)
