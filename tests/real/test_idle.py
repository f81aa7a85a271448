"""An idle tick and an idle sweep against a Dolt server: one connection, no process, no file written."""

import json
import subprocess
import sys

import pytest
from conftest import Board, Place

WATCHED = """
import json, os, runpy, sys
seen = {"connect": [], "process": [], "written": []}
def hook(event, args):
    if event == "socket.connect":
        seen["connect"].append(args[1])
    elif event == "open" and "/serviceaccount/" in str(args[0]):  # before each question to the API server
        seen["connect"].append("token")
    elif event in ("subprocess.Popen", "os.fork", "os.posix_spawn", "os.exec", "os.system"):
        seen["process"].append(event)
    elif event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        seen["written"].append(str(args[0]))
sys.addaudithook(hook)
from beads_dispatch.commands.cli import main
code = main(sys.argv[1:])
OURS = (
    "commands.manual", "commands.status", "core.capacity", "adapters.notify", "core.kubernetes_jobs",
    "core.kubernetes_runs",
)
HEAVY = ("httpx", "asyncio", "shtab", "apprise", *("beads_dispatch." + name for name in OURS))
heavy = [name for name in HEAVY if name in sys.modules]
print(json.dumps({"code": code, **seen, "heavy": heavy}), file=sys.stderr)
"""


def services(runner: str, board: Board) -> dict[str, str]:
    """What a pod knows of the services. The board stands for the API server too: nobody may ask it anything."""
    if runner == "beadboard":
        return {"BEADBOARD_URL": board.url, "AGENT_SERVICE_URL": board.url}
    host, port = board.url.removeprefix("http://").split(":")
    return {"BEADS_AGENT_CRONJOB": "agents/agent", "KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}


@pytest.mark.parametrize("runner", ["beadboard", "jobs"])
@pytest.mark.parametrize("command", ["tick", "sweep"])
def test_an_idle_run_costs_one_connection(on_server: Place, board: Board, command: str, runner: str) -> None:
    bare = on_server.create("bare", acceptance=None)
    known = {**services(runner, board), "BEADS_METADATA": str(on_server.metadata)}
    known["BEADS_NOTIFY_URLS"] = board.url.replace("http", "json")
    assert on_server.run("tick", **known).returncode == 0
    recorder = on_server.wrap_bd('echo "$@" >> "$HOME/bd-was-called"; exit 1')
    done = subprocess.run(
        [sys.executable, "-B", "-c", WATCHED, command],
        env={**on_server.environ, **known, "PATH": recorder},
        cwd=on_server.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    seen = json.loads(done.stderr)
    assert on_server.server
    assert seen == {
        "code": 0,
        "connect": [["127.0.0.1", on_server.server.port]],
        "process": [],
        "written": [],
        "heavy": [],
    }, done.stdout
    assert not (on_server.folder / "bd-was-called").exists()
    assert board.asked == []
    assert on_server.notes(bare) == ["not dispatched: no acceptance criteria"]
