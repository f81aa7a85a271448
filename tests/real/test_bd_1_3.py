"""What bd 1.3 has and 1.0 has not: a compare-and-set, leases and heartbeats."""

from pathlib import Path

import pytest
from conftest import Board, DoltServer, Place, make_place

pytestmark = pytest.mark.slow


@pytest.fixture
def newer(tmp_path: Path, dolt_server: DoltServer) -> Place:
    return make_place(tmp_path / "newer", dolt_server, bd="bd-1.3")


def services(board: Board) -> dict[str, str]:
    return {"BEADBOARD_URL": board.url, "AGENT_SERVICE_URL": board.url}


def at_first_write(place: Place, status: str, command: str) -> str:
    """A PATH on which another client's command comes right before our first write of this status."""
    return place.wrap_bd(
        f'case "$*" in update*--status={status}*) [ -e "$HOME/came" ] || '
        f'{{ touch "$HOME/came"; "{place.real_bd}" {command} >/dev/null; }};; esac\nexec "{place.real_bd}" "$@"'
    )


def test_a_close_in_the_same_instant_is_not_undone_by_a_claim(newer: Place, board: Board) -> None:
    bead, other = newer.create("first", "-p", "0"), newer.create("second")
    path = at_first_write(newer, "in_progress", f"close {bead} --actor=agent")
    done = newer.run("tick", PATH=path, **services(board))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{bead}: not ours any more: left alone" in done.stdout
    assert newer.show(bead)["status"] == "closed"
    assert board.sent == [other]


def test_a_close_in_the_same_instant_is_not_undone_by_a_block(newer: Place) -> None:
    bead = newer.create()
    newer.bd("update", bead, "--status=in_progress")
    newer.age(bead, 31)
    path = at_first_write(newer, "blocked", f"close {bead} --actor=agent")
    done = newer.run("sweep", PATH=path)
    assert (done.returncode, done.stderr) == (0, "")
    assert newer.show(bead)["status"] == "closed"


def test_a_heartbeat_is_a_sign_of_life(newer: Place) -> None:
    alive, dead = newer.create("alive"), newer.create("dead")
    for bead in (alive, dead):
        newer.bd("update", bead, "--status=in_progress")
    newer.bd("heartbeat", alive, "--actor=agent")
    for bead in (alive, dead):
        newer.age(bead, 31)
    assert newer.run("sweep").returncode == 0
    assert (newer.show(alive)["status"], newer.show(dead)["status"]) == ("in_progress", "blocked")


def test_a_dispatching_tick_calls_it_three_times_too(newer: Place, board: Board) -> None:
    bead, calls = newer.create(), newer.folder / "calls"
    path = newer.wrap_bd(f'echo "$@" >> {calls}; exec "{newer.real_bd}" "$@"')
    assert newer.run("tick", PATH=path, **services(board)).returncode == 0
    assert board.sent == [bead]
    ready, claim, note = calls.read_text().splitlines()
    assert "--if-status=open --if-assignee=agent" in claim
    assert "--if-" not in ready + note
