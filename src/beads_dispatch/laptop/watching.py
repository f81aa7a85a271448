"""A watcher whose agents run here: what it does with them at each turn, and when it is asked to end."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from beads_dispatch.adapters.log import Log
from beads_dispatch.adapters.queue import Snapshot
from beads_dispatch.adapters.runner import Runner
from beads_dispatch.adapters.stop import Stop
from beads_dispatch.core import marks
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.times import span
from beads_dispatch.laptop.record import Record
from beads_dispatch.laptop.runner import LocalRunner

RECORD_SECONDS = 20.0  # for all ends to be noted when we end: bd's circuit breaker stays open for 5 s
RETRY_SECONDS = 1.0


@dataclass(slots=True)
class Local:
    """A monitor of the watcher: told of each turn, and of each snapshot while the queue is ours."""

    runner: LocalRunner
    stop: Stop
    log: Log
    beads: Sequence[Bead] = ()

    def stopping(self) -> bool:
        """After the first Ctrl-C the watcher goes on until no agent runs."""
        return self.stop() or (self.stop.draining and not self.runner.living())

    def turned(self, answered: bool) -> None:
        if self.stop.draining and not self.runner.draining:
            self.runner.draining = True
            if living := self.runner.living():
                self.log.info("draining", f"nothing new is started; {self._who(living)} may finish. Ctrl-C again stops")
        self.runner.look_after(self.beads)

    def saw(self, snapshot: Snapshot, *_: object) -> None:
        before, self.beads = {bead.id for bead in self.beads}, snapshot.beads
        self.runner.adopt(self.beads)
        if before - snapshot.ids:  # a bead was closed
            self.runner.tidy()

    def ticked(self, report: object) -> None:
        pass

    def swept(self, report: object) -> None:
        pass

    def end(self, sweep: Callable[[], bool]) -> None:
        """Stop what still runs. `sweep`: writes how runs ended, and returns whether an end is left to write."""
        runs = bool(self.runner.at_work) or any(bead.status == "in_progress" for bead in self.beads)
        self.runner.stop_all("stopped with the watcher")
        clock = self.runner.clock
        until = clock.monotonic() + RECORD_SECONDS
        while runs and self.runner.adopted and sweep() and clock.monotonic() < until:
            clock.sleep(RETRY_SECONDS)

    def _who(self, living: Sequence[Record]) -> str:
        now = self.runner.clock.monotonic()
        return ", ".join(f"{record.bead} (for {span(now - record.began)})" for record in living)


def unwritten(running: Iterable[Bead], runner: Runner) -> bool:
    """Return whether a bead in progress has a job that has ended."""
    return any(runner.job(marks.job(bead)).finished_at for bead in running if marks.job(bead))
