"""The Dolt server: a connection with the lock that lives as long as it does, and the questions of adapters/dolt.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from beads_dispatch.core.errors import DoltFailed
from beads_dispatch.core.holds import SERVICE
from simulation import people
from simulation.rows import Row
from simulation.world import Actor

WAKE = {"event_type": "status_changed", "actor": "bd-defer-wake", "created_at": "2026-12-01 10:00:00"}


@dataclass(eq=False)
class SimulatedDolt:
    """Opened at the first question, and never again."""

    actor: Actor
    connection: int | None = None
    cut: bool = False
    name: str = ""

    def again(self) -> "SimulatedDolt":
        return SimulatedDolt(self.actor)

    def _ask(self, what: str) -> None:
        actor, world = self.actor, self.actor.world
        actor.step(what)
        if not world.is_away("Dolt") and actor.hits("Dolt away"):
            world.lose("Dolt", actor.random.choice((5, 30, 300)) * actor.random.random())
        if self.connection is None:
            self.connection = world.connections
        if actor.hits("connection cut"):
            self._unlock()
            self.cut = True
        if actor.hits("lost lock"):
            self._unlock()
        if self.cut or world.is_away("Dolt") or self.connection != world.connections:
            self.close()
            world.say(f"{actor.name}: Dolt does not answer")
            raise DoltFailed("Dolt at nowhere: refused")

    def lock(self, job: str, assignee: str) -> str | None:
        self._ask(f"asks for the lock {job}")
        self.name = job
        if job == "reaper" and self.actor.hits("hasty person"):
            people.hurry(self.actor.world, self.actor.name)
        return job if self.actor.world.locks.setdefault(job, self) is self else None

    def locked(self, lock: str) -> bool:
        self._ask("asks whether the lock is still held")
        return self.actor.world.locks.get(lock) is self

    def holder(self, job: str, assignee: str, idle_for: float = 0.0) -> str:
        return "" if idle_for else "somebody"

    def now(self) -> datetime:
        self._ask("asks the time")
        return self.actor.world.now()

    def hash(self) -> str:
        """A watcher's question of each second."""
        if self.actor.world.healed and self.connection == self.actor.world.connections and not self.cut:
            return str(self.actor.world.changes)
        self._ask("asks whether anything changed")
        return str(self.actor.world.changes)

    def assigned(self, assignee: str) -> list[dict[str, Any]]:
        self._ask("reads the beads")
        rows = self.actor.world.rows.values()
        return [self._row(row) for row in rows if row["assignee"] == assignee and row["status"] != "closed"]

    def closed(self, assignee: str, since: datetime) -> list[dict[str, Any]]:
        """A bead that was closed is not changed any more, so its last change is when that was."""
        self._ask("what was closed")
        rows = self.actor.world.rows.values()
        return [
            self._row(row) for row in rows
            if (row["assignee"], row["status"]) == (assignee, "closed") and row["updated_at"] >= since
        ]  # fmt: skip

    def fetch(self, lock: str, bead: str) -> tuple[bool, dict[str, Any] | None]:
        self._ask(f"reads {bead}")
        world = self.actor.world
        world.invariants.looked(self.actor, bead)
        return world.locks.get(lock) is self, self._row(world.rows[bead])

    def _row(self, row: Row) -> dict[str, Any]:
        world = self.actor.world
        self.actor.read[row["id"]] = world.versions[row["id"]]
        read = row.by_dolt
        read["utc_now"] = world.now().replace(tzinfo=None)
        return read

    def commented(self, beads: Sequence[str], *, wisps: bool = False) -> dict[str, dict[str, Any]]:
        """Nobody comments here."""
        return {}

    def events(self, bead: str) -> list[dict[str, Any]]:
        self._ask(f"reads who changed {bead}")
        return [WAKE] if bead in self.actor.world.woken else []

    def check_writable(self) -> None:
        """It is."""

    def local_values(self, *keys: str) -> dict[str, str]:
        of_holds = any(".hold." in key for key in keys)
        self._ask("reads the holds" if of_holds else "reads the ledger or the day's runs")
        if of_holds:
            self.actor.held_until = self.actor.world.invariants.held_until(SERVICE)
        return {key: self.actor.world.local[key] for key in keys if key in self.actor.world.local}

    def set_local(self, key: str, value: str | None, over: str = "") -> None:
        self._ask(f"writes {key.split('.')[1]}: {value}")
        if over and self.actor.world.local.get(key) != over:
            return
        self.actor.world.changes += 1
        self.actor.world.local.pop(key, None) if value is None else self.actor.world.local.update({key: value})
        if value is not None and key.split(".")[2] == SERVICE:
            self.actor.held_until = max(self.actor.held_until, self.actor.world.invariants.end_of_hold(key, value))

    def prune_local(self, like: str, before: str) -> None:
        """Nothing is a year old."""

    def _unlock(self) -> None:
        world = self.actor.world
        if world.locks.get(self.name) is self:
            del world.locks[self.name]
            world.say(f"{self.actor.name}: its lock {self.name} is gone")
            world.hurry(self.actor)

    def close(self) -> None:
        self.cut = True
        if self.actor.world.locks.get(self.name) is self:
            del self.actor.world.locks[self.name]
