"""When the watcher acts: whether a tick has work, and how many seconds it waits between its jobs."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import Enum

from beads_dispatch.core import claim, eligibility
from beads_dispatch.core.backoff import FIRST_WAIT
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.holds import OF_RUNS, Holds, allowance, in_force, of_runs, started_since

LOOK_SECONDS = 300.0  # a full snapshot at the latest, even if the fingerprint has not changed
SWEEP_SECONDS = 5.0, 600.0  # between two sweeps, at least and at most; the CronJob sweeps every ten minutes
CACHE_SECONDS = 2.5  # BeadBoard caches its status for 2 s, also across a dispatch
ROOM_SECONDS = 15.0  # between two questions while there is no room
LONGEST_PAUSE = 120.0  # after ticks that failed
LONGEST_LOSS = 15.0  # between two questions while the database does not answer
REMINDER_SECONDS = 600.0  # between two log lines about the same loss


class Came(Enum):
    """What a tick came to."""

    IDLE = "there was nothing to do, or the queue is held"
    SENT = "it sent what it could"
    HELD = "an answer after which the queue waits"
    FULL = "the runner counts its places, and none is free"
    BUSY = "the runner is busy by an answer that may be old, or a bead's own last job still runs"
    NO_ANSWER = "a service that was asked for room did not answer"
    NOT_READY = "bd lists none of the beads as ready"
    LOCKED = "another tick is running"
    FAILED = "it failed and sent nothing"


# What a tick has written changes the fingerprint. After these the work is still there without any change.
WORK_IS_LEFT = {Came.FULL, Came.BUSY, Came.NO_ANSWER, Came.LOCKED, Came.FAILED}


def has_work(beads: Iterable[Bead], holds: Holds, now: datetime) -> bool:
    """Return whether a tick would find something to do, or at least something to ask bd about."""
    known = tuple(beads)
    upkeep = (
        eligibility.needs_notice(known, now)
        or eligibility.expired_deferrals(known, now)
        or eligibility.not_again(known, now)
        or claim.lost_records(known, now)
    )
    return bool(upkeep or (eligibility.eligible(known, now) and not _held(holds, known, now)))


def _held(holds: Holds, beads: Sequence[Bead], now: datetime) -> bool:
    """Return whether the holds keep a tick from starting anything, as far as the beads alone show it."""
    others = {kind: hold for kind, hold in holds.items() if kind not in OF_RUNS}
    if in_force(others, now):
        return True
    running = {bead.id for bead in beads if bead.status == "in_progress"}
    for hold in of_runs(holds).values():
        since = started_since(hold, beads)
        proves = bool(since) and not hold.proven and now - since[0][0] >= hold.proof
        if proves or (hold.first and hold.first not in running):
            return False  # a tick asks what became of the run that went first
    return allowance(holds, beads, now).most == 0


def pause(times: int) -> float:
    """Return how many seconds to wait after so many failures in a row: 1, doubling to 2 minutes."""
    return float(min(2.0 ** (min(times, 10) - 1), LONGEST_PAUSE))


def rest(came: Came, times: int, *, counts: bool) -> float:
    """Return the seconds until the next tick may ask for room.

    `times`: how often in a row ticks came to this. `counts`: the runner counts its places, so nothing depends on
    BeadBoard's cache.
    """
    match came:
        case Came.FAILED:
            return max(CACHE_SECONDS, pause(times))
        case Came.HELD:  # the queue is held as long as this, or that could not be written
            return FIRST_WAIT.total_seconds()
        case Came.FULL | Came.BUSY | Came.NO_ANSWER:
            return CACHE_SECONDS if times == 1 else ROOM_SECONDS
        case Came.LOCKED | Came.NOT_READY:
            return CACHE_SECONDS
        case Came.SENT:
            return 0.0 if counts else CACHE_SECONDS
    return 0.0


def sweep_every(threshold: timedelta) -> float:
    """Return the seconds between two sweeps: three within the threshold, and at least one in ten minutes."""
    least, most = SWEEP_SECONDS
    return max(least, min(most, threshold.total_seconds() / 3))


def seconds_to(wakeup: datetime | None, now: datetime) -> float:
    """Return the seconds until the next full snapshot."""
    return min(LOOK_SECONDS, (wakeup - now).total_seconds()) if wakeup else LOOK_SECONDS
