"""What broke in the field: each test is named by what happened there."""

import hashlib
import json
import re
import signal
import subprocess
import threading
import time
import uuid
from pathlib import Path

import pytest
from conftest import COMMAND, PATIENCE, Board, DoltServer, Place, held_port, make_place, tool
from test_edges import CLOCK


def services(board: Board, **more: str) -> dict[str, str]:
    return {"BEADBOARD_URL": board.url, "AGENT_SERVICE_URL": board.url, **more}


def due(place: Place, bead: str) -> None:
    """Defers the bead to a time that has passed since."""
    place.bd("defer", bead, "--until=+6h")
    place.sql("UPDATE issues SET defer_until = DATE_SUB(UTC_TIMESTAMP(), INTERVAL 1 MINUTE) WHERE id = %s", bead)


def test_an_agent_replaced_its_notes_and_the_bead_was_deferred(on_server: Place, board: Board) -> None:
    beads = {on_server.create(): "half of it", on_server.create(): "returned: half of it"}
    on_server.run("tick", **services(board, BEADS_DISPATCH_PER_TICK="2"))
    for bead, notes in beads.items():
        on_server.bd("update", bead, f"--notes={notes}")
        due(on_server, bead)
    assert on_server.run("tick", **services(board)).returncode == 0
    assert sorted(board.sent) == sorted(beads)
    assert {on_server.show(bead)["status"] for bead in beads} == {"blocked"}


def test_the_line_or_the_mark_of_a_dispatch_was_lost(on_server: Place, board: Board) -> None:
    board.dispatch = lambda task: (200, {"job_id": "1234567890e5"})
    line, mark = on_server.create(), on_server.create()
    on_server.run("tick", **services(board, BEADS_DISPATCH_PER_TICK="2"))
    on_server.bd("update", line, "--notes=a word of the agent")
    on_server.bd("update", mark, "--unset-metadata=beads_dispatch.job", "--unset-metadata=beads_dispatch.claim")
    assert on_server.run("tick", **services(board)).returncode == 0
    for bead in (line, mark):
        assert on_server.notes(bead)[-1] == "dispatched: job=1234567890e5"
        assert on_server.show(bead)["metadata"]["beads_dispatch.job"] == '"1234567890e5"'


def test_an_agent_set_its_own_bead_open_again_and_again(on_server: Place, board: Board) -> None:
    bead, other = on_server.create("eager", "-p", "0"), on_server.create("patient", "-p", "4")
    for _ in range(4):
        assert on_server.run("tick", **services(board)).returncode == 0
        on_server.bd("update", bead, "--status=open")
    assert board.sent == [bead, bead, other]
    assert "run 3 in a row waits until" in on_server.run("status").stdout
    on_server.bd("update", bead, "--set-metadata=beads_dispatch.runs=5")
    assert on_server.run("tick", **services(board)).returncode == 0
    assert on_server.show(bead)["status"] == "blocked"
    assert on_server.notes(bead)[-1].startswith("not dispatched: 5 runs, and it is open again")


def failing_after_the_post(place: Place, board: Board, calls: int) -> str:
    """A bd whose first calls after the POST are refused by its circuit breaker."""
    posted, count = place.folder / "posted", place.folder / "count"
    reply = board.dispatch

    def dispatch(task: str) -> tuple[int, object]:
        posted.touch()
        return reply(task)

    board.dispatch = dispatch
    count.touch()
    breaker = f"echo x >> {count}; echo 'Error: dolt circuit breaker is open (cooldown 5s)' >&2; exit 1"
    return place.wrap_bd(
        f'if [ -e {posted} ] && [ "$(wc -l < {count})" -lt {calls} ]; then {breaker}; fi; exec "{tool("bd")}" "$@"'
    )


def test_bd_refused_to_write_for_seconds_after_the_post(on_server: Place, board: Board) -> None:
    bead = on_server.create()
    done = on_server.run("tick", **services(board, PATH=failing_after_the_post(on_server, board, 4)))
    assert (done.returncode, done.stderr) == (0, "")
    assert on_server.notes(bead)[-1] == f"dispatched: job=job-{bead}"


def test_bd_refused_to_write_for_seconds_after_a_refusal(on_server: Place, board: Board) -> None:
    board.dispatch = lambda task: (502, {"error": "Service unauthenticated"})
    bead = on_server.create()
    done = on_server.run("tick", **services(board, PATH=failing_after_the_post(on_server, board, 4)))
    assert len(done.stderr.splitlines()) == 1
    assert on_server.show(bead)["status"] == "open"
    assert on_server.notes(bead)[-1] == "dispatch failed HTTP 502: Service unauthenticated"
    assert on_server.hold()["step"] == 1


def test_a_pod_was_stopped_while_bd_refused_to_write(on_server: Place, board: Board) -> None:
    bead = on_server.create()
    path = failing_after_the_post(on_server, board, 4)
    posting = board.dispatch

    known = threading.Event()

    def dispatch(task: str) -> tuple[int, object]:
        known.wait(PATIENCE)
        tick.terminate()
        time.sleep(0.5)  # an unhandled one has ended it by now
        return posting(task)

    board.dispatch = dispatch
    tick = on_server.start("tick", **services(board, PATH=path))
    known.set()
    _, err = tick.communicate(timeout=PATIENCE)
    assert (tick.returncode, err) == (0, "")
    assert on_server.notes(bead)[-1] == f"dispatched: job=job-{bead}"


def test_an_agent_wrote_its_own_metadata_while_the_dispatch_was_recorded(on_server: Place, board: Board) -> None:
    """The agent's `--metadata`, read before our write and written after it, would take the mark away."""
    bead, once = on_server.create(), on_server.folder / "once"
    board.dispatch = lambda task: (200, {"job_id": "abc"})
    real = tool("bd")
    path = on_server.wrap_bd(
        f'"{real}" "$@"; code=$?\n'
        f'case "$*" in *job=abc*) [ -e {once} ] || "{real}" update {bead} --notes=mine --metadata=\'{{"mine": 1}}\' '
        f">{once};; esac\n"
        "exit $code"
    )
    assert on_server.run("tick", **services(board, PATH=path)).returncode == 0
    shown = on_server.show(bead)
    assert shown["metadata"]["beads_dispatch.job"] == '"abc"'
    assert shown["metadata"]["mine"] == 1
    assert on_server.notes(bead) == ["mine", "dispatched: job=abc"]


def test_a_bead_that_is_alone_was_given_up_for_the_service(on_server: Place, board: Board) -> None:
    board.dispatch = lambda task: (502, {"error": "Not Found"})
    bead = on_server.create()
    for number in range(1, 7):
        on_server.run("tick", **services(board))
        assert len(board.sent) == number
        assert on_server.run("resume").stdout.startswith("beads-dispatch: hold removed (it would have ended at ")
        assert on_server.run("resume").stdout == "beads-dispatch: the queue was not held\n"
        if number == 1:  # this one was the outage's first, so it was charged
            on_server.bd("update", bead, "--unset-metadata=beads_dispatch.retry_after")
    shown = on_server.show(bead)
    assert (shown["status"], shown["metadata"]["beads_dispatch.attempts"]) == ("open", 1)


def test_a_line_that_could_not_be_written_names_its_reason(on_server: Place, board: Board) -> None:
    board.dispatch = lambda task: (502, {"error": "Not Found"})
    bead = on_server.create()
    on_server.run("tick", **services(board))
    on_server.expire_hold()
    on_server.bd("update", bead, "--unset-metadata=beads_dispatch.retry_after")
    path = failing_after_the_post(on_server, board, 1000)
    hasty = "from beads_dispatch.jobs import writing; writing.WRITE_SECONDS = 1.0"
    done = on_server.changed(hasty).run("tick", **services(board, PATH=path))
    assert done.returncode == 1
    assert f'{bead}: gave up recording "dispatch failed HTTP 502: Not Found": ' in done.stderr
    assert "None" not in done.stderr


def test_one_bead_that_beadboard_never_finds_held_up_all_others(on_server: Place, board: Board) -> None:
    odd = on_server.create("a comma in a label", "-p", "0")
    others = [on_server.create(str(number), "-p", "4") for number in range(5)]
    board.dispatch = lambda task: (400, {"error": f"Bead {task} not found."}) if task == odd else (200, {"job_id": "j"})
    for number in range(5):
        on_server.run("tick", **services(board))
        on_server.expire_hold()
        on_server.run("tick", **services(board))
        assert len(set(board.sent) - {odd}) == number + 1
        if number < 4:
            on_server.bd("update", odd, "--unset-metadata=beads_dispatch.retry_after")
            on_server.bd("update", odd, "--unset-metadata=beads_dispatch.failed_at")
    assert set(others) < set(board.sent)
    assert on_server.show(odd)["status"] == "blocked"
    assert on_server.notes(odd)[-1].endswith("(attempt 5 of 5)")


def test_the_bead_that_caused_a_hold_was_closed(on_server: Place, board: Board) -> None:
    board.dispatch = lambda task: (429, "")
    bead = on_server.create()
    on_server.run("tick", **services(board))
    on_server.bd("close", bead, "--actor=agent")
    other = on_server.create()
    assert on_server.run("tick", **services(board)).returncode == 0
    assert board.sent == [bead]
    assert on_server.run("status").stdout.splitlines()[1].startswith("queue: held until ")
    assert on_server.run("resume").returncode == 0
    on_server.run("tick", **services(board))
    assert board.sent == [bead, other]


@pytest.mark.parametrize("rights", ["SELECT", "SELECT, UPDATE", "SELECT, UPDATE, INSERT", "SELECT, INSERT, DELETE"])
def test_a_user_who_may_not_write_everything(on_server: Place, board: Board, rights: str) -> None:
    bead = on_server.create()
    user = f"user_{uuid.uuid4().hex[:10]}"
    on_server.sql(f"CREATE USER '{user}'@'%%'")
    on_server.sql(f"GRANT {rights} ON *.* TO '{user}'@'%%'")
    done = on_server.run("tick", **services(board, BEADS_DOLT_SERVER_USER=user))
    assert done.returncode == 1
    assert "this user may not write; grant it SELECT, INSERT, UPDATE and DELETE" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (board.asked, board.sent) == ([], [])
    assert "nothing can be claimed: " in on_server.run("status", BEADS_DOLT_SERVER_USER=user).stdout
    assert on_server.show(bead)["status"] == "open"


def test_a_service_that_hangs_is_named(on_server: Place, board: Board, tmp_path: Path) -> None:
    named = threading.Event()

    def hang(phase: str) -> None:
        named.wait(PATIENCE)

    board.passing = hang
    on_server.create()
    line = reported(on_server, "waiting for the agent service", "tick", **services(board))
    named.set()
    assert line.endswith(f"waiting for the agent service at {board.url}/health, for up to 10 s\n")


def reported(place: Place, what: str, command: str = "sweep", **environ: str) -> str:
    """The line of a command that reports this wait. The command is not waited for any longer."""
    process = place.start(command, **environ)
    assert process.stdout
    try:
        return next(line for line in process.stdout if what in line)
    finally:
        process.kill()
        process.communicate()


def test_a_bd_that_hangs_is_named(embedded: Place) -> None:
    path = embedded.wrap_bd(f'[ $1 = list ] && exec sleep 30; exec "{embedded.real_bd}" "$@"')
    assert re.search(r"waiting for bd list, for up to \d+ s$", reported(embedded, "waiting for bd list", PATH=path))


def test_a_dolt_that_hangs_is_named(on_server: Place) -> None:
    with held_port() as mute:
        mute.listen()
        port = str(mute.getsockname()[1])
        where = {"BEADS_METADATA": str(on_server.metadata), "BEADS_DOLT_SERVER_PORT": port}
        line = reported(on_server, "waiting for Dolt", **where)
    assert line.endswith(f"waiting for Dolt at 127.0.0.1:{port}/{on_server.database}, for up to 15 s\n")


def test_a_dolt_that_hangs_in_the_middle_of_a_tick_is_named(
    tmp_path: Path, own_server: DoltServer, board: Board
) -> None:
    place = make_place(tmp_path / "place", own_server)
    place.create()
    dolt = own_server.process
    assert dolt
    board.passing = lambda phase: dolt.send_signal(signal.SIGSTOP)
    try:
        assert reported(place, "waiting for Dolt at 127.0.0.1:", "tick", **services(board))
    finally:
        dolt.send_signal(signal.SIGCONT)


def test_a_bead_that_was_made_without_history(place: Place, board: Board) -> None:
    """bd keeps it in another table, which its `ready` does not read."""
    bead, other = place.create("kept apart", "--no-history", "-p", "0"), place.create("as usual")
    for _ in range(2):
        assert place.run("tick", **services(board)).returncode == 0
    assert board.sent == [other]
    assert place.notes(bead) == ["not dispatched: bd never lists it as ready: no history"]
    told = place.run("explain", bead).stdout
    assert "Create it again, without that option:" in told
    assert "bd create --title='kept apart'" in told


@pytest.mark.parametrize("kind", ["--ephemeral", "--no-history"])
def test_a_person_is_notified_once_of_a_large_bead_that_bd_keeps_apart(
    on_server: Place, board: Board, kind: str
) -> None:
    """Its comments are in a table of their own."""
    bead = on_server.create("large", kind, "--description", "x" * 50_000)
    for _ in range(3):
        assert on_server.run("tick", **services(board)).returncode == 0
    notices = on_server.sql("SELECT text FROM wisp_comments WHERE issue_id = %s", bead)
    assert [notice["text"][:25] for notice in notices] == ["not dispatched: too large"]


def test_a_hold_is_ended_by_a_machine_whose_clock_is_wrong(on_server: Place, board: Board) -> None:
    for hours in (-1, 1):
        board.dispatch = lambda task: (502, {"error": "Invalid token"})
        on_server.create()
        on_server.run("tick", **services(board))
        done = on_server.changed(CLOCK.format(hours=hours)).run("resume")
        assert done.stdout.startswith("beads-dispatch: hold removed (it would have ended at ")
        assert on_server.run("status").stdout.splitlines()[1].startswith("queue: open; tried again at each tick")


def test_a_usage_limit_that_a_sweep_has_met_during_the_post(on_server: Place, board: Board) -> None:
    """The tick has read the hold of the limit before, which was over, and would write it back."""
    who = hashlib.sha1(b"agent").hexdigest()[:12]
    key = f"beads_dispatch.hold.usage.{who}"

    def hold(minutes: int) -> str:
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60 * minutes))
        return json.dumps({"until": until, "step": 0, "reason": "agent ended: usage limit"})

    newer = hold(60)

    def dispatch(task: str) -> tuple[int, object]:
        on_server.sql("REPLACE INTO local_metadata (`key`, value) VALUES (%s, %s)", key, newer)
        return 200, {"job_id": "j"}

    on_server.sql("REPLACE INTO local_metadata (`key`, value) VALUES (%s, %s)", key, hold(-1))
    on_server.create()
    board.dispatch = dispatch
    assert on_server.run("tick", **services(board)).returncode == 0
    assert on_server.sql("SELECT value FROM local_metadata WHERE `key` = %s", key) == [{"value": newer}]


def test_the_working_folder_was_removed(on_server: Place, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    words = f"rmdir {gone} && exec {' '.join(COMMAND)} status"
    done = subprocess.run(
        ["sh", "-c", words],
        cwd=gone,
        env=on_server.environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "beads-dispatch: the working folder has been removed: change to another one\n"
