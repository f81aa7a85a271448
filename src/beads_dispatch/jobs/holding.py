"""The queue's hold: why nothing is dispatched, recorded beside the queue."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from beads_dispatch.core import backoff
from beads_dispatch.core.backoff import SERVICE, USAGE, Hold, Holds
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.text import utc
from beads_dispatch.jobs.cycle import Cycle
from beads_dispatch.jobs.persistence import Left, until_written


@dataclass(slots=True)
class Holding:
    """The holds as this tick knows them."""

    cycle: Cycle
    holds: Holds = field(default_factory=dict)

    def in_force(self) -> bool:
        """Reads the holds. Whether one keeps the queue from dispatching now: then the log has it."""
        self.holds = self.cycle.outside.queue.holds()
        hold = backoff.in_force(self.holds, self.cycle.now())
        if hold:
            text = f"nothing is dispatched until {utc(hold.until)}: {hold}"
            self.cycle.outside.log.info("held", text)
        return hold is not None

    @property
    def service(self) -> Hold | None:
        """What is recorded of the services' last failure. An acceptance removes it."""
        return self.holds.get(SERVICE)

    def set(self, hold: Hold) -> bool:
        """Records a hold until it is written. Returns whether it is."""
        self.holds = {**self.holds, SERVICE: hold}
        return self._write(SERVICE, hold, hold.bead_id, f"the queue's hold ({hold.reason})")

    def clear(self, bead: Bead) -> None:
        """Ends the services' hold. `bead`: the one that was accepted."""
        if self.service:
            self._remove(SERVICE, bead.id, "the end of the queue's hold")

    def places(self, beads: Sequence[Bead]) -> int:
        """How many beads this tick may hand over. Removes a usage limit's hold that has shown to be over."""
        allows = self.probe(beads)
        if allows == "over":
            self._remove(USAGE, "", "the end of the usage limit's hold")
            if self.in_force():  # a sweep has met the next limit meanwhile (found by the simulation)
                return 0
        return self.allowed(allows)

    def probe(self, beads: Sequence[Bead]) -> str:
        """What an ended usage limit allows: see `backoff.probe`."""
        return backoff.probe(self.holds.get(USAGE), beads, self.cycle.now())

    def allowed(self, allows: str) -> int:
        """The same as a number of beads: after a usage limit one goes first."""
        if allows == "none":
            self.cycle.outside.log.info("held", "waiting: one bead runs first after the usage limit")
        return {"none": 0, "one": 1}.get(allows, self.cycle.settings.per_tick)

    def sent(self, bead: Bead) -> None:
        """A bead was accepted: it ends the services' hold, and shows whether a usage limit is over."""
        self.clear(bead)
        if usage := self.holds.get(USAGE):
            self._write(USAGE, replace(usage, bead_id=bead.id), bead.id, "the first bead after a usage limit")

    def _is_newer(self, known: Hold) -> bool:
        """Whether a sweep has met another usage limit since we read the hold: that one stays."""
        stored = self.cycle.outside.queue.holds().get(USAGE)
        return stored is not None and stored.until > known.until

    def _remove(self, kind: str, bead_id: str, what: str) -> None:
        self._write(kind, None, bead_id, what)
        self.holds = {other: hold for other, hold in self.holds.items() if other != kind}

    def _write(self, kind: str, hold: Hold | None, bead_id: str, what: str) -> bool:
        known = self.holds.get(USAGE)

        def step(_: Left) -> bool:
            if not (kind == USAGE and known and self._is_newer(known)):
                self.cycle.outside.queue.set_hold(kind, hold)
            return True

        return until_written(self.cycle, bead_id, what, step)
