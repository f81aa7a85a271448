"""Both jobs in one process, for ever: it looks when the database has changed or a time has come."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from beads_dispatch import dispatcher, policy, reaper
from beads_dispatch.answers import Meaning
from beads_dispatch.errors import Failure
from beads_dispatch.log import Log
from beads_dispatch.queue import Queue, Seen

if TYPE_CHECKING:
    from beads_dispatch.listen import Health
    from beads_dispatch.metrics import Metrics

R = TypeVar("R")

PULSE_SECONDS = 1.0
LOOK_SECONDS = 300.0  # a full look at the latest, whatever the pulse says
SWEEP_SECONDS = 5.0, 600.0  # between two sweeps, at the least and at the most; the CronJob has ten minutes
CACHE_SECONDS = 2.5  # BeadBoard remembers its status for 2 s, a dispatch in between or not
ROOM_SECONDS = 15.0  # between two questions while there is no room
SLEPT_SECONDS = 60.0  # a clock that is set right by less means nothing
HOLDING = {Meaning.BUSY, Meaning.NOT_STARTED, Meaning.UNCLEAR}  # answers after which the queue waits
LONGEST_PAUSE = 120.0  # after ticks that failed, or while Dolt is gone


@dataclass(frozen=True, slots=True)
class Jobs:
    """The two jobs, each on a queue of its own, and the maker of the queue that is watched."""

    open_queue: Callable[[], Queue]
    tick: Callable[[], dispatcher.Report]
    sweep: Callable[[], reaper.Report]
    threshold: timedelta


def watch(
    jobs: Jobs, log: Log, stopping: Callable[[], bool], health: "Health | None" = None, metrics: "Metrics | None" = None
) -> int:
    """Turns once a second until it is told to stop; the exit status. Once it has begun, no Failure ends it."""
    work = _Watch(jobs, log, jobs.open_queue(), metrics, asleep=time.time() - time.monotonic())
    while not stopping():
        answered = work.turn()
        if health:
            health.turned(answered)
        time.sleep(PULSE_SECONDS)
    log.say("ended", "told to stop: ended")
    return 0


@dataclass(slots=True)
class _Watch:
    """What one turn leaves for the next. Times are of time.monotonic(), in seconds."""

    jobs: Jobs
    log: Log
    queue: Queue
    metrics: "Metrics | None" = None
    pulse: str = ""
    seen: Seen = field(default_factory=lambda: Seen(()))
    not_ready: frozenset[str] = frozenset()
    wanted: bool = False  # whether the last look found work for a tick
    look_at: float = 0.0
    tick_at: float = 0.0
    sweep_at: float = 0.0
    ask_at: float = 0.0
    lost: int = 0  # questions in a row that the database left unanswered
    failed: int = 0  # ticks in a row that failed and sent nothing
    asleep: float = 0.0  # seconds that the clock on the wall has gone on without time.monotonic()
    clock: Callable[[], float] = field(default=time.monotonic)
    wall: Callable[[], float] = field(default=time.time)

    def turn(self) -> bool:
        """Asks for the pulse, looks if need be, runs what is due; whether the database answered."""
        self._awake()
        if self.clock() < self.ask_at:
            return False
        try:
            self._survey_if_changed()
        except Failure as error:
            self._lost(error)
            return False
        self._found()
        if self.seen.running and self.clock() >= self.sweep_at:  # one job a turn, for a turn has a deadline
            self._sweep()
        elif self.wanted and self.clock() >= self.tick_at:
            self._tick()
        return True

    def _awake(self) -> None:
        """A laptop that slept: what was due in between is due now, and its agents, who slept too, get time to move."""
        before, self.asleep = self.asleep, self.wall() - self.clock()
        if self.asleep - before > SLEPT_SECONDS:
            self.look_at = 0.0
            self.sweep_at = self.clock() + sweep_every(self.jobs.threshold)

    def _survey_if_changed(self) -> None:
        pulse = self.queue.pulse()
        if pulse != self.pulse or self.clock() >= self.look_at:
            self._survey()
            self.pulse = pulse  # asked for before the survey: what changes meanwhile is seen at the next turn

    def _survey(self) -> None:
        seen, now = self.queue.read(), self.queue.now()
        self.log.unreadable(line for line in seen.unreadable if line not in self.seen.unreadable)
        ended = seen.running < self.seen.running  # there may be room, once the agent is gone
        new = self.failed and seen.ids - self.seen.ids  # a bead that had no part in what failed
        if ended or new:
            self.tick_at = min(self.tick_at, self.clock() + CACHE_SECONDS)
        self.seen, self.wanted = seen, policy.worth_a_tick(seen.beads, now)
        self.look_at = self.clock() + _seconds_to(policy.next_due(seen.beads, now), now)
        self._show()

    def _lost(self, error: Failure) -> None:
        if not self.lost:
            self.log.fail("lost", f"{error} (asks again until it answers)")
        self.lost += 1
        self.ask_at = self.clock() + pause(self.lost) * random.uniform(0.5, 1)  # not all watchers at the same instant
        self.queue.close()
        try:
            self.queue = self.jobs.open_queue()
        except Failure:
            pass  # a workspace that is gone for a moment; the old queue says so again

    def _found(self) -> None:
        if self.lost:
            self.log.say("found", "the database answers again")
        self.lost = 0

    def _tick(self) -> None:
        self.wanted = False
        report = self._run(self.jobs.tick, dispatcher.Report(failed=True))
        if report.not_ready is not None:
            self.not_ready = report.not_ready
        self.failed = self.failed + 1 if report.failed and not report.answers else 0
        # What a tick has written shows in the pulse. After one that could not write, the work is still there.
        self.wanted = bool(report.locked or report.waits or self.failed)
        self.tick_at = self.clock() + rest(report, self.failed)
        if self.metrics:
            self.metrics.ticked(report)
        self._show()

    def _show(self) -> None:
        if self.metrics:
            self.metrics.saw(self.seen, self.queue.now(), self.not_ready)

    def _sweep(self) -> None:
        self.sweep_at = self.clock() + sweep_every(self.jobs.threshold)
        report = self._run(self.jobs.sweep, reaper.Report(failed=True))
        if self.metrics:
            self.metrics.swept(report)

    def _run(self, job: Callable[[], R], failed: R) -> R:
        """The job; `failed` where it could not begin."""
        try:
            return job()
        except Failure as error:
            self.log.fail("failed", str(error))
            return failed


def pause(times: int) -> float:
    """Seconds to wait after so many failures in a row: 1, doubling to 2 minutes."""
    return float(min(2.0 ** (min(times, 10) - 1), LONGEST_PAUSE))


def rest(report: dispatcher.Report, failed: int) -> float:
    """Seconds until BeadBoard may be asked again."""
    if failed:
        return max(CACHE_SECONDS, pause(failed))
    if HOLDING & set(report.answers):  # the bead bears a hold as long as this, or it could not be written
        return policy.BUSY_WAIT.total_seconds()
    if report.waits:
        return ROOM_SECONDS
    return CACHE_SECONDS if report.answers or report.locked or report.not_ready else 0.0


def sweep_every(threshold: timedelta) -> float:
    """Seconds between two sweeps: three within the threshold, at least one in ten minutes."""
    least, most = SWEEP_SECONDS
    return max(least, min(most, threshold.total_seconds() / 3))


def _seconds_to(due: datetime | None, now: datetime) -> float:
    return min(LOOK_SECONDS, (due - now).total_seconds()) if due else LOOK_SECONDS
