"""The state of every bead of the assignee, and why it is not running."""

from collections.abc import Sequence
from datetime import datetime

from beads_dispatch.adapters.bd import Bd
from beads_dispatch.adapters.queue import Queue
from beads_dispatch.core import backoff, eligibility, notes, staleness
from beads_dispatch.core.backoff import Hold
from beads_dispatch.core.bead import Bead

Row = dict[str, str | int]


def status(queue: Queue, bd: Bd, assignee: str) -> tuple[list[Row], tuple[str, ...]]:
    """A row for each bead that is not closed, in the queue's order, and a line for each unreadable one.

    Raises Failure where the database or bd does not answer.
    """
    snapshot, now = queue.snapshot(), queue.now()
    ready = bd.ready(assignee) if eligibility.eligible(snapshot.beads, now) else frozenset()
    held = _held(snapshot.beads, now)
    rows = [_row(bead, _reason(bead, now, ready, held)) for bead in eligibility.in_order(snapshot.beads)]
    return rows, snapshot.unreadable


def _held(beads: Sequence[Bead], now: datetime) -> str:
    hold = backoff.hold(beads, now)
    return (
        f"until {notes.utc(hold.until)}; {backoff.held_by(hold, beads)}" if hold and backoff.in_force(hold, now) else ""
    )


def _row(bead: Bead, reason: str) -> Row:
    known: Row = {"id": bead.id, "priority": bead.priority, "state": bead.status}
    return {**known, "reason": notes.one_line(reason), "title": notes.one_line(bead.title)}


def _reason(bead: Bead, now: datetime, ready: frozenset[str], held: str) -> str:
    last = notes.last_outcome(bead.notes)
    if bead.status == "in_progress":
        minutes = staleness.idle_for(bead, now).total_seconds() / 60
        state = last if notes.dispatch_recorded(bead.notes) and last else "no dispatch recorded"
        return f"{state}; last sign of life {minutes:.0f}m ago"
    if bead.status == "deferred" and bead.defer_until:
        return _deferral(bead, bead.defer_until, now) + (f"; {last}" if last else "")
    if bead.status != "open":
        return notes.last_line(bead.notes) or "set by a person; no note"
    if reason := eligibility.ineligible_reason(bead, now):
        return reason.text
    if bead.id not in ready:
        return eligibility.NOT_READY.text
    if held:
        return f"the queue is held {held}"
    return "next: a tick dispatches it as soon as the agent has room"


def _deferral(bead: Bead, until: datetime, now: datetime) -> str:
    if until > now:
        return f"deferred until {notes.utc(until)}"
    does = "blocks it, because an agent may have it" if notes.possibly_dispatched(bead.notes) else "opens it"
    return f"its deferral has ended: the next tick {does}"


def kind(bead: Bead, now: datetime, not_ready: frozenset[str], hold: Hold | None) -> tuple[str, str]:
    """State and reason. The reason is short, so that beads can be counted by it."""
    match bead.status:
        case "open" if reason := eligibility.ineligible_reason(bead, now):
            return bead.status, reason.kind
        case "open" if bead.id in not_ready:
            return bead.status, "not ready"
        case "open":
            return bead.status, "held" if backoff.in_force(hold, now) else "eligible"
        case "in_progress":
            return bead.status, notes.kind_of_outcome(bead.notes) if notes.dispatch_recorded(bead.notes) else "not sent"
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
