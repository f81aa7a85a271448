"""What follows from an answer to the POST: the bead's status, its note, its marks, and the log line."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from beads_dispatch.core import backoff, notes
from beads_dispatch.core.backoff import Hold
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.outcomes import Answer, Outcome


@dataclass(frozen=True, slots=True)
class Consequence:
    """`status` None: it is not written, because an agent may have the bead. `level`: of the log line."""

    event: str
    level: str
    text: str  # what the log line says
    line: str  # the note
    status: str | None = None
    marks: Mapping[str, str] = field(default_factory=dict)


def consequence(answer: Answer, bead: Bead, last: Hold | None, now: datetime) -> Consequence:
    """`bead`: as it was before the claim. `last`: the queue's last hold. `now`: UTC."""
    match answer.outcome:
        case Outcome.ACCEPTED:  # only a note: the agent may already have closed the bead
            line = notes.dispatched(answer.job)
            return Consequence("dispatched", "info", line, line)
        case Outcome.BUSY:
            marks = backoff.hold_marks(backoff.busy_hold(now))
            text = "the agent is busy: back to open"
            return Consequence("busy", "info", text, notes.returned("agent busy"), "open", marks)
        case Outcome.BEAD_AT_FAULT:
            return _bead_at_fault(answer, bead, now)
    marks = backoff.hold_marks(backoff.next_hold(last, now))
    if answer.outcome is Outcome.UNCLEAR:
        line = notes.unclear(answer.status, answer.text)
        return Consequence("unclear", "error", f"{line} (stays claimed)", line, None, marks)
    line = notes.failed(answer.status, answer.text)
    return Consequence("not_started", "error", f"{line} (back to open)", line, "open", marks)


def _bead_at_fault(answer: Answer, bead: Bead, now: datetime) -> Consequence:
    number = backoff.attempts(bead) + 1
    line = notes.failed(answer.status, answer.text, notes.attempt(number, backoff.MAX_ATTEMPTS))
    if number < backoff.MAX_ATTEMPTS:
        marks = backoff.attempt_marks(number, now)
        return Consequence("bead_at_fault", "error", f"{line} (back to open)", line, "open", marks)
    return Consequence("given_up", "warning", f"{line} (blocked)", line, "blocked")
