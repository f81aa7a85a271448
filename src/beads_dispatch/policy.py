"""The decisions, pure: which bead goes, in what order, who waits until when, what is stale."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from beads_dispatch import notes
from beads_dispatch.bead import MARK, Bead, read_time

FIRST_WAIT = timedelta(minutes=2)
LONGEST_WAIT = timedelta(hours=1)
BUSY_WAIT = timedelta(minutes=2)
MAX_ATTEMPTS = 5
MAX_SIZE = 48 * 1024  # bytes; at 64 KB bd's writes begin to fail

# ECMAScript's WhiteSpace and LineTerminator: what BeadBoard's String.prototype.trim takes away.
# Python's str.strip() takes others (it leaves U+FEFF and strips U+001C to U+001F and U+0085).
JS_SPACE = "\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x200B)))
# Types that `bd ready` never lists.
NEVER_READY = frozenset({"merge-request", "gate", "molecule", "message", "agent", "role", "rig"})


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an open bead does not go now. `mend`: only a person can change that, so the bead is told."""

    text: str
    mend: bool = False

    @property
    def kind(self) -> str:
        """The text without the time that may be in it."""
        return self.text.split(" until ")[0]


TOO_LARGE = Reason("too large", mend=True)
NO_CRITERIA = Reason("no acceptance criteria", mend=True)
EPHEMERAL = Reason("ephemeral", mend=True)
AGENT_BEAD = Reason("agent bead", mend=True)
NOT_READY = Reason("bd does not call it ready: it waits for a dependency, or for its parent")


@dataclass(frozen=True, slots=True)
class Hold:
    """Until when nothing is dispatched at all, and how often in a row the service has failed."""

    until: datetime
    step: int
    bead_id: str = ""  # the bead that bears it


def blank(criteria: str) -> bool:
    """Whether BeadBoard would find nothing in these acceptance criteria."""
    return not criteria.strip(JS_SPACE)


def why_not(bead: Bead, now: datetime) -> Reason | None:
    """Why this open bead must not be dispatched now; None where only `bd ready` may still say no."""
    if bead.size > MAX_SIZE:
        return TOO_LARGE
    if bead.ephemeral:
        return EPHEMERAL
    if "gt:agent" in bead.labels:
        return AGENT_BEAD
    if bead.pinned or bead.issue_type in NEVER_READY:
        return Reason(f"bd never calls it ready: {'pinned' if bead.pinned else 'type ' + bead.issue_type}", mend=True)
    if blank(bead.acceptance_criteria):
        return NO_CRITERIA
    if bead.defer_until and bead.defer_until > now:
        return Reason(f"deferred until {notes.utc(bead.defer_until)}")
    if until := _mark_time(bead, "retry_after", now):
        return Reason(f"backing off until {notes.utc(until)}") if until > now else None
    return None


def untold(beads: Iterable[Bead], now: datetime) -> list[tuple[Bead, Reason]]:
    """The open beads with a reason that a person must mend and that they do not yet bear, in the queue's order."""
    reasons = ((bead, why_not(bead, now)) for bead in in_order(beads) if bead.status == "open")
    return [(bead, why) for bead, why in reasons if why and why.mend and not _told(bead, why)]


def _told(bead: Bead, reason: Reason) -> bool:
    return told_too_large(bead) if reason is TOO_LARGE else notes.told(bead.notes, notes.not_dispatched(reason.text))


def told_too_large(bead: Bead) -> bool:
    """A note no longer fits, so it is told by a comment, of which the time is compared with the last claim's."""
    claim = notes.newest_claim(bead.notes)
    claimed_at = read_time(claim[0]) if claim else None
    return bead.told_too_large_at is not None and (claimed_at is None or bead.told_too_large_at >= claimed_at)


def in_order(beads: Iterable[Bead]) -> list[Bead]:
    """The order of the queue: priority, then the one that waits longest, then id."""
    return sorted(beads, key=lambda bead: (bead.priority, bead.updated_at, bead.id))


def due(beads: Iterable[Bead], now: datetime) -> list[Bead]:
    """Beads that `bd defer` put off until a time that has come."""
    return [bead for bead in beads if bead.status == "deferred" and bead.defer_until and bead.defer_until <= now]


def candidates(beads: Iterable[Bead], now: datetime) -> list[Bead]:
    """Open beads that nothing but `bd ready` speaks against, in the order of the queue."""
    return in_order(bead for bead in beads if bead.status == "open" and not why_not(bead, now))


def worth_a_tick(beads: Iterable[Bead], now: datetime) -> bool:
    """Whether a tick would find something to do here, or at least something to ask bd about."""
    known = tuple(beads)
    held = (last := hold(known, now)) is not None and last.until > now
    return bool(untold(known, now) or due(known, now) or (not held and candidates(known, now)))


def next_due(beads: Iterable[Bead], now: datetime) -> datetime | None:
    """When the first hold, back-off or deferral ends; None where none is in force."""
    known = tuple(beads)
    ends = [_mark_time(bead, "retry_after", now) for bead in known]
    ends += [bead.defer_until for bead in known if bead.status in ("open", "deferred")]
    ends += [last.until] if (last := hold(known, now)) else []
    return min((end for end in ends if end and end > now), default=None)


def wait(step: int) -> timedelta:
    """2 minutes doubling to an hour; `step` counts from 1."""
    return min(FIRST_WAIT * (1 << min(step - 1, 10)), LONGEST_WAIT)


def _mark_time(bead: Bead, name: str, now: datetime) -> datetime | None:
    """A time mark; one that cannot be read, or lies more than an hour ahead, counts as absent."""
    time = read_time(bead.mark(name))
    return time if time and time <= now + LONGEST_WAIT else None


def _mark_count(bead: Bead, name: str, most: int) -> int:
    value = bead.mark(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most else 0


def attempts(bead: Bead) -> int:
    """How many dispatches of this bead BeadBoard has refused for the bead's own fault."""
    if bead.metadata is None:  # no mark can stand there; after the fifth a person has opened it
        return notes.attempts(bead.notes) % MAX_ATTEMPTS
    return _mark_count(bead, "attempts", MAX_ATTEMPTS)


def hold(beads: Iterable[Bead], now: datetime) -> Hold | None:
    """The newest hold on any bead; None where there is none, or it ended more than an hour ago."""
    holds = [
        Hold(until, _mark_count(bead, "hold_step", 1000), bead.id)
        for bead in beads
        if (until := _mark_time(bead, "hold_until", now)) and until > now - LONGEST_WAIT
    ]
    return max(holds, key=lambda hold: hold.until, default=None)


def held_by(hold: Hold, beads: Iterable[Bead]) -> str:
    """The bead that bears the hold, and the last outcome on it."""
    outcome = next((notes.last_outcome(bead.notes) for bead in beads if bead.id == hold.bead_id), None)
    return f"{hold.bead_id}: {outcome or 'a hold'}"


def next_hold(last: Hold | None, now: datetime) -> Hold:
    step = last.step + 1 if last else 1
    return Hold(now + wait(step), step)


def hold_marks(hold: Hold) -> dict[str, str]:
    """A hold as metadata; bd takes and returns numbers as numbers."""
    return {MARK + "hold_step": str(hold.step), MARK + "hold_until": notes.utc(hold.until)}


def attempt_marks(number: int, now: datetime) -> dict[str, str]:
    return {MARK + "attempts": str(number), MARK + "retry_after": notes.utc(now + wait(number))}


def kept_marks(bead: Bead) -> dict[str, str]:
    """What a claim takes off and a roll back puts on again."""
    return {MARK + "attempts": str(count)} if (count := attempts(bead)) else {}


def marks_on(bead: Bead) -> list[str]:
    """The names of our marks that the bead bears, to be taken off by a claim or by giving up."""
    return sorted(key for key in bead.metadata or () if key.startswith(MARK))


def claimable(bead: Bead, assignee: str, now: datetime) -> bool:
    """Whether nothing but `bd ready` can speak against a claim of this bead."""
    return (bead.status, bead.assignee) == ("open", assignee) and not why_not(bead, now)


def changed(bead: Bead | None, assignee: str, token: str) -> str | None:
    """What speaks against POSTing a bead that we claimed with `token`; None where it is still ours."""
    what = _not_ours(bead, assignee, token)
    if not what and bead and blank(bead.acceptance_criteria):
        return "its acceptance criteria are gone"
    return what


def _not_ours(bead: Bead | None, assignee: str, token: str) -> str | None:
    if bead is None:
        return "it is gone"
    if bead.status != "in_progress":
        return f"its status is now {bead.status}"
    if bead.assignee != assignee:
        return f"it is now assigned to {bead.assignee or 'nobody'}"
    if notes.newest_token(bead.notes) != token:
        return "our claim is no longer the newest on it"
    return None


def returnable(bead: Bead | None, assignee: str, token: str) -> bool:
    """Whether a bead is still ours to put back: in progress, our assignee's, our claim the newest."""
    return not _not_ours(bead, assignee, token)


def over(seconds: float, most: float, stopping: bool) -> str:
    """Why a job that has run for so many seconds begins nothing more; nothing where it may go on."""
    return "told to stop" if stopping else "out of time" if seconds > most else ""


def idle_for(bead: Bead, now: datetime) -> timedelta:
    """Time since the bead's last sign of life; never below 0, for clients' clocks differ."""
    signs = (bead.updated_at, bead.heartbeat_at, bead.commented_at)
    return max(now - max(sign for sign in signs if sign), timedelta(0))


def stale(bead: Bead, now: datetime, threshold: timedelta) -> bool:
    """Whether a bead in progress has shown no sign of life for longer than `threshold`."""
    alive = bead.lease_expires_at is not None and bead.lease_expires_at > now
    return bead.status == "in_progress" and not alive and idle_for(bead, now) > threshold


def summary(beads: Iterable[Bead], now: datetime, other: Mapping[str, Reason]) -> Counter[str]:
    """How many open beads wait for which reason: {reason: count}; `other` has those bd gave, by id."""
    reasons = (why_not(bead, now) or other.get(bead.id) for bead in beads if bead.status == "open")
    return Counter(reason.kind for reason in reasons if reason)
