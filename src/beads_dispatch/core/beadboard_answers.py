"""What BeadBoard's answer to a dispatch means: the table of the design, as data."""

import json
import re
from dataclasses import dataclass

from beads_dispatch.core.runner import Answer, Outcome
from beads_dispatch.core.text import json_object, one_line


@dataclass(frozen=True, slots=True)
class Reply:
    """What BeadBoard answered. `status` None: no HTTP answer. `delivered` False: the request cannot have arrived."""

    status: int | None
    body: str
    delivered: bool = True


# The first row whose status and whole error text match gives the outcome. No row: unclear.
_ROWS: tuple[tuple[range | tuple[int, ...], str, Outcome], ...] = (
    ((409, 429), ".*", Outcome.BUSY),
    ((502,), "Queue full", Outcome.BUSY),
    ((500,), r"Claude agent service is not configured.*", Outcome.NOT_STARTED),
    # What FastAPI says before it calls any code of the agent service; BeadBoard passes it on.
    ((502,), r"Invalid token|Missing bearer token|Service unauthenticated|Not authenticated", Outcome.NOT_STARTED),
    ((502,), r"Not Found|Method Not Allowed|Unauthorized|Forbidden", Outcome.NOT_STARTED),
    ((502,), r"Agent service returned HTTP 4\d\d\.|Failed to parse URL.*", Outcome.NOT_STARTED),
    ((*range(300, 400), 401, 403, 404, 405, 413), ".*", Outcome.NOT_STARTED),
    # BeadBoard says so whenever its own Dolt read fails, so it does not count against the bead.
    ((400,), r"Bead .* not found\.", Outcome.NOT_STARTED),
    ((400,), ".*", Outcome.BEAD_AT_FAULT),
)


def understand(reply: Reply) -> Answer:
    """Return what a reply to POST /api/agent-dispatch means. Source: BeadBoard's route, see docs/how-it-decides.md."""
    document = json_object(reply.body) or {}
    error = document.get("error", reply.body) or reply.body  # it can be an array
    text = error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)
    if not reply.delivered:
        return Answer(Outcome.NOT_STARTED, reply.status, text)
    job = _job(document) if reply.status == 200 else ""
    if job:
        return Answer(Outcome.ACCEPTED, reply.status, text, job)
    for statuses, known, outcome in _ROWS:
        if reply.status in statuses and re.fullmatch(known, text, re.DOTALL):
            return Answer(outcome, reply.status, text)
    return Answer(Outcome.UNCLEAR, reply.status, text)


def brief(reply: Reply) -> str:
    """Return a reply in a few words, for a message."""
    http = f"HTTP {reply.status}: " if reply.status is not None else ""
    return http + (one_line(reply.body) or "(empty body)")


def _job(document: dict[str, object]) -> str:
    """Return the job id. BeadBoard passes it on untyped, as a string or a number."""
    job = document.get("job_id")
    if isinstance(job, str):
        return job.strip()
    return str(job) if isinstance(job, int) and not isinstance(job, bool) else ""
