"""What follows from an answer to the POST: the bead's status, note and marks, the queue's hold, and the log line."""

from dataclasses import dataclass, field
from datetime import datetime

from beads_dispatch.core import backoff, holds, marks, notes, outcomes
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.holds import Hold
from beads_dispatch.core.marks import Change
from beads_dispatch.core.runner import Answer, Outcome
from beads_dispatch.core.text import utc


@dataclass(frozen=True, slots=True)
class Consequence:
    """`status` None: it is not written, because an agent may have the bead. `level`: of the log line.

    `became`: for the outcome mark. `marks`: those to set beside what a release undoes.
    `hold`: the queue's new hold. `notice`: for a person.
    """

    event: str
    level: str
    text: str  # the log line
    line: str  # the note
    became: outcomes.Outcome
    status: str | None = None
    marks: Change = field(default_factory=dict)
    hold: Hold | None = None
    notice: str = ""


def consequence(answer: Answer, bead: Bead, last: Hold | None, now: datetime) -> Consequence:
    """Return what follows from the answer to a start.

    `bead`: as it was before the claim. `last`: the queue's last hold for its service. `now`: UTC.
    """
    match answer.outcome:
        case Outcome.ACCEPTED:  # no status: the agent may already have closed the bead
            line = notes.dispatched(answer.job)
            change = marks.accepted(bead, answer.job)
            return Consequence("dispatched", "info", line, line, outcomes.DISPATCHED, marks=change)
        case Outcome.BUSY:
            hold = holds.busy_hold(last, now, bead.id)
            text, line = "the agent is busy: back to open", notes.returned("agent busy")
            return Consequence("busy", "info", text, line, outcomes.BUSY, "open", hold=hold)
        case Outcome.UNCLEAR:
            line = notes.unclear(answer.status, answer.text)
            hold = holds.next_hold(last, now, line, bead.id)
            became, change = outcomes.UNCLEAR, {marks.OUTCOME: outcomes.UNCLEAR.word}
            text = f"{line} (stays claimed)"
            return Consequence("unclear", "error", text, line, became, marks=change, hold=hold, notice="unclear")
        case Outcome.NOT_STARTED:
            return _not_started(answer, bead, last, now)
    return _bead_at_fault(answer, bead, now)


def _not_started(answer: Answer, bead: Bead, last: Hold | None, now: datetime) -> Consequence:
    """Reopen the bead. Only an outage's first failure counts as an attempt: it costs one bead an attempt, not fifty."""
    line = notes.failed(answer.status, answer.text)
    hold = holds.next_hold(last, now, line, bead.id)
    first = last is None or not last.step
    if first and marks.attempts(bead) + 1 >= backoff.MAX_ATTEMPTS:
        return _bead_at_fault(answer, bead, now)
    change = backoff.refused(bead, now) if first else {marks.FAILED_AT: utc(now)}
    text, became = f"{line} (back to open)", outcomes.NOT_STARTED
    return Consequence("not_started", "error", text, line, became, "open", change, hold)


def _bead_at_fault(answer: Answer, bead: Bead, now: datetime) -> Consequence:
    number = marks.attempts(bead) + 1
    line = notes.failed(answer.status, answer.text, notes.attempt(number, backoff.MAX_ATTEMPTS))
    if number >= backoff.MAX_ATTEMPTS:
        text = f"{line} (blocked)"
        return Consequence("given_up", "warning", text, line, outcomes.GIVEN_UP, "blocked", notice="given up")
    text, change = f"{line} (back to open)", backoff.refused(bead, now)
    return Consequence("bead_at_fault", "error", text, line, outcomes.REFUSED, "open", change)
