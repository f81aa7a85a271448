"""How runs end: what the agent service says of the jobs of beads in progress, and what is written for each end."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from beads_dispatch.adapters.clock import Clock
from beads_dispatch.adapters.runner import Runner
from beads_dispatch.core import marks, runs
from beads_dispatch.core.backoff import USAGE, Hold
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.errors import NotAsExpected, ServiceFailed
from beads_dispatch.core.runner import Job, Stage
from beads_dispatch.core.runs import NO_JOB_LEFT, End
from beads_dispatch.core.text import utc
from beads_dispatch.jobs.cycle import Cycle

FOLLOW_SECONDS = 12.0  # between two rounds of questions while something runs
EAGER_SECONDS = 1.5  # before a tick, so that no bead is sent into a usage limit that another one has just met
QUIET_SECONDS = 15.0  # for how long the service must have had no job, where only its health can be asked


@dataclass(frozen=True, slots=True)
class Ended:
    """A run whose end was written. `seconds`: how long it ran; `cost`: US dollars; both where they are known."""

    kind: str
    seconds: float | None = None
    cost: float | None = None


def conclude(cycle: Cycle, bead: Bead, job: Job, *, no_job_left: bool, dry_run: bool) -> Ended | bool:
    """Writes what follows from the job's end. True: the job is a sign of life. False: the threshold decides.

    Raises BdFailed; NotAsExpected where the bead has changed meanwhile; Failure where the hold cannot be written.
    """
    end = _end(cycle, bead, job, no_job_left=no_job_left)
    if end is None:
        return runs.at_work(job, cycle.now(), cycle.settings.threshold)
    if end.hold_until and not dry_run:  # before the bead is open again; its write follows its read at once
        _hold(cycle, bead, end, end.hold_until)
    fresh = cycle.outside.bd.show(bead.id)
    if (fresh.status, fresh.assignee, marks.job(fresh)) != ("in_progress", cycle.settings.assignee, marks.job(bead)):
        raise NotAsExpected
    end = _end(cycle, fresh, job, no_job_left=no_job_left)
    if end is None:
        return False
    if dry_run:
        cycle.info("would_end", f"would set it to {end.status}: {end.line}", bead, job=marks.job(bead))
        return True
    seconds = (job.finished_at - job.started_at).total_seconds() if job.finished_at and job.started_at else None
    _write(cycle, fresh, end, seconds)
    return Ended(end.kind, seconds, job.cost)


def _end(cycle: Cycle, bead: Bead, job: Job, *, no_job_left: bool) -> End | None:
    if job.stage is Stage.DOUBT:
        return NO_JOB_LEFT if no_job_left else None
    return runs.end(job, bead, cycle.now(), cycle.settings.threshold, cycle.outside.clock.zone())


def _write(cycle: Cycle, bead: Bead, end: End, seconds: float | None) -> None:
    cycle.outside.bd.update(bead, status=end.status, note=end.line, marks=runs.change(end, bead))
    cycle.info("run_ended", f"{end.line} ({end.status})", bead, level="warning", job=marks.job(bead), seconds=seconds)
    if end.status == "blocked":
        cycle.notify(bead, "blocked", end.line)


def _hold(cycle: Cycle, bead: Bead, end: End, until: datetime) -> None:
    known = cycle.outside.queue.holds().get(USAGE)
    if known is None or known.until < until:
        cycle.outside.queue.set_hold(USAGE, Hold(until, 0, f"{bead.id}: {end.line}"))
        text = f"nothing is dispatched until {utc(until)}: {end.line}"
        cycle.info("usage_limit", text, bead, job=marks.job(bead))
    if known is None or known.until <= cycle.now():  # one message for a limit that several beads meet
        cycle.notify(bead, f"met a usage limit, nothing is dispatched until {utc(until)}", end.line)


@dataclass(slots=True)
class Follower:
    """What the watcher knows of the agent service between two jobs. Times are monotonic seconds."""

    runner: Runner
    clock: Clock
    threshold: timedelta
    asked_at: float = -math.inf
    at_work: frozenset[str] = frozenset()  # beads whose job is a sign of life
    seen: frozenset[str] = frozenset()  # jobs during which the service's health has shown some job
    quiet_since: float = math.inf
    gone: frozenset[str] = frozenset()  # beads whose job is known to be gone

    def has_room(self) -> bool:
        """Whether the service has a place for one more agent. One that does not answer has none."""
        try:
            return self.runner.room().free
        except ServiceFailed:
            return False

    def found_end(self, running: Sequence[Bead], now: datetime, *, eager: bool) -> bool:
        """Whether a run has ended, so that a sweep is due. Asks only while something runs, every 12 s.

        `eager`: sooner, because a tick comes next.
        """
        followed = [bead for bead in running if marks.job(bead)]
        waited = self.clock.monotonic() - self.asked_at
        if not followed or waited < (EAGER_SECONDS if eager else FOLLOW_SECONDS):
            return False
        self.asked_at = self.clock.monotonic()
        jobs = {bead.id: self.runner.job(marks.job(bead)) for bead in followed}
        self.at_work = frozenset(key for key, job in jobs.items() if runs.at_work(job, now, self.threshold))
        self.gone = self._no_job_left(followed, jobs)
        return bool(self.gone) or any(self._over(bead, jobs[bead.id], now) for bead in followed)

    def _over(self, bead: Bead, job: Job, now: datetime) -> bool:
        return runs.end(job, bead, now, self.threshold, self.clock.zone()) is not None

    def _no_job_left(self, running: Sequence[Bead], jobs: Mapping[str, Job]) -> frozenset[str]:
        """Where jobs cannot be asked about: the beads whose job was there, and now for 15 s no job is."""
        doubtful = [bead for bead in running if jobs[bead.id].stage is Stage.DOUBT]
        idle = self.runner.idle() if doubtful else None
        now = self.clock.monotonic()
        if idle is not True:
            self.quiet_since = math.inf
            self.seen |= {marks.job(bead) for bead in doubtful if idle is False}
            return frozenset()
        self.quiet_since = min(self.quiet_since, now)
        if now - self.quiet_since < QUIET_SECONDS:
            return frozenset()
        return frozenset(bead.id for bead in doubtful if marks.job(bead) in self.seen)
