"""Whole ticks as processes, on the real bd, a real Dolt, and an HTTP server that records."""

import queue
import re
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta

import pytest
from conftest import PATIENCE, Board, Place, tool

from beads_dispatch.core import notes
from beads_dispatch.core.text import utc

CLAIMED = re.compile(r"auto-dispatcher claimed at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \(tick [0-9a-f]{6}\)")


def services(board: Board, **more: str) -> dict[str, str]:
    return {"BEADBOARD_URL": board.url + "/", "AGENT_SERVICE_URL": board.url, **more}


def test_an_assigned_bead_is_claimed_sent_once_and_noted(place: Place, board: Board) -> None:
    bead = place.create()
    done = place.run("tick", **services(board))
    assert (done.returncode, done.stderr) == (0, "")
    assert board.sent == [bead]
    claimed, dispatched = place.notes(bead)
    assert CLAIMED.fullmatch(claimed)
    assert dispatched == f"dispatched: job=job-{bead}"
    assert place.show(bead)["status"] == "in_progress"
    again = place.run("tick", **services(board))
    assert (again.returncode, again.stderr) == (0, "")
    assert board.sent == [bead]


# One row for each outcome. Which answer has which is a table in tests/unit/test_outcomes.py.
ANSWERS = [
    ((502, {"error": "Queue full"}), "open", "returned: agent busy", 0),
    ((502, {"error": "Invalid token"}), "open", "dispatch failed HTTP 502: Invalid token", 1),
    ((400, {"error": "bad"}), "open", "dispatch failed HTTP 400: bad (attempt 1 of 5)", 1),
    ((502, "<html>\nx</html>"), "in_progress", "dispatch unclear HTTP 502: <html> x</html>", 1),
]


@pytest.mark.parametrize(("reply", "status", "line", "code"), ANSWERS)
def test_what_becomes_of_the_bead(
    on_server: Place, board: Board, reply: tuple[int, object], status: str, line: str | None, code: int
) -> None:
    board.dispatch = lambda task: reply
    bead = on_server.create()
    done = on_server.run("tick", **services(board))
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) == code
    shown = on_server.show(bead)
    assert shown["status"] == status
    assert line is None or on_server.notes(bead)[-1] == line
    # Held or backing off: the next tick neither sends nor asks.
    asked = len(board.asked)
    assert on_server.run("tick", **services(board)).returncode == 0
    assert board.sent == [bead]
    assert len(board.asked) == asked


@pytest.mark.slow
def test_an_unclear_answer_is_noted_again_after_a_person_opened_the_bead(on_server: Place, board: Board) -> None:
    board.dispatch = lambda task: (502, {"error": "fetch failed"})
    bead = on_server.create()
    for _ in range(2):
        assert on_server.run("tick", **services(board)).returncode == 1
        on_server.bd("update", bead, "--status=open")
        on_server.expire_hold()
    assert board.sent == [bead, bead]
    assert on_server.notes(bead).count("dispatch unclear HTTP 502: fetch failed") == 2


@pytest.mark.slow
def test_a_roll_back_that_repeats_is_not_noted_again(on_server: Place, board: Board) -> None:
    board.dispatch = lambda task: (502, {"error": "Invalid token"})
    bead = on_server.create()
    for step in (1, 2):
        assert on_server.run("tick", **services(board)).returncode == 1
        assert on_server.hold()["step"] == step
        on_server.expire_hold()
        if step == 1:
            on_server.bd("update", bead, "--unset-metadata=beads_dispatch.retry_after")
    lines = on_server.notes(bead)
    assert lines.count("dispatch failed HTTP 502: Invalid token") == 1
    assert lines[-1] == "returned: not started, as before"


@pytest.mark.slow
def test_a_bead_at_fault_is_given_up_after_five_attempts(on_server: Place, board: Board) -> None:
    board.dispatch = lambda task: (400, {"error": "bad"})
    bead = on_server.create()
    for _ in range(5):
        on_server.run("tick", **services(board))
        words = ("update", bead, "--unset-metadata=beads_dispatch.retry_after")
        if on_server.show(bead)["status"] == "open":
            on_server.bd(*words)
    assert on_server.show(bead)["status"] == "blocked"
    assert on_server.notes(bead)[-1] == "dispatch failed HTTP 400: bad (attempt 5 of 5)"
    assert len(board.sent) == 5


@pytest.mark.slow
def test_a_refusal_is_not_forgotten_when_the_agent_was_busy_in_between(on_server: Place, board: Board) -> None:
    bead, replies = on_server.create(), [(400, {"error": "bad"}), (409, {}), (400, {"error": "bad"})]
    board.dispatch = lambda task: replies[len(board.sent) - 1]
    for _ in replies:
        on_server.run("tick", **services(board))
        on_server.run("resume")
        on_server.bd("update", bead, "--unset-metadata=beads_dispatch.retry_after")
    assert on_server.notes(bead)[-1] == "dispatch failed HTTP 400: bad (attempt 2 of 5)"


def test_what_a_person_must_fix_gets_one_notice_and_is_never_sent(place: Place, board: Board) -> None:
    bare = place.create("bare", acceptance=None)
    nbsp = place.create("nbsp", acceptance="\u00a0\t ")
    wisp = place.create("wisp", "--ephemeral")
    agent = place.create("agent bead", "--labels=gt:agent")
    place.create("later", "--defer=+6h")
    first = place.create("first")
    second = place.create("second", "-p", "1")
    place.bd("dep", "add", second, first)
    for _ in range(2):
        assert place.run("tick", **services(board)).returncode == 0
    assert board.sent == [first]
    assert place.notes(bare) == place.notes(nbsp) == ["not dispatched: no acceptance criteria"]
    assert place.notes(wisp) == ["not dispatched: ephemeral"]
    assert place.notes(agent) == ["not dispatched: agent bead"]
    assert place.notes(second) == []


def test_a_bead_too_large_for_bd_gets_a_comment_and_the_next_one_is_dispatched(place: Place, board: Board) -> None:
    place.create("large", "-p", "0", f"--description={'x' * 50_000}")
    large = place.bd("list", "--assignee=agent")[0]["id"]
    small = place.create("small")
    for _ in range(2):
        assert place.run("tick", **services(board)).returncode == 0
    assert board.sent == [small]
    (comment,) = place.show(large)["comments"]
    assert comment["text"].startswith("not dispatched: too large")


def test_order_is_by_priority_then_age(on_server: Place, board: Board) -> None:
    young, old, urgent = (on_server.create(), on_server.create(), on_server.create("urgent", "-p", "0"))
    on_server.age(old, 10)
    on_server.age(young, 5)
    assert on_server.run("tick", **services(board, BEADS_DISPATCH_PER_TICK="3")).returncode == 0
    assert board.sent == [urgent, old, young]


@pytest.mark.slow
def test_sixty_beads_without_criteria_do_not_hide_the_one_that_has_them(on_server: Place, board: Board) -> None:
    on_server.create_many(60, priority=0, acceptance_criteria="")
    good = on_server.create("good", "-p", "4")
    for _ in range(20):  # one tick writes notices for a minute at most
        assert on_server.run("tick", **services(board)).returncode == 0
        assert board.sent == [good]
        noticed = [row["notes"] for row in on_server.sql("SELECT notes FROM issues WHERE id != %s", good)]
        if all(noticed):
            break
    assert noticed == ["not dispatched: no acceptance criteria"] * 60


def test_a_bead_is_dispatched_once_its_deferral_has_ended(on_server: Place, board: Board) -> None:
    bead = on_server.create("later", "--defer=+6h")
    assert on_server.run("tick", **services(board)).returncode == 0
    assert board.sent == []
    on_server.bd("defer", bead, "--until=+6h")  # bd 1.0: the other way to defer, with a status of its own
    on_server.sql("UPDATE issues SET defer_until = DATE_SUB(UTC_TIMESTAMP(), INTERVAL 1 MINUTE)")
    for _ in range(2):
        assert on_server.run("tick", **services(board)).returncode == 0
    assert board.sent == [bead]


def test_a_deferred_bead_that_an_agent_may_have_is_blocked_with_a_notice(place: Place, board: Board) -> None:
    """The `ready` of an embedded bd 1.3 would open it."""
    sent, killed = place.create("sent"), place.create("its tick was killed after the POST")
    ended = utc(datetime.now(UTC) - timedelta(minutes=1))
    for bead, line in ((sent, "dispatched: job=j"), (killed, notes.claimed(datetime.now(UTC), "abcdef"))):
        place.bd("update", bead, "--status=in_progress", f"--append-notes={line}")
        place.bd("defer", bead, f"--until={ended}")
    wisp = place.create("wisp", "--ephemeral")
    place.bd("defer", wisp, f"--until={ended}")
    for _ in range(2):
        assert place.run("tick", **services(board)).returncode == 0
    assert board.sent == []
    for bead in (sent, killed):
        assert place.show(bead)["status"] == "blocked"
        assert place.notes(bead)[-1] == f"not dispatched: {notes.SENT_BEFORE}"
    assert place.notes(wisp) == ["not dispatched: ephemeral"]


def test_a_bead_that_the_late_write_of_a_killed_tick_has_opened_is_not_dispatched_again(
    on_server: Place, board: Board
) -> None:
    """Two ticks end one deferral. The first one's bd outlives it, and writes when the second one has dispatched."""
    bead = on_server.create("late")
    on_server.bd("defer", bead, f"--until={utc(datetime.now(UTC) - timedelta(minutes=1))}")
    assert on_server.run("tick", **services(board)).returncode == 0
    late = [f"--set-metadata={key}={value}" for key, value in on_server.show(bead)["metadata"].items()]
    assert late
    assert all("reopened" in word for word in late)
    assert on_server.run("tick", **services(board)).returncode == 0
    on_server.bd("update", bead, "--status=open", *late)
    for _ in range(2):
        assert on_server.run("tick", **services(board)).returncode == 0
    assert board.sent == [bead]
    assert on_server.show(bead)["status"] == "blocked"
    assert on_server.notes(bead)[-1] == f"not dispatched: {notes.OPENED_LATE}"


def test_a_release_that_lands_late_does_not_send_a_bead_again(on_server: Place, board: Board) -> None:
    """A tick's bd writes its release when another tick, which a lost lock allowed, has dispatched the bead."""
    bead = on_server.create("refused")
    replies = [(409, {"error": "Agent is busy"}), (200, {"job_id": "7"})]
    board.dispatch = lambda task: replies[len(board.sent) - 1]
    assert on_server.run("tick", **services(board)).returncode == 0
    late = [f"--set-metadata={key}={value}" for key, value in on_server.show(bead)["metadata"].items()]
    assert any("reopened" in word for word in late)
    on_server.expire_hold()
    assert on_server.run("tick", **services(board)).returncode == 0
    on_server.bd("update", bead, "--status=open", "--unset-metadata=beads_dispatch.claim", *late)
    for _ in range(2):
        assert on_server.run("tick", **services(board)).returncode == 0
    assert board.sent == [bead, bead]
    assert on_server.show(bead)["status"] == "blocked"
    assert on_server.notes(bead)[-1] == f"not dispatched: {notes.OPENED_LATE}"


def test_a_release_that_lands_on_the_claim_of_a_tick_killed_at_its_post_does_not_send_it_again(
    on_server: Place, board: Board
) -> None:
    """The killed one has left its claim alone, and the late release removes the mark of that."""
    bead = on_server.create("refused")
    board.dispatch = lambda task: (409, {"error": "Agent is busy"})
    assert on_server.run("tick", **services(board)).returncode == 0
    release = on_server.show(bead)["metadata"]["beads_dispatch.reopened"]
    line = on_server.notes(bead)[-1]
    on_server.expire_hold()
    killed = on_server.start("tick", **services(board))

    def kill(task: str) -> tuple[int, object]:
        killed.kill()
        return 200, {"job_id": "7"}

    board.dispatch = kill
    killed.communicate(timeout=PATIENCE)
    assert len(board.sent) == 2
    late = ["--unset-metadata=beads_dispatch.claim", f"--set-metadata=beads_dispatch.reopened={release}"]
    on_server.bd("update", bead, "--status=open", f"--append-notes={line}", *late)
    assert on_server.run("tick", **services(board)).returncode == 0
    assert board.sent == [bead, bead]
    assert on_server.show(bead)["status"] == "blocked"
    assert on_server.notes(bead)[-1] == f"not dispatched: {notes.OPENED_LATE}"


def test_a_bead_that_bd_never_lists_as_ready_gets_a_notice(on_server: Place, board: Board) -> None:
    gate, pinned = on_server.create("a gate"), on_server.create("pinned")
    on_server.sql("UPDATE issues SET issue_type = 'gate' WHERE id = %s", gate)
    on_server.sql("UPDATE issues SET pinned = 1 WHERE id = %s", pinned)
    for _ in range(2):
        assert on_server.run("tick", **services(board)).returncode == 0
    assert board.sent == []
    assert on_server.notes(gate) == ["not dispatched: bd never lists it as ready: type gate"]
    assert on_server.notes(pinned) == ["not dispatched: bd never lists it as ready: pinned"]


def test_busy_is_no_failure_and_claims_nothing(on_server: Place, board: Board) -> None:
    bead = on_server.create()
    board.status = (200, {"busy": True})
    assert on_server.run("tick", **services(board)).returncode == 0
    board.status, board.health = (200, {"busy": False}), (200, {"busy": False, "active": 1, "queued": 1, "capacity": 2})
    assert on_server.run("tick", **services(board)).returncode == 0
    assert board.sent == []
    assert "notes" not in on_server.show(bead)


def test_a_service_that_is_down_is_asked_again_at_each_tick_and_noted_once(on_server: Place, board: Board) -> None:
    bead = on_server.create()
    board.health = (503, "down")
    done = on_server.run("tick", **services(board))
    assert done.returncode == 1
    assert f"({board.url}/health)" in done.stderr
    assert on_server.run("tick", **services(board)).returncode == 1  # asking has no side effect, so it asks again
    assert board.asked == ["/health", "/health"]
    assert on_server.notes(bead) == ["dispatch failed: the agent service is not healthy: HTTP 503: down"]
    other = on_server.create("another", "-p", "3")
    shown = on_server.run("status").stdout
    assert shown.count("last time: dispatch failed: the agent service is not healthy: HTTP 503: down") == 1
    board.health = (200, {"busy": False})
    assert on_server.run("tick", **services(board)).returncode == 0
    assert board.sent == [bead]
    line = next(line for line in on_server.run("status").stdout.splitlines() if line.startswith(other))
    assert line.endswith("another  1st in line")


def test_dry_run_writes_nothing_and_asks_whether_there_is_room(place: Place, board: Board) -> None:
    bare, good = place.create("bare", acceptance=None), place.create("good")
    done = place.run("tick", "--dry-run", **services(board))
    assert done.returncode == 0
    assert f"{bare}: would note: not dispatched: no acceptance criteria" in done.stdout
    assert f"{good}: would claim and dispatch: good" in done.stdout
    assert board.asked == ["/health", "/api/agent-status"]
    board.status = (200, {"busy": True})
    assert "would claim" not in (done := place.run("tick", "--dry-run", **services(board))).stdout
    assert (done.returncode, f"{good}: waiting: the agent is busy" in done.stdout) == (0, True)
    board.health = (503, "down")
    done = place.run("tick", "--dry-run", **services(board))
    assert (done.returncode, "would claim" in done.stdout) == (1, False)
    assert f"{good}: the agent service is not healthy: HTTP 503: down ({board.url}/health)" in done.stderr
    assert place.notes(bare) == place.notes(good) == []
    assert place.hold() == {}


def test_a_dry_run_that_asks_nobody_says_so(on_server: Place, board: Board) -> None:
    good = on_server.create("good")
    done = on_server.run("tick", "--dry-run")
    assert "BEADBOARD_URL is not set: nobody was asked whether there is room" in done.stdout
    assert f"{good}: would claim and dispatch: good" in done.stdout
    on_server.bd("close", good, "--actor=agent")
    assert "BEADBOARD_URL" not in on_server.run("tick", "--dry-run").stdout


def test_sigterm_during_the_post_ends_the_tick_with_the_result_recorded(on_server: Place, board: Board) -> None:
    processes: queue.SimpleQueue[subprocess.Popen[str]] = queue.SimpleQueue()

    def slow(task: str) -> tuple[int, object]:
        processes.get(timeout=PATIENCE).send_signal(signal.SIGTERM)
        time.sleep(0.5)
        return 200, {"job_id": "late"}

    bead, other = on_server.create("first", "-p", "0"), on_server.create("second")
    board.dispatch = slow
    process = on_server.start("tick", **services(board, BEADS_DISPATCH_PER_TICK="2"))
    processes.put(process)
    process.communicate(timeout=PATIENCE)
    assert board.sent == [bead]
    assert on_server.notes(bead)[-1] == "dispatched: job=late"
    assert on_server.notes(other) == []


def test_sigterm_between_claim_and_post_rolls_the_bead_back(place: Place, board: Board) -> None:
    bead = place.create()
    # The tick is bd's parent. It gets SIGTERM while the claim is written.
    wrapped = place.wrap_bd(f'case "$*" in *--status=in_progress*) kill -TERM $PPID;; esac; exec "{tool("bd")}" "$@"')
    done = place.run("tick", **services(board, PATH=wrapped))
    assert (done.returncode, done.stderr) == (0, "")
    assert board.sent == []
    assert place.show(bead)["status"] == "open"
    assert place.notes(bead)[-1] == "returned: stopped before dispatch"


def test_a_dispatching_tick_calls_bd_three_times(on_server: Place, board: Board) -> None:
    bead = on_server.create()
    calls = on_server.folder / "calls"
    wrapped = on_server.wrap_bd(f'echo "$1" >> {calls}; exec "{tool("bd")}" "$@"')
    mounted = services(board, PATH=wrapped, BEADS_METADATA=str(on_server.metadata))
    assert on_server.run("tick", **mounted).returncode == 0
    assert board.sent == [bead]
    assert calls.read_text().split() == ["ready", "update", "update"]


def test_one_bead_that_cannot_be_read_stops_no_other(embedded: Place, board: Board) -> None:
    odd, good = embedded.create("odd", "-p", "0"), embedded.create("good")
    damage = f"""[ "$1" = list ] || exec "{tool("bd")}" "$@"
"{tool("bd")}" "$@" | sed '/"id": "{odd}"/,/updated_at/ s/"priority": 0/"priority": "high"/'"""
    for command in ("sweep", "tick"):
        done = embedded.run(command, **services(board, PATH=embedded.wrap_bd(damage)))
        assert done.returncode == 1
        assert f"bead {odd}: priority is 'high', not a whole number" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert board.sent == [good]


def test_wrong_settings_are_all_named_at_once(on_server: Place) -> None:
    done = on_server.run("tick", BEADS_DISPATCH_PER_TICK="0", BEADS_REAPER_THRESHOLD_MINUTES="x")
    assert done.returncode == 2
    for variable in ("BEADBOARD_URL", "BEADS_DISPATCH_PER_TICK", "BEADS_REAPER_THRESHOLD_MINUTES"):
        assert variable in done.stderr
    assert len(done.stderr.splitlines()) == 1
