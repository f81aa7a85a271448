"""A sweep: blocks the beads in progress that have made no progress for too long, and says so on each."""

from dataclasses import dataclass
from datetime import timedelta

from beads_dispatch.core import claim, eligibility, marks, notes, staleness
from beads_dispatch.core.bead import Bead
from beads_dispatch.cycle import Cycle, Outside
from beads_dispatch.errors import BdFailed, NotAsExpected
from beads_dispatch.settings import Settings

SWEEP_SECONDS = 180.0  # nothing is begun later than this, so that a sweep ends within five minutes


@dataclass(slots=True)
class Report:
    """What a sweep did."""

    failed: bool = False
    unreadable: bool = False  # a bead that cannot be read was left alone
    blocked: int = 0

    @property
    def exit_status(self) -> int:
        return int(self.failed or self.unreadable)


def sweep(outside: Outside, settings: Settings, *, dry_run: bool = False) -> Report:
    """Blocks every stale bead of the assignee. Raises Failure.

    `dry_run`: prints what it would do. No lock, no write.
    """
    if not dry_run and not outside.queue.lock("reaper"):
        outside.log.info("locked", "another sweep is running")
        return Report()
    cycle = Cycle(outside, settings, outside.clock.monotonic())
    snapshot = outside.queue.snapshot()
    report = Report(unreadable=bool(snapshot.unreadable))
    outside.log.unreadable(snapshot.unreadable)
    stale = [bead for bead in snapshot.beads if staleness.stale(bead, cycle.now(), settings.threshold)]
    for bead in stale:
        if cycle.out_of_time(SWEEP_SECONDS, "the rest is left to the next sweep"):
            break
        report.blocked += _block_if_stale(cycle, bead, dry_run=dry_run)
    if not stale:
        outside.log.info("idle", f"nothing to do: {snapshot.running} in progress, none stalled")
    report.failed = cycle.failed
    return report


def _block_if_stale(cycle: Cycle, bead: Bead, *, dry_run: bool) -> bool:
    try:
        return _block(cycle, bead, dry_run=dry_run)
    except NotAsExpected:
        cycle.info("alive", "changed meanwhile: left alone", bead)
    except BdFailed as error:
        cycle.error("not_blocked", f"has made no progress, but could not be blocked: {error}", bead)
    return False


def _block(cycle: Cycle, chosen: Bead, *, dry_run: bool) -> bool:
    """Reads the bead again, with its comments, heartbeat and lease, and blocks it if it is still stale."""
    bead, now, threshold = cycle.outside.bd.show(chosen.id), cycle.now(), cycle.settings.threshold
    age = staleness.idle_for(bead, now)
    line = notes.blocked(age, threshold, sent=claim.dispatch_recorded(bead))
    if bead.assignee != cycle.settings.assignee or not staleness.stale(bead, now, threshold):
        cycle.info("alive", "active again: left alone", bead)
    elif dry_run:
        cycle.info("would_block", f"would block: {line}", bead)
    else:
        _write(cycle, bead, line, age)
        cycle.info("blocked", line, bead, level="warning")
        return True
    return False


def _write(cycle: Cycle, bead: Bead, line: str, age: timedelta) -> None:
    """The block and its note. For a bead too large for another note: a comment, once, and the block alone."""
    bd = cycle.outside.bd
    try:
        bd.update(bead, status="blocked", note=line, marks=marks.ended(bead))
    except NotAsExpected:
        raise
    except BdFailed:
        if bead.size <= eligibility.MAX_SIZE:
            raise
        if not eligibility.has_too_large_notice(bead):
            bd.comment(bead.id, notes.too_large_to_block(age))
        bd.update(bead, status="blocked", marks=marks.ended(bead))  # bd 1.3 can; 1.0 cannot write such a bead at all
