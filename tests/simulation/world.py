"""A seeded, simulated world: the production tick runs in it, and yields to the scheduler at every adapter call."""

import heapq
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from greenlet import getcurrent, greenlet

from beads_dispatch import dispatcher
from beads_dispatch.adapters.agent_service import AgentService
from beads_dispatch.adapters.bd import Bd
from beads_dispatch.adapters.beadboard import BeadBoard
from beads_dispatch.adapters.clock import Clock
from beads_dispatch.adapters.exchange import Ask
from beads_dispatch.adapters.queue import ServerQueue
from beads_dispatch.adapters.workspace import Workspace
from beads_dispatch.core.outcomes import Reply
from beads_dispatch.cycle import Outside
from beads_dispatch.errors import BdFailed, DoltFailed, Failure
from beads_dispatch.settings import Settings

BEGIN = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
NO_WORKSPACE = Workspace(Path(), None)
SETTINGS = Settings(NO_WORKSPACE, "agent", "ticker", 2, timedelta(minutes=30), "http://board", "", "", False)
FAULTS = ("crash", "lost lock", "lost answer", "refused", "bd written, exit 1", "Dolt away", "lost note")
STARTED_NOTHING = ((502, "Queue full"), (409, "Agent is busy"), (400, "Bead X not found."), (502, "Invalid token"))


class Crash(BaseException):
    """A process dies between two steps."""


class Twice(AssertionError):
    """A bead was POSTed again, and neither a person nor its agent had set it open, nor was it proven unstarted."""


class World:
    """Everything outside, in memory. `without`: faults that this schedule leaves out."""

    def __init__(self, seed: int, without: frozenset[str] = frozenset()) -> None:
        self.random, self.seconds, self.story = Random(seed), 0.0, list[str]()
        drawn = {one for one in FAULTS if self.random.random() < 0.6}
        self.faults, self.happened = drawn - without, set[str]()
        self.rows = {f"s-{n}": _row(f"s-{n}", self.random.randrange(4)) for n in range(3)}
        self.locks: dict[str, object] = {}
        self.holds: dict[str, str] = {}
        self.sent: dict[str, float] = {}  # beads that an agent may have, and when each was POSTed
        self.posts = self.steps = self._number = 0
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._hub = getcurrent()

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self.seconds)

    def say(self, text: str) -> None:
        self.story.append(f"{self.seconds:9.2f}  {text}")

    def at(self, seconds: float, what: Callable[[], object]) -> None:
        self._number += 1
        heapq.heappush(self._due, (self.seconds + seconds, self._number, what))

    def spawn(self, seconds: float, what: Callable[[], object]) -> None:
        self.at(seconds, greenlet(what).switch)

    def sleep(self, seconds: float) -> None:
        self.at(seconds, getcurrent().switch)
        self._hub.switch()

    def run(self) -> None:
        self._hub = getcurrent()
        while self._due:
            self.seconds, _, what = heapq.heappop(self._due)
            what()

    def hits(self, fault: str, chance: float) -> bool:
        hit = fault in self.faults and self.random.random() < chance
        if hit:
            self.happened.add(fault)
        return hit

    def step(self, who: str, what: str) -> None:
        """Another actor may act here, and the process may die here."""
        self.steps += 1
        self.sleep(self.random.choice((0.01, 0.05, 0.3, 1.0)) * self.random.random())
        if self.hits("crash", 0.02):
            self.say(f"{who}: dies before {what}")
            raise Crash
        self.say(f"{who}: {what}")

    def opened(self, bead: str, who: str) -> None:
        self.rows[bead]["status"] = "open"
        self.sent.pop(bead, None)
        self.changed(bead)
        self.say(f"{who}: sets {bead} open")

    def changed(self, bead: str) -> None:
        self.rows[bead]["updated_at"] = self.now()


def _row(bead: str, priority: int) -> dict[str, Any]:
    texts: dict[str, Any] = {"title": bead, "acceptance_criteria": "it works", "notes": "", "assignee": "agent"}
    return {**texts, "id": bead, "status": "open", "priority": priority, "updated_at": BEGIN, "metadata": {}}


@dataclass(eq=False)
class SimulatedDolt:
    """A connection, with the lock that lives as long as it does."""

    world: World
    who: str
    name: str = ""
    server: object = None

    def _ask(self, what: str) -> None:
        self.world.step(self.who, what)
        if self.world.hits("lost lock", 0.03):
            self.close()
        if self.world.hits("Dolt away", 0.02):
            raise DoltFailed("Dolt at nowhere: refused")

    def lock(self, job: str, assignee: str) -> str | None:
        self._ask("asks for the lock")
        self.name = job
        return job if self.world.locks.setdefault(job, self) is self else None

    def assigned(self, assignee: str) -> list[dict[str, Any]]:
        self._ask("reads the beads")
        now = self.world.now().replace(tzinfo=None)
        return [{**row, "utc_now": now} for row in self.world.rows.values() if row["status"] != "closed"]

    def fetch(self, lock: str, bead: str) -> tuple[bool, dict[str, Any] | None]:
        self._ask(f"reads {bead}")
        return self.world.locks.get(lock) is self, dict(self.world.rows[bead])

    def check_writable(self) -> None:
        """It is."""

    def local_values(self, *keys: str) -> dict[str, str]:
        self._ask("reads the holds")
        return {key: self.world.holds[key] for key in keys if key in self.world.holds}

    def set_local(self, key: str, value: str | None) -> None:
        self.world.step(self.who, f"writes a hold: {value}")
        self.world.holds.pop(key, None) if value is None else self.world.holds.update({key: value})

    def close(self) -> None:
        if self.world.locks.get(self.name) is self:
            del self.world.locks[self.name]


@dataclass
class SimulatedBd:
    """bd 1.0.2's process: no guards, and a write that reads first, so that it can lose another one's note."""

    world: World
    who: str

    def version(self) -> str:
        return "1.0.2"

    def json(self, verb: str, *words: str, within: float | None = None) -> object:
        self.world.step(self.who, f"bd {verb}")
        if verb == "ready":
            return [dict(row) for row in self.world.rows.values() if row["status"] == "open"]
        if verb == "show":
            return [_as_json(self.world.rows[words[-1].removeprefix("--id=")])]
        return [self._update(words[-1], words)]

    def _update(self, bead: str, words: tuple[str, ...]) -> dict[str, Any]:
        row, orphaned = self.world.rows[bead], False
        notes = row["notes"]
        try:
            self.world.step(self.who, f"bd update {bead} {' '.join(words[1:-2])}")
        except Crash:  # bd outlives the process that ran it
            orphaned = True
        if not self.world.hits("lost note", 0.2):
            notes = row["notes"]
        for word in words:
            name, _, value = word.partition("=")
            if name == "--append-notes":
                row["notes"] = f"{notes}\n{value}" if notes else value
            elif name == "--status":
                row["status"] = value
            elif name == "--set-metadata":
                key, _, text = value.partition("=")
                row["metadata"] = {**row["metadata"], key: _as_bd_reads(text)}
            elif name == "--unset-metadata":
                row["metadata"] = {key: one for key, one in row["metadata"].items() if key != value}
        self.world.changed(bead)
        if orphaned:
            raise Crash
        if self.world.hits("bd written, exit 1", 0.05):
            raise BdFailed("bd update: interrupted (exit 1)")
        return _as_json(row)


def _as_bd_reads(text: str) -> object:
    try:
        return json.loads(text) if not text.startswith('"') else text
    except ValueError:
        return text


def _as_json(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "updated_at": row["updated_at"].isoformat()}


def request(world: World, who: str) -> Callable[[Ask], Reply]:
    """BeadBoard as one process sees it."""

    def ask(asked: Ask) -> Reply:
        world.step(who, f"{asked.method} {(asked.content or {}).get('taskId', '')}")
        return _post(world, asked.content["taskId"]) if asked.content else Reply(200, '{"busy": false}')

    return ask


def _post(world: World, bead: str) -> Reply:
    if bead in world.sent:
        raise Twice(f"{bead} is POSTed again, first at {world.sent[bead]:.2f}")
    world.sent[bead], world.posts = world.seconds, world.posts + 1
    if world.hits("refused", 0.3):
        del world.sent[bead]
        status, text = world.random.choice(STARTED_NOTHING)
        world.happened.add(text)
        return Reply(status, json.dumps({"error": text}))
    world.spawn(world.random.random() * 60, lambda: _agent(world, bead))
    world.sleep(world.random.random() * 0.5)
    if world.hits("lost answer", 0.3):
        world.say(f"the answer for {bead} is lost")
        return Reply(None, "timed out")
    return Reply(200, json.dumps({"job_id": f"{world.posts:012x}"}))


def _agent(world: World, bead: str) -> None:
    row = world.rows[bead]
    for _ in range(world.random.randrange(3)):
        world.sleep(world.random.choice((0.1, 1, 60)) * world.random.random())
        notes = "half of it" if world.random.random() < 0.3 else f"{row['notes']}\nhalf of it"
        row["notes"] = notes
        world.changed(bead)
        world.say(f"agent: notes on {bead}")
    end = world.random.choice(("closed", "blocked", "deferred", "open", ""))
    if end == "open":
        world.opened(bead, "agent")
    elif end:
        row["status"], row["defer_until"] = end, world.now() if end == "deferred" else None
        world.changed(bead)
        world.say(f"agent: sets {bead} {end}")


def _person(world: World) -> None:
    for _ in range(3):
        world.sleep(world.random.random() * 300)
        bead = world.random.choice(sorted(world.rows))
        if world.random.random() < 0.5:
            world.opened(bead, "person")
        else:
            world.rows[bead].update(status="deferred", defer_until=world.now() + timedelta(seconds=60))
            world.changed(bead)
            world.say(f"person: defers {bead}")


class Silent:
    """A log that prints nothing."""

    def info(self, *_: object, **__: object) -> None:
        """Nothing."""

    error = unreadable = info


def _tick(world: World, who: str) -> None:
    clock = Clock(world.now, lambda: world.seconds, world.sleep)
    dolt: Any = SimulatedDolt(world, who)
    process: Any = SimulatedBd(world, who)
    log: Any = Silent()
    ask, token = request(world, who), lambda: f"{world.random.getrandbits(24):06x}"
    board = BeadBoard("http://board", ask, clock, lambda: False, lambda _: None)
    service = AgentService("", "", ask, lambda _: None)
    bd = Bd(process, who, world.sleep)
    outside = Outside(ServerQueue(dolt, "agent", clock.now), bd, board, service, clock, token, log, lambda: False)
    try:
        dispatcher.tick(outside, SETTINGS)
    except Crash:
        pass
    except Failure as error:
        world.say(f"{who}: {error}")
    finally:
        dolt.close()


def _dispatcher(world: World, name: str) -> None:
    for number in range(8):
        _tick(world, f"{name}{number}")
        world.sleep(60 + world.random.random() * 3)


def run(seed: int, without: frozenset[str] = frozenset()) -> tuple[World, str]:
    """One schedule: the world after it, and what was broken, or nothing."""
    world = World(seed, without)
    for name in ("A", "B"):
        world.spawn(world.random.random(), lambda name=name: _dispatcher(world, name))
    world.spawn(0, lambda: _person(world))
    try:
        world.run()
    except Twice as error:
        return world, str(error)
    return world, ""


def shrink(seed: int) -> tuple[World, str]:
    """The same schedule with as few faults as still break it."""
    without: frozenset[str] = frozenset()
    for fault in FAULTS:
        if run(seed, without | {fault})[1]:
            without |= {fault}
    return run(seed, without)
