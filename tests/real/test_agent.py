"""The stand-in: BeadBoard's answers, the command's environment, its limits, and its end."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from conftest import PATIENCE, Place, is_running, wait_for

COMMAND = 'printf "%s|" "$BEAD_ID" "$BEAD_TITLE" "$BEAD_ACCEPTANCE" "$BEAD_JOB"; sleep 300 & echo $!; wait'
Agent = tuple[str, "subprocess.Popen[str]"]


@pytest.fixture
def agent(embedded: Place) -> Iterator[Agent]:
    process = embedded.start("agent", "--port=0", "--command", COMMAND)
    assert process.stdout
    yield process.stdout.readline().strip().split("BEADBOARD_URL=")[1], process
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)


def post(url: str, content: bytes | str) -> tuple[int, object]:
    reply = httpx.post(f"{url}/api/agent-dispatch", content=content, timeout=PATIENCE)
    return reply.status_code, reply.json()


def get(url: str, path: str) -> object:
    return httpx.get(url + path, timeout=PATIENCE).json()


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
    assert process.stdout
    output = Path(process.stdout.readline().strip().split("output in ")[1])
    wait_for(lambda: "\n" in output.read_text())
    *said, child = output.read_text().strip().split("|")
    assert said == [bead, 'a "title"; $(touch gone)', "it works", document["job_id"]]
    assert not (embedded.folder / "gone").exists()
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    wait_for(lambda: not is_running(int(child)))  # it sleeps for much longer than that


def test_without_bd_it_does_not_start(embedded: Place) -> None:
    done = embedded.run("agent", "--port=0", "--command=true", PATH="/nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert "bd is not on PATH" in done.stderr


def test_a_port_in_use_is_reported_in_one_line(embedded: Place, agent: Agent) -> None:
    port = agent[0].rsplit(":", 1)[1]
    done = embedded.run("agent", f"--port={port}", "--command=true")
    assert done.returncode == 1
    assert "in use" in done.stderr
    assert len(done.stderr.splitlines()) == 1
