"""Which beads are dispatched, in what order, and why the others wait."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from beads_dispatch.core import backoff, holds, marks, notes
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.holds import Holds
from beads_dispatch.core.text import utc

MAX_SIZE = 48 * 1024  # bytes; at 64 KB bd's writes begin to fail

# ECMAScript's WhiteSpace and LineTerminator: what BeadBoard's String.prototype.trim takes away.
# Python's str.strip() takes others (it leaves U+FEFF and strips U+001C to U+001F and U+0085).
JS_SPACE = "\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x200B)))
# Types that `bd ready` never lists.
NEVER_READY = frozenset({"merge-request", "gate", "molecule", "message", "agent", "role", "rig"})


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an open bead is not dispatched now.

    `needs_person`: only a person can change it, so the bead gets a notice.
    `until`: when the reason ends automatically, UTC, if that is known.
    """

    text: str
    needs_person: bool = False
    until: datetime | None = field(default=None, compare=False)

    @property
    def kind(self) -> str:
        """Return the text without its time, if it contains one."""
        return self.text.split(" until ")[0]


TOO_LARGE = Reason("too large", needs_person=True)
NO_CRITERIA = Reason("no acceptance criteria", needs_person=True)
EPHEMERAL = Reason("ephemeral", needs_person=True)
AGENT_BEAD = Reason("agent bead", needs_person=True)
ODD_METADATA = Reason("its metadata is not a JSON object", needs_person=True)
RUNS_USED_UP, OPENED_LATE = Reason(notes.RUNS_USED_UP), Reason(notes.OPENED_LATE)
NOT_READY = Reason("waits for a dependency or its parent")


def blank(criteria: str) -> bool:
    """Return whether BeadBoard would call these acceptance criteria empty."""
    return not criteria.strip(JS_SPACE)


def ineligible_reason(bead: Bead, now: datetime) -> Reason | None:
    """Return why this open bead must not be dispatched now; None if only `bd ready` can still rule it out."""
    if bead.size > MAX_SIZE:
        return TOO_LARGE
    if bead.ephemeral:
        return EPHEMERAL
    if "gt:agent" in bead.labels:
        return AGENT_BEAD
    if bead.pinned or bead.no_history or bead.issue_type in NEVER_READY:
        what = "pinned" if bead.pinned else "no history" if bead.no_history else f"type {bead.issue_type}"
        return Reason(f"bd never lists it as ready: {what}", needs_person=True)
    if blank(bead.acceptance_criteria):
        return NO_CRITERIA
    if bead.metadata is None:  # bd's --set-metadata fails on it, so no dispatch could be recorded
        return ODD_METADATA
    if marks.opened_late(bead):
        return OPENED_LATE
    return RUNS_USED_UP if marks.runs(bead) >= backoff.MAX_RUNS else _waits_until(bead, now)


def _waits_until(bead: Bead, now: datetime) -> Reason | None:
    if bead.defer_until and bead.defer_until > now:
        what, until = "deferred", bead.defer_until
    elif (retry := marks.retry_after(bead, now)) and retry > now:
        what, until = "backing off", retry
    elif (run := backoff.next_run_at(bead)) and now < run <= now + marks.FURTHEST:
        what, until = f"run {marks.runs(bead) + 1} in a row waits", run
    else:
        return None
    return Reason(f"{what} until {utc(until)}", until=until)


def _ineligible(beads: Iterable[Bead], now: datetime) -> Iterator[tuple[Bead, Reason]]:
    """Return the open beads that must not be dispatched now, each with its reason."""
    return ((bead, why) for bead in beads if bead.status == "open" and (why := ineligible_reason(bead, now)))


def needs_notice(beads: Iterable[Bead], now: datetime) -> list[tuple[Bead, Reason]]:
    """Return the open beads that a person must fix and that bear no notice yet, in order, each with its reason."""

    def noticed(bead: Bead, why: Reason) -> bool:
        if why is TOO_LARGE:
            return has_too_large_notice(bead)
        return notes.has_line(bead.notes, notes.not_dispatched(why.text))

    found = _ineligible(in_order(beads), now)
    return [(bead, why) for bead, why in found if why.needs_person and not noticed(bead, why)]


def has_too_large_notice(bead: Bead) -> bool:
    """Return whether a comment newer than the last claim says that the bead is too large. (A note no longer fits.)"""
    claim, noticed_at = notes.newest_claim(bead.notes), bead.too_large_notice_at
    return noticed_at is not None and (claim is None or claim[1] is None or noticed_at >= claim[1])


def in_order(beads: Iterable[Bead]) -> list[Bead]:
    """Return the beads in the queue's order: priority, then the longest wait, then id."""
    return sorted(beads, key=lambda bead: (bead.priority, bead.updated_at, bead.id))


def dispatch_order(beads: Iterable[Bead], now: datetime) -> list[Bead]:
    """Return the beads in the queue's order, but a bead that has failed behind all that have not failed since."""
    first = datetime.min.replace(tzinfo=UTC)
    return sorted(in_order(beads), key=lambda bead: marks.failed_at(bead, now) or first)


def not_again(beads: Iterable[Bead], now: datetime) -> list[tuple[Bead, Reason]]:
    """Return the open beads that a tick blocks instead of dispatching them again, each with its reason."""
    return [(bead, why) for bead, why in _ineligible(beads, now) if why in (RUNS_USED_UP, OPENED_LATE)]


def expired_deferrals(beads: Iterable[Bead], now: datetime) -> list[Bead]:
    """Return the deferred beads whose date has passed."""
    return [bead for bead in beads if bead.status == "deferred" and bead.defer_until and bead.defer_until <= now]


def eligible(beads: Iterable[Bead], now: datetime) -> list[Bead]:
    """Return the open beads that only `bd ready` can still rule out, in the order in which ticks try them."""
    return dispatch_order((bead for bead in beads if bead.status == "open" and not ineligible_reason(bead, now)), now)


def claimable(bead: Bead, assignee: str, now: datetime) -> bool:
    """Return whether this bead may be claimed now, if `bd ready` lists it."""
    return (bead.status, bead.assignee) == ("open", assignee) and not ineligible_reason(bead, now)


def next_wakeup(beads: Iterable[Bead], known_holds: Holds, now: datetime) -> datetime | None:
    """Return when the first hold, back-off, wait or deferral ends; None if none is in force."""
    ends: list[datetime | None] = [hold.until for hold in known_holds.values()]
    proofs = {holds.PROVEN, *(hold.proof for hold in known_holds.values())}
    for bead in beads:
        if known_holds and (claim := marks.claim(bead)):
            ends += [claim[1] + proof for proof in proofs]
        if bead.status == "open":
            ends += [marks.retry_after(bead, now), backoff.next_run_at(bead)]
        if bead.status in ("open", "deferred"):
            ends.append(bead.defer_until)
    return min((end for end in ends if end and end > now), default=None)


def summary(beads: Iterable[Bead], not_ready: Iterable[Bead], now: datetime) -> str:
    """Return what the open beads wait for, such as `2 wait for a dependency or their parent, 1 too large`.

    `not_ready`: those that bd does not list as ready.
    """
    unlisted = {bead.id: NOT_READY for bead in not_ready}
    reasons = (ineligible_reason(bead, now) or unlisted.get(bead.id) for bead in beads if bead.status == "open")
    texts = []
    for kind, count in Counter(reason.kind for reason in reasons if reason).items():
        what = f"{'with ' * kind.startswith('no ')}{kind}"
        many = count > 1 and kind == NOT_READY.kind
        texts.append(f"{count} {'wait for a dependency or their parent' if many else what}")
    return ", ".join(texts)
