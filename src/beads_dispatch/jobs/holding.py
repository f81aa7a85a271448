"""The queue's holds as a tick knows them: what they let it start, and what its own dispatches make of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from beads_dispatch.core import holds, marks
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.holds import SERVICE, Allowance, Hold, Holds
from beads_dispatch.core.text import utc
from beads_dispatch.jobs.cycle import Cycle
from beads_dispatch.jobs.writing import Left, until_written


@dataclass(slots=True)
class Holding:
    """The holds by kind, once they have been read."""

    cycle: Cycle
    known: Holds = field(default_factory=dict)

    @property
    def service(self) -> Hold | None:
        """What is recorded of the services' last failure. An acceptance removes it."""
        return self.known.get(SERVICE)

    def allowance(self, beads: Sequence[Bead]) -> Allowance:
        """Read the holds, and return what they let this tick start. Logs what keeps it from starting anything."""
        self.known, now = self.cycle.outside.queue.holds(), self.cycle.now()
        others = {kind: hold for kind, hold in self.known.items() if kind not in holds.OF_RUNS}
        if hold := holds.in_force(others, now):
            allows = Allowance(0, f"held until {utc(hold.until)}: {hold}")
        else:
            self._learn(beads)
            allows = holds.allowance(self.known, beads, now)
        if allows.most == 0:
            self.cycle.outside.log.info("held", f"nothing is dispatched: {allows.why}")
        return allows

    def _learn(self, beads: Sequence[Bead]) -> None:
        """Ask what became of the runs that started after a hold, if any did, and record what that shows."""
        now, queue = self.cycle.now(), self.cycle.outside.queue
        for kind, hold in holds.of_runs(self.known).items():
            ran = holds.started_since(hold, beads)
            if not (ran or hold.first):
                continue
            alive = {bead.id for start, bead in ran if now - start >= hold.proof and self._is_at_work(bead)}
            closed = [claim[1] for bead in queue.closed(hold.set_at or now) if (claim := marks.claim(bead))]
            stays = holds.after_runs(hold, beads, alive, closed, now)
            if stays != hold:
                self._replace(kind, stays, hold.bead_id, "what became of the queue's hold")

    def _is_at_work(self, bead: Bead) -> bool:
        from beads_dispatch.core import runs  # most ticks ask about no job
        from beads_dispatch.core.runner import Stage

        runner = self.cycle.outside.runner
        job = runner.job(runner.job_of(bead))
        return runs.at_work(job, self.cycle.now(), self.cycle.settings.threshold) or (
            job.stage is Stage.DOUBT and runner.idle() is False
        )

    def set(self, hold: Hold) -> bool:
        """Record the services' hold until it is written. Return whether it is."""
        self.known = {**self.known, SERVICE: hold}
        return self._write(hold.bead_id, f"the queue's hold ({hold.reason})", SERVICE, hold)

    def refuse(self, reason: str) -> None:
        """Hold the queue because bd writes nothing at all. A hold that is already in force stays as it is."""
        self.known, now = self.cycle.outside.queue.holds(), self.cycle.now()
        if not holds.in_force(self.known, now):
            self.set(holds.claim_hold(self.service, now, reason, ""))

    def sent(self, bead: Bead) -> None:
        """A bead was accepted: that ends the services' hold, and its run will show whether an agent works again."""
        if self.service:
            self._replace(SERVICE, None, bead.id, "the end of the queue's hold")
        for kind, hold in holds.of_runs(self.known).items():
            if not hold.proven:
                first = replace(hold, first=bead.id)
                self._replace(kind, first, bead.id, "the first bead after the queue's hold")

    def _replace(self, kind: str, hold: Hold | None, bead_id: str, what: str) -> None:
        """Write a hold over the one that we have read. A sweep may have met the next one meanwhile: that one stays."""
        before = self.known[kind]

        def unchanged() -> bool:
            return kind == SERVICE or self.cycle.outside.queue.holds().get(kind) == before

        self._write(bead_id, what, kind, hold, unchanged)
        others = {other: known for other, known in self.known.items() if other != kind}
        self.known = {**others, kind: hold} if hold else others

    def _write(
        self, bead_id: str, what: str, kind: str, hold: Hold | None, wanted: Callable[[], bool] = lambda: True
    ) -> bool:
        def step(_: Left) -> bool:
            if wanted():
                self.cycle.outside.queue.set_hold(kind, hold)
            return True

        return until_written(self.cycle, bead_id, what, step)
