"""dolt.py on a real Dolt sql-server: the lock, its holder, and failures."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import DoltServer, Place, make_place, wait_for

from beads_dispatch.adapters import workspace
from beads_dispatch.adapters.dolt import Dolt
from beads_dispatch.adapters.workspace import Server
from beads_dispatch.errors import DoltFailed

HOLD = """
import os, sys
from pathlib import Path
from beads_dispatch.adapters import workspace
from beads_dispatch.adapters.dolt import Dolt
dolt = Dolt(workspace.find(os.environ, Path.cwd()).server)
print(dolt.lock("dispatcher", "agent"), flush=True)
sys.stdin.read()
"""


def server_of(place: Place) -> Server:
    server = workspace.find(place.environ, place.folder).server
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
