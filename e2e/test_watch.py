"""Mode `watch`: one Deployment does both jobs; from one mode to the other with a bead in flight; both at once."""

import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from test_everyday import both_notes, wait_for_both_notes
from test_footprint import COUNT
from world import World, wait

VARIABLES = {"beads_dispatcher_enabled": "false"}


def pods(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.get("pods", "-l", "app.kubernetes.io/instance=beads-watcher")["items"]
    return found


def is_ready(world: World) -> bool:
    conditions = [one for pod in pods(world) for one in pod["status"].get("conditions", [])]
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def restarts(world: World) -> int:
    return sum(pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods(world))


def metric(world: World, line: str) -> float:
    """The value of one line of /metrics, asked for as the runbook does; 0 where it is not there."""
    lines = world.page("kubectl get --raw /api/v1/namespaces/beads-server/services/beads-watcher:metrics/proxy/metrics")
    return next((float(one.rpartition(" ")[2]) for one in lines.splitlines() if one.startswith(line)), 0.0)


def on(world: World) -> None:
    world.variables |= {"beads_dispatcher_enabled": "true", "mode": "watch"}
    world.page("terraform apply -var=mode=watch")
    wait("a watcher that is ready", 120, lambda: is_ready(world))


def test_from_cron_jobs_to_the_watcher_with_a_bead_in_flight(world: World) -> None:
    bead_id = world.bead("hangs, in flight of a Job")
    with world.held("/api/agent-dispatch"):
        world.patient_jobs("in-flight")
        wait("the POST", 60, lambda: bead_id in world.posts())
        on(world)
        assert world.cron_jobs() == {}
        time.sleep(3)
    wait_for_both_notes(world, bead_id)
    assert world.posts().count(bead_id) == 1


def test_an_assigned_bead_is_dispatched_at_once_and_counted(world: World) -> None:
    bead_id, began = world.bead("at once"), time.monotonic()
    wait("the POST", 120, lambda: bead_id in world.posts())
    world.say(f"assigned, then POSTed in {time.monotonic() - began:.1f} s (asked through kubectl)")
    wait_for_both_notes(world, bead_id)
    wait(
        "its count",
        60,
        lambda: metric(world, 'beads_dispatch_dispatches_total{assignee="agent",outcome="accepted"}') == 1,
    )
    said = world.page("kubectl -n beads-server exec deployment/beads-watcher -- beads-dispatch status")
    assert bead_id in said or world.show(bead_id)["status"] == "closed"
    said = world.page("kubectl -n beads-server logs deployment/beads-watcher")
    assert f"{bead_id}: dispatched: job=" in said


def test_restricted_pod_security_has_no_objection(world: World) -> None:
    deployment = world.get("deployment", "beads-watcher")
    judged = {**deployment, "metadata": {"name": "judged", "namespace": world.namespace}, "status": {}}
    assert world.kubectl("create", "--dry-run=server", "-f", "-", text=json.dumps(judged)).stderr == ""


def test_idle_costs_next_to_nothing(world: World) -> None:
    """By the pod's control group; the probes and this question itself are in it."""
    before, began = counted(world), time.monotonic()
    world.say("idle for 30 s")
    time.sleep(30)
    after, seconds = counted(world), time.monotonic() - began
    per_hour, mib = (after["cpu"] - before["cpu"]) / 1e9 / seconds * 3600, after["memory"] / 2**20
    world.say(f"idle: {per_hour:.1f} s of CPU an hour (probes and the question included), {mib:.1f} MiB")
    assert per_hour < 36, "a hundredth of a core"
    assert mib < 64


def counted(world: World) -> dict[str, int]:
    words = ("exec", "deployment/beads-watcher", "--", "sh", "-c", COUNT)
    said = dict(line.split("=") for line in world.kubectl(*words).stdout.splitlines())
    return {name: int(value) for name, value in said.items()}


def test_dolt_down_is_not_ready_but_alive_and_recovers_by_itself(world: World) -> None:
    assert restarts(world) == 0
    with world.dolt_down():
        wait("not ready", 60, lambda: not is_ready(world))
    bead_id = world.bead("after the outage")
    wait("the POST", 150, lambda: bead_id in world.posts())
    wait("ready again", 60, lambda: is_ready(world))
    assert restarts(world) == 0


def test_the_kill_switch(world: World) -> None:
    world.page("terraform apply -var=beads_dispatcher_enabled=false")
    wait("0/0", 130, lambda: "0/0" in world.page("kubectl -n beads-server get deployment beads-watcher"))
    wait("no pod", 130, lambda: not pods(world))
    bead_id = world.bead("while off")
    time.sleep(15)
    assert (world.show(bead_id)["status"], bead_id in world.posts()) == ("open", False)
    on(world)
    wait("the POST", 60, lambda: bead_id in world.posts())
    world.page("kubectl -n beads-server scale deployment beads-watcher --replicas=0")
    wait("no pod", 130, lambda: not pods(world))
    plan = world.terraform("plan", "-detailed-exitcode", check=False)
    assert plan.returncode == 2, "the next apply starts it again, as the runbook says"
    on(world)


def test_back_to_cron_jobs_with_a_bead_in_flight(world: World) -> None:
    bead_id = world.bead("hangs, in flight of the watcher")
    with ThreadPoolExecutor(1) as apart:
        with world.held("/api/agent-dispatch"):
            wait("the POST", 60, lambda: bead_id in world.posts())
            applied = apart.submit(lambda: world.page("terraform apply -var=mode=cronjobs"))
            # Not until all is applied: the POST is given up after a minute.
            wait("the watcher's end", 40, lambda: all("deletionTimestamp" in pod["metadata"] for pod in pods(world)))
            time.sleep(3)
        applied.result()
    world.variables["mode"] = "cronjobs"
    wait_for_both_notes(world, bead_id)
    assert world.cron_jobs().keys() == {"beads-dispatcher", "beads-reaper"}
    assert world.run_job("now")[0] == "Complete"
    assert world.posts().count(bead_id) == 1


def test_watcher_schedule_and_hand_made_jobs_at_once_post_each_bead_once(world: World) -> None:
    """A second call of the module, for the same assignee."""
    world.variables["dispatcher_schedule"] = "* * * * *"
    world.terraform("apply")
    names = {"mode": "watch", "metadata_config_map_name": "watchers-metadata"}
    other = replace(world, folder=Path(tempfile.mkdtemp(prefix="beads-e2e-")), variables={**world.variables, **names})
    other.install()
    try:
        wait("a watcher that is ready", 120, lambda: is_ready(world))
        world.say("waits for ten seconds before the minute, so that the schedule's Job is among them")
        time.sleep((50 - time.time()) % 60)
        beads = []
        for k in range(10):
            beads.append(world.bead(f"at once {k}"))
            if k % 2:
                world.job(f"beside-{k}")
        wait("all POSTed", 90, lambda: set(beads) <= set(world.posts()))
        wait("both notes on each", 60, lambda: all(both_notes(world, bead_id) for bead_id in beads))
        assert sorted(one for one in world.posts() if one in beads) == sorted(beads)
        wait("the schedule's Job", 90, lambda: any(one.startswith("beads-dispatcher-") for one in world.job_names()))
    finally:
        other.uninstall()
