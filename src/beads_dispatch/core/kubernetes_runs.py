"""What the API server's answers mean: whether a Job was created, and how the run of a Job is or has ended."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import Enum

from beads_dispatch.core import runs
from beads_dispatch.core.bead import read_time
from beads_dispatch.core.beadboard_answers import Reply
from beads_dispatch.core.kubernetes_jobs import Document
from beads_dispatch.core.runner import Job, Stage
from beads_dispatch.core.text import json_object, one_line
from beads_dispatch.core.times import span

MUST_RUN_WITHIN = timedelta(minutes=10)
# From a claim until its Job is there, if it ever will be: two minutes for a tick to create it, and two for the API
# server, which may still carry out a request that we gave up on. Until then a 404 proves nothing.
CREATE_ARRIVES_WITHIN = timedelta(minutes=4)

# `jobs.batch is forbidden: User "system:serviceaccount:a:b" cannot create resource "jobs" in API group "batch" in …`
_LACKS = re.compile(r'User "(?:system:serviceaccount:)?([^"]+)" cannot (\w+) resource "([^"]+)"')
_NEVER_RAN = ("StartError", "ContainerCannotRun")
_EPOCH = datetime(1971, 1, 1, tzinfo=UTC)  # a container that could not start says that it started in 1970


# --- requests ---
def failure(reply: Reply, what: str) -> str:
    """Describe an answer that is no success. `what`: what was asked for, such as `create jobs in beads-agents`."""
    status = json_object(reply.body) or {}
    text = one_line(str(status.get("message") or reply.body)) or "(empty body)"
    if reply.status is None:
        return f"the API server gave no answer to {what}: {text}"
    if reply.status == 401:
        return f"the API server does not accept our service account's token (401): {text}"
    if reply.status == 403 and (lacks := _LACKS.search(text)):
        return f"the service account {lacks[1]} may not {what} (403): its Role lacks `{lacks[2]}` on `{lacks[3]}`"
    return f"the API server refused to {what} (HTTP {reply.status}): {text}"


class Creation(Enum):
    """What an answer to a create says about the Job."""

    CREATED = "it is there"
    EXISTS = "an object with its name is there"
    REFUSED = "it was not created"
    NOT_YET = "it was not created, and the next try may succeed"
    UNKNOWN = "it may have been created"


def creation(reply: Reply) -> Creation:
    """Return what an answer to a create says. Only 201 and 409 say that the Job is there."""
    match reply.status:
        case 200 | 201 | 202:
            return Creation.CREATED
        case 409:
            return Creation.EXISTS
        case 429:
            return Creation.NOT_YET
        case None:
            return Creation.UNKNOWN if reply.delivered else Creation.NOT_YET
        case status if status >= 500:  # `etcdserver: request timed out` says so although it may have been written
            return Creation.UNKNOWN
    return Creation.REFUSED


# --- documents ---
def unfinished(job: Document) -> bool:
    """Return whether the Job's controller still works on it."""
    return not _condition(job, "Complete") and not _condition(job, "Failed")


def terminal(pod: Document) -> bool:
    """Return whether every container of the pod has ended for good."""
    return _status(pod).get("phase") in ("Succeeded", "Failed")


def decisive(pods: Sequence[Document]) -> Document | None:
    """Return the pod that decides how the run is: the newest that has not ended, else the newest."""
    alive = [pod for pod in pods if not terminal(pod)]
    return max(alive or pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), default=None)


def _status(document: Document) -> Document:
    return document.get("status") or {}


def _condition(document: Document, kind: str) -> Document | None:
    """Return the condition of this type if it is true, else None."""
    known = _status(document).get("conditions") or ()
    return next((one for one in known if one.get("type") == kind and one.get("status") == "True"), None)


def _created(document: Document) -> datetime:
    return read_time(document["metadata"].get("creationTimestamp")) or _EPOCH


def _says(document: Document) -> str:
    """Return its reason and its message, in one line."""
    return one_line(": ".join(str(text) for key in ("reason", "message") if (text := document.get(key))))


# --- a run ---
def run(
    name: str, job: Document | None, pod: Document | None, now: datetime, log: str = "", events: Sequence[Document] = ()
) -> Job:
    """Return how the run of a Job is. `log`: the end of an ended pod's log. `events`: of a Job without a pod.

    A run has ended when its pod is terminal or gone, whatever the Job says.
    """
    if pod is None:
        return _without_pod(name, job, now, events)
    if terminal(pod):
        return _ended(job, pod, log)
    agents = _agents(pod)
    if any("running" in _state(one) for one in agents) or _terminated(_main(pod)):  # its phase follows within moments
        return _running(job, min(filter(None, map(_began, agents)), default=_created(pod)), now)
    since = max([_created(pod), *filter(None, map(_finished, agents))])
    return _waiting(since, now, _why_waiting(pod))


def _without_pod(name: str, job: Document | None, now: datetime, events: Sequence[Document]) -> Job:
    if job is None:
        words = f"there is no Job {name} (deleted, or never created)"
        return Job(Stage.UNKNOWN, words, final_after=CREATE_ARRIVES_WITHIN)
    started = read_time(_status(job).get("startTime"))
    if done := _condition(job, "Complete"):
        return Job(
            Stage.COMPLETED, started_at=started, finished_at=read_time(done.get("lastTransitionTime")), gone=True
        )
    if failed := _condition(job, "Failed"):
        stage = Stage.TIMEOUT if failed.get("reason") == "DeadlineExceeded" else Stage.FAILED
        ended = read_time(failed.get("lastTransitionTime"))
        return Job(stage, reason="its pod is gone", started_at=started, finished_at=ended, gone=True)
    if any(_status(job).get(key) for key in ("active", "failed", "succeeded", "uncountedTerminatedPods")):
        return _running(job, started or _created(job), now)  # its controller is about to say how its pod has ended
    return _waiting(_created(job), now, next((_says(one) for one in reversed(events)), "it has no pod"))


def _running(job: Document | None, started: datetime, now: datetime) -> Job:
    """Return a running job. A deadline of its own ends it, except on a node that is lost: then it is overdue."""
    deadline = ((job or {}).get("spec") or {}).get("activeDeadlineSeconds")
    due = deadline and started + timedelta(seconds=deadline) + MUST_RUN_WITHIN
    return Job(Stage.RUNNING, started_at=started, timed=bool(due and now < due))


def _waiting(since: datetime, now: datetime, why: str) -> Job:
    if now - since < MUST_RUN_WITHIN:
        return Job(Stage.QUEUED, why)
    words = f"not running after {span(MUST_RUN_WITHIN.total_seconds())}: {why}"
    return Job(Stage.ERROR, words, cannot_run=True)


def _why_waiting(pod: Document) -> str:
    """Return why a pod does not run: what its containers wait for, or why no node takes it."""
    waits = [waiting for one in _containers(pod) if (waiting := _state(one).get("waiting"))]
    ordinary = ("ContainerCreating", "PodInitializing")
    if told := next((_says(one) for one in waits if one.get("reason") not in ordinary), ""):
        return told
    conditions = _status(pod).get("conditions") or ()
    refused = (one for one in conditions if one.get("type") == "PodScheduled" and one.get("status") != "True")
    return next(map(_says, refused), "") or _says(_status(pod)) or next(map(_says, waits), "its pod is pending")


def _ended(job: Document | None, pod: Document, log: str) -> Job:
    main, end = _main(pod), _terminated(_main(pod))
    stage, reason = _how(job, pod)
    finished = _finished(main) or max(filter(None, map(_finished, _containers(pod))), default=None)
    known = Job(stage, exit_code=end.get("exitCode"), started_at=_began(main), finished_at=finished, gone=True)
    told = runs.described(known, log.splitlines(keepends=True), "", end.get("message") or "")
    if stage is Stage.ERROR:
        return replace(told, words=reason, cannot_run=True)
    return replace(told, reason=reason)


def _how(job: Document | None, pod: Document) -> tuple[Stage, str]:
    """Return the stage of an ended pod, and what ended it if not its agent. ERROR: the agent never ran."""
    main, status = _terminated(_main(pod)), _status(pod)
    failed = (job and (_condition(job, "Failed") or _condition(job, "FailureTarget"))) or {}
    outside = _says(_condition(pod, "DisruptionTarget") or {}) or _says(status)
    if main.get("reason") in _NEVER_RAN:
        return Stage.ERROR, _says(main)
    if not main:
        codes = ((one, code) for one in _containers(pod) if (code := _terminated(one).get("exitCode")))
        first = (
            f"its container {one.get('name')} failed first (exit {code}): {_says(_terminated(one))}"
            for one, code in codes
        )
        return Stage.ERROR, outside or next(first, "its container never ran")
    if "DeadlineExceeded" in (status.get("reason"), failed.get("reason")):
        return Stage.TIMEOUT, ""
    if status.get("phase") == "Succeeded":
        return Stage.COMPLETED, ""
    if any(_terminated(one).get("reason") == "OOMKilled" for one in _agents(pod)):
        return Stage.FAILED, "out of memory"
    return Stage.FAILED, outside or ("its pod was deleted" if pod["metadata"].get("deletionTimestamp") else "")


# --- containers ---
def _containers(pod: Document) -> list[Document]:
    """Return the state of every container of the pod."""
    return [*(_status(pod).get("initContainerStatuses") or ()), *(_status(pod).get("containerStatuses") or ())]


def _agents(pod: Document) -> list[Document]:
    """Return the state of every container but the sidecars: a running proxy says nothing about the agent."""
    before = [one["name"] for one in pod["spec"].get("initContainers") or () if one.get("restartPolicy") != "Always"]
    return [one for one in _containers(pod) if one.get("name") in (*before, pod["spec"]["containers"][0]["name"])]


def _main(pod: Document) -> Document:
    """Return the agent's container: the first in its template."""
    first = pod["spec"]["containers"][0]["name"]
    return next((one for one in _status(pod).get("containerStatuses") or () if one.get("name") == first), {})


def _state(container: Document) -> Document:
    return container.get("state") or {}


def _terminated(container: Document) -> Document:
    return _state(container).get("terminated") or {}


def _began(container: Document) -> datetime | None:
    time = read_time((_state(container).get("running") or _terminated(container)).get("startedAt"))
    return time if time and time > _EPOCH else None


def _finished(container: Document) -> datetime | None:
    return read_time(_terminated(container).get("finishedAt"))
