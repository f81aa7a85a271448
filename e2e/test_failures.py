"""A failure gives its reason: in the Job, in one line of the pod's termination message, and on the bead."""

import json
import re

import pytest
from test_everyday import both_notes
from world import AGENT_SERVICE, BOARD, World

VARIABLES = {"beads_dispatcher_enabled": "false", "beads_per_tick": "9"}


def failed(world: World, name: str) -> str:
    """The one line that the Job's pod leaves."""
    how, said = world.run_job(name)
    assert how == "Failed", said
    words = world.last_words(name)
    world.say(f"{name}: {words.strip()}")
    assert len(words.strip().splitlines()) == 1, words
    assert words.startswith("beads-dispatcher: ")
    assert words.strip() in world.page(
        "kubectl -n beads-server get pods -o 'custom-columns=POD:.metadata.name,STATE:.status.phase,"
        "SAYS:.status.containerStatuses[*].state.terminated.message'"
    )
    return words


@pytest.mark.parametrize(
    ("name", "port", "message"),
    [
        ("beadboard-down", BOARD, r"BeadBoard gave no usable status: .*(refused|connection)"),
        ("agent-service-down", AGENT_SERVICE, r"the agent service is not healthy: .*(refused|connection)"),
    ],
)
def test_a_service_that_is_down(world: World, name: str, port: int, message: str) -> None:
    bead_id = world.bead(name)
    with world.down(port):
        assert re.search(message, failed(world, name), re.IGNORECASE)
        assert world.show(bead_id)["status"] == "open"
        assert world.notes(bead_id)[-1].startswith("dispatch failed: ")
    assert "last time: dispatch failed: " in world.why(bead_id)
    world.page("beads-dispatch resume")
    assert world.run_job(f"{name}-after")[0] == "Complete"
    assert both_notes(world, bead_id)
    assert world.posts().count(bead_id) == 1


def test_dolt_down(world: World) -> None:
    with world.dolt_down():
        assert "Dolt at " in failed(world, "dolt-down")
        assert world.run_job("dolt-down-reaper", "beads-reaper")[0] == "Failed"
        assert "Dolt at " in world.last_words("dolt-down-reaper")
    assert world.run_job("dolt-up")[0] == "Complete"


def test_a_field_missing_in_the_config_map(world: World) -> None:
    metadata = {key: value for key, value in world.metadata.items() if key != "dolt_server_port"}
    patch = {"data": {"metadata.json": json.dumps(metadata)}}
    world.kubectl("patch", "configmap", "beads-metadata", "--type=merge", "-p", json.dumps(patch))
    assert "dolt_server_port is missing" in failed(world, "no-port")
    drift = world.terraform("plan", "-detailed-exitcode", check=False)
    assert drift.returncode == 2, drift.stdout
    world.page("terraform apply")
    assert world.run_job("port-again")[0] == "Complete"


def test_what_a_person_must_fix_and_how(world: World) -> None:
    blank = str(world.bd("create", "no criteria", "--assignee", "agent")["id"])
    labelled = world.bead("labelled", "--labels", "gt:agent")
    wisp = world.bead("a wisp", "--ephemeral")
    how, said = world.run_job("notices")
    assert how == "Complete", said
    assert world.notes(blank)[-1] == "not dispatched: no acceptance criteria"
    assert world.notes(labelled)[-1] == "not dispatched: agent bead"
    assert world.notes(wisp)[-1] == "not dispatched: ephemeral"
    assert not {blank, labelled, wisp} & set(world.posts())

    world.page('bd update <id> --acceptance "it works"', id=blank)
    world.page("bd label remove <id> gt:agent", id=labelled)
    world.page("bd promote <id>", id=wisp)
    how, said = world.run_job("fixed")
    assert how == "Complete", said
    for bead_id in (blank, labelled, wisp):
        assert both_notes(world, bead_id), bead_id


def test_back_to_manual_dispatch(world: World) -> None:
    bead_id = world.bead("not for the agent after all")
    world.page("bd update <id> -s blocked", id=bead_id)
    world.page('bd assign <id> ""', id=bead_id)
    assert world.show(bead_id)["status"] == "blocked"
    world.bd("update", bead_id, "-s", "open")
    assert world.run_job("nobodys")[0] == "Complete"
    assert bead_id not in world.posts()
