"""The queue's holds as a tick knows them: what they let it start, and how its own dispatches change them."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo

from beads_dispatch.adapters.queue import Queue
from beads_dispatch.core import holds, marks
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.holds import BUDGET, HOURS, SERVICE, Allowance, Hold, Holds
from beads_dispatch.core.text import utc
from beads_dispatch.jobs.cycle import Cycle
from beads_dispatch.jobs.writing import Left, until_written
from beads_dispatch.settings import Settings


def all_holds(queue: Queue, settings: Settings, zone: Callable[[], tzinfo]) -> Holds:
    """Return the holds that are stored, and those that follow from the clock and from the day's count of runs."""
    stored = queue.holds()
    if settings.hours is None and settings.per_day is None:
        return stored
    from beads_dispatch.core import hours

    now, here = queue.now(), zone()
    started = queue.runs_on(_day(now, here)) if settings.per_day is not None else 0
    closed, used_up = hours.closed(settings.hours, now, here), hours.used_up(settings.per_day, started, now, here)
    return {**stored, **({HOURS: closed} if closed else {}), **({BUDGET: used_up} if used_up else {})}


def count_run(cycle: Cycle, more: int) -> None:
    """Add to the day's count of runs, if there is a budget. -1: a run that the agent is to blame for is given back."""
    if cycle.settings.per_day is not None:
        cycle.outside.queue.count_runs(_day(cycle.now(), cycle.outside.clock.zone()), more)


def _day(now: datetime, zone: tzinfo) -> str:
    return f"{now.astimezone(zone):%Y-%m-%d}"


@dataclass(slots=True)
class Holding:
    """The holds by kind, once they have been read."""

    cycle: Cycle
    known: Holds = field(default_factory=dict)

    @property
    def service(self) -> Hold | None:
        """Return what is recorded of the services' last failure. An acceptance removes it."""
        return self.known.get(SERVICE)

    def allowance(self, beads: Sequence[Bead]) -> Allowance:
        """Read the holds, and return what they let this tick start. Log what keeps it from starting anything."""
        outside, now = self.cycle.outside, self.cycle.now()
        self.known = all_holds(outside.queue, self.cycle.settings, outside.clock.zone)
        others = {kind: hold for kind, hold in self.known.items() if kind not in holds.OF_RUNS}
        if hold := holds.in_force(others, now):
            allows = Allowance(0, f"held until {utc(hold.until)}: {hold}")
        else:
            self._learn(beads)
            allows = holds.allowance(self.known, beads, now)
        if allows.most == 0:
            self.cycle.outside.log.info("held", f"nothing is dispatched: {allows.why}")
        return allows

    def left_today(self) -> int:
        """Return how many more runs may start today; a large number if there is no budget."""
        per_day, outside = self.cycle.settings.per_day, self.cycle.outside
        if per_day is None:
            return sys.maxsize
        return max(0, per_day - outside.queue.runs_on(_day(self.cycle.now(), outside.clock.zone())))

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
                self._write(kind, stays, hold.bead_id, "what became of the queue's hold")

    def _is_at_work(self, bead: Bead) -> bool:
        from beads_dispatch.core import runs  # most ticks ask about no job
        from beads_dispatch.core.runner import Stage

        runner = self.cycle.outside.runner
        job = runner.job(runner.job_of(bead))
        if job.stage is Stage.DOUBT:
            return runner.idle() is False
        return runs.at_work(job, self.cycle.now(), self.cycle.settings.threshold)

    def set(self, hold: Hold) -> bool:
        """Record the services' hold until it is written. Return whether it is."""
        return self._write(SERVICE, hold, hold.bead_id, f"the queue's hold ({hold.reason})")

    def refuse(self, reason: str) -> None:
        """Hold the queue because bd writes nothing at all. A hold that is already in force stays as it is."""
        self.known, now = self.cycle.outside.queue.holds(), self.cycle.now()
        if not holds.in_force(self.known, now):
            self.set(holds.claim_hold(self.service, now, reason, ""))

    def sent(self, bead: Bead) -> None:
        """End the services' hold, because a bead was accepted. Its run will show whether the agent works again."""
        if self.service:
            self._write(SERVICE, None, bead.id, "the end of the queue's hold")
        for kind, hold in holds.of_runs(self.known).items():
            if not hold.proven:
                self._write(kind, replace(hold, first=bead.id), bead.id, "the first bead after the queue's hold")

    def _write(self, kind: str, hold: Hold | None, bead_id: str, what: str) -> bool:
        """Replace the hold that we read; None removes it. If a sweep has set another meanwhile, that one stays."""
        before, queue = self.known.get(kind), self.cycle.outside.queue

        def step(_: Left) -> bool:
            if kind == SERVICE or queue.holds().get(kind) == before:  # only a tick sets the services' hold
                queue.set_hold(kind, hold)
            return True

        others = {other: known for other, known in self.known.items() if other != kind}
        self.known = {**others, kind: hold} if hold else others
        return until_written(self.cycle, bead_id, what, step)
