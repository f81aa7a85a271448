"""The API server over HTTPS, as one process of ours sees it."""

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from beads_dispatch.adapters.exchange import Ask
from beads_dispatch.adapters.job_runner import JobRunner
from beads_dispatch.core.beadboard_answers import Reply
from beads_dispatch.core.claim import Claim
from beads_dispatch.core.runner import Answer
from simulation import people
from simulation.cluster import CRON_JOB, Cluster, Document, Pod, Stored
from simulation.world import Actor, Crash

GIVES_UP = 10.0  # the client's own deadline
# What it answers if nothing was created.
CREATED_NOTHING = (
    (401, "Unauthorized"), (403, "exceeded quota: jobs"), (422, "Job is invalid: spec"), (429, "too many requests"),
)  # fmt: skip
# And if that cannot be told.
UNTOLD = ((None, "lost"), (500, "etcdserver: request timed out"), (504, "request did not complete"))


class Account:
    """Nobody reads a file here."""

    authority = ""

    def token(self) -> str:
        return "secret"


class Observed(JobRunner):
    """The production runner; what it concludes is checked by what really happened."""

    server: "ApiServer"

    def start(self, claim: Claim) -> Answer:
        answer = super().start(claim)
        self.server.started(claim, answer)
        return answer


@dataclass
class ApiServer:
    """What answers this process's requests. `listed`: when the Jobs of a bead were last listed, simulated seconds."""

    actor: Actor
    cluster: Cluster
    asked: set[str] = field(default_factory=set)  # names of Jobs that this process has asked to create
    listed: dict[str, float] = field(default_factory=dict)

    def __call__(self, ask: Ask) -> Reply:
        actor, world = self.actor, self.actor.world
        parts = urlsplit(ask.url)
        words = parts.path.split("/namespaces/agents/")[1].split("/")
        if ask.method == "POST":
            self._announce(ask.content)  # type: ignore[arg-type]
        actor.step(f"{ask.method} {'/'.join(words)} {parts.query[:60]}")
        world.counts["requests"] += 1
        if (reply := self._away(ask.method)) is not None:
            return reply
        if actor.hits("API slow"):
            world.sleep(9 * actor.random.random())
        if ask.method == "POST":
            return self._create(ask.content)  # type: ignore[arg-type]
        if ask.method == "DELETE":
            return _status(200, "") if self.cluster.delete(words[1]) else _status(404, "not found")
        if actor.hits("job in doubt"):
            actor.doubted = True
            text = words[-1] == "log"  # of which a part is not to be told from the whole
            return Reply(500, "nonsense") if text or actor.random.random() < 0.5 else Reply(200, '{"items": [')
        return self._read(words, {key: value[0] for key, value in parse_qs(parts.query).items()})

    def _away(self, method: str) -> Reply | None:
        actor, world = self.actor, self.actor.world
        if not world.is_away("API") and actor.hits("API away"):
            world.lose("API", actor.random.choice((5, 60, 400)))
        if not world.is_away("API"):
            return None
        actor.doubted |= method == "GET"
        if actor.random.random() < 0.7:
            return Reply(None, "connection refused", delivered=False)
        world.sleep(GIVES_UP)
        return Reply(None, "no answer within 10 s")

    # --- create ---
    def _announce(self, manifest: Document) -> None:
        """The first attempt of a claim is its dispatch; the others repeat it."""
        name, bead = manifest["metadata"]["name"], _bead(manifest)
        if name in self.asked:
            return
        self.asked.add(name)
        self.actor.world.invariants.posted(self.actor, bead, manifest["metadata"]["labels"]["beads-dispatch/claim"])
        if self.actor.hits("hasty person"):
            self.actor.world.spawn(0, lambda: people.react(self.actor.world, self.actor.name, bead))

    def _create(self, manifest: Document) -> Reply:
        actor, world, bead = self.actor, self.actor.world, _bead(manifest)
        if actor.hits("usurper"):
            world.locks.pop("dispatcher", None)
            world.spawn(0, lambda: people.react(world, f"{actor.name} at work", bead, "--status=open"))
            world.spawn(1, world.tick_by_hand)
            world.sleep(8 * actor.random.random())
        if actor.hits("acted on late"):
            world.at(GIVES_UP + 60 * actor.random.random(), lambda: self._execute(manifest))
            world.sleep(GIVES_UP)
            return Reply(None, "no answer within 10 s")
        if actor.hits("refused"):
            return _status(*actor.random.choice(CREATED_NOTHING))
        reply = self._execute(manifest)
        if actor.hits("dies after a create"):
            actor.dead = True
            raise Crash
        if actor.hits("answer lost"):
            if actor.random.random() < 0.4:  # and nobody can be asked again for a while
                world.lose("API", actor.random.choice((60, 400)))
            return _status(*actor.random.choice(UNTOLD))
        return reply

    def _execute(self, manifest: Document) -> Reply:
        if (made := self.cluster.create(manifest)) is None:
            return _status(409, "already exists")
        token = manifest["metadata"]["labels"]["beads-dispatch/claim"]
        invariants = self.actor.world.invariants
        invariants.started(self.actor, made.run, token, self.listed.get(_bead(manifest), 0.0))
        return Reply(201, json.dumps(_job(made)))

    def started(self, claim: Claim, answer: Answer) -> None:
        """What the runner says of a start. If nothing was asked for, there is nothing to judge."""
        if answer.job in self.asked or any(name.endswith(claim.token) for name in self.asked):
            self.actor.world.invariants.answered(self.actor, claim.bead.id, answer.outcome)

    # --- read ---
    def _read(self, words: list[str], query: dict[str, str]) -> Reply:
        match words:
            case ["cronjobs", _]:
                return Reply(200, json.dumps(CRON_JOB))
            case ["jobs", name]:
                one = self.cluster.stored.get(name)
                return Reply(200, json.dumps(_job(one))) if one else _status(404, "not found")
            case ["pods", name, "log"]:
                pods = (one.pod for one in self.cluster.stored.values() if one.pod)
                return next((Reply(200, pod.log) for pod in pods if pod.name == name), _status(404, "not found"))
            case ["events"]:
                return _list([{"reason": "FailedCreate", "message": "exceeded quota: pods"}])
        labels = dict(pair.split("=") for pair in query.get("labelSelector", "").split(","))
        found = list(self.cluster.select(labels))
        if words == ["jobs"]:
            self.listed[labels.get("beads-dispatch/bead", "")] = self.actor.world.seconds
            return _list([_job(one) for one in found if not (one.condition and one.condition[0] == "Complete")])
        live = "fieldSelector" in query
        return _list([_pod(one, one.pod) for one in found if one.pod and not (live and one.pod.ended)])


def _bead(manifest: Document) -> str:
    return str(manifest["metadata"]["annotations"]["beads-dispatch/bead"])


def _status(code: int | None, message: str) -> Reply:
    return Reply(code, json.dumps({"kind": "Status", "message": message}) if code else message)


def _list(items: list[Document]) -> Reply:
    return Reply(200, json.dumps({"items": items, "metadata": {}}))


def _time(time: Any) -> str | None:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ") if time else None


def _job(one: Stored) -> Document:
    known = {**one.manifest["metadata"], "creationTimestamp": _time(one.created)}
    status: Document = {}
    if one.pod:
        status = {"startTime": _time(one.created), "failed" if one.pod.ended else "active": 1}
    if one.condition:
        kind, reason, at = one.condition
        known_of = {"type": kind, "status": "True", "reason": reason, "lastTransitionTime": _time(at)}
        status |= {"conditions": [known_of]}
    if one.deleted:
        known["deletionTimestamp"] = known["creationTimestamp"]
    return {"metadata": known, "spec": one.manifest["spec"], "status": status}


def _pod(one: Stored, pod: Pod) -> Document:
    state: Document = {"waiting": {"reason": pod.waiting}}
    if one.late:
        state = {"waiting": {"reason": one.late}}
    if pod.started:
        state = {"running": {"startedAt": _time(pod.started)}}
    if pod.ended:
        code, reason, at = pod.ended
        state = {"terminated": {
            "exitCode": code, "reason": reason, "startedAt": _time(pod.started), "finishedAt": _time(at),
        }}  # fmt: skip
    phase = "Pending" if not pod.started else "Running"
    if pod.ended:
        phase = "Failed" if pod.ended[0] else "Succeeded"
    meta: Document = {
        "name": pod.name, "creationTimestamp": _time(pod.created),
        "labels": one.manifest["spec"]["template"]["metadata"]["labels"],
    }  # fmt: skip
    if pod.deleted:
        meta["deletionTimestamp"] = meta["creationTimestamp"]
    why, _, message = pod.why.partition(": ")
    told = {"reason": why, "message": message} if why else {}
    status = {"phase": phase, "containerStatuses": [{"name": "agent", "state": state}], **told}
    return {"metadata": meta, "spec": one.manifest["spec"]["template"]["spec"], "status": status}
