"""How a run ends: sweeps and the watcher as processes, against an agent service that answers GET /jobs/{id}."""

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from conftest import PATIENCE, Board, Place, Reply, wait_for
from test_standin import serving
from test_watcher import watching

from beads_dispatch.core import notes
from beads_dispatch.core.text import utc_minute


@pytest.fixture
def service(board: Board) -> Board:
    """BeadBoard and the agent service, which knows no job."""
    board.job = (404, {"detail": "Job not found"})
    return board


def services(service: Board, **more: str) -> dict[str, str]:
    return {"BEADBOARD_URL": service.url, "AGENT_SERVICE_URL": service.url, "API_BEARER_TOKEN": "hunter2", **more}


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


def job(status: str, ran: float = 220, **fields: object) -> Reply:
    """An answer about a job that ended 20 seconds ago, or still runs. Its times are relative to now."""
    now = datetime.now(UTC)
    known: dict[str, object] = {"status": status, "prompt": "x", "agent": "y"}
    known["started_at"] = (now - timedelta(seconds=ran + 20)).isoformat()
    ended = {} if status in ("queued", "running") else {"finished_at": (now - timedelta(seconds=20)).isoformat()}
    return 200, {**known, **ended, **fields}


def result(text: str, **fields: object) -> list[str]:
    return [json.dumps({"type": "result", "result": text, **fields}) + "\n"]


LIMIT = "You've hit your limit · resets in 2h"
# One row for each way in which a bead is written. What each answer means is a table in tests/unit/test_runs.py.
ENDS: list[tuple[Callable[[], Reply], str, str | None]] = [
    (lambda: job("failed", exit_code=1, output=[], stderr="boom\n"), "blocked", "failed (exit 1) after 3m 40s: boom"),
    (lambda: job("failed", exit_code=1, output=result(LIMIT, is_error=True)), "open", "usage limit, resets "),
    (
        lambda: job("failed", exit_code=1, stderr="boom\n", ran=1),
        "open",
        "failed (exit 1) after 1s: boom (open again, attempt 1 of 3)",
    ),
    (
        lambda: job("failed", exit_code=127, stderr="sh: claudee: not found\n", ran=1),
        "open",
        "failed (exit 127) after 1s: claudee: not found (open again)",
    ),
    (lambda: (404, {"detail": "Job not found"}), "blocked", "the agent service does not know job"),
    (lambda: (401, {"detail": "Invalid token"}), "in_progress", None),
]


@pytest.mark.parametrize(("answer", "status", "ended"), ENDS)
def test_each_end_becomes_a_note_and_a_status(
    on_server: Place, service: Board, answer: Callable[[], Reply], status: str, ended: str | None
) -> None:
    bead = on_server.create()
    assert on_server.run("tick", **services(service)).returncode == 0
    service.job = answer()
    for _ in range(2):
        done = on_server.run("sweep", **services(service))
        assert done.returncode == 0, done.stderr
        assert "hunter2" not in done.stdout + done.stderr
    shown, lines = on_server.show(bead), on_server.notes(bead)
    assert shown["status"] == status
    assert [line for line in lines if line.startswith("agent ended: ")] == ([lines[-1]] if ended else [])
    assert ended is None or lines[-1].startswith(f"agent ended: {ended}")
    marks = {key for key in shown.get("metadata") or {} if key.startswith("beads_dispatch.")}
    expected = {
        "in_progress": {"claim", "job", "runs", "outcome"},
        "blocked": {"claim", "outcome", "ended"},
        "open": {"reopened", "outcome", "ended", "failures", "failed_at"},
    }[status]
    more = {"runs"} if status == "open" and "after 1s" not in lines[-1] else set()  # a run of more than a minute counts
    more |= {"retry_after"} if "attempt" in lines[-1] else set()
    assert marks == {f"beads_dispatch.{name}" for name in expected | more}


def test_a_usage_limit_holds_the_queue_until_resume_sends_one_bead_first(on_server: Place, service: Board) -> None:
    beads = {on_server.create() for _ in range(4)}
    two = services(service, BEADS_DISPATCH_PER_TICK="2")
    on_server.run("tick", **two)
    service.job = job("failed", exit_code=1, output=result(LIMIT, is_error=True))
    on_server.run("sweep", **two)
    assert {on_server.show(bead)["status"] for bead in beads} == {"open"}
    assert on_server.run("tick", **two).returncode == 0
    assert len(service.sent) == 2
    assert on_server.run("status").stdout.count("usage limit, resets") == 1  # the queue's line, not one in each row
    assert on_server.run("resume").returncode == 0
    service.job = job("running")
    for _ in range(2):
        assert on_server.run("tick", **two).returncode == 0
        assert len(service.sent) == 3
    first = service.sent[2]
    assert f"queue: open; {first} runs first, to see whether the usage limit is over" in on_server.run("status").stdout
    on_server.bd("close", first, "--actor=agent")
    assert on_server.run("tick", **two).returncode == 0
    assert len(service.sent) == 5


def test_a_usage_limit_that_is_noted_late_does_not_send_a_bead_again(on_server: Place, service: Board) -> None:
    """A sweep's bd outlives it, and writes when a person has opened the bead and a tick has dispatched it."""
    bead = on_server.create()
    on_server.run("tick", **services(service))
    service.job = job("failed", exit_code=1, output=result(LIMIT, is_error=True))
    on_server.run("sweep", **services(service))
    line = on_server.notes(bead)[-1]
    marks = [f"--set-metadata={key}={value}" for key, value in on_server.show(bead)["metadata"].items()]
    on_server.run("resume")
    assert on_server.run("tick", **services(service)).returncode == 0
    gone = ["--unset-metadata=beads_dispatch.claim", "--unset-metadata=beads_dispatch.job"]
    on_server.bd("update", bead, "--status=open", f"--append-notes={line}", *gone, *marks)
    assert on_server.run("tick", **services(service)).returncode == 0
    assert service.sent == [bead, bead]
    assert on_server.show(bead)["status"] == "blocked"
    assert on_server.notes(bead)[-1] == f"not dispatched: {notes.OPENED_LATE}"


@pytest.mark.slow
def test_a_usage_limit_costs_one_tick_s_beads(on_server: Place, service: Board) -> None:
    on_server.create_many(15)
    # In the future, so that on a slow machine nobody seems to have written long after it.
    service.job = job("failed", exit_code=1, output=result(LIMIT, is_error=True), finished_at=ago(-3600))
    environ = {"API_BEARER_TOKEN": "hunter2", "BEADS_DISPATCH_PER_TICK": "10"}
    with watching(on_server, service, **environ) as watcher:
        wait_for(
            lambda: (
                len([line for line in watcher.lines if "usage limit, resets" in line and "(open again)" in line]) == 10
            ),
            5 * PATIENCE,
        )
        watcher.wait_for("nothing is dispatched until")
        assert watcher.end() == 0
    assert len(service.sent) == 10
    assert {row["status"] for row in on_server.sql("SELECT status FROM issues")} == {"open"}


def test_a_bead_that_its_agent_closed_meanwhile_stays_closed(on_server: Place, service: Board) -> None:
    bead = on_server.create()
    on_server.run("tick", **services(service))
    service.job = job("completed", exit_code=0, output=[])
    on_server.bd("close", bead, "--actor=agent")
    assert on_server.run("sweep", **services(service)).returncode == 0
    assert on_server.show(bead)["status"] == "closed"


def test_a_running_job_is_a_sign_of_life_up_to_four_times_the_threshold(on_server: Place, service: Board) -> None:
    bead = on_server.create()
    on_server.run("tick", **services(service))
    on_server.age(bead, 100)
    service.job = job("running", started_at=ago(100 * 60))
    on_server.run("sweep", **services(service))
    assert on_server.show(bead)["status"] == "in_progress"
    service.job = job("running", started_at=ago(121.5 * 60))
    on_server.run("sweep", **services(service))
    line = on_server.notes(bead)[-1]
    assert re.fullmatch(r"agent ended: still running after 12[1-4]m, limit 120m \(4 × threshold\)", line)
    assert on_server.show(bead)["status"] == "blocked"


def test_an_open_bead_whose_last_job_still_runs_waits(on_server: Place, service: Board) -> None:
    bead = on_server.create()
    on_server.run("tick", **services(service))
    on_server.bd("update", bead, "--status=open")
    service.job = job("running")
    done = on_server.run("tick", **services(service))
    assert "still runs" in done.stdout
    assert service.sent == [bead]
    service.job = job("failed", exit_code=1)
    on_server.run("tick", **services(service))
    assert service.sent == [bead, bead]


def test_it_waits_also_where_a_client_has_taken_the_mark_of_that_job_away(on_server: Place, service: Board) -> None:
    bead = on_server.create()
    on_server.run("tick", **services(service))
    on_server.bd("update", bead, "--status=open", "--unset-metadata=beads_dispatch.job")
    service.job = job("running")
    assert "still runs" in on_server.run("tick", **services(service)).stdout
    assert "still runs" in on_server.run("status", **services(service)).stdout
    assert service.sent == [bead]


def test_a_service_that_hangs_does_not_keep_a_sweep_from_a_dead_bead(on_server: Place, service: Board) -> None:
    on_server.create_many(3)
    on_server.run("tick", **services(service, BEADS_DISPATCH_PER_TICK="3"))
    dead = service.sent[1]
    on_server.age(dead, 31)
    service.passing = lambda phase: time.sleep(12 if phase == "asked" else 0)
    service.asked.clear()
    assert on_server.run("sweep", **services(service)).returncode == 0
    questions = [path for path in service.asked if path.startswith("/jobs/")]
    assert questions == [f"/jobs/job-{dead}"]  # the one that matters, of ten seconds, and not three
    assert on_server.show(dead)["status"] == "blocked"


def test_a_person_who_takes_a_bead_over_that_we_have_just_blocked(on_server: Place, service: Board) -> None:
    bead = on_server.create()
    on_server.run("tick", **services(service))
    service.job = job("failed", exit_code=1)
    on_server.run("sweep", **services(service))
    assert on_server.show(bead)["status"] == "blocked"
    on_server.bd("update", bead, "--status=in_progress")
    for command in ("tick", "sweep"):
        assert on_server.run(command, **services(service)).returncode == 0
    assert on_server.show(bead)["status"] == "in_progress"


@pytest.mark.parametrize("mode", ["on_server", pytest.param("embedded", marks=pytest.mark.slow)])
def test_a_mistyped_command_is_on_the_bead_within_seconds_and_holds_the_queue(
    request: pytest.FixtureRequest, mode: str
) -> None:
    place: Place = request.getfixturevalue(mode)
    with serving(place, "claudee -p x") as (url, _):
        watcher = place.start("watch", BEADBOARD_URL=url, AGENT_SERVICE_URL=url)
        try:
            bead = place.create()
            ended = r"agent ended: failed \(exit 127\) after \d+s: claudee: (?:command )?not found"
            line = wait_for(lambda: re.search(rf"^{ended} \(open again\)$", place.show(bead).get("notes", ""), re.M))
            assert place.show(bead)["status"] == "open"
            held = place.run("status").stdout.splitlines()[1]
            assert re.match(rf"queue: held until .*: {bead}: {ended}", held), (line, held)
        finally:
            watcher.terminate()
            watcher.communicate(timeout=PATIENCE)


def test_while_nothing_runs_the_agent_service_is_not_asked(on_server: Place, service: Board) -> None:
    on_server.create("bare", acceptance=None)
    on_server.run("sweep", **services(service))
    on_server.run("tick", **services(service))
    assert service.asked == []


def test_a_token_that_no_header_can_hold_is_refused_without_being_shown(on_server: Place, service: Board) -> None:
    done = on_server.run("sweep", **services(service, API_BEARER_TOKEN="hunter2é"))
    assert done.returncode == 2
    assert "API_BEARER_TOKEN" in done.stderr
    assert "hunter2" not in done.stderr


def test_the_hold_of_a_usage_limit_is_in_the_zone_of_the_text(on_server: Place, service: Board) -> None:
    on_server.create()
    on_server.run("tick", **services(service))
    inside = datetime.now(UTC) + timedelta(hours=3)
    words = f"You've hit your limit · resets {inside:%I:%M%p} (UTC)"
    service.job = job("failed", exit_code=1, output=result(words, is_error=True))
    done = on_server.run("sweep", **services(service, TZ="Asia/Dhaka"))
    assert f"resets {utc_minute(inside)}" in done.stdout


def test_status_shows_while_nobody_can_say_how_runs_end(on_server: Place, service: Board) -> None:
    on_server.create()
    on_server.run("tick", **services(service))
    service.job = (401, {"detail": "Invalid token"})
    doubt = "; it does not say how jobs are: HTTP 401"
    assert doubt in on_server.run("status", **services(service)).stdout
    service.job = job("running")
    assert doubt not in on_server.run("status", **services(service)).stdout
