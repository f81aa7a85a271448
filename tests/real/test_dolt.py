"""dolt.py on a real Dolt sql-server: the lock, its holder, and failures."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Board, DoltServer, Place, make_place, running, wait_for
from tls import Authority, Overheard, TlsDolt

from beads_dispatch.adapters import location
from beads_dispatch.adapters.dolt import Dolt
from beads_dispatch.adapters.workspace import Server
from beads_dispatch.core.errors import DoltFailed

pytestmark = pytest.mark.found

HOLD = """
import os, sys
from pathlib import Path
from beads_dispatch.adapters import location
from beads_dispatch.adapters.dolt import Dolt
dolt = Dolt(location.find(os.environ, Path.cwd()).server)
print(dolt.lock("dispatcher", "agent"), flush=True)
sys.stdin.read()
"""


def server_of(place: Place) -> Server:
    server = location.find(place.environ, place.folder).server
    assert server
    return server


def test_the_lock_is_exclusive_between_processes_and_freed_by_kill(on_server: Place) -> None:
    dolt = Dolt(server_of(on_server))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD], env=on_server.environ, cwd=on_server.folder,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout
    assert holder.stdout.readline().startswith("beads-dispatcher:")
    assert dolt.lock("dispatcher", "agent") is None
    assert dolt.lock("dispatcher", "another") is not None
    assert dolt.lock("reaper", "agent") is not None
    holder.kill()
    holder.wait()
    wait_for(lambda: dolt.lock("dispatcher", "agent"))  # free once the server notices that the connection is gone
    dolt.close()


def test_a_killed_connection_has_lost_the_lock_and_is_not_opened_again(on_server: Place) -> None:
    holder, other = Dolt(server_of(on_server)), Dolt(server_of(on_server))
    name = holder.lock("dispatcher", "agent")
    assert name
    assert holder.fetch(name, "t-none") == (True, None)
    assert other.fetch(name, "t-none") == (False, None)
    other.ask(f"KILL {int(holder.ask('SELECT CONNECTION_ID() AS id')[0]['id'])}")
    wait_for(lambda: other.lock("dispatcher", "agent"))
    for _ in range(2):
        with pytest.raises(DoltFailed):
            holder.fetch(name, "t-none")
    holder.close()
    other.close()


def test_an_assignee_with_quotes_is_a_value(on_server: Place) -> None:
    dolt = Dolt(server_of(on_server))
    assert dolt.assigned("x' OR '1'='1") == []
    assert dolt.lock("dispatcher", "'; DROP TABLE issues; --")
    assert dolt.ask("SELECT COUNT(*) AS n FROM issues") == [{"n": 0}]
    dolt.close()


def test_each_failure_is_one_line(on_server: Place) -> None:
    server = server_of(on_server)
    wrong = {
        "password": (replace(server, password="wrong"), "[Aa]ccess denied|[Nn]o authentication"),
        "database": (replace(server, database="nowhere"), "nowhere"),
        "port": (replace(server, port=1), "refused"),
    }
    for one, said in wrong.values():
        with pytest.raises(DoltFailed, match=said) as caught:
            Dolt(one).lock("dispatcher", "agent")
        assert "\n" not in str(caught.value)


def test_a_table_without_a_column_is_a_failure_not_an_empty_queue(on_server: Place) -> None:
    on_server.sql("ALTER TABLE issues RENAME COLUMN acceptance_criteria TO criteria")
    for command in ("tick", "sweep"):
        done = on_server.run(command, BEADBOARD_URL="http://127.0.0.1:1")
        assert done.returncode == 1
        assert "acceptance_criteria" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_server_that_is_killed(tmp_path: Path, own_server: DoltServer) -> None:
    place = make_place(tmp_path / "place", own_server)
    dolt = Dolt(server_of(place))
    assert dolt.lock("dispatcher", "agent")
    own_server.stop()
    with pytest.raises(DoltFailed):
        dolt.assigned("agent")
    done = place.run("tick", BEADBOARD_URL="http://127.0.0.1:1")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_a_connection_that_was_closed_has_no_lock_and_a_new_one_answers(on_server: Place) -> None:
    one, other = Dolt(server_of(on_server)), Dolt(server_of(on_server))
    name = one.lock("dispatcher", "agent")
    assert name
    one.close()
    wait_for(lambda: other.lock("dispatcher", "agent"))
    assert one.locked(name) is False
    one.close()
    other.close()


def test_only_a_user_without_rights_is_asked_for_rights(on_server: Place) -> None:
    on_server.sql("DROP TABLE local_metadata")
    dolt = Dolt(server_of(on_server))
    with pytest.raises(DoltFailed, match=r"local_metadata$"):
        dolt.check_writable()
    dolt.close()


# --- a database without an id


def test_a_database_without_an_id_is_locked_by_its_name(on_server: Place, board: Board) -> None:
    on_server.sql("DELETE FROM metadata WHERE `key` = '_project_id'")
    server = server_of(on_server)
    one = Dolt(server)
    assert one.lock("dispatcher", "agent")
    for name in (server.database, server.database.upper(), f"{server.database}/main"):  # all of them open it
        other = Dolt(replace(server, database=name))
        assert other.lock("dispatcher", "agent") is None
        assert other.lock("dispatcher", "another") is not None
        other.close()
    one.close()
    before, bead = Dolt(server), on_server.create()
    assert before.hash() != "None"
    done = on_server.run("tick", BEADBOARD_URL=board.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert board.sent == [bead]
    before.close()


def test_its_fingerprint_changes_with_every_write_too(on_server: Place) -> None:
    on_server.sql("DELETE FROM metadata WHERE `key` = '_project_id'")
    dolt = Dolt(server_of(on_server))
    first = dolt.hash()
    assert dolt.hash() == first
    on_server.create()
    assert dolt.hash() != first
    dolt.close()


def test_two_databases_without_an_id_do_not_lock_each_other(tmp_path: Path, dolt_server: DoltServer) -> None:
    places = [make_place(tmp_path / name, dolt_server) for name in ("one", "two")]
    for place in places:
        place.sql("DELETE FROM metadata WHERE `key` = '_project_id'")
    one, two = (Dolt(server_of(place)) for place in places)
    assert one.lock("dispatcher", "agent")
    assert two.lock("dispatcher", "agent")
    one.close()
    two.close()


# --- TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=["IP:127.0.0.1", "DNS:elsewhere.example"])
def tls_place(request: pytest.FixtureRequest, tmp_path: Path, authority: Authority) -> Iterator[tuple[str, Place]]:
    """The name in a certificate, and a workspace on a Dolt that has it. The common name is right in both."""
    key, certificate = authority.certify(request.param)
    with running(TlsDolt(tmp_path / "tls", key=key, certificate=certificate)) as server:
        yield request.param, make_place(tmp_path / "place", server)


def over_tls(place: Place, port: int, **environ: str) -> dict[str, str]:
    """As a user with a password, through this port. Neither may be seen on the wire."""
    place.sql("CREATE USER IF NOT EXISTS keeper IDENTIFIED BY 'hunter2'")
    place.sql("GRANT ALL PRIVILEGES ON *.* TO keeper")
    user = {"BEADS_DOLT_SERVER_USER": "keeper", "BEADS_DOLT_PASSWORD": "hunter2"}
    return {**user, "BEADS_DOLT_SERVER_TLS": "1", "BEADS_DOLT_SERVER_PORT": str(port), **environ}


def test_tls_is_verified_as_bd_does_it(tls_place: tuple[str, Place], authority: Authority, board: Board) -> None:
    name, place = tls_place
    assert place.server
    wire, bead = Overheard(place.server.port), place.create()
    trusted = over_tls(place, wire.port, SSL_CERT_FILE=str(authority.folder / "ca.pem"), BEADBOARD_URL=board.url)
    done = place.run("tick", **trusted)
    if name == "IP:127.0.0.1":
        assert (done.returncode, done.stderr) == (0, "")
        assert board.sent == [bead]
    else:
        assert done.returncode == 1
        assert "its TLS certificate is refused: IP address mismatch" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert wire.sent
    assert b"keeper" not in wire.sent
    wire.close()


@pytest.mark.parametrize("tls_place", ["IP:127.0.0.1"], indirect=True)
def test_an_unknown_authority_is_refused(tls_place: tuple[str, Place], board: Board) -> None:
    _, place = tls_place
    assert place.server
    wire = Overheard(place.server.port)
    for command in ("tick", "sweep"):
        done = place.run(command, **over_tls(place, wire.port, BEADBOARD_URL=board.url))
        assert done.returncode == 1
        assert "its TLS certificate is refused: unable to get local issuer certificate" in done.stderr
        assert "SSL_CERT_FILE" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert wire.sent
    assert b"keeper" not in wire.sent
    wire.close()


def test_a_dolt_without_tls_is_refused_before_the_password_goes_out(on_server: Place, board: Board) -> None:
    assert on_server.server
    wire = Overheard(on_server.server.port)
    done = on_server.run("tick", **over_tls(on_server, wire.port, BEADBOARD_URL=board.url))
    assert done.returncode == 1
    assert "SSL is required but the server doesn't support it" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert bytes(wire.sent) == b""
    wire.close()


@pytest.mark.parametrize("tls_place", ["IP:127.0.0.1"], indirect=True)
def test_where_tls_is_off_none_is_tried(tls_place: tuple[str, Place], board: Board) -> None:
    _, place = tls_place
    assert place.server
    wire, bead = Overheard(place.server.port), place.create()
    done = place.run("tick", BEADS_DOLT_SERVER_PORT=str(wire.port), BEADBOARD_URL=board.url)
    assert (done.returncode, done.stderr, board.sent) == (0, "", [bead])
    assert b"dolt_hashof_db" in wire.sent or b"GET_LOCK" in wire.sent
    wire.close()


# --- the password


def test_a_password_that_only_bd_finds_is_asked_for(on_server: Place, board: Board) -> None:
    bead = on_server.create()
    on_server.sql("CREATE USER IF NOT EXISTS keeper IDENTIFIED BY 'hunter2'")
    on_server.sql("GRANT ALL PRIVILEGES ON *.* TO keeper")
    (on_server.folder / ".beads" / ".env").write_text("BEADS_DOLT_PASSWORD=hunter2\nBEADS_DOLT_SERVER_USER=keeper\n")
    done = on_server.run("tick", BEADBOARD_URL=board.url)
    assert done.returncode == 1
    assert "put it in BEADS_DOLT_PASSWORD" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    done = on_server.run("tick", BEADBOARD_URL=board.url, BEADS_DOLT_PASSWORD="hunter2")
    assert (done.returncode, done.stderr, board.sent) == (0, "", [bead])
