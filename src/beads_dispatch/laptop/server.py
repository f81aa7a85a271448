"""The endpoints of BeadBoard and of the agent service, with the answers that the real ones give."""

import json
from datetime import datetime, timedelta
from urllib.parse import unquote

from beads_dispatch.adapters import http_server
from beads_dispatch.adapters.bd.verbs import Bd
from beads_dispatch.adapters.clock import Clock
from beads_dispatch.core import eligibility
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.errors import Failure, NoBead
from beads_dispatch.core.runs import FOREIGN_JOB
from beads_dispatch.core.text import one_line
from beads_dispatch.laptop.jobs import Job, Jobs

Answer = tuple[int, dict[str, object]]


def page(method: str, path: str, body: bytes, jobs: Jobs, bd: Bd) -> http_server.Page:
    """The answer as it goes over the wire."""
    status, document = answer(method, path, body, jobs, bd)
    return status, "application/json", json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")


def answer(method: str, path: str, body: bytes, jobs: Jobs, bd: Bd) -> Answer:
    """The status and the body that the real services would give."""
    match method, [part for part in path.split("/") if part]:
        case "GET", ["health"]:
            return 200, _health(jobs)
        case "GET", ["jobs", job_id]:
            return _job(unquote(job_id), jobs)
        case "GET", ["api", "agent-status"]:
            return 200, {"busy": _health(jobs)["busy"]}
        case "POST", ["api", "agent-dispatch"]:
            return _dispatch(body, jobs, bd)
        case _, ["health"] | ["jobs", _] | ["api", "agent-status" | "agent-dispatch"]:
            return 405, {}
    return 404, {"detail": "Not Found"}  # FastAPI's text; only "Job not found" says that a job is unknown


def _health(jobs: Jobs) -> dict[str, object]:
    active = len(jobs.running())
    busy = active >= jobs.capacity
    return {"status": "ok", "busy": busy, "active": active, "queued": 0, "capacity": jobs.capacity}


def _job(job_id: str, jobs: Jobs) -> Answer:
    """A job that this machine has not started is not lost: nothing is known of it."""
    if job := jobs.get(job_id):
        return 200, describe(job, jobs.command, jobs.clock)
    return 404, {"detail": "Job not found" if job_id.startswith(jobs.mine) else FOREIGN_JOB}


def describe(job: Job, command: str, clock: Clock) -> dict[str, object]:
    """A job as the agent service's `GET /jobs/{id}` has it. Only the last part of its output is kept.

    A laptop's sleep does not count: the job started as long ago as it has been awake.
    """
    ran = job.seconds if job.finished_at else clock.monotonic() - job.began
    started = (job.finished_at or clock.now()) - timedelta(seconds=ran)
    known: dict[str, object] = {
        "status": job.status, "prompt": command, "agent": "laptop", "metadata": {"bead": job.bead.id},
        "created_at": _iso(job.started_at), "started_at": _iso(started),
    }  # fmt: skip
    if job.finished_at:
        known |= {"finished_at": _iso(job.finished_at), "finished_epoch": job.finished_at.timestamp()}
    if job.status in ("completed", "failed"):
        known |= {"exit_code": job.process.returncode}
        known |= {"output": job.output.stdout.lines(), "stderr": job.output.stderr.text()}
    return known


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="microseconds")


def _dispatch(body: bytes, jobs: Jobs, bd: Bd) -> Answer:
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        return 400, {"error": "Invalid JSON body."}
    task = request.get("taskId") if isinstance(request, dict) else None
    if not isinstance(task, str) or not task.strip():
        return 400, {"error": "taskId is required."}
    try:
        bead = bd.show(task)
    except NoBead:
        bead = None
    except Failure as error:
        return _not_started(task, str(error), jobs)
    if bead is None or bead.ephemeral or "gt:agent" in bead.labels:
        return 400, {"error": f"Bead {task} not found."}
    if eligibility.blank(bead.acceptance_criteria):
        return 400, {"error": f"Bead {task} is missing acceptance criteria."}
    return _start(bead, jobs)


def _start(bead: Bead, jobs: Jobs) -> Answer:
    try:
        job = jobs.start(bead)
    except (OSError, ValueError, RuntimeError) as error:
        return _not_started(bead.id, f"the command cannot be started: {one_line(str(error))}", jobs)
    return (200, {"job_id": job}) if job else (502, {"error": "Queue full"})


def _not_started(bead: str, why: str, jobs: Jobs) -> Answer:
    """One of BeadBoard's own texts: the dispatcher knows that it means that nothing was started."""
    jobs.log.error("not_started", why, bead=bead)
    return 500, {"error": f"Claude agent service is not configured ({why})"}
