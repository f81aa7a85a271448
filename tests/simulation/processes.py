"""Our processes: the production tick, sweep and watcher, with the real adapters on what is simulated."""

from collections.abc import Callable
from contextlib import closing
from typing import Any, TypeVar

from beads_dispatch.adapters.agent_service import AgentService
from beads_dispatch.adapters.bd.verbs import Bd
from beads_dispatch.adapters.beadboard import BeadBoard
from beads_dispatch.adapters.beadboard_runner import BeadBoardRunner
from beads_dispatch.adapters.clock import Clock
from beads_dispatch.adapters.kubernetes import Kubernetes
from beads_dispatch.adapters.queue import ServerQueue
from beads_dispatch.adapters.runner import Runner
from beads_dispatch.core.errors import Failure
from beads_dispatch.jobs import dispatcher, reaper, watcher
from beads_dispatch.jobs.cycle import Outside
from beads_dispatch.jobs.following import Follower
from beads_dispatch.jobs.watching import Jobs
from beads_dispatch.settings import Settings
from simulation.api_server import Account, ApiServer, Observed
from simulation.bd import SimulatedBd
from simulation.board import Board, Http
from simulation.cluster import Cluster
from simulation.dolt import SimulatedDolt
from simulation.plan import THRESHOLD, Plan
from simulation.world import Actor, Crash, World

R = TypeVar("R")

TICK_EVERY, SWEEP_EVERY = 120.0, 600.0  # seconds, as the CronJobs
# A watcher's turn where nothing happens takes up to so long: a busy machine makes it late, and the simulation fast.
IDLE_TURN, HEALTHY_TURN = 12.0, 40.0
WAITING_TURN = 60.0  # of one that waits for another watcher to end


class Recorder:
    """A log that counts its events, for the coverage, and puts them into the story."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor

    def info(self, event: str, text: str, *, bead: str = "", level: str = "info", **_: object) -> None:
        self.actor.world.counts[f"log: {event}"] += 1
        self.actor.world.say(f"{self.actor.name}: {bead + ': ' if bead else ''}{text}")

    error = info

    def unreadable(self, lines: Any) -> None:
        for line in lines:
            self.info("unreadable", line)


def settings(plan: Plan) -> Settings:
    url = "" if plan.service == "none" else "http://service"
    token = "secret" if plan.service == "token" else ""
    return Settings("agent", "ticker", plan.per_tick, THRESHOLD, "http://board", url, token, json_log=False)


class Process:
    """One process of ours, from its start to its end or its crash."""

    def __init__(self, world: World, kind: str, name: str, board: Board) -> None:
        self.actor = Actor(world, kind, name)
        self.world, self.board, self.settings = world, board, settings(world.plan)
        self.log: Any = Recorder(self.actor)
        self.stop_at = world.seconds + 20 * self.actor.random.random() if self.actor.hits("asked to stop") else None

    def stopping(self) -> bool:
        return self.stop_at is not None and self.world.seconds >= self.stop_at

    def queue(self) -> ServerQueue:
        dolt: Any = SimulatedDolt(self.actor)
        return ServerQueue(dolt, "agent", self.actor.now)

    def runner(self) -> Runner:
        if isinstance(self.world.service, Cluster):
            return self._job_runner(self.world.service)
        known, request, clock = self.settings, Http(self.actor, self.board), self.actor.clock()
        board = BeadBoard(known.beadboard_url, request, clock, self.stopping, lambda _: None)
        service = AgentService(known.agent_url, lambda: known.agent_token, request, lambda _: None, clock.monotonic)
        return BeadBoardRunner(board, service if known.agent_url else None)

    def _job_runner(self, cluster: Cluster) -> Runner:
        server = ApiServer(self.actor, cluster)
        api = Kubernetes("https://api", "agents", server, lambda _: None, Account())  # type: ignore[arg-type]
        runner = Observed(api, "agent", cluster.places, self.actor.clock(), self.stopping)
        runner.server = server
        return runner

    def run(self, job: Callable[[Outside, Settings], R]) -> R:
        """A tick or a sweep on a queue of its own, as wiring.run does it."""
        actor, clock, process = self.actor, self.actor.clock(), SimulatedBd(self.actor)
        bd = Bd(process, actor.name, self.world.sleep)  # type: ignore[arg-type]
        with closing(self.queue()) as queue:
            outside = Outside(
                queue, bd, self.runner(), clock, actor.token, self.log, self.stopping, sweep=self.sweep_before_a_tick
            )
            report = job(outside, self.settings)
        for end in getattr(report, "ended", ()):
            self.world.counts[f"end: {end.outcome}"] += 1
        self.world.invariants.ended(actor)
        return report

    def run_anew(self, job: Callable[[Outside, Settings], R]) -> R:
        """The next job of a watcher: what it could not know in the last one is asked again."""
        self.actor.doubted = self.actor.jumped = False
        return self.run(job)

    def sweep_before_a_tick(self) -> bool:
        """As the command `tick` does it. A watcher sweeps by itself."""
        if self.actor.kind == "watcher":
            return False
        report = self.run(reaper.sweep)
        return bool(report.ended or report.blocked)

    def alone(self, job: Callable[[Outside, Settings], object]) -> None:
        """The same as a process of its own."""
        try:
            self.run(job)
        except Crash:
            pass
        except Failure as error:
            self.log.error("failed", str(error))

    def watch(self) -> None:
        try:
            watcher.watch(self._jobs(), self.stopping)
        except Crash:
            pass
        finally:  # a process that ends, however it does, ends its connections, and so its locks
            for job, holder in list(self.world.locks.items()):
                if holder.actor is self.actor:
                    del self.world.locks[job]

    def _jobs(self) -> Jobs:
        clock = Clock(self.actor.now, lambda: self.world.seconds, self._turn)
        runner = self.runner()
        follower = Follower(runner, clock, THRESHOLD) if runner.follows else None
        return Jobs(
            open_queue=self.queue,
            tick=lambda: self.run_anew(dispatcher.tick),
            sweep=lambda gone: self.run_anew(lambda outside, known: reaper.sweep(outside, known, no_job_left=gone)),
            threshold=THRESHOLD,
            clock=clock,
            jitter=self.actor.random.uniform,
            log=self.log,
            follower=follower,
        )

    def _turn(self, seconds: float) -> None:
        changes = self.world.changes
        self.world.sleep(seconds)
        if self._waits():
            self.world.sleep(WAITING_TURN * self.actor.random.random())
        elif changes == self.world.changes:
            most = HEALTHY_TURN if self.world.healed else IDLE_TURN
            self.world.sleep(most * self.actor.random.random())

    def _waits(self) -> bool:
        holder = self.world.locks.get("watcher")
        return holder is not None and holder.actor is not self.actor


def dispatcher_every(world: World, name: str, board: Board) -> None:
    for number in range(1_000_000):
        Process(world, "dispatcher", f"{name}{number}", board).alone(dispatcher.tick)
        world.sleep(TICK_EVERY)


def tick_by_hand(world: World, board: Board) -> None:
    world.counts["ticks by hand"] += 1
    Process(world, "dispatcher", f"tick by hand {world.counts['ticks by hand']}", board).alone(dispatcher.tick)


def reaper_every(world: World, name: str, board: Board) -> None:
    for number in range(1_000_000):
        world.sleep(SWEEP_EVERY)
        Process(world, "reaper", f"{name}{number}", board).alone(reaper.sweep)


def watcher_always(world: World, name: str, board: Board) -> None:
    """Started again where it has ended."""
    for number in range(1_000_000):
        Process(world, "watcher", f"{name}{number}", board).watch()
        world.sleep(20.0)
