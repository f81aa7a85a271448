"""A seeded world: simulated time, one scheduler, the beads, and which faults strike."""

import heapq
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from greenlet import getcurrent, greenlet

from simulation.ledger import Ledger

BEGIN = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
BEADS = 4
FAULTS = (
    "crash", "skew", "lost lock", "Dolt away", "bd away", "bd hiccup", "bd written, exit 1", "1213", "lost note",
    "orphan", "refused", "lost answer", "late POST", "nothing came of it", "board away", "agents away", "restart",
    "notes replaced", "marks taken away", "odd run", "eager agent", "usage limit", "meddling", "cursed",
)  # fmt: skip


class Crash(BaseException):
    """A process dies between two steps."""


class World:
    """Everything that all actors share. `without`: faults that this schedule leaves out."""

    def __init__(self, seed: int, without: frozenset[str] = frozenset()) -> None:
        self.random, self.seconds, self.story = Random(seed), 0.0, list[str]()
        drawn = {one for one in FAULTS if self.random.random() < 0.5}
        self.faults, self.happened = drawn - without, Counter[str]()
        self.rows = {f"s-{n}": _row(f"s-{n}", self.random.randrange(4)) for n in range(BEADS)}
        self.cursed = "s-0" if "cursed" in self.faults else ""  # BeadBoard never finds this bead
        if self.cursed:
            self.rows[self.cursed]["priority"] = 0
        self.locks: dict[str, object] = {}
        self.holds: dict[str, str] = {}
        self.writes = 0
        self.ledger = Ledger(self.rows)
        self._until: dict[str, float] = {}
        self._number = 0
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._hub = getcurrent()

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self.seconds)

    def say(self, text: str) -> None:
        self.story.append(f"{self.seconds:9.2f}  {text}")

    # --- the scheduler

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

    def step(self, who: str, what: str) -> None:
        """Another actor may act here, and the process may die here."""
        self.happened["steps"] += 1
        self.sleep(self.random.choice((0.01, 0.05, 0.3, 1.0)) * self.random.random())
        if self.hits("crash", 0.02):
            self.say(f"{who}: dies before {what}")
            raise Crash
        self.say(f"{who}: {what}")

    # --- faults

    def hits(self, fault: str, chance: float) -> bool:
        hit = fault in self.faults and self.random.random() < chance
        if hit:
            self.happened[fault] += 1
        return hit

    def lasts(self, fault: str, chance: float) -> bool:
        """Whether a fault is on that lasts for seconds to minutes, once it strikes."""
        if fault in self.faults and self.seconds >= self._until.get(fault, 0) and self.hits(fault, chance):
            self._until[fault] = self.seconds + self.random.choice((5, 40, 300)) * self.random.random()
        return fault in self.faults and self.seconds < self._until.get(fault, 0)

    def heal(self) -> None:
        self.faults = set()
        self.say("from now on nothing fails")

    # --- the beads

    def changed(self, bead: str) -> None:
        self.writes += 1
        self.rows[bead]["updated_at"] = self.now()
        self.ledger.changed(bead)

    def opened(self, bead: str, who: str) -> None:
        # We block for a person, so an agent that opens what we have blocked starts anew, as a person does.
        self.ledger.opened(bead, by_person=who == "person" or self.rows[bead]["status"] == "blocked")
        self.rows[bead]["status"] = "open"
        self.changed(bead)
        self.say(f"{who}: sets {bead} open")


def _row(bead: str, priority: int) -> dict[str, Any]:
    texts: dict[str, Any] = {"title": bead, "acceptance_criteria": "it works", "notes": "", "assignee": "agent"}
    return {**texts, "id": bead, "status": "open", "priority": priority, "updated_at": BEGIN, "metadata": {}}
