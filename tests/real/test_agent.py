"""The stand-in: BeadBoard's answers, the command's environment, its limits, and its end."""

import itertools
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import CLOSES, PATIENCE, Place, is_running, url_of, wait_for

from beads_dispatch.adapters import location
from beads_dispatch.adapters.bd.process import BdProcess
from beads_dispatch.adapters.bd.verbs import Bd
from beads_dispatch.adapters.clock import SYSTEM, Clock
from beads_dispatch.adapters.log import Log
from beads_dispatch.core.outcomes import Reply, understand
from beads_dispatch.core.runner import Outcome
from beads_dispatch.laptop import processes
from beads_dispatch.laptop.jobs import Jobs
from beads_dispatch.laptop.supervisor import Supervisor

# Its child has a session of its own, and so is not in its parent's process group.
COMMAND = 'printf "%s|" "$BEAD_ID" "$BEAD_TITLE" "$BEAD_ACCEPTANCE" "$BEAD_JOB"; setsid sleep 300 & echo $!; wait'
Agent = tuple[str, "subprocess.Popen[str]"]


@contextmanager
def serving(place: Place, command: str, *words: str, **environ: str) -> Iterator[Agent]:
    """The agent in that workspace: its URL and its process."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would be ignored
    process = place.start("agent", "--port=0", "--command", command, *words, **environ)
    signal.signal(signal.SIGHUP, before)
    try:
        yield url_of(process), process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


@pytest.fixture
def agent(embedded: Place) -> Iterator[Agent]:
    with serving(embedded, COMMAND) as one:
        yield one


def started(process: "subprocess.Popen[str]") -> Path:
    """The log file of the job that the agent names next."""
    assert process.stdout
    return Path(next(line for line in process.stdout if "output in " in line).strip().split("output in ")[1])


def written(output: Path, until: str = "") -> str:
    """Its first line, once the line `until` is there."""
    wait_for(lambda: f"{until}\n" in output.read_text())
    return output.read_text().splitlines()[0]


def gone(pid: str) -> bool:
    return not is_running(int(pid))


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
    assert httpx.get(f"{url}/nowhere", timeout=PATIENCE).status_code == 404
    assert httpx.get(f"{url}/api/agent-dispatch", timeout=PATIENCE).status_code == 405
    *said, child = written(started(process)).split("|")
    assert said == [bead, 'a "title"; $(touch gone)', "it works", document["job_id"]]
    assert not (embedded.folder / "gone").exists()
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    wait_for(lambda: gone(child))  # by itself it would sleep for five minutes


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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_each_stop_signal_ends_its_jobs(embedded: Place, agent: Agent, number: int) -> None:
    url, process = agent
    assert post(url, json.dumps({"taskId": embedded.create()}))[0] == 200
    child = written(started(process)).split("|")[-1]
    process.send_signal(number)
    assert process.wait(PATIENCE) == 0
    wait_for(lambda: gone(child))  # by itself it would sleep for five minutes


def test_a_job_acts_as_the_assignee_and_may_close_its_bead(embedded: Place) -> None:
    with serving(embedded, CLOSES, BD_ACTOR="me", BEADS_ACTOR="me") as (url, _):
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
        reply = httpx.post(f"{url}/api/agent-dispatch", json={"taskId": bead}, timeout=PATIENCE)
        assert understand(Reply(reply.status_code, reply.text)).outcome is Outcome.NOT_STARTED
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
    assert len(err.splitlines()) == 1
    assert f"{bead}: the command cannot be started: " in err


def test_a_bd_that_fails_is_not_taken_for_a_bead_that_is_missing(embedded: Place) -> None:
    bead, broken = embedded.create(), embedded.folder / "broken"
    path = embedded.wrap_bd(
        f"[ -e {broken} ] || exec '{embedded.real_bd}' \"$@\"; echo 'Error: database is locked' >&2; exit 1"
    )
    with serving(embedded, "true", PATH=path) as (url, process):
        broken.touch()
        status, document = post(url, json.dumps({"taskId": bead}))
        assert understand(Reply(status, json.dumps(document))).outcome is Outcome.NOT_STARTED
        assert "database is locked" in str(document)
        broken.unlink()
        assert post(url, json.dumps({"taskId": bead}))[0] == 200
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
    assert len(err.splitlines()) == 1
    assert f"{bead}: bd show: Error: database is locked" in err


def job(url: str, bead: str) -> str:
    """The id of the job that is started on this bead."""
    status, document = post(url, json.dumps({"taskId": bead}))
    assert status == 200, document
    assert isinstance(document, dict)
    return str(document["job_id"])


def ended(url: str, job_id: str) -> dict[str, Any]:
    """The job as it is once it has ended."""
    wait_for(lambda: get(url, f"/jobs/{job_id}")["status"] != "running")  # type: ignore[index]
    document = get(url, f"/jobs/{job_id}")
    assert isinstance(document, dict)
    return document


def test_a_job_is_described_as_the_agent_service_does(embedded: Place) -> None:
    waits = 'echo one; printf "two " >&2; echo "ü" >&2; until [ -e go ]; do sleep 0.1; done; exit 3'
    with serving(embedded, waits) as (url, process):
        one = job(url, embedded.create())
        path = started(process)
        running = get(url, f"/jobs/{one}")
        assert isinstance(running, dict)
        assert set(running) == {"status", "prompt", "agent", "metadata", "created_at", "started_at"}
        assert running["status"] == "running"
        wait_for(lambda: {"one", "two ü"} <= set(path.read_text().splitlines()))
        (embedded.folder / "go").touch()
        failed = ended(url, one)
        assert set(failed) - set(running) == {"exit_code", "output", "stderr", "finished_at", "finished_epoch"}
        assert [failed[key] for key in ("status", "exit_code", "output", "stderr")] == [
            "failed",
            3,
            ["one\n"],
            "two ü\n",
        ]
        began, at = (datetime.fromisoformat(failed[key]) for key in ("started_at", "finished_at"))
        assert began.utcoffset() == timedelta()
        assert began < at
        assert at.timestamp() == pytest.approx(failed["finished_epoch"], abs=0.001)
        assert get(url, f"/jobs/{one}x") == {"detail": "Job not found"}
        assert get(url, f"/jobs/x{one}") == {"detail": "Job of another agent"}
        assert httpx.get(f"{url}/jobs/{one}x", timeout=PATIENCE).status_code == 404
        assert httpx.post(f"{url}/jobs/{one}", timeout=PATIENCE).status_code == 405
        assert get(url, "/jobs") == {"detail": "Not Found"}


def test_a_command_that_does_not_exist_says_so(embedded: Place) -> None:
    # It exits once the agent has read why: after half a second a busy machine may not have.
    command = "claudee -p hello; code=$?; until [ -e go ]; do sleep 0.1; done; exit $code"
    with serving(embedded, command) as (url, process):
        one, path = job(url, embedded.create()), started(process)
        wait_for(lambda: "claudee: not found" in path.read_text())
        (embedded.folder / "go").touch()
        document = ended(url, one)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=PATIENCE)
    assert (document["status"], document["exit_code"]) == ("failed", 127)
    assert "claudee: not found" in document["stderr"]
    assert re.search(r"failed \(exit 127\) after \w+: .*claudee: not found", out)


def test_a_child_that_is_left_behind_does_not_keep_a_job_running(embedded: Place) -> None:
    with serving(embedded, "sleep 300 & echo $!") as (url, _):
        one = job(url, embedded.create())
        assert ended(url, one)["status"] == "completed"
        # The agent waits only half a second for the rest of a pipe that stays open.
        wait_for(lambda: ended(url, one)["output"])
        os.kill(int(ended(url, one)["output"][0]), signal.SIGKILL)


def test_the_environment_of_a_job(embedded: Place) -> None:
    prints = 'printf "%s|" "$BEAD_DESCRIPTION" "$BEADS_ACTOR" "${BD_ACTOR-unset}" "$PWD" "$KEPT"'
    with serving(embedded, prints, BD_ACTOR="me", BEADS_ACTOR="me", KEPT="kept") as (url, _):
        bead = embedded.create("a bead", "--description=what — it is")
        one = job(url, bead)
        # Half a second after the end its output counts as complete; a busy machine may need longer to read it.
        (line,) = wait_for(lambda: ended(url, one)["output"])
    assert line.split("|")[:-1] == ["what — it is", "agent", "unset", str(embedded.folder), "kept"]


def test_a_timeout_ends_a_job_with_its_children(embedded: Place) -> None:
    with serving(embedded, COMMAND, "--timeout=0.2") as (url, process):  # long enough for the child to be named
        one = job(url, embedded.create())
        path = started(process)
        child = written(path).split("|")[-1]
        document = ended(url, one)
        wait_for(lambda: gone(child))
        wait_for(lambda: re.search(r"beads-agent: timed out after \w+", path.read_text()))
    assert document["status"] == "timeout"
    assert {"finished_at", "finished_epoch"} <= set(document)
    assert not {"exit_code", "output", "stderr"} & set(document)


def test_its_end_is_noted_on_the_beads_of_its_jobs(embedded: Place) -> None:
    with serving(embedded, COMMAND, "--jobs=2") as (url, process):
        beads = embedded.create("one"), embedded.create("two")
        jobs = [job(url, bead) for bead in beads]
        embedded.bd("close", beads[1], "--actor=agent")  # bd 1.3 lets nobody else
        process.send_signal(signal.SIGHUP)
        out, err = process.communicate(timeout=PATIENCE)
    assert err == ""
    for bead, one in zip(beads, jobs, strict=True):
        assert f"{bead}: job={one} stopped with the laptop agent after " in out
    assert re.fullmatch(r"agent ended: stopped with the laptop agent after \w+", "\n".join(embedded.notes(beads[0])))
    assert embedded.notes(beads[1]) == []


@pytest.mark.parametrize("message", ["dolt circuit breaker is open (cooldown 5s)", "serialization failure"])
def test_its_end_is_noted_as_soon_as_bd_writes_again(embedded: Place, message: str) -> None:
    refusals = embedded.folder / "refusals"
    path = embedded.wrap_bd(
        f'if [ "$1" = update ] && [ -e {refusals} ] && [ "$(wc -l < {refusals})" -lt 3 ]; then\n'
        f"echo x >> {refusals}; echo 'Error: {message}' >&2; exit 1; fi\nexec '{embedded.real_bd}' \"$@\""
    )
    with serving(embedded, COMMAND, PATH=path) as (url, process):
        bead = embedded.create()
        job(url, bead)
        refusals.touch()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
    assert err == ""
    assert len(refusals.read_text().splitlines()) == 3
    assert embedded.notes(bead)[-1].startswith("agent ended: stopped with the laptop agent after ")


@pytest.mark.parametrize("command", ["", "  "])
def test_an_empty_command_is_refused(embedded: Place, command: str) -> None:
    done = embedded.run("agent", "--port=0", "--command", command)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "--command is empty" in done.stderr


@pytest.mark.parametrize("minutes", ["0", "-1", "soon"])
def test_a_timeout_that_is_none_is_refused(embedded: Place, minutes: str) -> None:
    done = embedded.run("agent", "--command=true", f"--timeout={minutes}")
    assert done.returncode == 2
    assert "is not a number of minutes above 0" in done.stderr


def test_logs_prints_the_end_of_the_newest(embedded: Place) -> None:
    state = embedded.folder / "state"
    none = embedded.run("logs", "t-none", XDG_STATE_HOME=str(state))
    assert (none.returncode, none.stdout) == (1, "")
    assert none.stderr.startswith("beads-dispatch: no log of t-none in ")
    with serving(embedded, "echo $BEAD_JOB; seq 50; echo end >&2", XDG_STATE_HOME=str(state)) as (url, process):
        bead = embedded.create()
        for _ in range(2):
            last = job(url, bead)
            path = started(process)
            ended(url, last)
            written(path, "end")
    assert path == state / "beads-dispatch" / "logs" / f"{bead}-{last}.log"
    assert [stat.S_IMODE(one.stat().st_mode) for one in (path, path.parent)] == [0o600, 0o700]
    done = embedded.run("logs", bead, XDG_STATE_HOME=str(state))
    assert done.stdout.splitlines() == [str(path), *map(str, range(12, 51)), "end"]


FAST = 30.0  # a clock that runs so many times faster
CLOCK = Clock(SYSTEM.now, lambda: time.monotonic() * FAST, lambda seconds: time.sleep(seconds / FAST))


@pytest.fixture
def supervised(embedded: Place) -> Iterator[Supervisor]:
    """The jobs and their supervisor, in this process, with a fast clock."""
    log, ids = Log("x", SYSTEM.now), map(str, itertools.count(100))
    jobs = Jobs("sleep 300", 2, embedded.environ, embedded.folder, CLOCK, lambda: next(ids), log)
    process = BdProcess(location.find(embedded.environ, embedded.folder), embedded.environ)
    one = Supervisor(jobs, Bd(process, "beads-agent", SYSTEM.sleep), CLOCK, timedelta(hours=1))
    yield one
    processes.end([one.process for one in jobs.running()], CLOCK)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("assign", "{}", ""), "its bead is assigned to nobody now"),
        (("assign", "{}", "somebody"), "its bead is assigned to somebody now"),
        (("update", "{}", "--status=blocked"), "its bead is blocked"),
        (("close", "{}", "--actor=agent"), "its bead is closed"),
        (("delete", "{}", "--force"), "its bead is deleted"),
    ],
)
def test_a_job_that_has_lost_its_bead_is_ended(
    embedded: Place, supervised: Supervisor, words: Sequence[str], why: str
) -> None:
    lost, kept = embedded.create(), embedded.create()
    for bead in (lost, kept):
        supervised.jobs.start(supervised.bd.show(bead))
    lost_one, kept_one = supervised.jobs.running()
    supervised.turn()
    embedded.bd(*(word.format(lost) for word in words))
    since = CLOCK.monotonic()
    while lost_one.finished_at is None:
        supervised.turn()
        assert CLOCK.monotonic() - since < 3000
    assert lost_one.stopped == f"stopped ({why})"
    assert lost_one.output.stderr.text().startswith(f"beads-agent: stopped ({why}) after ")
    assert kept_one.finished_at is None
