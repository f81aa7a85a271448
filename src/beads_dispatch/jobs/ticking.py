"""When a watcher's tick is due: there is work, and the pause that the last tick asks for is over."""

from dataclasses import dataclass

from beads_dispatch.adapters.queue import Snapshot
from beads_dispatch.core import pacing
from beads_dispatch.core.pacing import Came
from beads_dispatch.jobs import dispatcher
from beads_dispatch.jobs.watching import Jobs


@dataclass(slots=True)
class Ticking:
    """What the last ticks came to. Times are monotonic seconds."""

    jobs: Jobs
    has_work: bool = False  # whether the last snapshot had work for a tick
    tick_at: float = 0.0
    came: Came = Came.IDLE  # what the last tick came to
    times: int = 0  # how often in a row
    goes_on: bool = False  # whether the next turn follows at once

    def due(self) -> bool:
        """Return whether to tick now. While a bead waits for a place, ask for one each second: it costs 2 ms."""
        if not self.has_work or self.jobs.clock.monotonic() >= self.tick_at:
            return self.has_work
        return self.came is Came.FULL and self.jobs.follower is not None and self.jobs.follower.has_room()

    def database_found(self) -> None:
        """Forget that the last ticks failed: the database answers again."""
        if self.came is Came.FAILED:
            self.came, self.times, self.tick_at = Came.IDLE, 0, 0.0

    def saw(self, before: Snapshot, after: Snapshot) -> None:
        ended = len(after.running) < len(before.running)  # there may be room, once the agent is gone
        new = self.came is Came.FAILED and after.ids - before.ids  # a bead that had no part in what failed
        if ended or new:
            pause = 0.0 if self.jobs.follower else pacing.CACHE_SECONDS
            self.tick_at = min(self.tick_at, self.jobs.clock.monotonic() + pause)

    def ticked(self, report: dispatcher.Report) -> None:
        waited = {Came.FULL, Came.BUSY, Came.NO_ANSWER}
        again = report.came is self.came or {report.came, self.came} <= waited
        self.came, self.times = report.came, self.times + 1 if again else 1
        self.has_work = report.came in pacing.WORK_IS_LEFT
        rest = pacing.rest(report.came, self.times, counts=self.jobs.follower is not None)
        self.goes_on = bool(report.answers) and not rest
        self.tick_at = self.jobs.clock.monotonic() + rest
