"""`status`, `--version` and the installed commands, as a user meets them."""

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import Board, Place, Reply
from terminal import on_terminal

ROOT = Path(__file__).parents[2]


def rows(place: Place, *words: str, **environ: str) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in json.loads(place.run("status", "--json", *words, **environ).stdout)}


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
    found = rows(place)
    assert set(found) == {sent, bare, first, later, stopped, waits}
    assert found[sent]["reason"] == f"dispatched: job=job-{sent}"
    assert found[bare]["reason"] == "no acceptance criteria"
    assert found[first]["reason"] == "1st in line: a tick dispatches it as soon as the agent has room"
    assert found[later]["reason"].startswith("deferred until ")
    assert found[waits]["reason"] == f"waits for {first}"
    assert found[stopped].pop("idle_seconds") < 600
    assert found[stopped] == {
        "id": stopped,
        "title": "stopped",
        "priority": 2,
        "state": "blocked",
        "kind": "other",
        "reason": "I need a key",
        "job": None,
        "runs": 0,
        "attempts": 0,
        "retry_at": None,
        "queue": {"state": "open", "text": "open", "held_until": None, "place": None},
    }
    assert (found[sent]["job"], found[sent]["runs"], found[first]["queue"]["place"]) == (f"job-{sent}", 1, 1)
    counts, queue, agent, blank, heading, *lines = place.run("status", **services).stdout.splitlines()
    assert counts == "1 running · 3 waiting · 2 need you · 0 closed today"
    assert (queue, blank) == ("queue: open", "")
    assert agent.startswith("agent: room for 10; it does not say how jobs are: HTTP 401")  # no token was given
    assert heading.split() == ["BEAD", "P", "STATE", "AGE", "TITLE", "WHY"]
    assert [line.split()[0] for line in lines] == list(found)
    assert lines[1].endswith("first    1st in line")


def test_the_schema_is_the_documented_one(on_server: Place) -> None:
    on_server.create()
    page = (ROOT / "docs" / "status.md").read_text()
    (row,) = rows(on_server).values()
    documented = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert [name for name in documented if name in row] == list(row)
    assert [f"queue.{name}" for name in row["queue"]] == [name for name in documented if name.startswith("queue.")]


def test_the_queue_and_the_agent_are_reported_once(on_server: Place, board: Board) -> None:
    services = {"BEADBOARD_URL": board.url, "AGENT_SERVICE_URL": board.url}
    first, second = on_server.create("a", "-p", "0"), on_server.create("b")
    board.dispatch = lambda task: (502, {"error": "Invalid token"})
    on_server.run("tick", **services)
    board.health = (200, {"busy": True, "active": 1, "queued": 0, "capacity": 1})
    shown = on_server.run("status", **services).stdout
    until = r"(\w{3} \d+ )?\d\d:\d\d \(in (2m|1m( \d+s)?|\d+s)\)"
    assert re.search(f"\nqueue: held until {until}: {first}: dispatch failed HTTP 502: Invalid token", shown)
    assert "\nagent: busy (1 of 1)\n" in shown
    assert shown.count("Invalid token") == 2  # and in the refused bead's own row, which backs off
    assert rows(on_server)[second]["queue"]["held_until"] == on_server.hold()["until"]
    assert rows(on_server)[first]["kind"] == "backing off"
    assert rows(on_server)[second]["kind"] == "held"
    assert rows(on_server)[second]["retry_at"] == on_server.hold()["until"]


@pytest.mark.parametrize(
    ("health", "busy", "shown"),
    [
        ((200, {"busy": False}), False, "has room"),
        ((200, {"busy": False, "active": 1, "queued": 0, "capacity": 10}), False, "room for 9"),
        ((200, {"busy": False}), True, "busy"),
        ((200, {"busy": True}), False, "busy"),
        ((503, "down"), False, "not reachable at {url}/health: the agent service is not healthy: HTTP 503: down"),
    ],
)
def test_the_agent(embedded: Place, board: Board, health: tuple[int, object], busy: bool, shown: str) -> None:
    board.health, board.status = health, (200, {"busy": busy})
    done = embedded.run("status", BEADBOARD_URL=board.url, AGENT_SERVICE_URL=board.url)
    assert f"\nagent: {shown.format(url=board.url)}\n" in done.stdout
    assert done.returncode == 0


def test_a_service_that_may_be_waking_up_is_asked_once(embedded: Place, board: Board) -> None:
    board.status = (503, "<html>waking up</html>")  # a tick asks again for up to 45 s
    done = embedded.run("status", BEADBOARD_URL=board.url)
    assert f"\nagent: not reachable at {board.url}/api/agent-status: BeadBoard gave no usable status" in done.stdout
    assert board.asked == ["/api/agent-status"]


def test_nothing_but_the_answer_is_on_stdout(embedded: Place, board: Board) -> None:
    embedded.create()
    done = embedded.run("status", "--json", BEADBOARD_URL=board.url)
    assert (len(json.loads(done.stdout)), board.asked) == (1, [])


def test_a_bead_that_is_being_handed_over_is_reported_so(on_server: Place, board: Board) -> None:
    seen: list[dict[str, Any]] = []
    bead = on_server.create()

    def dispatch(task: str) -> Reply:
        seen.append(rows(on_server)[bead])
        return 200, {"job_id": "7"}

    board.dispatch = dispatch
    on_server.run("tick", BEADBOARD_URL=board.url)
    assert [(row["kind"], row["reason"]) for row in seen] == [("handing over", "being handed over")]
    assert rows(on_server)[bead]["kind"] == "dispatched"


def test_an_open_bead_whose_job_still_runs_is_not_in_line(on_server: Place, board: Board) -> None:
    services = {"BEADBOARD_URL": board.url, "AGENT_SERVICE_URL": board.url}
    bead = on_server.create()
    on_server.run("tick", **services)
    on_server.bd("update", bead, "--status=open")
    board.job = (200, {"status": "running", "started_at": datetime.now(UTC).isoformat()})
    assert rows(on_server, **services)[bead]["kind"] == "still runs"
    assert "would claim" not in on_server.run("tick", "--dry-run", **services).stdout
    board.job = (404, {"detail": "Job not found"})
    assert rows(on_server, **services)[bead]["queue"]["place"] == 1
    assert "would claim" in on_server.run("tick", "--dry-run", **services).stdout


def test_single_beads(place: Place) -> None:
    one, other, closed = place.create("one", "-p", "1"), place.create("other"), place.create("closed")
    foreign = str(place.bd("create", "foreign", "--assignee=bob")["id"])
    place.bd("close", closed, "--actor=agent")
    assert list(rows(place, one)) == [one]
    shown = rows(place, closed, other, foreign, other)
    assert [(row["id"], row["kind"]) for row in shown.values()] == [
        (closed, "closed"), (other, "eligible"), (foreign, "other"),
    ]  # fmt: skip
    assert shown[other]["queue"]["place"] == 2
    assert shown[foreign]["reason"] == "assigned to bob, not to agent"
    done = place.run("status", "t-none", one)
    assert (done.returncode, done.stderr) == (1, "beads-dispatch: there is no bead t-none in this workspace\n")
    assert done.stdout.splitlines()[-1].startswith(one)


def test_an_id_may_be_shortened_if_one_bead_fits(place: Place) -> None:
    one, *alike = (place.create("a bead", f"--id={bead}") for bead in ("t-xyz", "t-abc", "t-abd"))
    assert list(rows(place, "xyz", one)) == [one]
    assert place.run("explain", "xy").stdout.startswith(one)
    logs = place.folder / "state" / "beads-dispatch" / "logs"
    logs.mkdir(parents=True)
    (logs / f"{one}-abc.log").write_text("what it wrote\n")
    state = {"XDG_STATE_HOME": str(place.folder / "state")}
    assert place.run("logs", "xy", **state).stdout.endswith("what it wrote\n")
    for command in ("status", "explain", "logs"):
        done = place.run(command, "ab", **state)
        assert (done.returncode, done.stdout.count("t-")) == (1, 0)
        assert done.stderr.startswith("beads-dispatch: ab is short for several beads: t-ab")
        assert all(bead in done.stderr for bead in alike)
        assert "t-none" in place.run(command, "t-none", **state).stderr


def test_an_empty_queue_is_reported(embedded: Place) -> None:
    assert embedded.run("status").stdout.splitlines() == [
        "0 running · 0 waiting · 0 need you · 0 closed today",
        "queue: open",
        "agent: unknown: BEADBOARD_URL is not set here, and no running watcher was found",
        "No bead is assigned to agent (closed ones are not shown).",
    ]
    assert json.loads(embedded.run("status", "--json").stdout) == []


def test_thirty_beads_on_a_terminal_and_in_a_pipe(on_server: Place) -> None:
    long = "Find why the nightly import takes three hours since Tuesday, and what it waits for"
    beads = on_server.create_many(30, acceptance_criteria="", title=long)
    piped = on_server.run("status").stdout.splitlines()
    assert len(piped) == 35
    assert sum(line.endswith(f"{long}  no acceptance criteria") for line in piped) == 30
    shown = on_terminal(on_server, 80, "status")
    assert "\x1b[1mBEAD" in shown
    plain = re.sub(r"\x1b\[\d+m", "", shown).splitlines()
    assert {line.split()[0] for line in plain[5:]} == beads
    assert max(map(len, plain)) <= 80
    assert all(line.endswith("no acceptance criteria") and "…" in line for line in plain[5:])
    assert "\x1b" not in on_terminal(on_server, 80, "status", NO_COLOR="1")


@pytest.mark.slow
def test_it_installs_with_pip_and_names_its_version(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "src", tmp_path / "src")
    pip = (sys.executable, "-m", "pip", "install", "-q", "--no-build-isolation", "--no-deps", "--target=installed", ".")
    subprocess.run(pip, cwd=tmp_path, check=True, capture_output=True)
    version = (tmp_path / "pyproject.toml").read_text().split('version = "')[1].split('"')[0]
    for command in ("beads-dispatch", "beads-dispatcher", "beads-reaper"):
        assert said(tmp_path, command, "--help").startswith("usage: beads-dispatch")
        assert said(tmp_path, command, "--version") == f"beads-dispatch {version}\n"


def said(folder: Path, command: str, word: str) -> str:
    environ = {**os.environ, "PYTHONPATH": str(folder / "installed")}
    argv = (folder / "installed" / "bin" / command, word)
    return subprocess.run(argv, env=environ, capture_output=True, text=True, check=True).stdout
