"""Apply, and the smoke test: by hand, by the schedule, and five Jobs at once while the schedule runs."""

import json
import re
import time

from world import World, job_in, wait


def both_notes(world: World, bead_id: str) -> bool:
    """Ours, in this order. The agent's own note may come at any time."""
    ours = [
        line for line in world.notes(bead_id) if line.startswith(("auto-dispatcher claimed at ", "dispatched: job="))
    ]
    return len(ours) == 2 and ours[0].startswith("auto") and ours[1].startswith("dispatched")


def wait_for_both_notes(world: World, bead_id: str, seconds: float = 60) -> None:
    try:
        wait("both notes", seconds, lambda: both_notes(world, bead_id))
    except AssertionError as error:
        raise AssertionError(f"{error}: {world.show(bead_id)}") from None


def test_apply_makes_both_cron_jobs_and_a_second_plan_is_empty(world: World) -> None:
    table = world.page("kubectl -n beads-server get cronjobs").splitlines()
    columns = {line.split()[0]: line for line in table[1:]}
    assert columns.keys() == {"beads-dispatcher", "beads-reaper"}
    assert "*/2 * * * *" in columns["beads-dispatcher"]
    assert "*/10 * * * *" in columns["beads-reaper"]
    assert all(" False " in line for line in columns.values()), table
    plan = world.terraform("plan", "-detailed-exitcode", check=False)
    assert plan.returncode == 0, plan.stdout + plan.stderr


def test_a_hand_made_job_dispatches(world: World) -> None:
    bead_id = json.loads(world.page('bd create "Say hello" --acceptance "hello is said" --json'))["id"]
    world.page("bd assign <id> agent", id=bead_id)
    made = world.page("kubectl -n beads-server create job --from=cronjob/beads-dispatcher now-$(date +%s)")
    assert world.ended(job_in(made))[0] == "Complete"
    said = world.page("kubectl -n beads-server logs -l app.kubernetes.io/instance=beads-dispatcher --prefix --tail=20")
    assert f"{bead_id}: dispatched: job=" in said
    shown = world.page("bd show <id> --json | jq '.[] | {status, notes}'", id=bead_id)
    assert "auto-dispatcher claimed at " in shown
    assert both_notes(world, bead_id), shown
    wait("the agent closes it", 60, lambda: world.show(bead_id)["status"] == "closed")
    assert world.posts().count(bead_id) == 1


def test_what_runs_and_what_waits_is_one_paste_away(world: World) -> None:
    bead_id = str(world.bd("create", "no criteria yet", "--assignee", "agent")["id"])
    said = world.page(
        "JOB=status-$(date +%s); kubectl -n beads-server create job $JOB --from=cronjob/beads-dispatcher "
        "--dry-run=client -o yaml | kubectl -n beads-server patch --local -f - --type=json -p "
        """'[{"op":"replace","path":"/spec/template/spec/containers/0/command","value":["beads-dispatch","status"]}]'"""
        " -o yaml | kubectl -n beads-server create -f - && kubectl -n beads-server wait --for=condition=Complete "
        "--timeout=60s job/$JOB; kubectl -n beads-server logs job/$JOB"
    )
    world.say(said)
    assert re.search(rf"^{bead_id} ", said, re.MULTILINE), said


def test_the_schedule_dispatches(world: World) -> None:
    world.variables["dispatcher_schedule"] = "* * * * *"
    world.terraform("apply")
    bead_id = world.bead("by the schedule")
    world.say("waits for the schedule, at most 120 s")
    wait_for_both_notes(world, bead_id, 120)
    names = [name for name in world.job_names() if name.startswith("beads-dispatcher-")]
    said = [world.kubectl("logs", f"job/{name}", check=False).stdout for name in names]  # the next may be starting
    assert any(f"{bead_id}: dispatched: job=" in text for text in said)
    assert world.posts().count(bead_id) == 1


def test_five_jobs_at_once_while_the_schedule_runs_post_once(world: World) -> None:
    """All five wait for a frozen Dolt, and the POST is held until the others have ended: the race is that close."""
    bead_id, names = world.bead("hangs: five at once"), [f"at-once-{k}" for k in range(5)]
    with world.held("/api/agent-dispatch"):
        with world.dolt_frozen():
            world.patient_jobs(*names)
            wait("five running pods", 60, lambda: world.running(names) == 5)
            time.sleep(1)
        # One of the five, or the schedule's Job, has the lock. Its own POST is given up after a minute.
        wait("four that have ended", 45, lambda: sum(bool(world.has_ended(name)) for name in names) >= 4)
    ends = [world.ended(name) for name in names]
    assert world.posts().count(bead_id) == 1
    assert [how for how, _ in ends] == ["Complete"] * 5, ends
    assert sum("another tick is running" in said for _, said in ends) >= 4, ends
    assert both_notes(world, bead_id)
