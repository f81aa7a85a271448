"""What bd 1.3 has and 1.0 has not: a compare-and-set, leases, heartbeats, another schema. Run with `--bd bd-1.3`."""

import json
import os
import re
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import PATIENCE, Board, DoltServer, Place, held_port, make_old_place, make_place, running

from beads_dispatch.core import notes
from beads_dispatch.core.text import utc


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


# --- bd and the schema of two versions


def with_new_bd(place: Place) -> Place:
    return replace(place, environ={**place.environ, "PATH": os.environ["PATH"]})


def migrate(place: Place) -> None:
    """What only a person does. bd 1.0.2 leaves its table `config` uncommitted, and bd 1.3 then migrates nothing."""
    place.sql("CALL DOLT_COMMIT('-Am', 'x')")
    words = [place.real_bd, "migrate", "schema"]
    subprocess.run(words, env=place.environ, cwd=place.folder, check=True, capture_output=True, timeout=PATIENCE)


def refused_once(place: Place, board: Board, said: str, **environ: str) -> None:
    """A tick says it in one line and holds the queue, and the next one is held."""
    done = place.run("tick", **services(board), **environ)
    assert done.returncode == 1, done.stdout
    assert re.search(said, done.stderr)
    assert len(done.stderr.splitlines()) == 1
    done = place.run("tick", **services(board))
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(f"nothing is dispatched: held until .*{said}", done.stdout)
    done = place.run("status", **services(board))
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(f"(?m)^queue: .*{said}", done.stdout)
    assert board.sent == []


DO_NOT_FIT = (
    r"bd 1\.\d\.\d and this database's schema do not fit\. Use the version of bd .* run `bd migrate schema` once"
)


@pytest.mark.parametrize("acceptance", ["a claim is the first write", None], ids=["claim", "notice"])
def test_it_never_migrates_the_database_of_older_clients(
    tmp_path: Path, dolt_server: DoltServer, board: Board, acceptance: str | None
) -> None:
    place = make_old_place(tmp_path / "old", dolt_server)
    place.create("first", acceptance=acceptance)
    place.create("second")
    version = "SELECT MAX(version) AS version FROM schema_migrations"
    before = place.sql(version)
    if acceptance:
        refused_once(with_new_bd(place), board, DO_NOT_FIT, BD_ALLOW_REMOTE_MIGRATE="1")
    else:
        done = with_new_bd(place).run("tick", BD_ALLOW_REMOTE_MIGRATE="1", **services(board))
        assert re.search(DO_NOT_FIT + r" \(refusing to auto-apply \d+ pending schema migrations", done.stderr)
    assert place.sql(version) == before
    assert place.run("resume").returncode == 0
    assert place.run("tick", **services(board)).returncode == 0
    assert len(board.sent) == 1


def test_a_sweep_with_a_bd_that_does_not_fit_says_so_once(tmp_path: Path, dolt_server: DoltServer) -> None:
    place = make_old_place(tmp_path / "old", dolt_server)
    for bead in (place.create("one"), place.create("two")):
        place.bd("update", bead, "--status=in_progress")
        place.age(bead, 31)
    done = with_new_bd(place).run("sweep")
    assert done.returncode == 1
    assert re.search(DO_NOT_FIT, done.stderr)
    assert len(done.stderr.splitlines()) == 1


def test_a_bd_that_is_older_than_the_schema(tmp_path: Path, dolt_server: DoltServer, board: Board) -> None:
    place = make_old_place(tmp_path / "old", dolt_server)
    bead = place.create()
    migrate(with_new_bd(place))
    refused_once(place, board, DO_NOT_FIT)
    assert place.run("resume").returncode == 0
    assert with_new_bd(place).run("tick", **services(board)).returncode == 0
    assert board.sent == [bead]


def test_an_embedded_bd_that_is_older_than_the_schema(tmp_path: Path, board: Board) -> None:
    """Embedded, the first command of a newer bd migrates."""
    place = make_old_place(tmp_path / "old", None)
    place.create()
    with_new_bd(place).bd("list")
    refused_once(place, board, DO_NOT_FIT)


@pytest.mark.parametrize("named", [False, True])
def test_a_frozen_workspace(place: Place, board: Board, named: bool) -> None:
    bead, marker = place.create(), place.folder / ("elsewhere" if named else "MIGRATION-FREEZE")
    if named:
        place.environ["BD_MIGRATION_FREEZE_FILE"] = marker.name
    marker.touch()
    refused_once(
        place, board, rf"bd refuses every write until somebody removes {marker} \(workspace is frozen for migration"
    )
    marker.unlink()
    assert place.run("resume").returncode == 0
    assert place.run("tick", **services(board)).returncode == 0
    assert board.sent == [bead]


def test_a_bead_that_bd_opens_when_its_deferral_ends_is_blocked_if_an_agent_may_have_it(
    embedded: Place, board: Board
) -> None:
    bead = embedded.create()
    assert embedded.run("tick", **services(board)).returncode == 0
    embedded.bd("defer", bead, f"--until={utc(datetime.now(UTC) - timedelta(minutes=1))}")
    embedded.bd("ready")
    assert embedded.show(bead)["status"] == "open"
    for _ in range(2):
        assert embedded.run("tick", **services(board)).returncode == 0
    assert (embedded.show(bead)["status"], board.sent) == ("blocked", [bead])
    assert embedded.notes(bead)[-1] == f"not dispatched: {notes.SENT_BEFORE}"
    embedded.bd("update", bead, "--status=open")
    assert embedded.run("tick", **services(board)).returncode == 0
    assert board.sent == [bead, bead]
