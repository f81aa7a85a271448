"""Simulated time, the scheduler, and what everything else in a schedule shares."""

import heapq
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from greenlet import GreenletExit, getcurrent, greenlet

from beads_dispatch.adapters.clock import Clock
from simulation.faults import CHANCES, OF_CLUSTER
from simulation.rows import Row

if TYPE_CHECKING:
    from simulation.cluster import Cluster
    from simulation.invariants import Invariants
    from simulation.plan import Plan
    from simulation.service import Service

BEGIN = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
OURS = ("dispatcher", "reaper", "watcher")
DELAYS = (0.01, 0.05, 0.3, 1.0)  # seconds that a step takes at most
MOST_STEPS = 60_000
EVERY_CHANCE = CHANCES | OF_CLUSTER


class Crash(BaseException):
    """A process dies between two steps."""


class Broken(AssertionError):
    """An invariant does not hold. `rule`: which one, in a word or two."""

    def __init__(self, rule: str, what: str) -> None:
        super().__init__(f"{rule}: {what}")
        self.rule = rule


class World:
    """Everything outside, in memory. Each actor draws from its own generator: without one, the others act as before."""

    invariants: "Invariants"
    service: "Service | Cluster"
    tick_by_hand: Callable[[], None]

    def __init__(self, plan: "Plan") -> None:
        self.plan = plan
        self.seconds, self.steps, self.changes = 0.0, 0, 0
        self.most_steps = MOST_STEPS
        self.story: list[tuple[float, str]] = []
        self.counts = Counter[str]()  # what happened, for the coverage
        self.strikes: dict[str, Counter[str]] = {}  # faults that struck, by actor
        self.healed_at = math.inf  # from then on nothing fails any more
        self.rows: dict[str, Row] = {}
        self.versions: dict[str, int] = {}
        self.touched: dict[str, float] = {}  # when each bead was last changed
        self.history: dict[str, list[Row]] = {}  # every state of each bead
        self.woken: set[str] = set()  # the beads that bd itself has opened last
        self.locks: dict[str, Any] = {}  # the connection that holds each
        self.local: dict[str, str] = {}  # the table local_metadata
        self.away = {"Dolt": 0.0, "bd": 0.0, "board": 0.0, "service": 0.0, "API": 0.0}  # until when
        self.unwritable_until = 0.0  # when bd's or Dolt's last outage ended
        self.limit_until = 0.0  # every agent meets the usage limit until then
        self.broken, self.broken_until = plan.agent, math.inf if plan.agent else 0.0  # what is wrong with every agent
        self.connections = 0  # which of the connections are alive: those opened since Dolt's last start
        self._until = 0.0
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._number, self._alive, self._hub = 0, set[greenlet](), getcurrent()

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self.seconds)

    def say(self, text: str) -> None:
        self.story.append((self.seconds, text))

    def at(self, seconds: float, what: Callable[[], object]) -> None:
        self._number += 1
        heapq.heappush(self._due, (self.seconds + seconds, self._number, what))

    def spawn(self, seconds: float, what: Callable[[], object]) -> None:
        one = greenlet(what, parent=self._hub)
        self._alive.add(one)
        self.at(seconds, one.switch)

    def sleep(self, seconds: float) -> None:
        """Others act meanwhile. Outside of a schedule, time just passes."""
        one, until = getcurrent(), self.seconds + seconds
        if one is self._hub or (until < self._until and not (self._due and self._due[0][0] <= until)):
            self.seconds = until  # nobody else is due before
            return
        self.at(seconds, one.switch)
        self._hub.switch()

    def run(self, until: float) -> None:
        """Runs what is due until then. Raises Broken."""
        self._until = until
        while self._due and self._due[0][0] <= until:
            self.seconds, _, what = heapq.heappop(self._due)
            what()
        self.seconds = until

    def end(self) -> None:
        """Ends every actor where it stands."""
        for one in self._alive:
            if not one.dead:
                one.throw(GreenletExit)
        self._alive.clear()
        self._due.clear()

    @property
    def healed(self) -> bool:
        return self.healed_at < math.inf

    def is_away(self, what: str) -> bool:
        return self.seconds < self.away[what]

    def heal(self) -> None:
        self.healed_at = self.seconds
        self.away = dict.fromkeys(self.away, 0.0)
        self.broken_until = self.seconds
        self.say("all is healthy from here on")

    def changed(self, bead: str) -> None:
        self.changes += 1
        self.versions[bead] += 1
        self.history[bead].append(self.rows[bead])
        self.touched[bead] = self.seconds

    def lose(self, what: str, seconds: float) -> None:
        """Somebody is away for so long."""
        self.away[what] = max(self.away[what], self.seconds + seconds)
        self.say(f"{what} is away for {seconds:.0f} s")
        if what in ("Dolt", "bd"):
            self.unwritable_until = max(self.unwritable_until, self.away[what])
        if what == "Dolt":
            self.connections += 1
            self.locks.clear()

    def hurry(self, actor: "Actor") -> None:
        """The lock is lost, and another tick begins."""
        if actor.hits("tick by hand"):
            self.spawn(2 * actor.random.random(), self.tick_by_hand)


@dataclass(eq=False)
class Actor:
    """Who acts: a process of ours, an agent, or a person. `ahead`: its clock, seconds."""

    world: World
    kind: str
    name: str
    ahead: float = 0.0
    random: Random = field(init=False)
    read: dict[str, int] = field(default_factory=dict)  # the version of each bead that it read last
    doubted: bool = False  # the agent service could not be asked about a job
    jumped: bool = False  # its clock has
    held_until: float = 0.0  # the queue by a service's hold, when it last read or wrote one
    dead: bool = False

    def __post_init__(self) -> None:
        self.random = Random(f"{self.world.plan.seed}/{self.name}")
        if self.kind in OURS and self.hits("clock differs"):
            self.ahead = self.random.uniform(-180, 180)

    def now(self) -> datetime:
        return self.world.now() + timedelta(seconds=self.ahead)

    def clock(self) -> Clock:
        return Clock(self.now, lambda: self.world.seconds, self.world.sleep)

    def token(self) -> str:
        return f"{self.random.getrandbits(24):06x}"

    def hits(self, fault: str) -> bool:
        """Whether the fault strikes here. A plan can leave out single strikes, to find the shortest that breaks."""
        world = self.world
        if world.healed or fault not in world.plan.faults or self.random.random() >= EVERY_CHANCE[fault]:
            return False
        struck = world.strikes.setdefault(self.name, Counter())
        struck[fault] += 1
        if (self.name, fault, struck[fault]) in world.plan.spared:
            return False
        world.counts[f"fault: {fault}"] += 1
        return True

    def step(self, what: str) -> None:
        """Others may act here, and a process of ours may die."""
        world = self.world
        world.steps += 1
        if world.steps > world.most_steps:
            raise Broken("it ends", f"more than {world.most_steps} steps")
        world.sleep(DELAYS[int(self.random.random() * 4)] * self.random.random())
        if self.kind in OURS:
            self._fail(what)
        world.say(f"{self.name}: {what}")

    def _fail(self, what: str) -> None:
        if self.hits("crash"):
            self.dead = True
            self.world.say(f"{self.name}: dies before: {what}")
            raise Crash
        if self.hits("clock jumps"):
            seconds = self.random.choice((-3600, -60, 60, 3600)) * self.random.random()
            self.ahead += seconds
            self.jumped = True
            self.world.say(f"{self.name}: its clock jumps by {seconds:.0f} s")
