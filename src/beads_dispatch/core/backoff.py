"""How long a bead waits after a failure or between its runs. (How long the whole queue waits: holds.py.)"""

from datetime import datetime, timedelta

from beads_dispatch.core import marks
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.marks import Change
from beads_dispatch.core.text import utc

FIRST_WAIT = timedelta(minutes=2)
LONGEST_WAIT = timedelta(hours=1)
MAX_ATTEMPTS = 5  # of dispatches
FREE_RUNS = 2  # the third run in a row waits
MAX_RUNS = 5  # in a row, without a person


def backoff(step: int, first: timedelta = FIRST_WAIT, longest: timedelta = LONGEST_WAIT) -> timedelta:
    """Return 2 minutes, doubling to an hour, or as given. `step` counts from 1."""
    return min(first * (1 << min(step - 1, 10)), longest)


def refused(bead: Bead, now: datetime) -> Change:
    """Return the marks of a bead that is charged for one more failed dispatch."""
    number = marks.attempts(bead) + 1
    until = utc(now + backoff(number))
    return {marks.ATTEMPTS: str(number), marks.FAILED_AT: utc(now), marks.RETRY_AFTER: until}


def next_run_at(bead: Bead) -> datetime | None:
    """Return when an open bead may run again, UTC: the third run waits 2 minutes after the last claim, then 4, 8."""
    count = marks.runs(bead)
    claim = marks.claim(bead) if count >= FREE_RUNS else None  # its time is a text: reading one costs an import
    return claim[1] + backoff(count - FREE_RUNS + 1) if claim else None
