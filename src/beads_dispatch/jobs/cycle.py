"""What every tick and sweep is given, and what its steps share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from beads_dispatch.adapters import queue
from beads_dispatch.adapters.bd.verbs import Bd
from beads_dispatch.adapters.clock import Clock
from beads_dispatch.adapters.log import Field, Log
from beads_dispatch.adapters.queue import Queue
from beads_dispatch.adapters.runner import Runner
from beads_dispatch.core.bead import Bead
from beads_dispatch.settings import Settings


@dataclass(frozen=True, slots=True)
class Outside:
    """Everything outside of the decisions. `new_token`: six random hex digits. `stopping`: whether to end early.

    `warm_up` loads in the background what a dispatch will need. `sweep` learns how runs ended, on a queue of its own,
    and returns whether it wrote anything. A watcher sweeps before each tick anyway, so its `sweep` does nothing.
    `notices`: the messages to a person. They are sent once everything is recorded.
    """

    queue: Queue
    bd: Bd
    runner: Runner
    clock: Clock
    new_token: Callable[[], str]
    log: Log
    stopping: Callable[[], bool]
    warm_up: Callable[[], None] = lambda: None
    sweep: Callable[[], bool] = lambda: False
    notices: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Cycle:
    """One tick or one sweep under way. `started`: seconds by the monotonic clock."""

    outside: Outside
    settings: Settings
    started: float
    failed: bool = False
    answered_at: float | None = None  # since when we have been recording the answer to a start, monotonic seconds
    ended_early: str = ""  # why, once it has been logged

    def now(self) -> datetime:
        """Return the time by the queue's clock, UTC."""
        return self.outside.queue.now()

    def info(self, event: str, text: str, bead: Bead, level: str = "info", **fields: Field) -> None:
        self.outside.log.info(event, text, bead=bead.id, level=level, **fields)

    def error(self, event: str, text: str, bead: Bead | str, level: str = "error", **fields: Field) -> None:
        """Log a failure of a bead, given itself or by its id. The command then exits with 1."""
        self.failed = True
        self.outside.log.error(event, text, bead=bead if isinstance(bead, str) else bead.id, level=level, **fields)

    def notify(self, bead: Bead, what: str, why: str) -> None:
        """Queue a message to a person: see `notices.notice`."""
        from beads_dispatch.core import notices  # most ticks have none

        self.outside.notices.append(notices.notice(bead, what, why))

    def out_of_time(self, seconds: float, rest: str) -> bool:
        """Return whether to begin nothing more: we were asked to stop, or have run for more than `seconds`.

        Log why, once. `rest`: what happens to the remaining work.
        """
        late = self.outside.clock.monotonic() - self.started > seconds
        reason = "stopping" if self.outside.stopping() else "out of time" if late else ""
        if reason and (line := f"{reason}: {rest}") != self.ended_early:
            self.outside.log.info("ended_early", line)
            self.ended_early = line
        return bool(reason)


def locked_out(outside: Outside, job: str, what: str) -> bool:
    """Log that another process has the lock. Return whether it has had it for so long that it must be frozen."""
    frozen = frozen_holder(outside, job, what)
    if frozen:
        outside.log.error("stuck", frozen)
    else:
        outside.log.info("locked", f"another {what} is running")
    return bool(frozen)


def frozen_holder(outside: Outside, job: str, what: str) -> str:
    """Say who has held a lock for longer than a tick or a sweep can last; empty if nobody has."""
    who = outside.queue.holder(job, queue.STUCK_SECONDS)
    return f"another {what} holds the lock and does nothing: end that process ({who})" if who else ""
