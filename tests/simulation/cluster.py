"""A Kubernetes: the Jobs and pods of the API server, and what its controllers and a node make of them.

tests/unit/test_kubernetes.py and e2e have the shapes of a real one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from beads_dispatch.adapters import queue
from simulation import people
from simulation.service import Job
from simulation.world import Actor, Broken, World

Document = dict[str, Any]

# The agent's CronJob asks for everything that could start a bead twice, or keep its Job from starting.
CRON_JOB: Document = {
    "metadata": {"name": "agent"},
    "spec": {"jobTemplate": {"spec": {
        "backoffLimit": 6, "completions": 2, "parallelism": 2, "completionMode": "Indexed", "suspend": True,
        "podReplacementPolicy": "TerminatingOrFailed", "ttlSecondsAfterFinished": 60, "activeDeadlineSeconds": 900,
        "managedBy": "example.org/somebody", "podFailurePolicy": {"rules": []},
        "template": {"spec": {"restartPolicy": "OnFailure", "containers": [{"name": "agent", "image": "agent"}]}},
    }}},
}  # fmt: skip
WHY_LATE = ("ErrImagePull", "Unschedulable", "quota")
GRACE = 30.0  # seconds that a deleted pod may take to end
LOST = 1500.0  # a lost node comes back within so long


@dataclass(eq=False)
class Pod:
    """`waiting`: why it does not run. `ended`: code, reason and time of its container. `deleted`: it is to end."""

    name: str
    created: datetime
    waiting: str = "ContainerCreating"
    started: datetime | None = None
    ended: tuple[int, str, datetime] | None = None
    why: str = ""
    log: str = ""
    deleted: bool = False


@dataclass(eq=False)
class Stored:
    """One Job as the API server has it. `run`: what the agent does for it. `late`: why it has no pod that runs."""

    manifest: Document
    run: Job
    created: datetime
    pod: Pod | None = None
    condition: tuple[str, str, datetime] | None = None
    deleted: bool = False
    late: str = ""
    lost_until: float = 0.0  # its node, simulated seconds

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def live(self) -> bool:
        return self.pod is not None and self.pod.ended is None


@dataclass(eq=False)
class Cluster:
    """`run_agent`: what a pod does. `jobs`: every run that there ever was, by the name of its Job."""

    world: World
    run_agent: Callable[[Job], None]
    stored: dict[str, Stored] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    places: int = 0
    actor: Actor = field(init=False)

    def __post_init__(self) -> None:
        self.actor = Actor(self.world, "cluster", "cluster")
        self.places = self.world.plan.places

    # --- what the API server is asked ---
    def create(self, manifest: Document) -> Stored | None:
        """None: there is an object of this name."""
        name = manifest["metadata"]["name"]
        if name in self.stored:
            return None
        bead = manifest["metadata"]["annotations"]["beads-dispatch/bead"]
        one = Stored(manifest, Job(name, bead, self.world.now()), self.world.now())
        self.stored[name], self.jobs[name] = one, one.run
        self.world.say(f"cluster: Job {name} is created")
        self._live(one)
        return one

    def select(self, labels: dict[str, str]) -> Iterator[Stored]:
        for one in list(self.stored.values()):
            if labels.items() <= one.manifest["metadata"]["labels"].items():
                yield one

    def delete(self, name: str) -> bool:
        """In the foreground: the Job is there until its pod is gone."""
        one = self.stored.get(name)
        if one is None:
            return False
        if not one.deleted:
            one.deleted = True
            self.world.say(f"cluster: Job {name} is being deleted")
            quick = one.pod is None or one.pod.started is None or one.pod.ended is not None
            if one.pod:
                one.pod.deleted = True
            wait = max(one.lost_until - self.world.seconds, (2 if quick else GRACE) * self.actor.random.random())
            if not quick and self.actor.random.random() < 0.5:  # it is seen to end before it is gone
                self.world.at(wait, lambda: self._end(one, 137, "Error"))
                wait += 2 * self.actor.random.random()
            self.world.at(wait, lambda: self._gone(one))
        return True

    # --- what its controllers and its node do ---
    def _live(self, one: Stored) -> None:
        """Whatever the manifest asks for is done."""
        random, spec = self.actor.random, one.manifest["spec"]
        if spec.get("suspend") or spec.get("managedBy"):
            return
        if self.actor.hits("pod late"):
            one.late = random.choice(WHY_LATE)
        wait = random.choice((30, 300, 1500)) * random.random() if one.late else 0.0
        if one.late != "quota":
            self.world.at(random.random(), lambda: self._pod(one))
        self.world.at(1 + random.random() + wait, lambda: self._start(one))
        if self.actor.hits("Job deleted"):
            self.world.at(random.choice((5, 60, 1500)) * random.random(), lambda: self.delete(one.name))
        if self.actor.hits("evicted"):
            self.world.at(random.choice((5, 60, 900)) * random.random(), lambda: self._evict(one))
        if self.actor.hits("backup restored"):
            self.world.at(random.choice((5, 60)) * random.random(), lambda: self._restore(one))
        if self.actor.hits("node lost"):
            self.world.at(random.choice((5, 60, 900)) * random.random(), lambda: self._lose(one))

    def _pod(self, one: Stored) -> None:
        if not one.deleted and one.pod is None and one.condition is None:
            one.pod = Pod(f"{one.name}-{self.actor.random.getrandbits(20):05x}", self.world.now())

    def _start(self, one: Stored) -> None:
        self._pod(one)
        if one.deleted or one.pod is None or one.pod.started or one.pod.ended:
            return
        one.late, one.pod.started = "", self.world.now()
        one.run.stage, one.run.started_at, one.run.alive = "running", self.world.now(), True
        self.world.say(f"cluster: the pod of {one.name} runs")
        self.world.spawn(0.05, lambda: self.run_agent(one.run))
        if deadline := one.manifest["spec"].get("activeDeadlineSeconds"):
            self.world.at(deadline, lambda: self._deadline(one))
        if one.manifest["spec"].get("parallelism") != 1 or one.manifest["spec"].get("completions") != 1:
            raise Broken("one pod", f"Job {one.name} starts a second pod beside the first")

    def finish(self, run: Job, stage: str, **fields: Any) -> None:
        """The agent's process has ended."""
        one = self.stored.get(run.id)
        if stage == "error" or one is None or one.pod is None or one.pod.ended:  # `error` is the agent service's alone
            return
        if self.world.seconds < one.lost_until:
            self.world.at(one.lost_until - self.world.seconds, lambda: self.finish(run, stage, **fields))
            return
        code = int(fields.get("exit_code", 0))
        self._end(one, 128 - code if code < 0 else code, "Error" if code else "Completed", "".join(fields["output"]))

    def _end(self, one: Stored, code: int, reason: str, log: str = "", why: str = "") -> None:
        """The pod is terminal; the Job's controller notices that some time later."""
        if one.pod is None or one.pod.ended:
            return
        now = self.world.now()
        one.pod.ended, one.pod.log, one.pod.why = (code, reason, now), log, why
        one.run.alive, one.run.stage, one.run.finished_at = False, "failed" if code else "completed", now
        self.world.counts[f"pod: {reason if not why else why.split(':', maxsplit=1)[0]}"] += 1
        self.world.say(f"cluster: the pod of {one.name} has ended: {code} {reason} {why}")
        spec = one.manifest["spec"]
        if code and (spec["backoffLimit"] or spec["template"]["spec"]["restartPolicy"] != "Never"):
            raise Broken("one pod", f"Job {one.name} starts another pod after the first has failed")
        self.world.at(self.actor.random.choice((0.5, 20)) * self.actor.random.random(), lambda: self._settle(one, code))

    def _settle(self, one: Stored, code: int) -> None:
        if one.condition or one.deleted:
            return
        how = ("Failed", "BackoffLimitExceeded") if code else ("Complete", "")
        one.condition = (*how, self.world.now())
        if ttl := one.manifest["spec"].get("ttlSecondsAfterFinished"):
            self.world.at(ttl, lambda: self.delete(one.name))
        if self.actor.hits("cleaned up"):
            self.world.at(600 * self.actor.random.random(), lambda: self.delete(one.name))

    def _deadline(self, one: Stored) -> None:
        """The controller deletes the pod, so only the Job says why it has ended."""
        if one.pod is None or one.pod.ended or one.condition or self.world.seconds < one.lost_until:
            return
        now = self.world.now()
        one.run.alive, one.run.stage, one.run.finished_at = False, "timeout", now
        one.condition, one.pod = ("Failed", "DeadlineExceeded", now), None
        self.world.counts["pod: deadline"] += 1
        self.world.say(f"cluster: {one.name} has reached its deadline")

    def _evict(self, one: Stored) -> None:
        if one.live and one.pod and one.pod.started:
            self._end(one, 137, "Error", why="Evicted: low on memory")

    def _lose(self, one: Stored) -> None:
        """Nobody hears of the pod for a while; its agent may work on. Then the node is back, and the pod is gone."""
        if not (one.live and one.pod and one.pod.started):
            return
        wait = LOST * self.actor.random.random()
        one.lost_until = self.world.seconds + wait
        self.world.say(f"cluster: the node of {one.name} is lost for {wait:.0f} s")
        if self.actor.random.random() < 0.5:
            one.run.alive = False
            self.world.at(wait, lambda: self._end(one, 137, "Error", why="NodeLost: it is back"))

    def _restore(self, one: Stored) -> None:
        """Only the Jobs themselves still show that the bead was sent."""
        if one.live and one.pod and one.pod.started:
            self.world.local.pop(queue._ledger_key(one.run.bead), None)
            people.take_back(self.actor, one.run.bead, first=True)
            self.world.invariants.restored_all(one.run.bead)

    def _gone(self, one: Stored) -> None:
        """The Job and its pod are deleted, whatever the agent was doing."""
        if self.stored.get(one.name) is one:
            del self.stored[one.name]
            one.pod, one.run.alive = None, False
            if not one.run.over:
                one.run.stage, one.run.finished_at = "deleted", self.world.now()
            self.world.counts["Jobs gone"] += 1
            self.world.say(f"cluster: Job {one.name} is gone")

    def restart(self) -> None:
        """What only the agent service does."""
