"""A sweep: learns how each run ended, and blocks the beads in progress that have made no progress for too long."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from beads_dispatch.core import claim, eligibility, marks, notes, staleness
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.errors import BdFailed, Failure, NotAsExpected
from beads_dispatch.jobs.cycle import Cycle, Outside
from beads_dispatch.settings import Settings

if TYPE_CHECKING:
    from beads_dispatch.jobs.following import Ended

SWEEP_SECONDS = 180.0  # nothing is begun later than this, so that a sweep ends within five minutes


@dataclass(slots=True)
class Report:
    """What a sweep did. `ended`: the runs whose end it wrote."""

    failed: bool = False
    unreadable: bool = False  # a bead that cannot be read was left alone
    blocked: int = 0
    ended: "list[Ended]" = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        return int(self.failed or self.unreadable)


def sweep(
    outside: Outside, settings: Settings, *, dry_run: bool = False, no_job_left: frozenset[str] = frozenset()
) -> Report:
    """Looks after every bead of the assignee that is in progress. Raises Failure.

    `dry_run`: prints what it would do. No lock, no write. `no_job_left`: beads whose job is known to be gone.
    """
    if not dry_run and not outside.queue.lock("reaper"):
        outside.log.info("locked", "another sweep is running")
        return Report()
    cycle = Cycle(outside, settings, outside.clock.monotonic())
    snapshot = outside.queue.snapshot()
    report = Report(unreadable=bool(snapshot.unreadable))
    outside.log.unreadable(snapshot.unreadable)
    this = _Sweep(cycle, report, no_job_left, dry_run=dry_run)
    for bead in sorted(snapshot.running, key=staleness.last_sign):  # time may run out: the one that is due comes first
        if not this.check(bead):
            break
    if not this.acted:
        outside.log.info("idle", f"nothing to do: {len(snapshot.running)} in progress, none stalled")
    report.failed = cycle.failed
    return report


@dataclass(slots=True)
class _Sweep:
    """The steps of one sweep."""

    cycle: Cycle
    report: Report
    no_job_left: frozenset[str]
    dry_run: bool
    acted: bool = False
    doubt: str = ""  # what the agent service answered instead of a job, once it has been logged

    def check(self, bead: Bead) -> bool:
        """Ends the run or blocks the bead, if it is time. Returns whether the sweep may go on."""
        job_id = marks.job(bead) if self.cycle.outside.runner.follows else ""
        stale = staleness.stale(bead, self.cycle.now(), self.cycle.settings.threshold)
        if not (job_id or stale):
            return True
        if self.cycle.out_of_time(SWEEP_SECONDS, "the rest is left to the next sweep"):
            self.acted = True
            return False
        try:
            if not (job_id and self.follow(bead, job_id)) and stale:
                self.acted = True
                self.report.blocked += self.block(bead)
        except NotAsExpected:
            self.cycle.info("alive", "changed meanwhile: left alone", bead)
        except BdFailed as error:
            self.cycle.error("not_blocked", f"has made no progress, but could not be blocked: {error}", bead)
        except Failure as error:
            self.cycle.error("not_held", f"its run has ended, but that could not be written: {error}", bead)
        return True

    def follow(self, bead: Bead, job_id: str) -> bool:
        """Asks the agent service. Returns whether that decides; otherwise the threshold does."""
        from beads_dispatch.core.runner import Stage
        from beads_dispatch.jobs import following  # an idle sweep asks about no job

        job = self.cycle.outside.runner.job(job_id)
        if job.stage is Stage.DOUBT and job.words != self.doubt:
            self.doubt = job.words
            self.cycle.outside.log.info("doubt", f"the agent service does not say how jobs are: {job.words}")
        done = following.conclude(self.cycle, bead, job, no_job_left=bead.id in self.no_job_left, dry_run=self.dry_run)
        if isinstance(done, bool):
            return done
        self.acted = True
        self.report.ended.append(done)
        return True

    def block(self, chosen: Bead) -> bool:
        """Reads the bead again, with its comments, heartbeat and lease, and blocks it if it is still stale."""
        cycle, threshold = self.cycle, self.cycle.settings.threshold
        bead, now = cycle.outside.bd.show(chosen.id), cycle.now()
        age = staleness.idle_for(bead, now)
        line = notes.blocked(age, threshold, sent=claim.dispatch_recorded(bead))
        if bead.assignee != cycle.settings.assignee or not staleness.stale(bead, now, threshold):
            cycle.info("alive", "active again: left alone", bead)
        elif self.dry_run:
            cycle.info("would_block", f"would block: {line}", bead)
        else:
            _write(cycle, bead, line, age)
            cycle.info("blocked", line, bead, level="warning", job=marks.job(bead), seconds=age.total_seconds())
            cycle.notify(bead, "blocked", line)
            return True
        return False


def _write(cycle: Cycle, bead: Bead, line: str, age: timedelta) -> None:
    """The block and its note. For a bead too large for another note: a comment, once, and the block alone."""
    bd = cycle.outside.bd
    try:
        bd.update(bead, status="blocked", note=line, marks=marks.ended(bead))
    except NotAsExpected:
        raise
    except BdFailed:
        if bead.size <= eligibility.MAX_SIZE:
            raise
        if not eligibility.has_too_large_notice(bead):
            bd.comment(bead.id, notes.too_large_to_block(age))
        bd.update(bead, status="blocked", marks=marks.ended(bead))  # bd 1.3 can; 1.0 cannot write such a bead at all
