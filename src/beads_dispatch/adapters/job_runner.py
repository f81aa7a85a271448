"""The runner of a cluster without BeadBoard: a suspended CronJob is the agent, and each dispatch a Job made from it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from beads_dispatch.adapters.clock import Clock
from beads_dispatch.adapters.kubernetes import Kubernetes
from beads_dispatch.adapters.runner import Runner
from beads_dispatch.core.errors import ServiceFailed

if TYPE_CHECKING:
    from beads_dispatch.core.bead import Bead
    from beads_dispatch.core.claim import Claim
    from beads_dispatch.core.kubernetes_jobs import Document
    from beads_dispatch.core.runner import Answer, Job, Room

CREATE_SECONDS = 45.0  # with the questions before it, this is what a tick allows for a POST to BeadBoard
GONE_SECONDS = 20.0  # for a Job that never ran to be gone, within what a sweep may take
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
ROOM_SECONDS = 5.0  # or a watcher with a waiting bead would ask the API server for two lists each second
ALIVE = "status.phase!=Succeeded,status.phase!=Failed"  # pods
NO_SUCCESS = "status.successful=0"  # Jobs: most have succeeded, and we need not read those


@dataclass
class JobRunner(Runner):
    """`cron_job`: the agent's, in the namespace of `api`. `places`: how many Jobs may run at once.

    `idle` says nothing: each job can be asked about, and in doubt the API server answers neither question.
    """

    api: Kubernetes
    cron_job: str
    places: int
    clock: Clock
    stopping: Callable[[], bool]
    _taken: int = 0
    _counted_at: float = -math.inf

    follows = True

    # --- room ---
    def room(self) -> "Room":
        from beads_dispatch.core.kubernetes_jobs import AGENT, label
        from beads_dispatch.core.runner import Room

        now = self.clock.monotonic()
        if now - self._counted_at >= ROOM_SECONDS or self._taken < self.places:
            self._taken = len(self._at_work({AGENT: label(self.cron_job)}))
            self._counted_at = now
        return Room(self._taken < self.places, self._taken, self.places)

    def _at_work(self, labels: Mapping[str, str]) -> set[str]:
        """Return the names of these labels' Jobs that have not ended, or whose pod has not. Raise ServiceFailed."""
        from beads_dispatch.core.kubernetes_jobs import JOB
        from beads_dispatch.core.kubernetes_runs import unfinished

        jobs = [job["metadata"]["name"] for job in self.api.list("jobs", labels, NO_SUCCESS) if unfinished(job)]
        pods = [pod["metadata"]["labels"].get(JOB, "") for pod in self.api.list("pods", labels, ALIVE)]
        return {*jobs, *pods}

    # --- start ---
    def start(self, claim: "Claim") -> "Answer":
        from beads_dispatch.core.kubernetes_jobs import BEAD, label, manifest
        from beads_dispatch.core.runner import Answer, Outcome

        try:
            cron_job = self.api.get("cronjobs", self.cron_job)
            at_work = self._at_work({BEAD: label(claim.bead.id)})
        except ServiceFailed as error:
            return Answer(Outcome.NOT_STARTED, None, str(error))
        if cron_job is None:
            text = f"there is no CronJob {self.cron_job} in the namespace {self.api.namespace}"
            return Answer(Outcome.NOT_STARTED, None, text)
        if at_work:  # a restored backup may have removed our record of it
            return Answer(Outcome.BEAD_AT_FAULT, None, f"its Job {min(at_work)} still runs")
        return self._create(manifest(claim, cron_job, self.api.namespace))

    def _create(self, job: "Document") -> "Answer":
        """Create the Job, again with the same name until an answer proves that the Job is there or that it is not.

        Once an answer was lost, only 201 and 409 prove anything: a quota may refuse the second create because of the
        first one, and a 404 may overtake a create that is still on its way.
        """
        from beads_dispatch.core.kubernetes_runs import Creation, creation, failure
        from beads_dispatch.core.runner import Answer, Outcome

        until, pause, lost = self.clock.monotonic() + CREATE_SECONDS, FIRST_PAUSE, False
        accepted = Answer(Outcome.ACCEPTED, None, "", job["metadata"]["name"])
        while True:
            reply = self.api.create("jobs", job)
            refused = Answer(Outcome.NOT_STARTED, None, failure(reply, f"create jobs in {self.api.namespace}"))
            match creation(reply):
                case Creation.CREATED:
                    return accepted
                case Creation.EXISTS:
                    return refused if self._is_ours(job) is False else accepted
                case Creation.REFUSED if not lost:
                    return refused
                case Creation.REFUSED if self._is_ours(job):
                    return accepted
                case Creation.UNKNOWN:
                    lost = True
            if self.clock.monotonic() + pause > until or (self.stopping() and not lost):
                # The sweep looks for a lost Job by its name, and knows for how long a 404 proves nothing.
                return replace(accepted, text=refused.text) if lost else refused
            self.clock.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _is_ours(self, job: "Document") -> bool | None:
        """Return whether the Job of this name belongs to this claim; None if it is not there or cannot be read."""
        from beads_dispatch.core.kubernetes_jobs import BEAD, CLAIM

        try:
            known = self.api.get("jobs", job["metadata"]["name"])
        except ServiceFailed:
            return None
        if known is None:
            return None
        ours, theirs = job["metadata"], known["metadata"]
        same_bead = (theirs.get("annotations") or {}).get(BEAD) == ours["annotations"][BEAD]
        return bool(same_bead and (theirs.get("labels") or {}).get(CLAIM) == ours["labels"][CLAIM])

    # --- a run ---
    def job_of(self, bead: "Bead") -> str:
        from beads_dispatch.core.kubernetes_jobs import job_of

        return job_of(bead)

    def job(self, job_id: str) -> "Job":
        from beads_dispatch.core import kubernetes_runs
        from beads_dispatch.core.kubernetes_jobs import JOB
        from beads_dispatch.core.runner import Job, Stage

        log, events = "", list["Document"]()
        try:
            job = self.api.get("jobs", job_id)
            pod = kubernetes_runs.decisive(self.api.list("pods", {JOB: job_id}))
            if pod and kubernetes_runs.terminal(pod):
                log = self.api.log(pod)
            elif job and not pod:  # only an event says why it has no pod, such as a quota
                events = self.api.list("events", {}, f"involvedObject.kind=Job,involvedObject.name={job_id}")
        except ServiceFailed as error:
            return Job(Stage.DOUBT, str(error))
        return kubernetes_runs.run(job_id, job, pod, self.clock.now(), log, events)

    def stop(self, job_id: str) -> bool:
        """End a run. Return whether it is known to have ended: its pod is terminal or gone. Raise ServiceFailed."""
        until = self.clock.monotonic() + GONE_SECONDS
        if self._ended(job_id):
            return True
        self.api.delete("jobs", job_id)
        while not self._ended(job_id):
            if self.clock.monotonic() + FIRST_PAUSE > until or self.stopping():
                return False
            self.clock.sleep(FIRST_PAUSE)
        return True

    def _ended(self, job_id: str) -> bool:
        from beads_dispatch.core.kubernetes_jobs import JOB
        from beads_dispatch.core.kubernetes_runs import terminal, unfinished

        job, pods = self.api.get("jobs", job_id), self.api.list("pods", {JOB: job_id})
        return all(map(terminal, pods)) and (bool(pods) or job is None or not unfinished(job))
