"""When the watcher acts: whether a tick has work, and how many seconds it waits between its jobs."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from beads_dispatch.core import backoff, claim, eligibility
from beads_dispatch.core.backoff import Holds
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.runner import Outcome

LOOK_SECONDS = 300.0  # a full snapshot at the latest, even if the fingerprint has not changed
SWEEP_SECONDS = 5.0, 600.0  # between two sweeps, at least and at most; the CronJob sweeps every ten minutes
CACHE_SECONDS = 2.5  # BeadBoard caches its status for 2 s, also across a dispatch
ROOM_SECONDS = 15.0  # between two questions while there is no room
LONGEST_PAUSE = 120.0  # after ticks that failed
LONGEST_LOSS = 15.0  # between two questions while the database does not answer
REMINDER_SECONDS = 600.0  # between two log lines about the same loss
HOLDING = {Outcome.BUSY, Outcome.NOT_STARTED, Outcome.UNCLEAR}  # answers after which the queue waits


def has_work(beads: Iterable[Bead], holds: Holds, now: datetime) -> bool:
    """Whether a tick would find something to do here, or at least something to ask bd about."""
    known = tuple(beads)
    upkeep = (
        eligibility.needs_notice(known, now)
        or eligibility.expired_deferrals(known, now)
        or eligibility.not_again(known, now)
        or claim.lost_records(known, now)
    )
    waits = backoff.in_force(holds, now) or backoff.probe(holds.get(backoff.USAGE), known, now) == "none"
    return bool(upkeep or (not waits and eligibility.eligible(known, now)))


def pause(times: int) -> float:
    """After so many failures in a row: 1, doubling to 2 minutes."""
    return float(min(2.0 ** (min(times, 10) - 1), LONGEST_PAUSE))


def rest(answers: Collection[Outcome], failures: int, waits: int, *, asked: bool, counts: bool) -> float:
    """Until the next tick may ask for room.

    `failures`, `waits`: ticks in a row that failed, that found no room. `asked`: bd was asked in vain, or another
    tick was running. `counts`: the agent service counts its places, so nothing depends on BeadBoard's cache.
    """
    if failures:
        return max(CACHE_SECONDS, pause(failures))
    if HOLDING & set(answers):  # the queue is held as long as this, or that could not be written
        return backoff.FIRST_WAIT.total_seconds()
    if waits:
        return CACHE_SECONDS if waits == 1 else ROOM_SECONDS
    return CACHE_SECONDS if asked or (answers and not counts) else 0.0


def sweep_every(threshold: timedelta) -> float:
    """Between two sweeps: three within the threshold, at least one in ten minutes."""
    least, most = SWEEP_SECONDS
    return max(least, min(most, threshold.total_seconds() / 3))


def seconds_to(wakeup: datetime | None, now: datetime) -> float:
    """Until the next full snapshot."""
    return min(LOOK_SECONDS, (wakeup - now).total_seconds()) if wakeup else LOOK_SECONDS
