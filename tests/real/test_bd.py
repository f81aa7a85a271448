"""bd.py on the real bd, and on the ways in which bd is known to fail."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import PATIENCE, Place

from beads_dispatch.adapters import location
from beads_dispatch.adapters.bd.process import BdProcess
from beads_dispatch.adapters.bd.verbs import Bd
from beads_dispatch.core.errors import BdFailed, Misconfigured, NoBead, NotAsExpected


def make_bd(place: Place, deadline: float = 40.0, script: str = "") -> Bd:
    """`script`: what stands in for bd once it has said where the workspace is."""
    where = location.find(place.environ, place.folder)
    if script:
        where = replace(where, environ={**where.environ, "PATH": place.wrap_bd(script)})
    return Bd(BdProcess(where, deadline), "tester", time.sleep)


def test_every_verb_on_the_real_bd(place: Place) -> None:
    bd, bead_id = make_bd(place), place.create("a title", "--labels=gt:agent")
    bead = bd.show(bead_id)
    assert (bead.title, bead.acceptance_criteria, bead.labels) == ("a title", "it works", {"gt:agent"})
    assert set(bd.ready("agent")) == {bead_id}
    after = bd.update(bead, status="in_progress", note="- a note", marks={"beads_dispatch.hold_step": "2"})
    assert (after.status, after.notes, after.mark("hold_step")) == ("in_progress", "- a note", 2)
    after = bd.update(after, note="more", marks={"beads_dispatch.hold_step": None})
    assert (after.status, after.notes, after.mark("hold_step")) == ("in_progress", "- a note\nmore", None)
    bd.comment(bead_id, "-x")
    assert bd.show(bead_id).commented_at
    assert [one.id for one in bd.assigned("agent")[0]] == [bead_id]
    with pytest.raises(NoBead):
        bd.show("t-nowhere")


def test_a_query_that_failed_is_no_missing_bead(embedded: Place) -> None:
    """bd 1.0.2's own answer is then the same as that for a bead that is not there."""
    script = """echo 'Error fetching t-1: database is locked' >&2
        echo '{"error": "no issues found matching the provided IDs"}'; exit 1"""
    with pytest.raises(BdFailed, match="database is locked") as caught:
        make_bd(embedded, script=script).show("t-1")
    assert not isinstance(caught.value, NoBead)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("""echo '{"error": "on stdout"}'; exit 1""", "on stdout"),
        ("""echo '{"error": "on stderr"}' >&2; exit 1""", "on stderr"),
        ("""echo 'warning: x' >&2; echo 'Error: plain text' >&2; exit 1""", "Error: plain text"),
        ("""echo 'not JSON'""", "its answer is not JSON"),
        ("""echo '{"a": 1}'""", "not a list of beads"),
        ("""exit 3""", r"no message \(exit 3\)"),
    ],
)
def test_what_bd_says_of_a_failure(embedded: Place, script: str, message: str) -> None:
    with pytest.raises(BdFailed, match=message):
        make_bd(embedded, script=script).show("t-1")


def test_a_bd_that_hangs_is_ended_whole(embedded: Place) -> None:
    bd, begun = make_bd(embedded, deadline=1, script="sleep 600 & wait"), time.monotonic()
    with pytest.raises(BdFailed, match="no answer within 1 s"):
        bd.show("t-1")
    assert time.monotonic() - begun < PATIENCE  # the script's sleep takes longer


def test_a_missing_bd_is_reported_with_what_to_install(embedded: Place, tmp_path: Path) -> None:
    embedded.environ["PATH"] = str(tmp_path)
    with pytest.raises(Misconfigured, match="bd is not on PATH"):
        make_bd(embedded).show("t-1")


def test_a_serialization_failure_is_tried_again_but_not_with_a_status(embedded: Place) -> None:
    bead_id = embedded.create()
    bead, count = make_bd(embedded).show(bead_id), embedded.folder / "count"
    real = embedded.environ["PATH"]
    script = (
        f'[ $1 != version ] || PATH={real} exec bd "$@"\n'
        f'echo x >> {count}; [ "$(wc -l < {count})" -ge 2 ] && PATH={real} exec bd "$@"; '
        "echo 'Error 1213 (40001): serialization failure' >&2; exit 1"
    )
    bd = make_bd(embedded, script=script)
    assert bd.update(bead, note="second time").notes == "second time"
    count.write_text("")
    with pytest.raises(NotAsExpected, match="serialization failure"):  # somebody may have closed it
        bd.update(bead, note="a claim", status="in_progress")
    assert count.read_text().count("x") == 1
