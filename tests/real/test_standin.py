"""The stand-in for BeadBoard and its agent service gives their answers, and only to those who mean it."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import PATIENCE, Place, url_of, wait_for

from beads_dispatch.core.beadboard_answers import Reply, understand
from beads_dispatch.core.runner import Outcome

STANDIN = Path(__file__).parents[1] / "standin.py"
JSON = {"Content-Type": "application/json"}


def start(place: Place, command: str, **environ: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(STANDIN), "--command", command],
        env={**place.environ, "XDG_STATE_HOME": str(place.folder / "state"), **environ},
        cwd=place.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@contextmanager
def serving(place: Place, command: str, **environ: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The stand-in in that workspace: its URL and its process."""
    process = start(place, command, **environ)
    try:
        yield url_of(process), process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)


def post(url: str, content: bytes | str) -> tuple[int, object]:
    reply = httpx.post(f"{url}/api/agent-dispatch", content=content, headers=JSON, timeout=PATIENCE)
    return reply.status_code, reply.json()


def get(url: str, path: str) -> Any:
    return httpx.get(url + path, timeout=PATIENCE).json()


def test_it_answers_as_beadboard_does(embedded: Place) -> None:
    bead, bare = embedded.create(), embedded.create("bare", acceptance=None)
    with serving(embedded, "sleep 300") as (url, _):
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
        assert httpx.get(f"{url}/nowhere", timeout=PATIENCE).status_code == 404
        assert httpx.get(f"{url}/api/agent-dispatch", timeout=PATIENCE).status_code == 405


def test_a_job_is_described_as_the_agent_service_does(embedded: Place) -> None:
    with serving(embedded, 'echo "two ü" >&2; until [ -e go ]; do sleep 0.1; done; exit 3') as (url, _):
        _, document = post(url, json.dumps({"taskId": embedded.create()}))
        assert isinstance(document, dict)
        one = document["job_id"]
        running = get(url, f"/jobs/{one}")
        assert set(running) == {"status", "prompt", "agent", "metadata", "created_at", "started_at"}
        assert running["status"] == "running"
        (embedded.folder / "go").touch()
        wait_for(lambda: get(url, f"/jobs/{one}")["status"] != "running")
        failed = get(url, f"/jobs/{one}")
        assert set(failed) - set(running) == {"exit_code", "output", "stderr", "finished_at", "finished_epoch"}
        assert [failed[key] for key in ("status", "exit_code", "stderr")] == ["failed", 3, "two ü\n"]
        began, at = (datetime.fromisoformat(failed[key]) for key in ("started_at", "finished_at"))
        assert began.utcoffset() == timedelta()
        assert began < at
        assert at.timestamp() == pytest.approx(failed["finished_epoch"], abs=0.001)
        assert get(url, f"/jobs/{one}x") == {"detail": "Job not found"}
        assert httpx.get(f"{url}/jobs/{one}x", timeout=PATIENCE).status_code == 404
        assert httpx.post(f"{url}/jobs/{one}", headers=JSON, timeout=PATIENCE).status_code == 405
        assert get(url, "/jobs") == {"detail": "Not Found"}


def test_a_bd_that_fails_is_not_taken_for_a_bead_that_is_missing(embedded: Place) -> None:
    bead, broken = embedded.create(), embedded.folder / "broken"
    path = embedded.wrap_bd(
        f"[ -e {broken} ] || exec '{embedded.real_bd}' \"$@\"; echo 'Error: database is locked' >&2; exit 1"
    )
    with serving(embedded, "true", PATH=path) as (url, _):
        broken.touch()
        status, document = post(url, json.dumps({"taskId": bead}))
        assert understand(Reply(status, json.dumps(document))).outcome is Outcome.NOT_STARTED
        assert "database is locked" in str(document)
        broken.unlink()
        assert post(url, json.dumps({"taskId": bead}))[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),  # a page whose name resolves to 127.0.0.1
        ({"Host": "127.0.0.1.evil.example:80"}, 403),
        ({"Content-Type": "text/plain"}, 415),  # what a page may send without asking
        ({"Content-Type": ""}, 415),
        ({"Host": "localhost:3000", "Content-Type": "application/json; charset=utf-8"}, 200),
    ],
)
def test_a_web_page_cannot_start_a_command(embedded: Place, headers: dict[str, str], status: int) -> None:
    bead = embedded.create()
    with serving(embedded, "true") as (url, _):
        content = json.dumps({"taskId": bead})
        sent = {**JSON, **headers}
        reply = httpx.post(f"{url}/api/agent-dispatch", content=content, headers=sent, timeout=PATIENCE)
        assert reply.status_code == status
        assert get(url, "/health")["active"] == 0 or status == 200
