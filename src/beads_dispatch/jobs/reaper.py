"""A sweep: learn how each run ended, and block the beads in progress that have made no progress for too long."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from beads_dispatch.core import eligibility, marks, notes, outcomes, staleness
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.errors import BdFailed, NotAsExpected
from beads_dispatch.core.writes import Write, block_silent
from beads_dispatch.jobs import room
from beads_dispatch.jobs.cycle import Cycle, Outside, locked_out
from beads_dispatch.jobs.writing import due
from beads_dispatch.settings import Settings

if TYPE_CHECKING:
    from beads_dispatch.jobs.following import Ended, Seen

SWEEP_SECONDS = 180.0  # nothing is begun later than this, so that a sweep ends within five minutes


@dataclass(slots=True)
class Report:
    """What a sweep did. `ended`: the runs whose end it wrote."""

    failed: bool = False
    unreadable: bool = False  # a bead that cannot be read was left alone
    blocked: int = 0
    ended: "list[Ended]" = field(default_factory=list)


def sweep(
    outside: Outside, settings: Settings, *, dry_run: bool = False, no_job_left: frozenset[str] = frozenset()
) -> Report:
    """Look after every bead of the assignee that is in progress. Raise Failure if the database does not answer.

    `dry_run`: log what it would do, without a lock and without a write. `no_job_left`: beads whose job is known to be
    gone.
    """
    if not dry_run and not outside.queue.lock("reaper"):
        return Report(failed=locked_out(outside, "reaper", "sweep"))
    cycle = Cycle(outside, settings, outside.clock.monotonic())
    snapshot = outside.queue.snapshot()
    report = Report(unreadable=bool(snapshot.unreadable))
    outside.log.unreadable(snapshot.unreadable)
    _Sweep(cycle, report, snapshot.beads, no_job_left, dry_run=dry_run).run(snapshot.running)
    report.failed = cycle.failed
    return report


@dataclass(slots=True)
class _Sweep:
    """The steps of one sweep."""

    cycle: Cycle
    report: Report
    beads: Sequence[Bead]
    no_job_left: frozenset[str]
    dry_run: bool
    acted: bool = False

    def run(self, running: Sequence[Bead]) -> None:
        """Ask how runs ended, judge those that have together, and block the silent beads whose job nobody knows."""
        # Time may run out: the one that is due comes first.
        running = sorted(self._not_taken_back(running), key=staleness.last_sign)
        runner = self.cycle.outside.runner
        followed = [bead for bead in running if runner.follows and runner.job_of(bead)]
        seen: Sequence[Seen] = []
        if followed:
            from beads_dispatch.jobs import following  # an idle sweep asks about no job

            seen = following.look(self.cycle, followed, self.no_job_left)
            self.report.ended += following.conclude(self.cycle, seen, self.beads, dry_run=self.dry_run)
            self.acted = any(one.end for one in seen)
        settled = {one.bead.id for one in seen if one.end or one.at_work}
        for bead in running:
            stale = staleness.stale(bead, self.cycle.now(), self.cycle.settings.threshold)
            if stale and bead.id not in settled and not self.block(bead):
                break
        for bead in filter(marks.asks_anew, self.beads):
            self.tell(bead)
        if not self.acted:
            self.cycle.outside.log.info("idle", f"nothing to do: {len(running)} in progress, none stalled")

    def _not_taken_back(self, running: Sequence[Bead]) -> list[Bead]:
        """Return the beads whose record stands: an older row must not be given the end of another job."""
        if not running or self.dry_run:
            return list(running)
        entries = self.cycle.outside.queue.ledger([bead.id for bead in running])
        good = room.not_taken_back(self.cycle, running, entries)
        self.acted = len(good) < len(running)
        return good

    def tell(self, bead: Bead) -> None:
        """Tell a person of a question, once. The mark comes first: two messages are worse than a lost one."""
        cycle, self.acted = self.cycle, True
        words = notes.question(bead.notes) or "it is blocked, without a note"
        try:
            if not self.dry_run:
                cycle.outside.bd.update(bead, marks={marks.OUTCOME: outcomes.ASKS.word})  # the job may still run
                cycle.notify(bead, "asks", words)
            cycle.info("asks", f"asks: {words}", bead)
        except BdFailed as error:
            cycle.error("not_blocked", f"asks a question, but that could not be marked: {error}", bead)

    def block(self, chosen: Bead) -> bool:
        """Block a bead if it is still silent. Return whether there is time for the next one."""
        cycle, self.acted = self.cycle, True
        if cycle.out_of_time(SWEEP_SECONDS, "the rest is left to the next sweep"):
            return False
        try:
            bead = cycle.outside.bd.show(chosen.id)  # with its comments, heartbeat and lease
            found = due(cycle, partial(block_silent, threshold=cycle.settings.threshold), bead)
            if found is None:
                cycle.info("alive", "active again: left alone", bead)
            elif self.dry_run:
                cycle.info("would_block", f"would block: {found.note}", bead)
            else:
                self._write(bead, found)
        except NotAsExpected:
            cycle.info("alive", "changed meanwhile: left alone", chosen)
        except BdFailed as error:
            cycle.error("not_blocked", f"has made no progress, but could not be blocked: {error}", chosen)
        return True

    def _write(self, bead: Bead, found: Write) -> None:
        cycle, age = self.cycle, staleness.idle_for(bead, self.cycle.now())
        try:
            cycle.outside.bd.update(bead, status=found.status, note=found.note, marks=found.marks)
        except BdFailed as error:  # too large for another note: a comment, once, and the block alone
            if isinstance(error, NotAsExpected) or bead.size <= eligibility.MAX_SIZE:
                raise
            if not eligibility.has_too_large_notice(bead):
                cycle.outside.bd.comment(bead.id, notes.too_large_to_block(age))
            # bd 1.3 can; 1.0 cannot write such a bead at all
            cycle.outside.bd.update(bead, status=found.status, marks=found.marks)
        line = found.note or ""
        cycle.info("blocked", line, bead, level="warning", job=marks.job(bead), seconds=age.total_seconds())
        cycle.notify(bead, "blocked", line)
        self.report.blocked += 1
