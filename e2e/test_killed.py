"""Pods that are deleted in the middle of their work: the tick's, and the agent's."""

import re
import time

from test_everyday import both_notes, wait_for_both_notes
from world import World, job_in, wait

VARIABLES = {"beads_dispatcher_enabled": "false"}


def delete_pod_of(world: World, job: str, grace: int | None = None) -> None:
    words = [] if grace is None else [f"--grace-period={grace}"]
    world.kubectl("delete", "pod", world.pod_of(job)["metadata"]["name"], *words, f"--wait={grace is not None}".lower())


def test_before_the_claim_it_stays_open(world: World) -> None:
    bead_id = world.bead("stopped before the claim")
    with world.held("/api/agent-status"):
        asked = world.asked("/api/agent-status")
        world.patient_jobs("before")
        wait("its question", 60, lambda: world.asked("/api/agent-status") > asked)
        pod = world.pod_of("before")["metadata"]["name"]
        world.kubectl("exec", pod, "--", "sh", "-c", "kill -TERM 1")  # a deletion would do it some time later
    world.ended("before")
    bead = world.show(bead_id)
    assert (bead["status"], bead_id in world.posts()) == ("open", False)
    reason = world.why(bead_id)
    world.bd("close", bead_id)
    assert reason.startswith("1st in line")


def test_a_tick_that_has_posted_records_the_answer_before_it_ends(world: World) -> None:
    bead_id = world.bead("hangs: stopped at the POST")
    with world.held("/api/agent-dispatch"):
        world.job("posted")
        wait("the POST", 60, lambda: bead_id in world.posts())
        delete_pod_of(world, "posted")
        time.sleep(5)
    wait_for_both_notes(world, bead_id)
    assert world.posts().count(bead_id) == 1


def test_killed_at_the_post_it_stays_claimed_is_never_sent_again_and_the_reaper_blocks_it(world: World) -> None:
    bead_id = world.bead("hangs: killed at the POST")
    with world.held("/api/agent-dispatch"):
        world.job("killed")
        wait("the POST", 60, lambda: bead_id in world.posts())
        delete_pod_of(world, "killed", grace=1)
    assert world.show(bead_id)["status"] == "in_progress"
    assert world.why(bead_id) in ("being handed over", "no dispatch recorded")  # the latter from three minutes on
    assert world.run_job("next")[0] == "Complete"
    assert world.posts().count(bead_id) == 1, "nothing proves that no agent has it"
    assert "no dispatch recorded" in blocked_by_the_reaper(world, bead_id)


def test_an_agent_that_dies_is_found_by_the_reaper(world: World) -> None:
    bead_id = world.bead("hangs until its pod is deleted")
    assert world.run_job("starts-it")[0] == "Complete"
    assert both_notes(world, bead_id)
    world.kubectl("delete", "pod", "agent")
    assert world.run_job("too-early", "beads-reaper")[0] == "Complete"
    assert world.show(bead_id)["status"] == "in_progress"
    assert "no dispatch recorded" not in blocked_by_the_reaper(world, bead_id)
    world.page("bd update <id> -s open", id=bead_id)
    assert world.why(bead_id).startswith("1st in line")


def blocked_by_the_reaper(world: World, bead_id: str) -> str:
    """Puts the bead's last change 31 minutes back, and sweeps; the note."""
    world.sql(f"UPDATE issues SET updated_at = DATE_SUB(UTC_TIMESTAMP(), INTERVAL 31 MINUTE) WHERE id = '{bead_id}'")
    made = world.page("kubectl -n beads-server create job --from=cronjob/beads-reaper sweep-$(date +%s)")
    how, said = world.ended(job_in(made))
    assert how == "Complete", said
    bead = world.show(bead_id)
    assert bead["status"] == "blocked", said
    note = world.notes(bead_id)[-1]
    assert re.match("reaper: no progress for 3[1-5]m — blocking .threshold 30m", note), note
    return note
