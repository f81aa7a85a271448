"""The database that a watcher watches: its lock, the pauses while it does not answer, and when it has moved."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from beads_dispatch.adapters.queue import Queue
from beads_dispatch.core import pacing
from beads_dispatch.core.errors import Failure
from beads_dispatch.jobs.watching import Jobs

R = TypeVar("R")

STAMP_SECONDS = 10.0  # between two looks at the file that says where the database is


@dataclass(slots=True)
class WatchedDatabase:
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
        """Return the answer; None if the database gives none, or if it is too early to ask again."""
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
        """Return whether we are the only watcher. Log another one once. The lock lasts as long as the queue."""
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
        """Open the queue again if the file has changed: it may name another database now."""
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
            pass  # the workspace is gone for a moment: the next question to the old queue reports that
