"""Why each bead is where it is. `status`, `explain` and the metrics all take their words from here."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from beads_dispatch.core import claim, eligibility, marks, notes, outcomes, times
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.holds import AGENT, BUDGET, HOURS, SERVICE, USAGE, Holds, allowance, in_force
from beads_dispatch.core.text import utc

HAND_OVER = timedelta(minutes=3)  # at most, from a claim until its outcome is recorded
# How `status --json` names a hold; a service's is `held`.
HELD_KINDS = {USAGE: "usage limit", AGENT: "agent", HOURS: "hours", BUDGET: "budget"}
NEXT = "1st in line: a tick dispatches it as soon as the agent has room"


@dataclass(frozen=True, slots=True)
class QueueState:
    """Whether the queue dispatches. `kind`: one word, for programs. `text`: a few words, for people.

    `reason`: why an eligible bead is not dispatched; empty if only the agent's room decides.
    `until`: when a hold ends, UTC.
    """

    kind: str = "open"
    text: str = "open"
    reason: str = ""
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What we know besides the bead itself. `ready`: the ids that bd lists as ready.

    `at_work`: why an open bead waits for its last run, by id. `needs`: the beads that it depends on.
    `doing`: what the run of a bead in progress does, in a few words, by id.
    """

    assignee: str
    now: datetime
    queue: QueueState = QueueState()
    ready: frozenset[str] = frozenset()
    at_work: Mapping[str, str] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)
    doing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a bead stands. `kind`: a word to count by. `reason`: a sentence that stands on its own.

    `short`: the reason for a narrow table. `place`: its place in line, from 1, if it can be dispatched.
    `retry_at`: when it is retried automatically, UTC.
    """

    kind: str
    reason: str
    place: int | None = None
    retry_at: datetime | None = None
    short: str = ""

    @property
    def brief(self) -> str:
        """Return the reason without what the queue's state, shown beside it, already says."""
        if self.place:
            return f"{times.ordinal(self.place)} in line"
        return re.sub("^(agent ended|reaper|not dispatched): ", "", self.short or self.reason)


def queue_state(holds: Holds, beads: Iterable[Bead], now: datetime, unwritable: str = "") -> QueueState:
    """Return what keeps all beads from being dispatched. `unwritable`: why no claim could be written, if so."""
    if unwritable:
        text = f"nothing can be claimed: {unwritable}"
        return QueueState("unwritable", text, text)
    if hold := in_force(holds, now):
        kind, until = next(kind for kind, known in holds.items() if known is hold), utc(hold.until)
        text = f"held until {until}: {hold}"
        return QueueState(HELD_KINDS.get(kind, "held"), text, f"the queue is {text}", hold.until)
    allows = allowance(holds, tuple(beads), now)
    if allows.why:
        return QueueState("probing", f"open; {allows.why}", allows.why)
    if failure := holds.get(SERVICE):
        text = f"tried again at each tick; last time: {failure.reason}"
        return QueueState("failing", f"open; {text}", text)
    return QueueState()


def places(beads: Iterable[Bead], known: Known) -> Mapping[str, int]:
    """Return the place in line, from 1, of each bead that a tick would try, by id."""
    eligible = eligibility.eligible(beads, known.now)
    tried = [bead.id for bead in eligible if bead.id in known.ready and bead.id not in known.at_work]
    return {bead_id: place for place, bead_id in enumerate(tried, 1)}


def standings(beads: Sequence[Bead], known: Known) -> Mapping[str, Standing]:
    """Return where each of the assignee's beads stands, by id."""
    line = places(beads, known)
    return {bead.id: standing(bead, known, line.get(bead.id)) for bead in beads}


def standing(bead: Bead, known: Known, place: int | None = None) -> Standing:
    """Return where one bead stands. `place`: its place in line, if it is in line."""
    if bead.assignee != known.assignee and bead.status != "closed":
        return Standing("other", f"assigned to {bead.assignee or 'nobody'}, not to {known.assignee}")
    match bead.status:
        case "open":
            return _open(bead, known, place)
        case "in_progress":
            return _in_progress(bead, known)
        case "deferred":
            return _deferred(bead, known.now)
        case "closed":
            return Standing("closed", "closed")
        case "blocked":
            asks = marks.asks(bead)
            said = notes.question(bead.notes) if asks else notes.last_line(bead.notes)
            kind = block_outcome(bead) or ("asks" if asks else "other")
            return Standing(kind, said or "blocked, without a note")
    return Standing("", f"its status is {bead.status}")


def counted(beads: Iterable[Bead], closed: int, now: datetime) -> str:
    """Return the queue in one line. `closed`: how many an agent has closed today."""
    known = tuple(beads)
    open_ = (eligibility.ineligible_reason(bead, now) for bead in known if bead.status == "open")
    to_fix = sum(1 for why in open_ if why and why.needs_person)
    by = Counter(bead.status for bead in known)
    waiting = len(known) - by["in_progress"] - by["blocked"] - to_fix
    return (
        f"{by['in_progress']} running · {waiting} waiting · {by['blocked'] + to_fix} need you · {closed} closed today"
    )


def _open(bead: Bead, known: Known, place: int | None) -> Standing:
    if why := eligibility.ineligible_reason(bead, known.now):
        last = notes.last_outcome(bead.notes) if marks.retry_after(bead, known.now) == why.until else None
        return Standing(why.kind, why.text + (f"; {last}" if last and why.until else ""), retry_at=why.until)
    if bead.id in known.at_work:
        return Standing("still runs", known.at_work[bead.id])
    if place is None:
        needs = known.needs.get(bead.id)
        return Standing("not ready", f"waits for {needs}" if needs else eligibility.NOT_READY.text)
    follows = NEXT if place == 1 else f"{times.ordinal(place)} in line"
    held = "held" if known.queue.until else "eligible"
    return Standing(held, known.queue.reason or follows, place, known.queue.until)


def being_handed_over(bead: Bead, now: datetime) -> bool:
    """Return whether a tick is dispatching it right now: claimed a moment ago, with no outcome recorded yet."""
    made = marks.claim(bead)
    lately = made is not None and now - made[1] < HAND_OVER
    return bead.status == "in_progress" and lately and not claim.dispatch_recorded(bead)


def _in_progress(bead: Bead, known: Known) -> Standing:
    """Describe what is recorded of the current claim. An older outcome in the notes does not count."""
    kind, reason = "not sent", "no dispatch recorded"
    if job := marks.job(bead):
        kind, reason = "dispatched", notes.dispatched(job)
    elif being_handed_over(bead, known.now):
        kind, reason = "handing over", "being handed over"
    elif claim.dispatch_recorded(bead):
        kind, reason = notes.kind_of_outcome(bead.notes), notes.last_outcome(bead.notes) or reason
    return Standing(kind, reason, short=known.doing.get(bead.id, ""))


def _deferred(bead: Bead, now: datetime) -> Standing:
    until, last = bead.defer_until, notes.last_outcome(bead.notes)
    if until is None:
        return Standing("", "deferred without a date")
    reason = f"deferred until {utc(until)}"
    if until <= now:
        does = "blocks it, because an agent may have it" if marks.possibly_dispatched(bead) else "opens it"
        reason = f"its deferral has ended: the next tick {does}"
    return Standing("", reason + (f"; {last}" if last else ""), retry_at=until if until > now else None)


def block_outcome(bead: Bead) -> str:
    """Return the word for why we blocked this bead; empty if its agent or a person did."""
    word = marks.outcome(bead)
    if not word:  # blocked by an earlier version
        return outcomes.of_notes(notes.last_line(bead.notes))
    return "" if word in outcomes.SENT else word
