"""Tick and sweep in one process, continuously: when the database has changed or a time has come."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from beads_dispatch.adapters.queue import Queue, Snapshot
from beads_dispatch.core import eligibility, pacing
from beads_dispatch.core.errors import Failure
from beads_dispatch.core.holds import Holds, in_force
from beads_dispatch.core.pacing import Came
from beads_dispatch.jobs import dispatcher, reaper
from beads_dispatch.jobs.sweeping import Sweeping
from beads_dispatch.jobs.ticking import Ticking
from beads_dispatch.jobs.watched_database import WatchedDatabase
from beads_dispatch.jobs.watching import Jobs, Monitor

R = TypeVar("R")

SLEPT_SECONDS = 60.0  # a clock that is corrected by less means nothing


def watch(jobs: Jobs, stopping: Callable[[], bool], monitors: Sequence[Monitor] = ()) -> int:
    """Take turns until `stopping`. Return the exit status. Once the watcher has begun, no Failure ends it."""
    stamp = jobs.stamp()  # before the file is read, so that a later change shows at the next turn
    watcher = _Watcher(jobs, WatchedDatabase(jobs, jobs.open_queue(), stamp), Ticking(jobs), Sweeping(jobs), monitors)
    while not stopping():
        answered = watcher.turn()
        for monitor in monitors:
            monitor.turned(answered)
        if not watcher.ticking.goes_on:
            jobs.clock.sleep(jobs.turn_seconds)
    jobs.log.info("stopped", "stopped")
    return 0


@dataclass(slots=True)
class _Watcher:
    """What one turn leaves for the next. Times are monotonic seconds."""

    jobs: Jobs
    database: WatchedDatabase
    ticking: Ticking
    sweeping: Sweeping
    monitors: Sequence[Monitor] = ()
    fingerprint: str = ""
    snapshot: Snapshot = field(default_factory=lambda: Snapshot(()))
    holds: Holds = field(default_factory=dict)
    not_ready: frozenset[str] = frozenset()
    look_at: float = 0.0
    slept: float | None = None  # seconds by which the time of day is ahead of the monotonic clock

    def turn(self) -> bool:
        """Look if anything changed, then run what is due. Return whether the database answered."""
        self._notice_sleep()
        lost, self.ticking.goes_on = self.database.failures, False
        ours = self.database.ask(self._look_if_changed)
        if lost and ours is not None:
            self.ticking.database_found()
        if not ours:
            return ours is not None
        tick = self.ticking.due()
        running = self.snapshot.running
        if self.sweeping.asked(self.snapshot.beads) or (
            running and self.sweeping.due(running, self.database.queue.now(), before_tick=tick)
        ):
            self._sweep()
        elif tick:  # one job a turn, because a turn has a deadline
            self._tick()
        return True

    def _notice_sleep(self) -> None:
        """Look at once after a laptop's sleep. Its agents slept too, so give them time to make progress."""
        clock, before = self.jobs.clock, self.slept
        self.slept = clock.now().timestamp() - clock.monotonic()
        if before is not None and self.slept - before > SLEPT_SECONDS:
            self.look_at = 0.0
            self.sweeping.postpone()

    def _look_if_changed(self, queue: Queue) -> bool:
        """Return whether the queue is ours to work on. Read it if it has changed, or if a time has come."""
        if not self.database.alone(queue):
            return False
        fingerprint = queue.fingerprint()
        if fingerprint != self.fingerprint or self.jobs.clock.monotonic() >= self.look_at:
            self._look(queue)
            self.fingerprint = fingerprint  # taken before the snapshot, so that later changes show at the next turn
        return True

    def _look(self, queue: Queue) -> None:
        snapshot, now, before = queue.snapshot(), queue.now(), self.snapshot
        self.jobs.log.unreadable(line for line in snapshot.unreadable if line not in before.unreadable)
        self.ticking.saw(before, snapshot)
        was_held, self.snapshot, self.holds = in_force(self.holds, now), snapshot, self.jobs.holds(queue)
        if was_held and not in_force(self.holds, now):  # somebody ended it early
            self.ticking.tick_at = 0.0
        self.ticking.has_work = pacing.has_work(snapshot.beads, self.holds, now)
        wakeup = eligibility.next_wakeup(snapshot.beads, self.holds, now)
        self.look_at = self.jobs.clock.monotonic() + pacing.seconds_to(wakeup, now)
        self._show()

    def _tick(self) -> None:
        report = self._run(self.jobs.tick, dispatcher.Report(Came.FAILED, failed=True))
        if report.not_ready is not None:
            self.not_ready = report.not_ready
        self.ticking.ticked(report)
        for monitor in self.monitors:
            monitor.ticked(report)
        self._show()

    def _sweep(self) -> None:
        self.sweeping.postpone()
        follower = self.jobs.follower
        gone = follower.gone if follower else frozenset()
        report = self._run(lambda: self.jobs.sweep(gone), reaper.Report(failed=True))
        for monitor in self.monitors:
            monitor.swept(report)

    def _show(self) -> None:
        for monitor in self.monitors:
            monitor.saw(self.snapshot, self.holds, self.database.queue.now(), self.not_ready)

    def _run(self, job: Callable[[], R], failed: R) -> R:
        """Return the job's report. `failed`: the report of a job that could not begin."""
        try:
            return job()
        except Failure as error:
            self.jobs.log.error("failed", str(error))
            return failed
