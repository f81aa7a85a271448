"""What bd 1.3 has and 1.0 has not: a compare-and-set, leases and heartbeats. Run with `--bd bd-1.3`."""

import json
from pathlib import Path

import pytest
from conftest import Board, DoltServer, Place, held_port, make_place, running


def services(board: Board) -> dict[str, str]:
    return {"BEADBOARD_URL": board.url, "AGENT_SERVICE_URL": board.url}


def at_first_write(place: Place, status: str, command: str) -> str:
    """A PATH on which another client's command comes right before our first write of this status."""
    return place.wrap_bd(
        f'case "$*" in update*--status={status}*) [ -e "$HOME/came" ] || '
        f'{{ touch "$HOME/came"; "{place.real_bd}" {command} >/dev/null; }};; esac\nexec "{place.real_bd}" "$@"'
    )


def test_a_close_in_the_same_instant_is_not_undone_by_a_claim(on_server: Place, board: Board) -> None:
    bead, other = on_server.create("first", "-p", "0"), on_server.create("second")
    path = at_first_write(on_server, "in_progress", f"close {bead} --actor=agent")
    done = on_server.run("tick", PATH=path, **services(board))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{bead}: changed before it was claimed: left alone" in done.stdout
    assert on_server.show(bead)["status"] == "closed"
    assert board.sent == [other]


def test_a_close_in_the_same_instant_is_not_undone_by_a_block(on_server: Place) -> None:
    bead = on_server.create()
    on_server.bd("update", bead, "--status=in_progress")
    on_server.age(bead, 31)
    path = at_first_write(on_server, "blocked", f"close {bead} --actor=agent")
    done = on_server.run("sweep", PATH=path)
    assert (done.returncode, done.stderr) == (0, "")
    assert on_server.show(bead)["status"] == "closed"


def test_a_heartbeat_is_a_sign_of_life(on_server: Place) -> None:
    alive, dead = on_server.create("alive"), on_server.create("dead")
    for bead in (alive, dead):
        on_server.bd("update", bead, "--status=in_progress")
    on_server.bd("heartbeat", alive, "--actor=agent")
    for bead in (alive, dead):
        on_server.age(bead, 31)
    assert on_server.run("sweep").returncode == 0
    assert (on_server.show(alive)["status"], on_server.show(dead)["status"]) == ("in_progress", "blocked")


def test_a_dispatching_tick_calls_it_three_times_too(on_server: Place, board: Board) -> None:
    bead, calls = on_server.create(), on_server.folder / "calls"
    path = on_server.wrap_bd(f'echo "$@" >> {calls}; exec "{on_server.real_bd}" "$@"')
    mounted = {**services(board), "BEADS_METADATA": str(on_server.metadata)}
    assert on_server.run("tick", PATH=path, **mounted).returncode == 0
    assert board.sent == [bead]
    ready, claim, note = calls.read_text().splitlines()
    assert "--if-status=open --if-assignee=agent" in claim
    assert "--if-" not in ready + note


class SocketDolt(DoltServer):
    @property
    def socket(self) -> Path:
        return self.home / "dolt.sock"

    def words(self) -> list[str]:
        return [*super().words(), "--socket", str(self.socket)]


@pytest.mark.parametrize("where", ["environment", "metadata.json", ".env"])
def test_a_unix_socket_comes_first_where_there_is_one(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, board: Board, where: str
) -> None:
    # A socket's path is short. On the held port nobody listens.
    with running(SocketDolt(tmp_path_factory.mktemp("s"))) as server, held_port() as refuses:
        assert isinstance(server, SocketDolt)
        place = make_place(tmp_path / "place", server)
        bead, metadata = place.create(), json.loads(place.metadata.read_text())
        if where == "environment":
            place.environ["BEADS_DOLT_SERVER_SOCKET"] = str(server.socket)
        elif where == ".env":
            (place.folder / ".beads" / ".env").write_text(f"BEADS_DOLT_SERVER_SOCKET={server.socket}\n")
        else:
            metadata["dolt_server_socket"] = str(server.socket)
        (place.folder / ".beads" / "dolt-server.port").write_text(str(refuses.getsockname()[1]))
        place.metadata.write_text(json.dumps(metadata))
        done = place.run("tick", **services(board))
        assert (done.returncode, done.stderr, board.sent) == (0, "", [bead])
