"""The state of every bead of the assignee, and why it is not running."""

from datetime import datetime

from beads_dispatch.adapters.bd import Bd
from beads_dispatch.adapters.queue import Queue
from beads_dispatch.core import backoff, claim, eligibility, marks, notes, staleness
from beads_dispatch.core.backoff import SERVICE, Hold
from beads_dispatch.core.bead import Bead
from beads_dispatch.errors import Failure

Row = dict[str, str | int]


def status(queue: Queue, bd: Bd, assignee: str) -> tuple[list[Row], tuple[str, ...]]:
    """A row for each bead that is not closed, in the queue's order, and a line for each unreadable one.

    Raises Failure where the database or bd does not answer.
    """
    snapshot, now = queue.snapshot(), queue.now()
    ready = bd.ready(assignee) if eligibility.eligible(snapshot.beads, now) else frozenset()
    waits = _waits_for(queue, now)
    rows = [_row(bead, _reason(bead, now, ready, waits)) for bead in eligibility.in_order(snapshot.beads)]
    return rows, snapshot.unreadable


def _waits_for(queue: Queue, now: datetime) -> str:
    """What keeps every eligible bead from being dispatched, or nothing."""
    try:
        queue.check_writable()
    except Failure as error:
        return f"nothing can be claimed: {error}"
    holds = queue.holds()
    if hold := backoff.in_force(holds, now):
        return f"the queue is held until {notes.utc(hold.until)}; {hold}"
    if failure := holds.get(SERVICE):
        return f"next: tried again at each tick; last time: {failure.reason}"
    return ""


def _row(bead: Bead, reason: str) -> Row:
    known: Row = {"id": bead.id, "priority": bead.priority, "state": bead.status}
    return {**known, "reason": notes.one_line(reason), "title": notes.one_line(bead.title)}


def _reason(bead: Bead, now: datetime, ready: frozenset[str], waits: str) -> str:
    last = notes.last_outcome(bead.notes)
    if bead.status == "in_progress":
        minutes = staleness.idle_for(bead, now).total_seconds() / 60
        state = _sent(bead, last)
        return f"{state}; last sign of life {minutes:.0f}m ago"
    if bead.status == "deferred" and bead.defer_until:
        return _deferral(bead, bead.defer_until, now) + (f"; {last}" if last else "")
    if bead.status != "open":
        return notes.last_line(bead.notes) or "set by a person; no note"
    if reason := eligibility.ineligible_reason(bead, now):
        return reason.text
    if bead.id not in ready:
        return eligibility.NOT_READY.text
    return waits or "next: a tick dispatches it as soon as the agent has room"


def _sent(bead: Bead, last: str | None) -> str:
    if job := marks.job(bead):
        return notes.dispatched(job)
    return last if last and claim.dispatch_recorded(bead) else "no dispatch recorded"


def _deferral(bead: Bead, until: datetime, now: datetime) -> str:
    if until > now:
        return f"deferred until {notes.utc(until)}"
    does = "blocks it, because an agent may have it" if claim.possibly_dispatched(bead) else "opens it"
    return f"its deferral has ended: the next tick {does}"


def kind(bead: Bead, now: datetime, not_ready: frozenset[str], held: Hold | None) -> tuple[str, str]:
    """State and reason. The reason is short, so that beads can be counted by it."""
    match bead.status:
        case "open" if reason := eligibility.ineligible_reason(bead, now):
            return bead.status, reason.kind
        case "open" if bead.id in not_ready:
            return bead.status, "not ready"
        case "open":
            return bead.status, "held" if held else "eligible"
        case "in_progress":
            return bead.status, notes.kind_of_outcome(bead.notes) if claim.dispatch_recorded(bead) else "not sent"
        case "blocked":
            return bead.status, notes.kind_of_block(bead.notes)
    return bead.status, ""


def as_table(rows: list[Row], assignee: str) -> str:
    """The rows under a heading, one a line."""
    if not rows:
        return f"No bead is assigned to {assignee} (closed ones are not shown)."
    heading: Row = {"id": "BEAD", "priority": "P", "state": "STATE", "reason": "WHY"}
    wide, state = (max(len(str(row[key])) for row in [heading, *rows]) for key in ("id", "state"))
    line = f"{{id:{wide}}}  {{priority}}  {{state:{state}}}  {{reason}}"
    return "\n".join(line.format(**row) for row in [heading, *rows])
