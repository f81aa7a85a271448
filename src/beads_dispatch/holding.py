"""The queue's hold: why nothing is dispatched, recorded beside the queue."""

from dataclasses import dataclass, field

from beads_dispatch.core import backoff
from beads_dispatch.core.backoff import SERVICE, Hold, Holds
from beads_dispatch.core.bead import Bead
from beads_dispatch.cycle import Cycle
from beads_dispatch.persistence import until_written


@dataclass(slots=True)
class Holding:
    """The holds as this tick knows them."""

    cycle: Cycle
    holds: Holds = field(default_factory=dict)

    def read(self) -> Hold | None:
        """Reads the holds. Returns the one in force, if any."""
        self.holds = self.cycle.outside.queue.holds()
        return backoff.in_force(self.holds, self.cycle.now())

    @property
    def service(self) -> Hold | None:
        """What is recorded of the services' last failure. An acceptance removes it."""
        return self.holds.get(SERVICE)

    def set(self, hold: Hold) -> bool:
        """Records a hold until it is written. Returns whether it is."""
        self.holds = {**self.holds, SERVICE: hold}
        return self._write(hold, hold.bead_id, f"the queue's hold ({hold.reason})")

    def clear(self, bead: Bead) -> None:
        """Ends the services' hold. `bead`: the one that was accepted."""
        if self.service:
            self.holds = {kind: hold for kind, hold in self.holds.items() if kind != SERVICE}
            self._write(None, bead.id, "the end of the queue's hold")

    def _write(self, hold: Hold | None, bead_id: str, what: str) -> bool:
        def step(_: float) -> bool:
            self.cycle.outside.queue.set_hold(SERVICE, hold)
            return True

        return until_written(self.cycle, bead_id, what, step)
