"""Agents as Kubernetes Jobs, mode `cronjobs`: every third tick is killed."""

import itertools
import time

from jobs import IMPATIENT, Story, variables
from test_footprint import job_like
from world import World, wait

VARIABLES = {"beads_dispatcher_enabled": "false", "beads_per_tick": "3", **variables()}


def test_twenty_beads_three_at_once_and_ticks_killed_at_any_moment(world: World) -> None:
    """By Jobs made from the CronJobs: the schedule's minute is too long to wait for."""
    numbers = itertools.count()

    def tick(story: Story) -> None:
        name = f"tick-{next(numbers)}"
        world.job(name)
        if not story.calm and story.random.random() < 1 / 3:
            wait("its pod", 60, lambda: world.running([name]))
            time.sleep(story.random.uniform(0, 3))
            world.kubectl("delete", "pod", "-l", f"job-name={name}", "--grace-period=0", "--force")
            story.kills += 1
        else:
            world.ended(name)

    def sweep() -> bool:
        name = f"sweep-{next(numbers)}"
        job = job_like(world, name, "")
        job["spec"]["template"]["spec"]["containers"][0]["command"] = ["python3", "-c", IMPATIENT, "sweep"]
        world.apply(job)
        return world.ended(name)[0] == "Complete"

    Story(world, tick, sweep).tell()
