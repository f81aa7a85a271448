"""When a watcher's sweep is due: a run has ended, or a bead becomes stale."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime

from beads_dispatch.core import marks, pacing, staleness
from beads_dispatch.core.bead import Bead
from beads_dispatch.jobs.watching import Jobs


@dataclass(slots=True)
class Sweeping:
    """When a sweep is due: when a run has ended, or a bead becomes stale."""

    jobs: Jobs
    asking: AbstractSet[str] = frozenset()  # ids of beads
    sweep_at: float = 0.0  # monotonic seconds: no sweep of stale beads before

    def asked(self, beads: Sequence[Bead]) -> bool:
        """Return whether an agent asks a question that nobody has been told of. Report each question once."""
        new = {bead.id for bead in beads if marks.asks_anew(bead)}
        before, self.asking = self.asking, new
        return bool(new - before)

    def due(self, running: Sequence[Bead], now: datetime, *, before_tick: bool) -> bool:
        """Return whether a run has ended or a bead has become stale. `running`: the beads in progress."""
        follower = self.jobs.follower
        if follower and follower.found_end(running, now, eager=before_tick):
            return True
        at_work = follower.at_work if follower else frozenset()
        unknown = (bead for bead in running if bead.id not in at_work)
        stale = any(staleness.stale_at(bead, self.jobs.threshold) < now for bead in unknown)
        return stale and self.jobs.clock.monotonic() >= self.sweep_at

    def postpone(self) -> None:
        """Sweep no stale beads for a third of the threshold: no bead becomes stale twice within it."""
        self.sweep_at = self.jobs.clock.monotonic() + pacing.sweep_every(self.jobs.threshold)
