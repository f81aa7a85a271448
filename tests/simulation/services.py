"""BeadBoard and the agent service over HTTP, with the agents that they start."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from beads_dispatch.adapters.exchange import Ask
from beads_dispatch.core.outcomes import Reply
from simulation.ledger import Broken
from simulation.world import World

BOARD, AGENTS = "http://board", "http://agents"
CAPACITY = 2
CACHE_SECONDS = 2.0
FORGET_SECONDS = 3600.0
STARTED_NOTHING = (
    (502, "Queue full"), (409, "Agent is busy"), (429, "Too many requests"), (400, "Bead X not found."),
    (400, "Bead X has a label that is none"), (502, "Invalid token"), (500, "Claude agent service is not configured"),
    (404, "Not Found"),
)  # fmt: skip
LIMIT = "You've hit your limit · resets in 90m"
ENDS: tuple[tuple[str, dict[str, object]], ...] = (
    ("completed", {"status": "completed", "exit_code": 0}),
    ("failed", {"status": "failed", "exit_code": 1, "stderr": "boom"}),
    ("killed", {"status": "failed", "exit_code": -9}),
    ("timeout", {"status": "timeout"}),
    ("error", {"status": "error", "error": "[Errno 2] claude"}),
)
USAGE_LIMIT: dict[str, object] = {
    "status": "failed", "exit_code": 1, "output": [json.dumps({"result": LIMIT, "is_error": True})],
}  # fmt: skip


@dataclass
class Run:
    """One job and its process. `outlives`: the process goes on after the service has given the job up."""

    id: str
    bead: str
    started: datetime
    finished: datetime | None = None
    outlives: bool = False
    alive: bool = True
    document: dict[str, object] = field(default_factory=lambda: {"status": "running"})


class Services:
    """`asked`: whether our processes know the agent service. `counts`: its first generation has only `busy`."""

    def __init__(self, world: World, *, asked: bool, token: bool, counts: bool) -> None:
        self.world, self.asked, self.token, self.counts = world, asked, token, counts
        self.jobs: dict[str, Run] = {}
        self.claims: dict[str, str] = {}  # who claimed a bead last
        self.refused: dict[str, str] = {}  # the last bead for which a process was refused
        self.doubts: dict[str, float] = {}  # when a process last got no good answer about a job
        self._cached, self._number = (-CACHE_SECONDS, False), 0

    def request(self, who: str) -> Callable[[Ask], Reply]:
        """The services as one process sees them."""

        def ask(asked: Ask) -> Reply:
            self.world.step(who, f"{asked.method} {asked.url} {(asked.content or {}).get('taskId', '')}")
            self.world.happened["requests"] += 1
            if asked.url.startswith(BOARD):
                if self.world.lasts("board away", 0.02):
                    return Reply(None, "connection refused", delivered=False)
                return self._post(who, asked.content["taskId"]) if asked.content else self._status()
            return self._agents(who, asked.url.removeprefix(AGENTS))

        return ask

    def running(self) -> list[Run]:
        return [run for run in self.jobs.values() if not run.finished]

    # --- BeadBoard

    def _status(self) -> Reply:
        """Cached for two seconds, and `busy: false` while the agent service does not answer."""
        asked, busy = self._cached
        if self.world.seconds - asked >= CACHE_SECONDS:
            busy = len(self.running()) >= CAPACITY and not self.world.lasts("agents away", 0)
            self._cached = self.world.seconds, busy
        return _json(200, {"busy": busy})

    def _post(self, who: str, bead: str) -> Reply:
        self.world.ledger.post(bead)
        self.world.happened["POSTs"] += 1
        if len(self.running()) >= CAPACITY:
            return self._refuse(who, bead, 502, "Queue full")
        if bead == self.world.cursed:
            self.world.happened["cursed"] += 1
            return self._refuse(who, bead, 400, "Bead X not found.")
        if self.world.hits("refused", 0.3):
            return self._refuse(who, bead, *self.world.random.choice(STARTED_NOTHING))
        if self.world.hits("nothing came of it", 0.1):
            return _json(502, {"error": "fetch failed"})
        if self.world.hits("late POST", 0.1):
            self.world.at(self.world.random.random() * 60, lambda: self._late(bead))
            self.world.sleep(60)
            return Reply(None, "no answer within 60 s")
        job = self._start(bead)
        self.world.sleep(self.world.random.random() * 0.5)
        if self.world.hits("lost answer", 0.3):
            self.world.say(f"the answer for {bead} is lost")
            return Reply(None, "connection lost")
        return _json(200, {"job_id": job})

    def _refuse(self, who: str, bead: str, status: int, text: str) -> Reply:
        self.refused[who] = bead
        self.world.ledger.not_started(bead)
        self.world.happened[f"answer {status} {text}"] += 1
        return _json(status, {"error": text})

    def _late(self, bead: str) -> None:
        if bead in self.world.ledger.sent:  # otherwise a person has opened it meanwhile, and it counts no more
            self._start(bead)

    def _start(self, bead: str) -> str:
        from simulation.agents import work

        self._number += 1
        run = Run(f"{self._number:04x}e5", bead, self.world.now())
        self.jobs[run.id] = run
        self.world.ledger.accept(bead)
        self.world.say(f"agent service: job {run.id} begins on {bead}")
        self.world.spawn(0.1, lambda: work(self.world, self, run))
        return run.id

    # --- the agent service

    def _agents(self, who: str, path: str) -> Reply:
        if self.world.lasts("agents away", 0.02):
            self.doubts[who] = self.world.seconds
            return Reply(None, "no answer within 10 s")
        if self.world.hits("restart", 0.01):
            self._restart()
        if path == "/health":
            active = len(self.running())
            known = {"capacity": CAPACITY, "active": active, "queued": 0} if self.counts else {}
            return _json(200, {"status": "ok", "busy": active >= CAPACITY, **known})
        return self._job(who, path.removeprefix("/jobs/"))

    def _job(self, who: str, job_id: str) -> Reply:
        if not self.token:
            self.doubts[who] = self.world.seconds
            return _json(401, {"detail": "Missing bearer token"})
        run = self.jobs.get(job_id)
        if run is None:
            return _json(404, {"detail": "Job not found"})
        finished = {"finished_at": run.finished.isoformat()} if run.finished else {}
        return _json(200, {**run.document, "started_at": run.started.isoformat(), **finished})

    def _restart(self) -> None:
        """It forgets every job, and its agents die with it."""
        self.world.say("agent service: restarts")
        for run in self.jobs.values():
            run.alive, run.finished = False, run.finished or self.world.now()
        self.jobs.clear()

    def end(self, run: Run, how: str, document: dict[str, object]) -> None:
        """The service learns that the job has ended. It knows that for an hour."""
        if run.finished:
            return
        run.finished, run.document = self.world.now(), document
        self.world.happened[f"end {how}"] += 1
        self.world.say(f"agent service: job {run.id} of {run.bead} ends: {how}")
        self.world.at(FORGET_SECONDS, lambda: self.jobs.pop(run.id, None))
        if document is USAGE_LIMIT:
            self.world.ledger.limited(run.bead)

    # --- invariants

    def ticked(self, who: str) -> None:
        """A tick has ended, and was not killed: a bead that was refused must not stay claimed for half an hour."""
        bead = self.refused.pop(who, "")
        away = {"bd away", "Dolt away"} & self.world.faults  # for longer than a tick tries
        if not bead or away or self.claims[bead] != who or bead in self.world.ledger.unmarked:
            return
        row = self.world.rows[bead]
        if (row["status"], row["assignee"]) == ("in_progress", "agent"):
            raise Broken(f"{who}: {bead} was refused, and stays in progress")

    def claimed(self, who: str, bead: str) -> None:
        """A claim is written: the bead's last job must not be at work, where that could be known."""
        self.world.ledger.claimed(bead)
        self.claims[bead] = who
        job = str(self.world.rows[bead]["metadata"].get("beads_dispatch.job", "")).strip('"')
        run = self.jobs.get(job)
        asked = self.asked and self.token and self.world.seconds - self.doubts.get(who, -1000) > 300
        young = run and self.world.now() - run.started < timedelta(hours=1)
        if run and not run.finished and asked and young:
            raise Broken(f"{who} claims {bead}, although its job {job} still runs")


def _json(status: int, document: dict[str, object]) -> Reply:
    return Reply(status, json.dumps(document))
