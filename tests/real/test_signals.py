"""The stop signals: from the first moment on, as PID 1 too, and a closed terminal as a SIGTERM."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import COMMAND, PATIENCE, Board, Place, Reply, wait_for
from test_watcher import watching

# The first thing that the command line needs. This one takes its place, and the signal comes while it is imported.
FIRST_IMPORT = """
import os, signal, sys, sysconfig
os.kill(os.getpid(), signal.{name})
sys.path.pop(0)
exec(open(os.path.join(sysconfig.get_path("stdlib"), "argparse.py")).read(), globals())
"""


@pytest.fixture(autouse=True)
def a_terminal_of_its_own() -> Iterator[None]:
    """nohup ignores SIGHUP, and so would what we start, if these tests run under it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def as_pid_1() -> list[str]:
    """How to run a command as PID 1, where we may."""
    words = ["unshare", "--pid", "--fork", "--kill-child"]
    try:
        allowed = subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    return words if allowed else []


# Each command, each signal, and each with and without the rules for PID 1.
STARTS = (
    ("watch", "SIGTERM", []),
    ("tick", "SIGHUP", []),
    ("watch", "SIGQUIT", []),
    ("tick", "SIGTERM", as_pid_1()),
    ("watch", "SIGHUP", as_pid_1()),
    ("tick", "SIGQUIT", as_pid_1()),
)


@pytest.mark.parametrize(("command", "name", "prefix"), STARTS)
def test_a_signal_at_once_after_the_start_is_heard(
    on_server: Place, board: Board, tmp_path: Path, command: str, name: str, prefix: list[str]
) -> None:
    bead = on_server.create()
    (tmp_path / "argparse.py").write_text(FIRST_IMPORT.format(name=name))
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "beads_dispatch", command],
        env={**on_server.environ, "PYTHONPATH": str(tmp_path), "BEADBOARD_URL": board.url},
        cwd=on_server.folder, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert ("stopped" if command == "watch" else "stopping") in done.stdout
    assert board.sent == []
    assert on_server.show(bead)["status"] == "open"


# bash and dash give SIGCHLD back to what they start.
IGNORING = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"


def test_a_parent_that_ignores_its_children_hides_no_exit_status(embedded: Place, board: Board) -> None:
    """Some supervisors do. bd's exit status tells an embedded workspace from one on a server."""
    bead = embedded.create()
    done = subprocess.run(
        [sys.executable, "-c", IGNORING, *COMMAND, "tick"],
        env={**embedded.environ, "BEADBOARD_URL": board.url},
        cwd=embedded.folder, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr, board.sent) == (0, "", [bead])


def test_a_command_that_only_reads_ends_quietly(on_server: Place, tmp_path: Path) -> None:
    (tmp_path / "argparse.py").write_text(FIRST_IMPORT.format(name="SIGINT"))
    done = on_server.run("status", PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_closed_terminal_between_post_and_note(on_server: Place, board: Board) -> None:
    def closes(task: str) -> Reply:
        watcher.send_signal(signal.SIGHUP)
        time.sleep(0.5)  # an unhandled one has ended it by now
        return 200, {"job_id": "abc"}

    board.dispatch = closes
    watcher = on_server.start("watch", BEADBOARD_URL=board.url)
    bead = on_server.create()  # not earlier: `closes` needs to know the watcher
    out, err = watcher.communicate(timeout=PATIENCE)
    assert (watcher.returncode, err) == (0, "")
    assert board.sent == [bead]
    assert on_server.notes(bead)[-1] == "dispatched: job=abc"
    assert out.splitlines()[-1] == "beads-watcher: stopped"


def test_nohup_keeps_it_at_work(on_server: Place, board: Board) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with watching(on_server, board) as watcher:
        watcher.process.send_signal(signal.SIGHUP)
        bead = on_server.create()
        watcher.wait_for(f"{bead}: dispatched")
        assert watcher.end() == 0


def test_a_frozen_tick_that_holds_the_lock_is_reported_with_its_process(place: Place, board: Board) -> None:
    """As on a machine that was paused: without this, every tick would say for ever that another one is running."""
    bead, came = place.create(), place.folder / "came"
    environ = {"BEADBOARD_URL": board.url}
    path = place.wrap_bd(f'case "$*" in update*) echo $$ >"{came}"; exec sleep 300;; esac\nexec "{place.real_bd}" "$@"')
    frozen = place.start("tick", PATH=path, **environ)
    wait_for(lambda: came.exists() and came.read_text())
    frozen.send_signal(signal.SIGSTOP)
    try:
        assert "another tick is running" in place.run("tick", **environ).stdout
        soon = place.changed("from beads_dispatch.adapters import queue\nqueue.STUCK_SECONDS = 1.0")
        wait_for(lambda: soon.run("tick", **environ).returncode == 1)
        who = rf"(process {frozen.pid}|connection \d+ of root from \S+), .* \d+ s"
        assert re.search(rf"another tick holds the lock and does nothing: end that process \({who}\)",
                         soon.run("tick", **environ).stderr)  # fmt: skip
        assert "\nqueue: nothing can be claimed: another tick holds" in soon.run("status", **environ).stdout
    finally:
        for pid in (frozen.pid, int(came.read_text())):
            os.kill(pid, signal.SIGKILL)
        frozen.communicate()
    wait_for(lambda: "another tick" not in place.run("tick", **environ).stdout)
    assert board.sent in ([], [bead])
