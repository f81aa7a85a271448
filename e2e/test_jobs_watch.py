"""Agents as Kubernetes Jobs, mode `watch`: the watcher is killed again and again."""

import time

from jobs import IMPATIENT, MOST_KILLS, Story, variables
from test_watch import is_ready, pods
from world import World, wait

VARIABLES = {"mode": "watch", **variables()}


def test_twenty_beads_three_at_once_and_the_watcher_killed_at_any_moment(world: World) -> None:
    wait("a watcher that is ready", 120, lambda: is_ready(world))
    next_kill = 0.0

    def kill(story: Story) -> None:
        nonlocal next_kill
        alive = [pod["metadata"]["name"] for pod in pods(world) if "deletionTimestamp" not in pod["metadata"]]
        if time.monotonic() < next_kill or not alive or story.calm or story.kills >= MOST_KILLS:
            return
        world.kubectl("delete", "pod", alive[0], "--grace-period=0", "--force")
        story.kills += 1
        next_kill = time.monotonic() + story.random.uniform(4, 20)

    def sweep() -> bool:
        words = ("exec", "deployment/beads-watcher", "--", "python3", "-c", IMPATIENT, "sweep")
        return world.kubectl(*words, check=False).returncode == 0

    Story(world, kill, sweep).tell()
