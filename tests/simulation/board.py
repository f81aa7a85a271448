"""BeadBoard and the agent service over HTTP, as one process of ours sees them."""

import json
from dataclasses import dataclass

from beads_dispatch.adapters.exchange import Ask
from beads_dispatch.core.beadboard_answers import Reply, understand
from simulation import people
from simulation.faults import STARTED_NOTHING, UNCLEAR
from simulation.service import Job
from simulation.world import Actor, World

CACHE = 2.0  # seconds that BeadBoard's status is old at most
GIVES_UP = 60.0  # the client's own deadline for a POST


@dataclass
class Board:
    """What is shared by all clients: the cached status."""

    world: World
    busy: bool = False
    asked_at: float = -CACHE

    def status(self, actor: Actor) -> Reply:
        """Fails open: not busy where the agent service does not answer."""
        world = self.world
        if world.seconds - self.asked_at >= CACHE:
            self.busy, self.asked_at = world.service.full and not world.is_away("service"), world.seconds
        return Reply(200, json.dumps({"busy": self.busy and not actor.hits("says free")}))


@dataclass
class Http:
    """What answers this process's requests."""

    actor: Actor
    board: Board

    def __call__(self, ask: Ask) -> Reply:
        actor, world = self.actor, self.actor.world
        path = ask.url.removeprefix("http://")
        bead = (ask.content or {}).get("taskId", "")
        if ask.method == "POST":
            world.invariants.posted(actor, bead)
            if actor.hits("hasty person"):
                world.spawn(0, lambda: people.react(world, actor.name, bead))
        actor.step(f"{ask.method} {path} {bead}")
        world.counts["requests"] += 1
        if path.startswith("service/"):
            return self._service(path, ask.token)
        if (reply := self._away("board", path)) is not None:
            return self._post(bead, reply) if bead else reply
        return self._post(bead) if bead else self.board.status(actor)

    def _away(self, what: str, path: str) -> Reply | None:
        """No connection, or a proxy's page in its place."""
        actor, world = self.actor, self.actor.world
        if not world.is_away(what) and actor.hits(f"{what} away"):
            world.lose(what, actor.random.choice((5, 60, 400)))
        if not world.is_away(what):
            return None
        if actor.random.random() < 0.7:
            return Reply(None, "refused", delivered=False)
        if "health" in path or "jobs" in path:
            return Reply(None, "no answer within 10 s")
        return Reply(502, "<html>waiting</html>")

    def _service(self, path: str, token: str) -> Reply:
        if (reply := self._away("service", path)) is not None:
            self.actor.doubted |= "/jobs/" in path
            return reply
        if self.actor.hits("service slow"):
            self.actor.world.sleep(9 * self.actor.random.random())
        if self.actor.hits("service restarts"):
            self.actor.world.service.restart()
        if path == "service/health":
            return self.actor.world.service.health()
        return self.actor.world.service.job(path.rpartition("/")[2], token, self.actor)

    def _post(self, bead: str, instead: Reply | None = None) -> Reply:
        reply = instead or self._answer(bead)
        row = "not delivered" if not reply.delivered else f"{reply.status} {_error(reply)}"
        self.actor.world.counts[f"answer: {row}"] += 1
        self.actor.world.say(f"BeadBoard: {row or reply.body} for {bead}")
        self.actor.world.invariants.answered(self.actor, bead, understand(reply).outcome)
        return reply

    def _answer(self, bead: str) -> Reply:
        actor, world = self.actor, self.actor.world
        if actor.hits("acted on late"):
            world.at(GIVES_UP + 60 * actor.random.random(), lambda: self._execute(bead))
            world.sleep(GIVES_UP)
            return Reply(None, "no answer within 60 s")
        self._take_time(bead)
        if actor.hits("refused"):
            return _refusal(*actor.random.choice(STARTED_NOTHING))
        trouble = world.plan.troublemaker if bead == "s-0" else ""
        if world.plan.outage in ("Invalid token", "Queue full", "fetch failed"):
            return _refusal(502, world.plan.outage)
        if trouble == "at fault":
            return _refusal(400, "taskId is required.")
        if world.is_away("Dolt") or trouble == "never found" or bead not in world.rows:
            return _refusal(400, f"Bead {bead} not found.")
        if not world.rows[bead]["acceptance_criteria"].strip():
            return _refusal(400, f"Bead {bead} is missing acceptance criteria.")
        if world.is_away("service"):
            return _refusal(502, "fetch failed")
        job = self._execute(bead)
        if job is None:
            return _refusal(409, "Agent is busy") if world.plan.first_generation else _refusal(502, "Queue full")
        world.sleep(actor.random.random() * 0.5)
        if actor.hits("answer lost") or actor.hits("answer odd"):
            return _refusal(*actor.random.choice(UNCLEAR))
        return Reply(200, json.dumps({"job_id": job.id}))

    def _take_time(self, bead: str) -> None:
        actor, world = self.actor, self.actor.world
        if actor.hits("usurper"):
            world.locks.pop("dispatcher", None)
            world.spawn(0, lambda: people.react(world, f"{actor.name} at work", bead, "--status=open"))
            world.spawn(1, world.tick_by_hand)
            world.sleep(10 + 40 * actor.random.random())
        if actor.hits("Dolt away"):
            world.lose("Dolt", 5 * actor.random.random())
        if actor.hits("answer slow"):
            world.sleep(55 * actor.random.random())

    def _execute(self, bead: str) -> Job | None:
        job = self.actor.world.service.execute(bead)
        if job:
            self.actor.world.invariants.started(self.actor, job)
        return job


def _error(reply: Reply) -> str:
    if reply.status == 200:
        return "with a job" if "job_id" in reply.body else "without one"
    try:
        return str(json.loads(reply.body)["error"])
    except (ValueError, KeyError, TypeError):
        return reply.body


def _refusal(status: int | None, text: str) -> Reply:
    return Reply(status, json.dumps({"error": text}) if status else text)
