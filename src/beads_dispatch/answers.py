"""What BeadBoard's answer to a dispatch means: the table of the design, as data."""

import json
import re
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `status` None: no HTTP answer; `delivered` False: it cannot have been asked."""

    status: int | None
    body: str
    delivered: bool = True


class Meaning(Enum):
    """What became of the bead, and so what happens to the claim."""

    ACCEPTED = "an agent has it"
    BUSY = "not started, no room: back to open, the queue waits 2 minutes"
    NOT_STARTED = "not started, the service's fault: back to open, the queue waits, longer each time"
    BEAD_AT_FAULT = "not started, the bead's fault: back to open, this bead waits, five attempts"
    UNCLEAR = "cannot be told: stays claimed"


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, understood. `text` is what goes into the note, not yet shortened; `job` only if accepted."""

    meaning: Meaning
    status: int | None
    text: str
    job: str = ""


# The first row whose status and whole error text match says what the answer means; where none does, it is unclear.
_ROWS: tuple[tuple[range | tuple[int, ...], str, Meaning], ...] = (
    ((409,), ".*", Meaning.BUSY),
    ((502,), "Queue full", Meaning.BUSY),
    ((500,), r"Claude agent service is not configured.*", Meaning.NOT_STARTED),
    ((502,), r"Invalid token|Missing bearer token", Meaning.NOT_STARTED),
    ((502,), r"Agent service returned HTTP 4\d\d\.|Failed to parse URL.*", Meaning.NOT_STARTED),
    ((*range(300, 400), 401, 403, 404, 405, 413), ".*", Meaning.NOT_STARTED),
    # BeadBoard says so whenever its own Dolt read fails, so it is not held against the bead.
    ((400,), r"Bead .* not found\.", Meaning.NOT_STARTED),
    ((400,), ".*", Meaning.BEAD_AT_FAULT),
)


def understand(reply: Reply) -> Answer:
    """The meaning of a reply to POST /api/agent-dispatch."""
    document = json_object(reply.body) or {}
    text = _error_text(document, reply.body)
    if not reply.delivered:
        return Answer(Meaning.NOT_STARTED, reply.status, text)
    job = _job(document) if reply.status == 200 else ""
    if job:
        return Answer(Meaning.ACCEPTED, reply.status, text, job)
    return Answer(_meaning(reply.status, text), reply.status, text)


def _meaning(status: int | None, text: str) -> Meaning:
    if status is None:
        return Meaning.UNCLEAR
    rows = (
        meaning for statuses, known, meaning in _ROWS
        if status in statuses and re.fullmatch(known, text, re.DOTALL)
    )  # fmt: skip
    return next(rows, Meaning.UNCLEAR)


def json_object(body: str) -> dict[str, object] | None:
    """The JSON object that a body is, or None."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _error_text(document: dict[str, object], body: str) -> str:
    """`error` where there is one (it can be an array), else, or where it is empty, the body as it came."""
    error = document.get("error", body) or body
    return error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)


def _job(document: dict[str, object]) -> str:
    """The job id, passed through untyped by BeadBoard: a text or a number."""
    job = document.get("job_id")
    if isinstance(job, str):
        return job.strip()
    return str(job) if isinstance(job, int) and not isinstance(job, bool) else ""
