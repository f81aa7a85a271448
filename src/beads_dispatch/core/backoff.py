"""How long a bead or the whole queue waits after a failure, and the marks that say so."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from beads_dispatch.core import notes
from beads_dispatch.core.bead import MARK, Bead, read_time

FIRST_WAIT = timedelta(minutes=2)
LONGEST_WAIT = timedelta(hours=1)
BUSY_WAIT = timedelta(minutes=2)
MAX_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Hold:
    """Until when (UTC) nothing is dispatched at all, and how often in a row the service has failed."""

    until: datetime
    step: int
    bead_id: str = ""  # the bead whose metadata holds it


def backoff(step: int) -> timedelta:
    """2 minutes, doubling to an hour. `step` counts from 1."""
    return min(FIRST_WAIT * (1 << min(step - 1, 10)), LONGEST_WAIT)


def retry_after(bead: Bead, now: datetime) -> datetime | None:
    """When this bead may be tried again, UTC."""
    return _mark_time(bead, "retry_after", now)


def _mark_time(bead: Bead, name: str, now: datetime) -> datetime | None:
    """A time mark. One that cannot be read, or lies more than an hour ahead, counts as absent."""
    time = read_time(bead.mark(name))
    return time if time and time <= now + LONGEST_WAIT else None


def _mark_count(bead: Bead, name: str, most: int) -> int:
    value = bead.mark(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most else 0


def attempts(bead: Bead) -> int:
    """How many dispatches of this bead BeadBoard has refused because of the bead itself."""
    if bead.metadata is None:  # no mark can be written there; after the fifth a person has opened it
        return notes.attempts(bead.notes) % MAX_ATTEMPTS
    return _mark_count(bead, "attempts", MAX_ATTEMPTS)


def hold(beads: Iterable[Bead], now: datetime) -> Hold | None:
    """The newest hold on any bead. None: there is none, or it ended more than an hour ago."""
    holds = [
        Hold(until, _mark_count(bead, "hold_step", 1000), bead.id)
        for bead in beads
        if (until := _mark_time(bead, "hold_until", now)) and until > now - LONGEST_WAIT
    ]
    return max(holds, key=lambda hold: hold.until, default=None)


def in_force(hold: Hold | None, now: datetime) -> bool:
    """Whether the queue is held now."""
    return hold is not None and hold.until > now


def held_by(hold: Hold, beads: Iterable[Bead]) -> str:
    """The bead that the hold is on, and that bead's last outcome."""
    outcome = next((notes.last_outcome(bead.notes) for bead in beads if bead.id == hold.bead_id), None)
    return f"{hold.bead_id}: {outcome or 'a hold'}"


def next_hold(last: Hold | None, now: datetime) -> Hold:
    """The hold after one more failure of a service."""
    step = last.step + 1 if last else 1
    return Hold(now + backoff(step), step)


def busy_hold(now: datetime) -> Hold:
    """The hold after an answer that says the agent is busy. It does not count as a failure."""
    return Hold(now + BUSY_WAIT, 0)


def hold_marks(hold: Hold) -> dict[str, str]:
    """A hold as metadata. bd takes and returns numbers as numbers."""
    return {MARK + "hold_step": str(hold.step), MARK + "hold_until": notes.utc(hold.until)}


def attempt_marks(number: int, now: datetime) -> dict[str, str]:
    """The marks of a bead that was refused for the `number`th time."""
    return {MARK + "attempts": str(number), MARK + "retry_after": notes.utc(now + backoff(number))}


def kept_marks(bead: Bead) -> dict[str, str]:
    """What a claim removes and a release restores."""
    return {MARK + "attempts": str(count)} if (count := attempts(bead)) else {}


def marks_on(bead: Bead) -> list[str]:
    """The names of our marks on the bead: a claim removes them all."""
    return sorted(key for key in bead.metadata or () if key.startswith(MARK))
