"""Tick and sweep in one process, continuously: when the database has changed or a time has come."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol, TypeVar

from beads_dispatch.adapters.clock import Clock
from beads_dispatch.adapters.log import Log
from beads_dispatch.adapters.queue import Queue, Snapshot
from beads_dispatch.core import backoff, eligibility, pacing, staleness
from beads_dispatch.core.backoff import Holds
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.errors import Failure
from beads_dispatch.jobs import dispatcher, reaper

if TYPE_CHECKING:
    from beads_dispatch.jobs.following import Follower

R = TypeVar("R")

TURN_SECONDS = 1.0
STAMP_SECONDS = 10.0  # between two looks at the file that says where the database is
SLEPT_SECONDS = 60.0  # a clock that is corrected by less means nothing


@dataclass(frozen=True, slots=True)
class Jobs:
    """What a watcher runs and is given. `open_queue`: a new connection to the queue that is watched.

    `sweep` gets the beads whose job is known to be gone. `follower` asks how runs end, and for a free place, where the
    agent service is known.
    `jitter`: a random number between two, so that not all watchers come back at the same instant.
    `stamp`: a value that changes when the file does that says where the database is.
    """

    open_queue: Callable[[], Queue]
    tick: Callable[[], dispatcher.Report]
    sweep: Callable[[frozenset[str]], reaper.Report]
    threshold: timedelta
    clock: Clock
    jitter: Callable[[float, float], float]
    log: Log
    stamp: Callable[[], object] = lambda: None
    follower: "Follower | None" = None


class Monitor(Protocol):
    """What is told of everything that the watcher does and sees."""

    def turned(self, answered: bool) -> None:
        """The loop has turned. `answered`: whether the database did."""

    def saw(self, snapshot: Snapshot, holds: Holds, now: datetime, not_ready: frozenset[str]) -> None:
        """A new snapshot, or a tick that asked bd which beads are ready. `now`: by the queue's clock, UTC."""

    def ticked(self, report: dispatcher.Report) -> None: ...

    def swept(self, report: reaper.Report) -> None: ...


def watch(jobs: Jobs, stopping: Callable[[], bool], monitor: Monitor | None = None) -> int:
    """Takes a turn each second until `stopping`. Returns the exit status. Once it has begun, no Failure ends it."""
    stamp = jobs.stamp()  # from before the file is read: a later change shows at the next turn
    watcher = _Watcher(jobs, _Database(jobs, jobs.open_queue(), stamp), _Ticking(jobs), _Sweeping(jobs), monitor)
    while not stopping():
        answered = watcher.turn()
        if monitor:
            monitor.turned(answered)
        if not watcher.ticking.goes_on:
            jobs.clock.sleep(TURN_SECONDS)
    jobs.log.info("stopped", "stopped")
    return 0


@dataclass(slots=True)
class _Database:
    """The queue that is watched, and the pauses while its database does not answer. Times are monotonic seconds."""

    jobs: Jobs
    queue: Queue
    stamp: object = None
    follow_at: float = 0.0
    failures: int = 0  # questions in a row without an answer
    reason: str = ""  # of the last failure
    ask_at: float = 0.0
    remind_at: float = 0.0
    locked: Queue | None = None  # the queue that holds the watcher's lock
    waiting: bool = False  # whether another watcher was at work when we last asked

    def ask(self, question: Callable[[Queue], R]) -> R | None:
        """The answer. None: there is none, or it is too early to ask again."""
        self._follow()
        if self.jobs.clock.monotonic() < self.ask_at:
            return None
        try:
            answer = question(self.queue)
        except Failure as error:
            self._lost(error)
            return None
        if self.failures:
            self.jobs.log.info("found", "the database answers again")
        self.failures, self.reason = 0, ""
        return answer

    def alone(self, queue: Queue) -> bool:
        """Whether we are the only watcher. The lock lasts as long as the queue. Reports another one once."""
        if self.locked is queue:
            return True
        free = queue.lock("watcher")
        if free and self.waiting:
            self.jobs.log.info("watching", "the other watcher has ended: watching now")
        elif not free and not self.waiting:
            holder = queue.holder("watcher")
            who = f" ({holder})" if holder else ""
            self.jobs.log.info("locked", f"another watcher is at work{who}: waiting until it ends")
        self.locked, self.waiting = queue if free else None, not free
        return free

    def _follow(self) -> None:
        """Opens the queue anew where the file has changed: the database that is watched may be another one now."""
        now = self.jobs.clock.monotonic()
        if now < self.follow_at:
            return
        self.follow_at, stamp = now + STAMP_SECONDS, self.jobs.stamp()
        if stamp == self.stamp:
            return
        self.stamp, self.ask_at = stamp, 0.0
        try:
            queue = self.jobs.open_queue()
        except Failure as error:
            self.jobs.log.error("misconfigured", f"{error} (watching as before)")
            return
        self.queue.close()
        self.queue = queue

    def _lost(self, error: Failure) -> None:
        now = self.jobs.clock.monotonic()
        if str(error) != self.reason or now >= self.remind_at:
            self.jobs.log.error("lost", f"{error} (asking until it answers)")
            self.reason, self.remind_at = str(error), now + pacing.REMINDER_SECONDS
        self.failures += 1
        self.ask_at = now + min(pacing.pause(self.failures), pacing.LONGEST_LOSS) * self.jobs.jitter(0.5, 1)
        self.locked = None
        self.queue.close()
        try:
            self.queue = self.jobs.open_queue()
        except Failure:
            pass  # the workspace is gone for a moment; the old queue reports that


@dataclass(slots=True)
class _Sweeping:
    """When a sweep is due: when a run has ended, or a bead becomes stale."""

    jobs: Jobs
    sweep_at: float = 0.0  # monotonic seconds: no sweep of stale beads before

    def due(self, running: Sequence[Bead], now: datetime, *, before_tick: bool) -> bool:
        """`running`: the beads in progress."""
        follower = self.jobs.follower
        if follower and follower.found_end(running, now, eager=before_tick):
            return True
        at_work = follower.at_work if follower else frozenset()
        unknown = (bead for bead in running if bead.id not in at_work)
        stale = any(staleness.stale_at(bead, self.jobs.threshold) < now for bead in unknown)
        return stale and self.jobs.clock.monotonic() >= self.sweep_at

    def postpone(self) -> None:
        """No bead can become stale twice within a third of the threshold."""
        self.sweep_at = self.jobs.clock.monotonic() + pacing.sweep_every(self.jobs.threshold)

    def sweep(self) -> reaper.Report:
        return self.jobs.sweep(self.jobs.follower.gone if self.jobs.follower else frozenset())


@dataclass(slots=True)
class _Ticking:
    """When a tick is due: where there is work, and after the pause that the last tick asks for."""

    jobs: Jobs
    has_work: bool = False  # whether the last snapshot had work for a tick
    tick_at: float = 0.0  # monotonic seconds
    failures: int = 0  # ticks in a row that failed and sent nothing
    waits: int = 0  # ticks in a row that found no room
    full: bool = False  # whether the agent service had no place at the last tick
    goes_on: bool = False  # whether the next turn follows at once

    def due(self) -> bool:
        return self.has_work and (self.jobs.clock.monotonic() >= self.tick_at or self._has_room_again())

    def _has_room_again(self) -> bool:
        """A place is filled as soon as it is free. Asked each second while a bead waits for one: it costs 2 ms."""
        return self.full and self.jobs.follower is not None and self.jobs.follower.has_room()

    def database_found(self) -> None:
        """What made the last ticks fail is over."""
        if self.failures:
            self.failures, self.tick_at = 0, 0.0

    def saw(self, before: Snapshot, after: Snapshot) -> None:
        ended = len(after.running) < len(before.running)  # there may be room, once the agent is gone
        new = self.failures and after.ids - before.ids  # a bead that had no part in what failed
        if ended or new:
            pause = 0.0 if self.jobs.follower else pacing.CACHE_SECONDS
            self.tick_at = min(self.tick_at, self.jobs.clock.monotonic() + pause)

    def ticked(self, report: dispatcher.Report) -> None:
        unsent = report.failed and not report.answers and not report.unreachable
        self.failures = self.failures + 1 if unsent else 0
        self.waits = self.waits + 1 if report.waits or report.unreachable else 0
        self.full = report.full
        # What a tick has written changes the fingerprint. After a tick that could not write, the work is still there.
        self.has_work = bool(report.locked or self.waits or self.failures)
        asked, counts = bool(report.locked or report.not_ready), self.jobs.follower is not None
        rest = pacing.rest(report.answers, self.failures, self.waits, asked=asked, counts=counts)
        self.goes_on = bool(report.answers) and not rest
        self.tick_at = self.jobs.clock.monotonic() + rest


@dataclass(slots=True)
class _Watcher:
    """What one turn leaves for the next. Times are monotonic seconds."""

    jobs: Jobs
    database: _Database
    ticking: _Ticking
    sweeping: _Sweeping
    monitor: Monitor | None = None
    fingerprint: str = ""
    snapshot: Snapshot = field(default_factory=lambda: Snapshot(()))
    holds: Holds = field(default_factory=dict)
    not_ready: frozenset[str] = frozenset()
    look_at: float = 0.0
    slept: float | None = None  # seconds by which the time of day is ahead of the monotonic clock

    def turn(self) -> bool:
        """Looks if anything changed, then runs what is due. Returns whether the database answered."""
        self._notice_sleep()
        lost, self.ticking.goes_on = self.database.failures, False
        ours = self.database.ask(self._look_if_changed)
        if lost and ours is not None:
            self.ticking.database_found()
        if not ours:
            return ours is not None
        tick = self.ticking.due()
        running = self.snapshot.running
        if running and self.sweeping.due(running, self.database.queue.now(), before_tick=tick):
            self._sweep()
        elif tick:  # one job a turn, because a turn has a deadline
            self._tick()
        return True

    def _notice_sleep(self) -> None:
        """After a laptop's sleep, what was due is due now. Its agents slept too, so they get time to make progress."""
        clock, before = self.jobs.clock, self.slept
        self.slept = clock.now().timestamp() - clock.monotonic()
        if before is not None and self.slept - before > SLEPT_SECONDS:
            self.look_at = 0.0
            self.sweeping.postpone()

    def _look_if_changed(self, queue: Queue) -> bool:
        """Whether the queue is ours to work on."""
        if not self.database.alone(queue):
            return False
        fingerprint = queue.fingerprint()
        if fingerprint != self.fingerprint or self.jobs.clock.monotonic() >= self.look_at:
            self._look(queue)
            self.fingerprint = fingerprint  # from before the snapshot: later changes show at the next turn
        return True

    def _look(self, queue: Queue) -> None:
        snapshot, now, before = queue.snapshot(), queue.now(), self.snapshot
        self.jobs.log.unreadable(line for line in snapshot.unreadable if line not in before.unreadable)
        self.ticking.saw(before, snapshot)
        was_held, self.snapshot, self.holds = backoff.in_force(self.holds, now), snapshot, queue.holds()
        if was_held and not backoff.in_force(self.holds, now):  # somebody ended it early
            self.ticking.tick_at = 0.0
        self.ticking.has_work = pacing.has_work(snapshot.beads, self.holds, now)
        wakeup = eligibility.next_wakeup(snapshot.beads, self.holds, now)
        self.look_at = self.jobs.clock.monotonic() + pacing.seconds_to(wakeup, now)
        self._show()

    def _tick(self) -> None:
        report = self._run(self.jobs.tick, dispatcher.Report(failed=True))
        if report.not_ready is not None:
            self.not_ready = report.not_ready
        self.ticking.ticked(report)
        if self.monitor:
            self.monitor.ticked(report)
        self._show()

    def _sweep(self) -> None:
        self.sweeping.postpone()
        report = self._run(self.sweeping.sweep, reaper.Report(failed=True))
        if self.monitor:
            self.monitor.swept(report)

    def _show(self) -> None:
        if self.monitor:
            self.monitor.saw(self.snapshot, self.holds, self.database.queue.now(), self.not_ready)

    def _run(self, job: Callable[[], R], failed: R) -> R:
        """The job's report. `failed`: where it could not begin."""
        try:
            return job()
        except Failure as error:
            self.jobs.log.error("failed", str(error))
            return failed
