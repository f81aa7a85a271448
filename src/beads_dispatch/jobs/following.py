"""Learn how runs ended: ask the runner about the jobs of beads in progress, and write what follows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from beads_dispatch.adapters.clock import Clock
from beads_dispatch.adapters.runner import Runner
from beads_dispatch.core import faults, marks, runs
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.errors import BdFailed, Failure, NotAsExpected, ServiceFailed
from beads_dispatch.core.faults import Recent, Verdict
from beads_dispatch.core.runner import Job, Stage
from beads_dispatch.core.runs import NO_JOB_LEFT, End, Fault
from beads_dispatch.core.text import utc
from beads_dispatch.core.writes import end_run
from beads_dispatch.jobs.cycle import Cycle
from beads_dispatch.jobs.holding import count_run
from beads_dispatch.jobs.writing import fetch, once

# Between two rounds of questions while something runs; and right before a tick, so that no bead is sent into a usage
# limit that another one has just met. Over HTTP, and of a runner that is here, where a question reads a file.
FOLLOW_SECONDS, EAGER_SECONDS = 12.0, 1.5
FOLLOW_SECONDS_HERE, EAGER_SECONDS_HERE = 1.0, 0.0
QUIET_SECONDS = 15.0  # for how long the runner must have had no job, if only that can be asked
ASK_SECONDS = 150.0  # no job is asked about later than this in a sweep; the writes still follow


@dataclass(frozen=True, slots=True)
class Seen:
    """A bead in progress, its job by the runner's word, and how its run ended, if it has."""

    bead: Bead
    job: Job
    end: End | None
    at_work: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """A run whose end was written. `seconds`: how long it ran; `cost`: US dollars; both if they are known."""

    outcome: str
    seconds: float | None = None
    cost: float | None = None


def look(cycle: Cycle, running: Sequence[Bead], no_job_left: frozenset[str]) -> list[Seen]:
    """Ask the runner about the job of each of these beads. Log a doubtful answer once."""
    seen, doubt = [], ""
    for bead in running:
        if cycle.out_of_time(ASK_SECONDS, "the rest is left to the next sweep"):
            break
        job, now = cycle.outside.runner.job(cycle.outside.runner.job_of(bead)), cycle.now()
        end = runs.end(job, bead, now, cycle.settings.threshold, cycle.outside.clock.zone())
        if job.stage is Stage.DOUBT:
            end = NO_JOB_LEFT if bead.id in no_job_left else None
            if job.words != doubt:
                doubt = job.words
                cycle.outside.log.info("doubt", f"the runner does not say how jobs are: {doubt}")
        seen.append(Seen(bead, job, end, runs.at_work(job, now, cycle.settings.threshold)))
    return seen


def conclude(cycle: Cycle, seen: Sequence[Seen], beads: Sequence[Bead], *, dry_run: bool) -> list[Ended]:
    """Write what follows from the ends, in their order. `beads`: the assignee's, for what is known of earlier runs."""
    ends = [(one, one.end) for one in seen if one.end]
    if not ends:
        return []
    ends.sort(key=lambda pair: pair[0].job.finished_at or cycle.now())
    known = faults.together(_recent(cycle, beads), [(one.bead, end) for one, end in ends])
    written = []
    for one, end in ends:
        verdict, after = faults.judge(end, one.bead, runs.seconds(one.job), known, cycle.now())
        if dry_run:
            cycle.info("would_end", f"would set it to {verdict.status}: {verdict.line}", one.bead)
            continue
        try:
            if one.job.cannot_run and not _is_removed(cycle, one.bead, end):
                cycle.info("stopping", "its job never ran; it is being removed before the bead is opened", one.bead)
                continue
            _write(cycle, one, end, verdict, known)
        except NotAsExpected:
            cycle.info("alive", "changed meanwhile: left alone", one.bead)
            continue
        except BdFailed as error:
            cycle.error("not_blocked", f"its run has ended, but that could not be written: {error}", one.bead)
            continue
        except Failure as error:
            cycle.error("not_held", f"its run has ended, but that could not be written: {error}", one.bead)
            continue
        known = after
        written.append(Ended(end.outcome.word, runs.seconds(one.job), one.job.cost))
    return written


def _is_removed(cycle: Cycle, bead: Bead, end: End) -> bool:
    """Remove a job that never ran. Return whether it is gone. Mark why on the bead, for a sweep that finds no job."""
    if marks.removing(bead) != end.line:
        cycle.outside.bd.update(bead, marks={marks.REMOVING: end.line})
    return cycle.outside.runner.stop(cycle.outside.runner.job_of(bead))


def _recent(cycle: Cycle, beads: Sequence[Bead]) -> Recent:
    """Return what is known of earlier runs. Whether an agent has closed a bead since is asked only if there are any."""
    known = cycle.outside.queue.holds()
    times = [how[1] for bead in beads if (how := marks.ended(bead))]
    times += [first for bead in beads if (first := marks.failures(bead)[1])]
    closed = cycle.outside.queue.closed(min(times)) if times else ()
    return faults.recent(beads, known, max((bead.updated_at for bead in closed), default=None))


def _write(cycle: Cycle, one: Seen, end: End, verdict: Verdict, known: Recent) -> None:
    """Write the hold first, then the bead: once the bead is open, a tick can send it."""
    bead, seconds = one.bead, runs.seconds(one.job)
    if verdict.hold:
        cycle.outside.queue.set_hold(verdict.kind, verdict.hold)
    intent = partial(end_run, known=bead, end=end, seconds=seconds, finished=one.job.finished_at, recent=known)
    written = once(cycle, intent, fetch(cycle, bead.id))
    if written is None:
        raise NotAsExpected
    if end.fault is Fault.AGENT:
        count_run(cycle, -1)
    if written.status == "closed":
        cycle.info("checked", str(written.note), bead, job=marks.job(bead), seconds=seconds)
        return
    text = f"{written.note}{' (blocked)' * (written.status == 'blocked')}"  # an open one's note says so itself
    cycle.info("run_ended", text, bead, level="warning", job=marks.job(bead), seconds=seconds)
    if verdict.hold:
        text = f"nothing is dispatched until {utc(verdict.hold.until)}: {end.line}"
        cycle.info("run_hold", text, bead, job=marks.job(bead))
        if verdict.kind not in known.holds:  # one message for all that it meets
            what = f"could not be worked on, nothing is dispatched until {utc(verdict.hold.until)}"
            cycle.notify(bead, what, end.line)
    elif written.status == "blocked":
        cycle.notify(bead, "blocked", end.line)


@dataclass(slots=True)
class Follower:
    """What the watcher knows of the runner between two jobs. Times are monotonic seconds."""

    runner: Runner
    clock: Clock
    threshold: timedelta
    asked_at: float = -math.inf
    at_work: frozenset[str] = frozenset()  # beads whose job is a sign of life
    quiet: Mapping[str, float] = field(default_factory=dict)  # since when the runner has had no job, by job
    gone: frozenset[str] = frozenset()  # beads whose job is known to be gone

    def has_room(self) -> bool:
        """Return whether the runner has a place for one more agent. One that does not answer has none."""
        try:
            return self.runner.room().free
        except ServiceFailed:
            return False

    def found_end(self, running: Sequence[Bead], now: datetime, *, eager: bool) -> bool:
        """Return whether a run has ended, so that a sweep is due. Ask only while something runs.

        `eager`: sooner, because a tick comes next. A runner that is here is asked at once: its place is free as soon as
        a run has ended, and the next bead must not go into what that run has met.
        """
        followed = [bead for bead in running if self.runner.job_of(bead)]
        every, soon = FOLLOW_SECONDS, EAGER_SECONDS
        if self.runner.here:
            every, soon = FOLLOW_SECONDS_HERE, EAGER_SECONDS_HERE
        if not followed or self.clock.monotonic() - self.asked_at < (soon if eager else every):
            return False
        self.asked_at = self.clock.monotonic()
        jobs = {bead.id: self.runner.job(self.runner.job_of(bead)) for bead in followed}
        self.at_work = frozenset(key for key, job in jobs.items() if runs.at_work(job, now, self.threshold))
        self.gone = self._no_job_left(followed, jobs)
        zone = self.clock.zone()
        return bool(self.gone) or any(runs.end(jobs[one.id], one, now, self.threshold, zone) for one in followed)

    def _no_job_left(self, running: Sequence[Bead], jobs: Mapping[str, Job]) -> frozenset[str]:
        """Return the beads whose jobs cannot be asked about, once the runner has had no job at all for 15 s.

        A dispatch that was accepted has been seen: right after it no agent service ever showed none (0 of 60).
        """
        doubtful = {bead.id: marks.job(bead) for bead in running if jobs[bead.id].stage is Stage.DOUBT}
        quiet, now = bool(doubtful) and self.runner.idle() is True, self.clock.monotonic()
        self.quiet = {job: self.quiet.get(job, now) for job in doubtful.values()} if quiet else {}
        return frozenset(key for key, job in doubtful.items() if now - self.quiet.get(job, now) >= QUIET_SECONDS)
