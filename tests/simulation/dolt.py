"""A connection to Dolt, as `adapters/dolt.py` has it, with the lock that lives as long as it does."""

from dataclasses import dataclass
from typing import Any

from beads_dispatch.errors import DoltFailed
from simulation.world import World


@dataclass(eq=False)
class SimulatedDolt:
    world: World
    who: str
    name: str = ""

    def again(self) -> "SimulatedDolt":
        return SimulatedDolt(self.world, self.who)

    def _ask(self, what: str) -> None:
        self.world.step(self.who, what)
        if self.world.hits("lost lock", 0.03):
            self.close()
        if self.world.lasts("Dolt away", 0.01):
            self.close()
            raise DoltFailed("Dolt at nowhere: refused")

    def lock(self, job: str, assignee: str) -> str | None:
        self._ask(f"asks for the lock of the {job}")
        self.name = job
        return job if self.world.locks.setdefault(job, self) is self else None

    def hash(self) -> str:
        self._ask("looks for a change")
        return f"{self.world.writes} {self.world.holds}"

    def assigned(self, assignee: str) -> list[dict[str, Any]]:
        self._ask("reads the beads")
        now = self.world.now().replace(tzinfo=None)
        beads = self.world.rows.values()
        ours = [row for row in beads if row["assignee"] == assignee and row["status"] != "closed"]
        return [{**row, "utc_now": now} for row in ours]

    def fetch(self, lock: str, bead: str) -> tuple[bool, dict[str, Any] | None]:
        self._ask(f"reads {bead}")
        return self.world.locks.get(lock) is self, dict(self.world.rows[bead])

    def check_writable(self) -> None:
        """It is."""

    def local_values(self, *keys: str) -> dict[str, str]:
        self._ask("reads the holds")
        return {key: self.world.holds[key] for key in keys if key in self.world.holds}

    def set_local(self, key: str, value: str | None) -> None:
        self._ask(f"writes a hold: {value}")
        self.world.holds.pop(key, None) if value is None else self.world.holds.update({key: value})

    def close(self) -> None:
        if self.world.locks.get(self.name) is self:
            del self.world.locks[self.name]
