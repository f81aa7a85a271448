"""An agent on one bead: it notes, it ends in each of the ways that were seen, and it may write late."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from beads_dispatch.core.errors import BdFailed
from simulation.bd import SimulatedBd
from simulation.service import Job
from simulation.world import Actor, World

LONG = (0.1, 2.0, 30.0, 300.0, 1500.0)  # seconds; the last is beyond the service's timeout


class Dead(Exception):
    """The agent's process is gone."""


def run(world: World, job: Job) -> None:
    agent = Agent(Actor(world, "agent", f"agent {job.id[:4]}"), job)
    try:
        agent.work()
    except Dead:
        pass
    job.alive = False


@dataclass
class Agent:
    actor: Actor
    job: Job

    @property
    def world(self) -> World:
        return self.actor.world

    def work(self) -> None:
        behaviour = self._behaviour()
        self.world.counts[f"agent: {behaviour.__name__.strip('_')}"] += 1
        if not (self.world.healed or self.job.broken):
            self._note()
        behaviour()

    def _behaviour(self) -> Callable[[], None]:
        if self._meets_limit():
            return self._limited
        if self._is_broken():
            return BROKEN[self.world.broken].__get__(self)
        if self.job.bead == "s-0" and (known := TROUBLEMAKERS.get(self.world.plan.troublemaker)):
            return lambda: known(self)
        if self.actor.hits("agent misbehaves"):
            known = self.actor.random.choice(MISBEHAVIOURS)
            return known.__get__(self)
        return self._close

    def _meets_limit(self) -> bool:
        world = self.world
        if world.seconds < world.limit_until:
            return True
        if not self.actor.hits("usage limit"):
            return False
        world.limit_until = world.seconds + self.actor.random.choice((60, 900, 3600)) * self.actor.random.random()
        return True

    def _is_broken(self) -> bool:
        world, random = self.world, self.actor.random
        if world.seconds >= world.broken_until and self.actor.hits("agent breaks"):
            world.broken = random.choice(sorted(BROKEN))
            world.broken_until = world.seconds + random.choice((60, 900, 3600)) * random.random()
        self.job.broken = world.seconds < world.broken_until
        return self.job.broken

    def _wait(self, seconds: float) -> None:
        self.world.sleep(seconds)
        if not self.job.alive:
            raise Dead

    def _write(self, *words: str) -> None:
        try:
            SimulatedBd(self.actor).json("update", *words, "--", self.job.bead)
        except BdFailed:
            pass
        if not self.job.alive:
            raise Dead

    def _note(self) -> None:
        """Right after the POST, while its note is being written, or later; some replace what stands there."""
        for _ in range(self.actor.random.randrange(3)):
            self._wait(self.actor.random.choice((0.05, 0.5, 60)) * self.actor.random.random())
            if self.actor.random.random() < 0.3:
                self._write("--notes=half of it")
            elif self.actor.random.random() < 0.2:
                self._write('--metadata={"seen": 1}')
            else:
                self._write("--append-notes=half of it")

    def _exit(self, code: int = 0, result: str = "done", **fields: object) -> None:
        output = [json.dumps({"type": "result", "result": result, **fields}) + "\n"]
        stage = "failed" if code else "completed"
        self.job.alive = False
        self.world.service.finish(self.job, stage, exit_code=code, output=output, stderr="")

    def _takes(self) -> None:
        self._wait((20 if self.world.healed else self.actor.random.choice(LONG)) * self.actor.random.random())

    def _close(self) -> None:
        self._takes()
        for _ in range(10):
            self._write("--status=closed")
            if self.world.rows[self.job.bead]["status"] == "closed":
                break
            self._wait(5)
        self._exit()

    def _limited(self) -> None:
        self._wait(self.actor.random.random() * 20)
        reset = self.world.now() + timedelta(seconds=self.world.limit_until - self.world.seconds)
        clock = reset.strftime("%I:%M%p").lower().lstrip("0")
        texts = (
            f"Claude AI usage limit reached|{reset.timestamp():.0f}",
            f"You've hit your limit · resets {clock} (UTC)",
            "API Error: 429 rate_limit_error",
        )
        self.job.limited = True
        self._exit(self.actor.random.choice((0, 1)), self.actor.random.choice(texts), is_error=True)

    def _block(self) -> None:
        self._takes()
        self._write("--status=blocked", "--append-notes=I cannot")
        self._exit()

    def _defer(self) -> None:
        self._takes()
        self._write(f"--defer={self.actor.random.choice((5, 60, 600))}")
        self._exit()

    def _open(self) -> None:
        self._takes()
        self._write("--status=open")
        if self.actor.random.random() < 0.5:
            self._takes()  # and goes on all the same
        self._exit()

    def _hand_on(self) -> None:
        self._takes()
        self._write("--assignee=somebody")
        self._exit()

    def _leave(self) -> None:
        self._takes()
        self._exit()

    def _fail(self) -> None:
        self._takes()
        self._exit(self.actor.random.choice((1, 127, -9, -15)), "")

    def _error(self) -> None:
        """The service loses sight of it; its process lives on, and may still write."""
        self._takes()
        self.world.service.finish(self.job, "error", error="Separator is found, but chunk is longer than limit")
        self.world.invariants.timed_out(self.job)
        self._takes()
        self._late()

    def _hang(self) -> None:
        self._wait(self.actor.random.choice((1000, 2000, 3000)))
        self._late()

    def _late(self) -> None:
        """An agent that outlived its job."""
        word = self.actor.random.choice(("closed", "open", "blocked", "note", ""))
        if word and not self.world.healed:
            self._write("--append-notes=late" if word == "note" else f"--status={word}")
        self._exit()

    # --- an agent that cannot work ---
    def _no_login(self) -> None:
        self._wait(2)
        self._exit(self.actor.random.choice((0, 1)), "Invalid API key · Please run /login", is_error=True)

    def _not_found(self) -> None:
        self._exit(127, "")

    def _dies(self) -> None:
        self._wait(1)
        self._exit(1, "")

    def _overloaded(self) -> None:
        self._wait(183)
        self._exit(1, "API Error: 529 Overloaded", is_error=True, api_error_status=529)

    def _fails_late(self) -> None:
        self._wait(61.5)
        self._exit(1, "")

    def _does_nothing(self) -> None:
        self._wait(1)
        self._exit(0, "done")


BROKEN = {
    "no login": Agent._no_login, "not found": Agent._not_found, "dies": Agent._dies, "overloaded": Agent._overloaded,
    "fails late": Agent._fails_late, "does nothing": Agent._does_nothing,
}  # fmt: skip
TROUBLEMAKERS = {
    "opens itself": Agent._open, "leaves": Agent._leave, "hangs": Agent._hang,
    "fails at once": Agent._dies, "sounds broken": Agent._no_login,
}  # fmt: skip
MISBEHAVIOURS = (
    Agent._block, Agent._defer, Agent._open, Agent._hand_on, Agent._leave, Agent._fail, Agent._error, Agent._hang,
)  # fmt: skip
