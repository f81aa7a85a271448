"""The agent service: its jobs, /health and /jobs/{id}, in the shapes of the real one and of its first generation."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from beads_dispatch.core.beadboard_answers import Reply
from simulation.world import Actor, World

TIMEOUT = 900.0  # seconds; it frees the place, but the agent's process lives on
KEPT = 3600.0  # for so long an ended job is known


@dataclass(eq=False)
class Job:
    """`alive`: the agent's process is at work.

    `limited`: it ended on a usage limit. `broken`: the agent could not work.
    """

    id: str
    bead: str
    created_at: datetime
    stage: str = "queued"
    started_at: datetime | None = None
    finished_at: datetime | None = None
    fields: dict[str, object] = field(default_factory=dict)
    alive: bool = False
    limited: bool = False
    broken: bool = False

    @property
    def over(self) -> bool:
        return self.stage not in ("queued", "running")


@dataclass(eq=False)
class Service:
    """`run_agent`: what a job does."""

    world: World
    run_agent: Callable[[Job], None]
    jobs: dict[str, Job] = field(default_factory=dict)
    places: int = 0
    started: int = 0
    timed_out: set[str] = field(default_factory=set)  # jobs that the first generation calls running for ever

    def __post_init__(self) -> None:
        self.places = 1 if self.world.plan.first_generation else self.world.plan.places

    def _active(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.stage == "running" and job.id not in self.timed_out]

    def _queued(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.stage == "queued"]

    @property
    def full(self) -> bool:
        queue = 0 if self.world.plan.first_generation else 1
        return len(self._active()) + len(self._queued()) >= self.places + queue

    def health(self) -> Reply:
        active, queued = len(self._active()), len(self._queued())
        known: dict[str, object] = {"status": "ok", "busy": active >= self.places}
        if not self.world.plan.first_generation:
            known |= {"active": active, "queued": queued, "capacity": self.places}
        return Reply(200, json.dumps(known))

    def job(self, job_id: str, token: str, actor: Actor) -> Reply:
        if not token:
            return Reply(401, '{"detail": "Missing bearer token"}')
        if actor.hits("job in doubt"):
            actor.doubted = True
            return Reply(200, '{"status": "run')
        job = self.jobs.get(job_id)
        if job is None:
            return Reply(404, '{"detail": "Job not found"}')
        times = {"created_at": job.created_at, "started_at": job.started_at, "finished_at": job.finished_at}
        known = {key: at.isoformat() for key, at in times.items() if at}
        return Reply(200, json.dumps({"status": job.stage, "prompt": "", "agent": "", **known, **job.fields}))

    def execute(self, bead: str) -> Job | None:
        """Accepts one more job; None where it is full."""
        if self.full:
            return None
        self.started += 1
        job = Job(f"{self.started:04x}{self.world.plan.seed % 0xFFFF:04x}beef"[:12], bead, self.world.now())
        self.jobs[job.id] = job
        self._begin()
        return job

    def _begin(self) -> None:
        """Starts what waits for a place."""
        for job in self._queued():
            if len(self._active()) < self.places:
                job.stage, job.started_at, job.alive = "running", self.world.now(), True
                self.world.say(f"service: job {job.id} of {job.bead} starts")
                self.world.spawn(0.05, lambda job=job: self.run_agent(job))
                self.world.at(TIMEOUT, lambda job=job: self._time_out(job))

    def finish(self, job: Job, stage: str, **fields: object) -> None:
        """The agent's process has ended, or the service has lost sight of it."""
        if job.over or job.id not in self.jobs or job.id in self.timed_out:
            return
        job.stage, job.finished_at, job.fields = stage, self.world.now(), fields
        self.world.counts[f"job: {stage}"] += 1
        self.world.say(f"service: job {job.id} of {job.bead} is {stage} {fields or ''}")
        self.world.at(KEPT, lambda: self.jobs.pop(job.id, None))
        self._begin()

    def _time_out(self, job: Job) -> None:
        if job.stage != "running":
            return
        if self.world.plan.first_generation:
            self.timed_out.add(job.id)
            self.world.say(f"service: job {job.id} has timed out, and is called running for ever")
            self._begin()
        else:
            self.finish(job, "timeout")
        self.world.invariants.timed_out(job)

    def restart(self) -> None:
        """Forgets every job, and their agents die with it."""
        self.world.say("service: restarts, and forgets every job")
        for job in self.jobs.values():
            job.alive = False
        self.jobs.clear()
