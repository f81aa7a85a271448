"""What a watcher is given, and whom it tells what it sees."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from beads_dispatch.adapters.clock import Clock
from beads_dispatch.adapters.log import Log
from beads_dispatch.adapters.queue import Queue, Snapshot
from beads_dispatch.core.holds import Holds
from beads_dispatch.jobs import dispatcher, reaper

if TYPE_CHECKING:
    from beads_dispatch.jobs.following import Follower


@dataclass(frozen=True, slots=True)
class Jobs:
    """What a watcher runs and is given. `open_queue`: a new connection to the queue that is watched.

    `sweep` gets the beads whose job is known to be gone.
    `follower`: asks how runs end, and for a free place; None if the runner cannot say.
    `jitter`: a random number between two others, so that not all watchers come back at the same instant.
    `holds`: the stored holds, and those that follow from the clock and a count.
    `turn_seconds`: between two turns.
    `stamp`: a value that changes when the file changes that says where the database is.
    """

    open_queue: Callable[[], Queue]
    tick: Callable[[], dispatcher.Report]
    sweep: Callable[[frozenset[str]], reaper.Report]
    threshold: timedelta
    clock: Clock
    jitter: Callable[[float, float], float]
    log: Log
    holds: Callable[[Queue], Holds] = lambda queue: queue.holds()
    stamp: Callable[[], object] = lambda: None
    turn_seconds: float = 1.0
    follower: "Follower | None" = None


class Monitor(Protocol):
    """What is told of everything that the watcher does and sees."""

    def turned(self, answered: bool) -> None:
        """Note that the loop has turned. `answered`: whether the database answered."""

    def saw(self, snapshot: Snapshot, holds: Holds, now: datetime, not_ready: frozenset[str]) -> None:
        """Note a new snapshot, or that bd said which beads are not ready. `now`: by the queue's clock, UTC."""

    def ticked(self, report: dispatcher.Report) -> None: ...

    def swept(self, report: reaper.Report) -> None: ...
