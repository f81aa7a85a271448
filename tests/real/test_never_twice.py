"""The first guarantee, under many ticks at once and with the lock taken away at the worst moment."""

import sys

import pytest
from conftest import Board, Place, bd_deadline, tool
from crash import cut

# Run where bd has just written a claim and the tick does not know it yet: the connection that holds the
# lock is killed, a person opens the bead again, and a second tick is let in.
LET_IN = f"""
import contextlib, os, subprocess, sys, pymysql
bead = sys.argv[1]
connection = pymysql.connect(
    host="127.0.0.1", port=int(os.environ["BEADS_DOLT_SERVER_PORT"]), user="root", autocommit=True)
with connection.cursor() as cursor:
    cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s",
                   (os.environ["BEADS_DOLT_SERVER_DATABASE"],))
    for (one,) in cursor.fetchall():
        with contextlib.suppress(pymysql.Error):  # bd's own, which has just ended
            cursor.execute(f"KILL {{int(one)}}")
# A bead that is opened so often would wait before its third run.
subprocess.run(["bd", "update", bead, "--status=open", "--priority=0"], check=True)
subprocess.run(["bd", "update", bead, "--set-metadata=beads_dispatch.runs=0"], check=True)
subprocess.run([{sys.executable!r}, "-m", "beads_dispatch", "tick"], check=True)
"""


def services(board: Board) -> dict[str, str]:
    return {"BEADBOARD_URL": board.url, "AGENT_SERVICE_URL": board.url}


def sent_once_and_noted(place: Place, board: Board, beads: set[str]) -> None:
    assert sorted(board.sent) == sorted(beads)
    states = place.sql("SELECT status, notes FROM issues")
    assert {row["status"] for row in states} == {"in_progress"}
    assert all(row["notes"].count("dispatched: job=") == 1 for row in states)


@pytest.mark.stress
def test_twenty_ticks_at_once_until_fifty_beads_are_done(on_server: Place, board: Board) -> None:
    beads = on_server.create_many(50)
    for _ in range(50):
        ticks = [on_server.start("tick", BEADS_DISPATCH_PER_TICK="10", **services(board)) for _ in range(20)]
        for one in ticks:
            _, err = one.communicate(timeout=240)
            assert (one.returncode, err) == (0, "")
        if len(board.sent) >= len(beads):
            break
    sent_once_and_noted(on_server, board, beads)


@pytest.mark.parametrize(("count", "at_once"), [(1, 1), pytest.param(50, 5, marks=pytest.mark.stress)])
def test_the_lock_is_lost_between_claim_and_post(on_server: Place, board: Board, count: int, at_once: int) -> None:
    """Each round the lock of a first tick is lost; a second one takes its bead, and some more."""
    beads = on_server.create_many(count)
    (on_server.folder / "let_in.py").write_text(LET_IN)
    path = on_server.wrap_bd(
        f'"{tool("bd")}" "$@"; code=$?; for bead; do :; done\n'
        f'case "$*" in update*--status=in_progress*) export BEADBOARD_URL={board.url} AGENT_SERVICE_URL={board.url}\n'
        f'export BEADS_DISPATCH_PER_TICK={at_once} PATH="{on_server.environ["PATH"]}"\n'
        f'"{sys.executable}" "$HOME/let_in.py" "$bead" >"$HOME/inner.log" 2>&1 || exit 99;; esac\nexit $code'
    )
    for sent in range(0, count, at_once):
        # Within its claim a whole tick runs.
        more = {"PATH": path, "BEADS_DISPATCH_PER_TICK": str(at_once)}
        done = on_server.changed(bd_deadline(600)).run("tick", **more, **services(board))
        assert done.returncode == 1, (done.stdout, (on_server.folder / "inner.log").read_text())
        assert "claimed but not dispatched, the sweep will block it: " in done.stderr
        assert len(board.sent) == sent + at_once
    sent_once_and_noted(on_server, board, beads)


def test_a_late_answer_is_not_recorded_beside_another_ticks_claim(on_server: Place, board: Board) -> None:
    """A person opens the bead during the POST, the lock is lost, and another tick dispatches it once more.

    The end of the first run would otherwise open or block the bead while the second run is at work.
    """
    bead = on_server.create()
    board.dispatch = answer = lambda task: (200, {"job_id": f"job-{len(board.sent)}"})

    def first(task: str) -> tuple[int, object]:
        board.dispatch = answer
        cut(on_server)
        on_server.bd("update", task, "--status=open")
        assert on_server.run("tick", **services(board)).returncode == 0
        return 200, {"job_id": "job-late"}

    board.dispatch = first
    on_server.run("tick", **services(board))
    shown = on_server.show(bead)
    assert (board.sent, shown["status"]) == ([bead, bead], "in_progress")
    assert shown["metadata"]["beads_dispatch.job"] == '"job-2"'
    assert on_server.notes(bead)[-1] == "dispatched: job=job-2"


@pytest.mark.parametrize(
    ("call", "line", "status"),
    [
        ("ready*", "changed since it was selected: left alone", "open"),
        ("update*--status=in_progress*", "not dispatched: job job-late was recorded on it meanwhile", "in_progress"),
    ],
)
def test_a_job_that_is_recorded_during_a_tick_is_followed_and_no_second_one_starts(
    on_server: Place, board: Board, call: str, line: str, status: str
) -> None:
    bead = on_server.create()
    path = on_server.wrap_bd(
        f'"{tool("bd")}" "$@"; code=$?\n'
        f'case "$*" in {call}) "{tool("bd")}" update {bead} '
        f"--set-metadata='beads_dispatch.job=\"job-late\"' >/dev/null 2>&1;; esac\nexit $code"
    )
    done = on_server.run("tick", PATH=path, **services(board))
    assert line in done.stdout
    assert (done.returncode, board.sent, on_server.show(bead)["status"]) == (0, [], status)
