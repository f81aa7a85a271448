"""Agents as Kubernetes Jobs, from twenty beads to their ends: the story that both modes go through."""

import json
import random
import re
import time
from collections.abc import Callable
from typing import Any

from world import ROOT, World, needed, run, wait

# What the agent does for its bead. The rest of it is the example's own script, which closes the bead.
WORK = """
case "$BEAD_TITLE" in
  fails) sleep 65; echo "cannot find the door" >&2; exit 3 ;;
  memory) exec tail /dev/zero ;;
  killed) case "$BEAD_NOTES" in *"agent ended"*) ;; *) sleep 3600 ;; esac ;;
  reads) until bd note "$BEAD_ID" "it says: $BEAD_DESCRIPTION"; do sleep 1; done ;;
esac
bd show "$BEAD_ID"
sleep 2
"""
# It may see what only hours or minutes show, once nothing else is under way.
IMPATIENT = """
import sys
from datetime import timedelta
from beads_dispatch.commands import cli
from beads_dispatch.core import kubernetes_runs
kubernetes_runs.MUST_RUN_WITHIN = timedelta(seconds=20)
kubernetes_runs.CREATE_ARRIVES_WITHIN = timedelta(seconds=20)
sys.exit(cli.main())
"""
# Prints each bead's id.
CREATE = """
for title; do
  case "$title" in fails|killed) priority=0 ;; *) priority=2 ;; esac
  bd create "$title" --silent --acceptance "it works" --priority $priority --description '$(DOOR_KEY) $DOOR_KEY $$'
done
"""
PLACES, MOST_KILLS = 3, 8
# "memory" stands among those that close: three in a row that do not would be the agent's fault.
PLAIN = [f"plain {number}" for number in range(15)]
TITLES = ("fails", "killed", "reads", *PLAIN[:8], "memory", *PLAIN[8:])
NO_IMAGE = "no image"  # the twentieth


def agent(image: str) -> str:
    """The module's input `agent`: the example's, with our work."""
    text = json.dumps({
        "image": image,
        "command": ["sh", "-c", (ROOT / "terraform" / "examples" / "jobs" / "agent.sh").read_text()],
        "env": {"HOME": "/work", "WORK": WORK, "DOOR_KEY": "the key under the mat"},
        "requests": {"cpu": "50m", "memory": "64Mi"},
        "limits": {"memory": "256Mi"},
        "volumes": {"work": {"mount_path": "/work", "size": "1Gi"}},
    })  # fmt: skip
    return text.replace("${", "$${")  # Terraform reads an input of this type as an expression


def variables(**more: str) -> dict[str, str]:
    return {"runner": "jobs", "agent_jobs": str(PLACES), "agent": agent(needed("E2E_IMAGE")), **more}


class Story:
    """`act`: done again and again, so that beads are dispatched, and dispatchers killed. `sweep`: an IMPATIENT one."""

    def __init__(self, world: World, act: Callable[["Story"], None], sweep: Callable[[], object]) -> None:
        self.world, self._act, self._sweep = world, act, sweep
        self.seed = int(time.time())
        self.random = random.Random(self.seed)
        self.kills = 0
        self.calm = False  # nobody is killed any more
        self._most, self._left = 0, -1
        self._ids: dict[str, str] = {}

    def tell(self) -> None:
        self._create(*TITLES)
        self._until("as many at once as may be", 120, lambda: self._most == PLACES)
        pods = self._until(
            "the agent that is killed", 120, lambda: self._pods(f"beads-dispatch/bead={self._ids['killed']}")
        )
        run("kubectl", "-n", self.world.agents, "delete", "pod", pods[0]["metadata"]["name"], "--grace-period=1")
        self._until("all have ended", 420, self._ended)
        self._settle()
        # One that was sent again waits four minutes from its claim: until then its Job could still arrive.
        self._until("all have ended", 330, self._ended)
        self._lose_the_image()
        self._check()

    # --- what happens ---
    def _create(self, *titles: str) -> None:
        """Made first, then assigned all at once: so none has ended before the last one begins."""
        made = self.world.kubectl(
            "exec", "toolbox", "--", "sh", "-c", CREATE, "sh", *titles, seconds=240
        ).stdout.split()
        self._ids |= dict(zip(titles, made, strict=True))
        self.world.toolbox("bd", "update", *made, "--assignee", "agent")

    def _until(self, what: str, seconds: float, done: Callable[[], Any]) -> Any:
        """Goes on until it is so. Never more run at once than there are places."""
        self.world.say(f"until {what}, at most {seconds:.0f} s")

        def turn() -> Any:
            self._act(self)
            alive = {str(pod["metadata"]["labels"]["beads-dispatch/job"]) for pod in self._pods()}
            self._most = max(self._most, len(alive))
            assert len(alive) <= PLACES, alive
            return done()

        return wait(what, seconds, turn)

    def _ended(self) -> bool:
        """Those that are still in progress have no Job: their tick was killed between its claim and the create."""
        left = {
            title: one["status"] for title, one in self._beads().items() if one["status"] not in ("closed", "blocked")
        }
        if len(left) != self._left:
            self._left = len(left)
            self.world.say(f"{len(left)} of {len(self._ids)} left: {', '.join(left) or 'none'}")
        return not left or (set(left.values()) == {"in_progress"} and not any(map(self._jobs, left)))

    def _settle(self) -> None:
        """A person sends again what never became a Job: none or one of 20, as the kills fell."""
        for title in [title for title, bead in self._beads().items() if bead["status"] == "in_progress"]:
            wait(
                f"the end of {title}",
                60,
                lambda title=title: self._sweep() and self._beads()[title]["status"] != "in_progress",
            )
        for title, bead in self._beads().items():
            if bead["status"] == "blocked" and not self._jobs(title):
                self.world.say(f"{title}: its dispatcher was killed before the create: {self._end(title)}")
                self.world.page("bd update <id> -s open", id=bead["id"])

    def _lose_the_image(self) -> None:
        """The agent's fault: its bead is open again once the Job is gone, and the queue waits for a repair."""
        self.calm = True
        self._set_image("localhost/there-is-no-such:agent")
        self._create(NO_IMAGE)
        self._until("a Job", 120, lambda: self._jobs(NO_IMAGE))
        wait("it is seen", 330, lambda: self._sweep() and self._beads()[NO_IMAGE]["status"] == "open")
        assert "cannot run: not running after" in self._end(NO_IMAGE)
        assert "ImagePull" in self._end(NO_IMAGE)
        assert not self._jobs(NO_IMAGE)
        self._set_image(needed("E2E_IMAGE"))
        self.world.page("beads-dispatch resume")
        self._until("the repaired agent closes it", 120, lambda: self._beads()[NO_IMAGE]["status"] == "closed")

    def _set_image(self, image: str) -> None:
        self.world.variables["agent"] = agent(image)
        self.world.terraform("apply")

    # --- what must be true ---
    def _check(self) -> None:
        known = {title: str(bead["status"]) for title, bead in self._beads().items()}
        assert known == {title: "blocked" if title in ("fails", "memory") else "closed" for title in self._ids}
        assert re.fullmatch(
            r"agent ended: failed \(exit 3\) after 1m[ \ds]*: cannot find the door", self._end("fails")
        ), self._end("fails")
        assert "out of memory" in self._end("memory")
        assert "it says: $(DOOR_KEY) $DOOR_KEY $$" in self._notes("reads"), "and not the agent's secret"
        jobs = {title: self._jobs(title) for title in self._ids}
        assert {title: len(found) for title, found in jobs.items()} == {
            title: 1 + (title == "killed") for title in self._ids
        }
        pods = [
            sum(one["status"].get(key, 0) for key in ("succeeded", "failed"))
            for found in jobs.values()
            for one in found
        ]
        assert set(pods) == {1}
        self.world.say(f"{len(self._ids)} beads, {len(pods)} Jobs, {self.kills} kills (seed {self.seed}), 0 doubles")

    # --- what there is ---
    def _get(self, kind: str, labels: str) -> list[dict[str, Any]]:
        words = ("kubectl", "-n", self.world.agents, "get", kind, "-l", labels, "-o", "json")
        found: list[dict[str, Any]] = json.loads(run(*words).stdout)["items"]
        return found

    def _pods(self, labels: str = "beads-dispatch/job") -> list[dict[str, Any]]:
        """Those that have not ended."""
        return [one for one in self._get("pods", labels) if one["status"]["phase"] not in ("Succeeded", "Failed")]

    def _jobs(self, title: str) -> list[dict[str, Any]]:
        return self._get("jobs", f"beads-dispatch/bead={self._ids[title]}")

    def _beads(self) -> dict[str, dict[str, Any]]:
        titles = {bead_id: title for title, bead_id in self._ids.items()}
        known = self.world.bd("list", "--all", "--limit", "0")
        return {titles[one["id"]]: one for one in known if one["id"] in titles}

    def _notes(self, title: str) -> str:
        return "\n".join(self.world.notes(self._ids[title]))

    def _end(self, title: str) -> str:
        return [line for line in self.world.notes(self._ids[title]) if line.startswith("agent ended: ")][-1]
