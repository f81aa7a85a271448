"""`status`, `--version` and the installed commands, as a user meets them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Board, Place


def test_status_gives_the_reason_for_every_bead(place: Place, board: Board) -> None:
    services = {"BEADBOARD_URL": board.url, "AGENT_SERVICE_URL": board.url}
    sent = place.create("sent", "-p", "0")
    assert place.run("tick", **services).returncode == 0
    bare, first = place.create("bare", acceptance=None), place.create("first", "-p", "1")
    later, stopped = place.create("later", "--defer=+6h", "-p", "3"), place.create("stopped")
    waits = place.create("waits")
    place.bd("dep", "add", waits, first)
    place.bd("update", stopped, "--status=blocked", "--append-notes=I need a key")
    place.bd("close", place.create("done"), "--actor=agent")  # bd 1.3: only the assignee may
    rows = {row["id"]: row for row in json.loads(place.run("status", "--json").stdout)}
    assert set(rows) == {sent, bare, first, later, stopped, waits}
    assert rows[sent]["reason"].startswith(f"dispatched: job=job-{sent}; last sign of life")
    assert rows[bare]["reason"] == "no acceptance criteria"
    assert rows[first]["reason"] == "next: a tick dispatches it as soon as the agent has room"
    assert rows[later]["reason"].startswith("deferred until ")
    assert rows[stopped] == {
        "id": stopped,
        "priority": 2,
        "state": "blocked",
        "reason": "I need a key",
        "title": "stopped",
    }
    assert rows[waits]["reason"].startswith("bd does not list it as ready")
    heading, *lines = place.run("status").stdout.splitlines()
    assert heading.split() == ["BEAD", "P", "STATE", "WHY"]
    assert [line.split()[0] for line in lines] == list(rows)


def test_an_empty_queue_is_reported(embedded: Place) -> None:
    assert embedded.run("status").stdout == "No bead is assigned to agent (closed ones are not shown).\n"
    assert json.loads(embedded.run("status", "--json").stdout) == []


@pytest.mark.slow
def test_it_installs_with_pip_and_names_its_version(tmp_path: Path) -> None:
    source = Path(__file__).parents[2]
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(source / name, tmp_path / name)
    shutil.copytree(source / "src", tmp_path / "src")
    pip = (sys.executable, "-m", "pip", "install", "-q", "--no-build-isolation", "--no-deps", "--target=installed", ".")
    subprocess.run(pip, cwd=tmp_path, check=True, capture_output=True)
    version = (tmp_path / "pyproject.toml").read_text().split('version = "')[1].split('"')[0]
    for command in ("beads-dispatch", "beads-dispatcher", "beads-reaper"):
        assert said(tmp_path, command, "--help").startswith("usage: beads-dispatch")
    assert said(tmp_path, "beads-dispatch", "--version") == f"beads-dispatch {version}\n"


def said(folder: Path, command: str, word: str) -> str:
    environ = {**os.environ, "PYTHONPATH": str(folder / "installed")}
    argv = (folder / "installed" / "bin" / command, word)
    return subprocess.run(argv, env=environ, capture_output=True, text=True, check=True).stdout
