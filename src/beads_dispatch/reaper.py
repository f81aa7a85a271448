"""A sweep: blocks the beads in progress that stopped moving, and says so on each."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from beads_dispatch import notes, policy
from beads_dispatch.bd import Bd
from beads_dispatch.bead import Bead
from beads_dispatch.errors import BdFailed, NotAsExpected
from beads_dispatch.log import Log
from beads_dispatch.queue import Queue
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


def sweep(
    queue: Queue, bd: Bd, settings: Settings, log: Log, stopping: Callable[[], bool], *, dry_run: bool = False
) -> Report:
    """Blocks every bead of the assignee that is stale. Raises Failure."""
    if not dry_run and not queue.lock("reaper"):
        log.say("locked", "another sweep is at work")
        return Report()
    started, seen = time.monotonic(), queue.read()
    report = Report(unreadable=bool(seen.unreadable))
    log.unreadable(seen.unreadable)
    stale = [bead for bead in seen.beads if policy.stale(bead, queue.now(), settings.threshold)]
    for bead in stale:
        if why := policy.over(time.monotonic() - started, SWEEP_SECONDS, stopping()):
            log.say("ended_early", f"{why}: the rest is the next sweep's")
            break
        try:
            report.blocked += _block(bead, queue, bd, settings, log, dry_run=dry_run)
        except NotAsExpected:
            log.say("alive", "changed meanwhile: left alone", bead=bead.id)
        except BdFailed as error:
            report.failed = True
            log.fail("not_blocked", f"stands still, but could not be blocked: {error}", bead=bead.id)
    if not stale:
        log.say("idle", f"nothing to do: {seen.running} in progress, none for too long")
    return report


def _block(chosen: Bead, queue: Queue, bd: Bd, settings: Settings, log: Log, *, dry_run: bool) -> bool:
    """Reads the bead once more, with its comments, heartbeat and lease, and blocks it if it is still stale."""
    bead, now = bd.show(chosen.id), queue.now()
    line = notes.blocked(policy.idle_for(bead, now), settings.threshold, bead.notes)
    if bead.assignee != settings.assignee or not policy.stale(bead, now, settings.threshold):
        log.say("alive", "moves again: left alone", bead=bead.id)
    elif dry_run:
        log.say("would_block", f"would block: {line}", bead=bead.id)
    else:
        _write(bead, line, bd, policy.idle_for(bead, now))
        log.say("blocked", line, bead=bead.id, level="warning")
        return True
    return False


def _write(bead: Bead, line: str, bd: Bd, age: timedelta) -> None:
    """The block and its note; of a bead too large for another note, the block alone, and a comment once."""
    try:
        bd.update(bead, status="blocked", note=line)
    except NotAsExpected:
        raise
    except BdFailed:
        if bead.size <= policy.MAX_SIZE:
            raise
        if not policy.told_too_large(bead):
            bd.comment(bead.id, notes.too_large_to_block(age))
        bd.update(bead, status="blocked")  # bd 1.3 can; 1.0 writes no such bead at all
