"""The stand-in: BeadBoard's answers, the command's environment, its bounds, and its end."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from conftest import Place

from beads_dispatch.core.outcomes import Outcome, Reply, understand

COMMAND = 'printf "%s|" "$BEAD_ID" "$BEAD_TITLE" "$BEAD_ACCEPTANCE" "$BEAD_JOB"; sleep 300 & echo $!; wait'
Agent = tuple[str, "subprocess.Popen[str]"]


@contextmanager
def serving(place: Place, command: str, *words: str, **environ: str) -> Iterator[Agent]:
    """The agent in that workspace: its URL and its process."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would be ignored
    process = place.start("agent", "--port=0", "--command", command, *words, **environ)
    signal.signal(signal.SIGHUP, before)
    assert process.stdout
    try:
        yield process.stdout.readline().strip().split("BEADBOARD_URL=")[1], process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.fixture
def agent(embedded: Place) -> Iterator[Agent]:
    with serving(embedded, COMMAND) as one:
        yield one


def wait_for(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def started(process: "subprocess.Popen[str]") -> Path:
    """The log file of the job that the agent names next."""
    assert process.stdout
    return Path(next(line for line in process.stdout if "output in " in line).strip().split("output in ")[1])


def written(output: Path) -> str:
    """Its first line, once it is there."""
    wait_for(lambda: "\n" in output.read_text())
    return output.read_text().splitlines()[0]


def gone(pid: str) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or " Z " in state.read_text()


def post(url: str, content: bytes | str) -> tuple[int, object]:
    reply = httpx.post(f"{url}/api/agent-dispatch", content=content)
    return reply.status_code, reply.json()


def get(url: str, path: str) -> object:
    return httpx.get(url + path).json()


def test_it_answers_as_beadboard_does_and_ends_its_children(embedded: Place, agent: Agent) -> None:
    url, process = agent
    bead, bare = embedded.create('a "title"; $(touch gone)'), embedded.create("bare", acceptance=None)
    assert get(url, "/api/agent-status") == {"busy": False}
    assert get(url, "/health") == {"status": "ok", "busy": False, "active": 0, "queued": 0, "capacity": 1}
    assert post(url, "{") == (400, {"error": "Invalid JSON body."})
    assert post(url, "{}") == (400, {"error": "taskId is required."})
    assert post(url, '{"taskId": "t-none"}') == (400, {"error": "Bead t-none not found."})
    assert post(url, f'{{"taskId": "{bare}"}}') == (400, {"error": f"Bead {bare} is missing acceptance criteria."})
    status, document = post(url, f'{{"taskId": "{bead}"}}')
    assert status == 200
    assert isinstance(document, dict)
    assert post(url, f'{{"taskId": "{bead}"}}') == (502, {"error": "Queue full"})
    assert get(url, "/api/agent-status") == {"busy": True}
    assert httpx.get(f"{url}/nowhere").status_code == 404
    assert httpx.get(f"{url}/api/agent-dispatch").status_code == 405
    *said, child = written(started(process)).split("|")
    assert said == [bead, 'a "title"; $(touch gone)', "it works", document["job_id"]]
    assert not (embedded.folder / "gone").exists()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert gone(child)


def test_without_bd_it_does_not_start(embedded: Place) -> None:
    done = embedded.run("agent", "--port=0", "--command=true", PATH="/nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert "bd is not on PATH" in done.stderr


def test_a_port_in_use_is_one_clear_line(embedded: Place, agent: Agent) -> None:
    port = agent[0].rsplit(":", 1)[1]
    done = embedded.run("agent", f"--port={port}", "--command=true")
    assert done.returncode == 1
    assert "in use" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_each_stop_signal_ends_its_jobs(embedded: Place, agent: Agent, number: int) -> None:
    url, process = agent
    assert post(url, json.dumps({"taskId": embedded.create()}))[0] == 200
    child = written(started(process)).split("|")[-1]
    process.send_signal(number)
    assert process.wait(30) == 0
    assert gone(child)


def test_a_job_acts_as_the_assignee_and_may_close_its_bead(embedded: Place) -> None:
    with serving(embedded, 'bd close "$BEAD_ID"', BD_ACTOR="me", BEADS_ACTOR="me") as (url, _):
        bead = embedded.create()
        assert post(url, json.dumps({"taskId": bead}))[0] == 200
        wait_for(lambda: embedded.show(bead)["status"] == "closed")


def test_a_log_folder_that_was_swept_is_made_again(embedded: Place) -> None:
    first, second = embedded.create(), embedded.create()
    with serving(embedded, "echo here") as (url, process):
        assert post(url, json.dumps({"taskId": first}))[0] == 200
        shutil.rmtree(started(process).parent)
        wait_for(lambda: get(url, "/api/agent-status") == {"busy": False})
        assert post(url, json.dumps({"taskId": second}))[0] == 200
        assert written(started(process)) == "here"


def test_what_cannot_be_started_is_known_as_not_started(embedded: Place) -> None:
    bead = embedded.create()
    with serving(embedded, "true") as (url, process):
        assert post(url, json.dumps({"taskId": bead}))[0] == 200
        folder = started(process).parent
        shutil.rmtree(folder)
        folder.touch()
        wait_for(lambda: get(url, "/api/agent-status") == {"busy": False})
        reply = httpx.post(f"{url}/api/agent-dispatch", json={"taskId": bead})
        assert understand(Reply(reply.status_code, reply.text)).outcome is Outcome.NOT_STARTED
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert len(err.splitlines()) == 1
    assert f"{bead}: the command cannot be started: " in err
