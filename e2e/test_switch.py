"""The kill switch, on a live API server."""

import time

from test_everyday import both_notes, wait_for_both_notes
from world import World, wait

VARIABLES = {"dispatcher_schedule": "* * * * *", "reaper_schedule": "* * * * *"}


def suspended(world: World) -> list[str]:
    table = world.page("kubectl -n beads-server get cronjobs").splitlines()[1:]
    return [line.split()[0] for line in table if " True " in line]


def test_off_stops_both_and_nothing_is_dispatched(world: World) -> None:
    before = world.cron_jobs()
    world.page("terraform apply -var=beads_dispatcher_enabled=false")
    assert suspended(world) == ["beads-dispatcher", "beads-reaper"]
    after = {name: {**spec, "suspend": False} for name, spec in world.cron_jobs().items()}
    assert after == before, "the switch changes nothing else"
    wait("what was under way", 60, lambda: not any(job["status"].get("active") for job in world.get("jobs")["items"]))
    jobs, bead_id, by_hand = world.job_names(), world.bead("while off"), world.bead("by hand", assign=False)
    world.say("waits past two periods, 130 s")
    until = time.monotonic() + 130

    assert "job_id" in world.dispatch_by_hand(by_hand)
    wait("its agent closes it", 60, lambda: world.show(by_hand)["status"] == "closed")

    time.sleep(max(0.0, until - time.monotonic()))
    assert world.job_names() <= jobs, "no new one; the CronJob's history limit may still remove old ones"
    bead = world.show(bead_id)
    assert (bead["status"], bead.get("notes", "")) == ("open", "")
    assert world.posts() == [by_hand]

    how, said = world.run_job("while-off")
    assert how == "Complete", said
    assert both_notes(world, bead_id), "a hand-made Job dispatches all the same, as the runbook says"


def test_on_dispatches_again(world: World) -> None:
    world.page("terraform apply -var=beads_dispatcher_enabled=true")
    assert suspended(world) == []
    bead_id = world.bead("on again")
    world.say("waits for the schedule, at most 120 s")
    wait_for_both_notes(world, bead_id, 120)


def test_without_terraform(world: World) -> None:
    world.page("""kubectl -n beads-server patch cronjob beads-dispatcher -p '{"spec":{"suspend":true}}'""")
    world.page("""kubectl -n beads-server patch cronjob beads-reaper -p '{"spec":{"suspend":true}}'""")
    assert suspended(world) == ["beads-dispatcher", "beads-reaper"]
    bead_id = world.bead("hangs, under way")
    with world.held("/api/agent-dispatch"):
        world.job("under-way")
        wait("the POST", 60, lambda: bead_id in world.posts())
        world.page("kubectl -n beads-server delete jobs -l app.kubernetes.io/name=beads-dispatch --wait=false")
        time.sleep(5)
    wait_for_both_notes(world, bead_id)
    wait("no job is left", 60, lambda: not world.get("jobs")["items"])
    plan = world.terraform("plan", "-detailed-exitcode", check=False)
    assert plan.returncode == 2, "the next apply puts the schedule back, as the runbook says"
