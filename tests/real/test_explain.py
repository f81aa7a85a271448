"""`explain`: the story on real beads, and the printed command, which is executed as it stands."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import PATIENCE, Board, Place, Reply
from terminal import on_terminal


def services(board: Board, **more: str) -> dict[str, str]:
    return {"BEADBOARD_URL": board.url, "AGENT_SERVICE_URL": board.url, "API_BEARER_TOKEN": "hunter2", **more}


def all_but(quick: int, values: Sequence[tuple[object, ...]]) -> list[object]:
    """The first few are tried with bd 1.3 too, the others are slow."""
    slow = (pytest.param(*one, marks=pytest.mark.slow) for one in values[quick:])
    return [*values[:quick], *slow]


def explained(place: Place, bead: str, **environ: str) -> tuple[list[str], str, str]:
    """The story's lines without their times, what it says below them, and the command, if there is one."""
    done = place.run("explain", bead, **environ)
    assert (done.returncode, done.stderr) == (0, "")
    head, timeline, advice = done.stdout.split("\n\n")
    heading, *entries = timeline.splitlines()
    assert re.match(r"WHEN \(\w+\) +WHO +WHAT", heading)
    assert head.startswith(bead)
    command = re.search(r"^Next: .*:$\n +(.*)$", advice, re.MULTILINE)
    return [re.sub(r"^\w{3} [ \d]\d [\d:]{8} +", "", line) for line in entries], advice, command[1] if command else ""


def paste(place: Place, command: str, **environ: str) -> None:
    """Runs a printed command in a shell, as a person would."""
    env = {
        **place.environ,
        "PATH": f"{Path(sys.executable).parent}:{place.environ['PATH']}",
        "EDITOR": "true",
        **environ,
    }
    done = subprocess.run(
        command, shell=True, env=env, cwd=place.folder, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)


def test_a_story_from_the_start_to_the_end(place: Place, board: Board) -> None:
    bead = place.create("a story")
    place.bd("comment", bead, "please hurry", "--actor=ann")
    lines, advice, command = explained(place, bead, **services(board))
    assert lines[0].endswith("created, assigned to agent")
    assert re.fullmatch(r"ann +comment: please hurry", lines[1])
    assert "Nothing holds it up" in advice
    paste(place, command, **services(board))
    assert board.sent == [bead]
    place.bd("note", bead, "half of it\nand more", "--actor=agent")
    place.bd("update", bead, "--status=blocked", "--append-notes=I need a key", "--actor=agent")
    lines, advice, command = explained(place, bead, **services(board))
    assert re.search(r"open → in_progress: claimed \(tick [0-9a-f]{6}\)$", lines[2])
    assert lines[3].endswith(f"dispatched: job=job-{bead}")
    assert [line.split("  ")[-1].strip() for line in lines[4:]] == [
        "half of it", "and more", "in_progress → blocked: I need a key",
    ]  # fmt: skip
    assert lines[2].startswith("beads-dispatcher  ")
    recorded = place.server is not None or "--events" in bd_help(place, "history")
    assert lines[4].split()[0] == ("agent" if recorded else "someone")
    assert "Why:  I need a key\n" in advice
    paste(place, command, **services(board))
    paste(place, "beads-dispatch tick", **services(board))
    assert board.sent == [bead, bead]


def test_the_beginning_is_there_however_much_is_written_beside_it(on_server: Place) -> None:
    bead = on_server.create("the first", "--actor=ann")
    on_server.bd("update", bead, "--priority=1", "--actor=ann")
    other = on_server.create("another")
    changes = (f"UPDATE issues SET title = 'title {number}' WHERE id = '{other}'" for number in range(250))
    on_server.sql_in_one_session(*(one for change in changes for one in (change, "CALL DOLT_COMMIT('-Am', 'x')")))
    on_server.bd("update", bead, "--priority=0", "--actor=bob")
    lines, _, _ = explained(on_server, bead)
    assert [line.split(maxsplit=1) for line in lines] == [
        ["ann", "created, assigned to agent"], ["ann", "priority 2 → 1"], ["bob", "priority 1 → 0"],
    ]  # fmt: skip


def bd_help(place: Place, verb: str) -> str:
    return subprocess.run(
        [place.real_bd, verb, "--help"], env=place.environ, capture_output=True, text=True, check=True
    ).stdout


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


def job(status: str, ran: float = 220, **fields: object) -> Reply:
    now = datetime.now(UTC)
    started, finished = (now - timedelta(seconds=seconds) for seconds in (ran + 20, 20))
    ended = {} if status in ("queued", "running") else {"finished_at": finished.isoformat()}
    return 200, {"status": status, "started_at": started.isoformat(), **ended, **fields}


def result(text: str, **fields: object) -> list[str]:
    return [json.dumps({"type": "result", "result": text, **fields}) + "\n"]


LIMIT = "You've hit your limit · resets in 2h"
# What each end means is a table in tests/unit/test_advice.py; the same command follows from all but a usage limit.
ENDS: list[tuple[Callable[[], Reply], str, str]] = [
    (
        lambda: job("completed", exit_code=0, output=result("I need a key")),
        "completed after 3m 40s",
        "left the bead open",
    ),
    (lambda: (404, {"detail": "Job not found"}), "does not know job", "no such job any more"),
]


@pytest.mark.parametrize(("answer", "how", "means"), ENDS)
def test_each_way_a_run_ends(on_server: Place, board: Board, answer: Callable[[], Reply], how: str, means: str) -> None:
    bead = on_server.create()
    on_server.run("tick", **services(board))
    board.job = answer()
    _, advice, command = explained(on_server, bead, **services(board))
    assert f"Its run has ended: {how}" in advice.replace("the agent service does", "does")
    paste(on_server, command, **services(board))
    assert on_server.show(bead)["status"] == "blocked"
    lines, advice, command = explained(on_server, bead, **services(board))
    assert lines[-1].startswith("beads-reaper ")
    assert "in_progress → blocked: agent ended: " in lines[-1]
    assert how in advice
    assert means in advice
    paste(on_server, command)
    on_server.run("tick", **services(board))
    assert board.sent == [bead, bead]


AGENTS: list[tuple[Callable[[], Reply], str, str, str]] = [
    (
        lambda: job("failed", exit_code=1, output=result(LIMIT, is_error=True)),
        r"usage limit, resets (\w{3} \d+ )?\d\d:\d\d \(in \dh.*",
        r"2h( [12]m)?|1h 5\dm",
        "After the reset one bead goes first",
    ),
    (
        lambda: job("failed", 1, exit_code=127, stderr="sh: claudee: not found\n"),
        r"failed \(exit 127\) after 1s: claudee: not found",
        r"2m|1m( \d+s)?|\d+s",
        "Fix what the reason names. To send one bead now",
    ),
    (
        lambda: job("failed", exit_code=1, output=result("Invalid API key · Please run /login", is_error=True)),
        r"cannot work \(login\) after 3m 40s: Invalid API key · Please run /login",
        r"2m|1m( \d+s)?|\d+s",
        "Fix what the reason names. To send one bead now",
    ),
]


@pytest.mark.parametrize(("answer", "how", "left", "says"), all_but(1, AGENTS))
def test_an_end_that_holds_the_queue(
    on_server: Place, board: Board, answer: Callable[[], Reply], how: str, left: str, says: str
) -> None:
    bead = on_server.create()
    on_server.run("tick", **services(board))
    board.job = answer()
    assert re.search(f"Its run has ended: {how}", explained(on_server, bead, **services(board))[1])
    on_server.run("sweep", **services(board))
    lines, advice, command = explained(on_server, bead, **services(board))
    assert re.search(rf"in_progress → open: agent ended: {how} \(open again\)$", lines[-1])
    assert re.search(rf"the queue is held until .* \(in ({left})\)", advice)
    assert says in advice
    assert command == "beads-dispatch resume"
    paste(on_server, command)
    on_server.run("tick", **services(board))
    assert board.sent == [bead, bead]


def test_jobs_at_work_and_in_doubt(on_server: Place, board: Board) -> None:
    bead = on_server.create()
    on_server.run("tick", **services(board))
    board.job = job("running")
    assert re.search(r"Its job has been running for [4-9]m", explained(on_server, bead, **services(board))[1])
    board.job = job("queued")
    assert "Its job is queued" in explained(on_server, bead, **services(board))[1]
    board.job = job("running", started_at=ago(3 * 3600))
    assert explained(on_server, bead, **services(board))[2] == "beads-dispatch sweep"
    board.job = (401, {"detail": "Invalid token"})
    advice = explained(on_server, bead, **services(board))[1]
    assert 'does not report the job\'s state: HTTP 401: {"detail": "Invalid token"}' in advice
    assert re.search(r"Without progress it is blocked at .* \(in (30m|2\dm( \d+s)?)\)", advice)
    on_server.age(bead, 31)
    paste(on_server, explained(on_server, bead, **services(board))[2], **services(board))
    _, advice, command = explained(on_server, bead, **services(board))
    assert re.search(r"Why:  reaper: no progress for 3[1-9]m", advice)
    assert command == f"bd update {bead} -s open"


# What BeadBoard answers; what is said of the bead, and of another one behind it; which commands follow for each.
ANSWERS: list[tuple[Reply, str, str, str, str]] = [
    ((409, {"error": "Agent is busy"}), "returned: agent busy", "beads-dispatch resume", "agent busy", "resume"),
    ((502, {"error": "Invalid token"}), "attempt 1 of 5, then", "retry_after && ", "Fix the service", "resume"),
    ((400, {"error": "bad label"}), "(attempt 1 of 5)", "retry_after", "Nothing holds it up", "beads-dispatch tick"),
    ((502, {"error": "fetch failed"}), "dispatch was lost", "-s open", "whether an agent has that bead", "resume"),
]


@pytest.mark.parametrize(("answer", "said", "does", "other_said", "other_does"), all_but(1, ANSWERS))
def test_each_answer_to_a_dispatch(
    on_server: Place, board: Board, answer: Reply, said: str, does: str, other_said: str, other_does: str
) -> None:
    bead, other = on_server.create("first", "-p", "0"), on_server.create("other")
    board.dispatch = lambda task: answer
    on_server.run("tick", **services(board))
    assert board.sent == [bead]
    _, advice, command = explained(on_server, bead, **services(board))
    assert said in advice
    assert does in command
    _, other_advice, other_command = explained(on_server, other, **services(board))
    assert other_said in other_advice
    assert other_does in other_command
    board.dispatch = lambda task: (200, {"job_id": "7"})
    for each in (command, other_command, "beads-dispatch resume", "beads-dispatch tick"):
        paste(on_server, each, **services(board, BEADS_DISPATCH_PER_TICK="2"))
    assert sorted(board.sent) == sorted([bead, bead, other])


def test_the_command_alone_is_enough_where_the_queue_is_held_too(on_server: Place, board: Board) -> None:
    bead = on_server.create()
    board.dispatch = lambda task: (502, {"error": "Invalid token"})
    on_server.run("tick", **services(board))
    command = explained(on_server, bead, **services(board))[2]
    board.dispatch = lambda task: (200, {"job_id": "7"})
    paste(on_server, command)
    on_server.run("tick", **services(board))
    assert board.sent == [bead, bead]


def test_what_a_person_must_fix(on_server: Place, board: Board) -> None:
    bare, odd = on_server.create("bare", acceptance=None), on_server.create("odd")
    agent, wisp = on_server.create("agent", "--labels=gt:agent"), on_server.create("wisp", "--ephemeral")
    later, waits = on_server.create("later", "--defer=+6h"), on_server.create("waits")
    on_server.bd("dep", "add", waits, bare)
    on_server.sql("UPDATE issues SET metadata = '[1]' WHERE id = %s", odd)
    on_server.run("tick", **services(board, BEADS_DISPATCH_PER_TICK="9"))
    assert board.sent == []
    commands = {
        bare: f"bd update {bare} --acceptance 'how to tell that it is done'",
        odd: "bd create --title=odd --acceptance='it works' --priority 2 --assignee agent",
        agent: f"bd label remove {agent} gt:agent",
        wisp: f"bd promote {wisp}",
        later: f"bd update {later} --defer ''",
        waits: f"bd dep list {waits}",
    }
    for bead, command in commands.items():
        assert explained(on_server, bead)[2] == command
        paste(on_server, command)
    on_server.run("tick", **services(board, BEADS_DISPATCH_PER_TICK="9"))
    (anew,) = {bead["id"] for bead in on_server.bd("list", "--assignee=agent", "-n", "0")} - commands.keys()
    assert sorted(board.sent) == sorted([bare, anew, agent, wisp, later])


def test_a_bead_that_nobody_wants_any_more(place: Place) -> None:
    closed, foreign = place.create("closed"), str(place.bd("create", "foreign", "--assignee=bob")["id"])
    place.bd("close", closed, "--reason=it works", "--actor=agent")
    lines, advice, command = explained(place, closed)
    assert "open → closed" in lines[-1]
    assert "It is done" in advice
    paste(place, command)
    assert place.show(closed)["status"] == "open"
    assert "assigned to bob, not to agent" in explained(place, foreign)[1]
    paste(place, explained(place, foreign)[2])
    assert place.show(foreign)["assignee"] == "agent"
    done = place.run("explain", "t-none")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "beads-dispatch: there is no bead t-none in this workspace\n"


def test_a_service_that_does_not_answer_is_named(on_server: Place, board: Board) -> None:
    bead = on_server.create()
    board.health = (503, "down")
    _, advice, command = explained(on_server, bead, **services(board))
    assert f"A service is not reachable at {board.url}/health: the agent service is not healthy" in advice
    assert command == f"curl -i {board.url}/health"
    board.health = (200, {"busy": True})
    assert "The agent is busy" in explained(on_server, bead, **services(board))[1]


def test_it_writes_nothing(on_server: Place, board: Board) -> None:
    bead = on_server.create()
    on_server.run("tick", **services(board))
    before = on_server.sql("SELECT dolt_hashof_db() AS hash")
    explained(on_server, bead, **services(board))
    on_server.run("status", **services(board))
    assert on_server.sql("SELECT dolt_hashof_db() AS hash") == before


def test_colour_and_wrapped_lines_on_a_terminal_only(on_server: Place) -> None:
    bead = on_server.create("a bead")
    on_server.bd("update", bead, "--status=blocked", f"--append-notes={'a long note ' * 20}")
    assert "\x1b" not in on_server.run("explain", bead).stdout
    shown = on_terminal(on_server, 80, "explain", bead)
    assert f"\x1b[36mbd update {bead} -s open\x1b[0m" in shown
    assert max(map(len, re.sub(r"\x1b\[\d+m", "", shown).splitlines())) <= 80
    assert "\x1b" not in on_terminal(on_server, 80, "explain", bead, NO_COLOR="1")


def test_times_are_in_the_zone_of_the_terminal(on_server: Place) -> None:
    bead = on_server.create()
    shown = on_server.run("explain", bead, TZ="Asia/Kolkata").stdout
    assert "WHEN (IST)" in shown
    made = datetime.fromisoformat(on_server.show(bead)["created_at"]) + timedelta(hours=5, minutes=30)
    assert any(f"{at:%b} {at.day:2} {at:%H:%M:%S}" in shown for at in (made, made - timedelta(seconds=1)))


def test_a_server_in_another_zone_than_ours_changes_nothing(on_server: Place) -> None:
    """`events.created_at` is in the server's zone, so no time is taken from there."""
    bead = on_server.create()
    on_server.sql("UPDATE events SET created_at = DATE_ADD(created_at, INTERVAL 9 HOUR)")
    (line,) = explained(on_server, bead)[0]
    assert line.endswith("created, assigned to agent")


def test_the_log_of_a_kubernetes_job(on_server: Place) -> None:
    """Its claim names the Job, also if we died before that was recorded, and when the bead is blocked."""
    bead, untouched = on_server.create("a Job"), on_server.create("none")
    claim = {"claim": "t4f1d2a 2026-11-23T22:00:00Z"}
    on_server.bd("update", bead, "--status=blocked", f"--set-metadata=beads_dispatch.claim={claim['claim']}")
    known = {
        "BEADS_AGENT_CRONJOB": "agents/agent", "KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1",
    }  # fmt: skip
    command = f"kubectl -n agents logs job/{bead}-4f1d2a"
    _, advice, _ = explained(on_server, bead, **known)
    assert f"Log:  {command}" in advice
    assert on_server.run("logs", bead, **known).stdout == f"{command}\n"
    none = on_server.run("logs", untouched, **known)
    assert (none.returncode, none.stdout) == (1, "")
    assert f"{untouched} has no Job" in none.stderr
    _, advice, _ = explained(on_server, untouched, **known)
    assert "Log:" not in advice
