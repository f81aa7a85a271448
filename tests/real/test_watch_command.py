"""`watch --command`: the watcher and its agent in one process, on the real bd."""

import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import CLOSES, COMMAND, PATIENCE, WAITS, Board, Place, is_running, wait_for
from test_watcher import Watcher, ended

from beads_dispatch.laptop.runner import prefix

pytestmark = pytest.mark.found

# Its child has a session of its own, and so is not in its parent's process group.
SLEEPS = "setsid sleep 300 & echo $! >> children; wait"


@contextmanager
def watching(place: Place, command: str, *words: str, **environ: str) -> Iterator[Watcher]:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would be ignored
    watcher = Watcher(place.start("watch", "--command", command, *words, **environ))
    signal.signal(signal.SIGHUP, before)
    with ended(watcher):
        yield watcher


@pytest.mark.parametrize("mode", ["on_server", "embedded"])
def test_a_bead_is_worked_on_without_any_variable(request: pytest.FixtureRequest, mode: str) -> None:
    place: Place = request.getfixturevalue(mode)
    assert not [name for name in place.environ if name.startswith(("BEADBOARD", "AGENT"))]
    with watching(place, f'echo "by $BEADS_ACTOR" > who; {CLOSES}') as watcher:
        bead = place.create()
        watcher.wait_for(f"beads-dispatcher: {bead}: dispatched: job=")
        watcher.wait_for(f"beads-agent: {bead}: closed after")
        assert place.show(bead)["status"] == "closed"
        assert watcher.end() == 0
    assert (place.folder / "who").read_text() == "by agent\n"  # no note: bd 1.0.2 can lose one to ours
    assert watcher.lines[-1].endswith("beads-watcher: stopped\n")


def test_the_end_of_a_run_is_known_and_nobody_elses_services_are_asked(on_server: Place, board: Board) -> None:
    others = {"BEADBOARD_URL": board.url, "AGENT_SERVICE_URL": board.url, "API_BEARER_TOKEN": "secret"}
    with watching(on_server, "echo broken >&2; exit 3", **others) as watcher:
        bead = on_server.create()
        end = rf"beads-reaper: {bead}: agent ended: failed \(exit 3\) after \w+: broken"
        watcher.wait_for(rf"{end} \(open again, attempt 1 of 3\)")
    assert on_server.show(bead)["status"] == "open"
    assert board.asked == []
    assert f"\nLog:  beads-dispatch logs {bead}\n" in on_server.run("explain", bead).stdout
    assert on_server.run("logs", bead).stdout.endswith(".log\nbroken\n")
    other = on_server.create()
    assert "Log:" not in on_server.run("explain", other).stdout


def test_json_logs_have_the_job_and_how_long_it_took(on_server: Place) -> None:
    with watching(on_server, "exit 3", LOG_FORMAT="json") as watcher:
        bead = on_server.create()
        watcher.wait_for(f'"run_ended", "bead": "{bead}"')
        lines = [json.loads(line) for line in watcher.lines]
    events = ("started", "dispatched", "ended", "run_ended")
    found = {line["event"]: line for line in lines if line["event"] in events}
    assert len({found[event]["job"] for event in events}) == 1
    assert [0 <= found[event]["seconds"] < PATIENCE for event in ("ended", "run_ended")] == [True, True]


def test_it_runs_so_many_jobs_at_once(on_server: Place) -> None:
    both = 'touch "on-$BEAD_ID"; until [ "$(ls on-* | wc -l)" = 2 ]; do sleep 0.1; done'  # each waits for the other
    with watching(on_server, both, "--jobs=2") as watcher:
        for bead in (on_server.create("one"), on_server.create("two")):
            watcher.wait_for(f"{bead}: completed after")


def test_the_line_of_an_end_says_what_the_agent_asks(on_server: Place) -> None:
    asks = 'bd update "$BEAD_ID" --status=blocked --append-notes "which port?"'
    with watching(on_server, f"until {asks}; do sleep 1; done") as watcher:
        bead = on_server.create()
        watcher.wait_for(rf"beads-agent: {bead}: asks after \w+: which port\?")
        watcher.wait_for(rf"beads-reaper: {bead}: asks: which port\?")


def test_it_ends_a_job_after_its_timeout_with_its_children(on_server: Place) -> None:
    with watching(on_server, SLEEPS, "--timeout=0.05") as watcher:
        bead = on_server.create()
        watcher.wait_for(f"{bead}: timed out after")
        wait_for(lambda: not any(map(is_running, children(on_server))))  # by itself it would sleep for five minutes


@pytest.mark.parametrize("numbers", [[signal.SIGTERM], [signal.SIGHUP], [signal.SIGINT, signal.SIGINT]])
def test_a_stop_signal_stops_the_agents_and_opens_their_beads_again(on_server: Place, numbers: list[int]) -> None:
    with watching(on_server, SLEEPS) as watcher:
        bead = on_server.create()
        watcher.wait_for(f"{bead}: dispatched")
        child = wait_for(lambda: children(on_server))[0]
        for place, number in enumerate(numbers, 1):
            watcher.process.send_signal(number)
            if place < len(numbers):
                watcher.wait_for(rf"nothing new is started; {bead} \(for \w+\) may finish. Ctrl-C again stops")
        assert watcher.wait() == 0
    wait_for(lambda: not is_running(child))  # by itself it would sleep for five minutes
    ends = [re.sub(r"after \w+", "", line.strip()) for line in watcher.lines[-3:]]
    assert ends == [
        "beads-watcher: stopped",
        f"beads-agent: {bead}: stopped with the watcher ",
        f"beads-reaper: {bead}: agent ended: stopped with the watcher  (open again)",
    ]
    assert re.fullmatch(r"agent ended: stopped with the watcher after \w+ \(open again\)", on_server.notes(bead)[-1])
    shown = on_server.show(bead)
    assert (shown["status"], shown["metadata"]["beads_dispatch.runs"]) == ("open", 1)  # the run counts


def test_the_first_ctrl_c_lets_the_agent_finish_and_starts_nothing_new(on_server: Place) -> None:
    with watching(on_server, f"until [ -e go ]; do sleep 0.1; done; {CLOSES}", "--jobs=2") as watcher:
        first = on_server.create("first")
        watcher.wait_for(f"{first}: dispatched")
        watcher.process.send_signal(signal.SIGINT)
        watcher.wait_for("nothing new is started")
        second = on_server.create("second")
        watcher.wait_for(f"{second}: waiting: the agent is busy")
        (on_server.folder / "go").touch()
        assert watcher.wait() == 0
    assert (on_server.show(first)["status"], on_server.show(second)["status"]) == ("closed", "open")
    assert [line for line in watcher.lines if re.search(f"{first}: closed after", line)]


@pytest.mark.parametrize("mode", ["on_server", pytest.param("embedded", marks=pytest.mark.slow)])
def test_a_run_outlives_a_watcher_that_is_killed_and_the_next_one_records_its_end(
    request: pytest.FixtureRequest, mode: str
) -> None:
    place: Place = request.getfixturevalue(mode)
    command = "echo run >> runs; until [ -e go ]; do sleep 0.1; done; echo broken >&2; exit 3"
    with watching(place, command) as first:
        bead = place.create()
        first.wait_for(f"{bead}: dispatched")
        first.process.kill()
        first.wait()
    with watching(place, command) as second:
        second.wait_for(rf"{bead}: job=\w+ continues: it outlived its watcher")
        other = place.create("other")
        second.wait_for(f"{other}: waiting: the agent is busy")  # --jobs counts it
        (place.folder / "go").touch()
        second.wait_for(
            rf"beads-reaper: {bead}: agent ended: failed \(exit 3\) after \w+: broken \(open again, attempt 1 of 3\)"
        )
        second.wait_for(f"{other}: failed")
    assert (place.folder / "runs").read_text() == "run\n" * 2  # one for each bead
    assert len([line for line in place.notes(bead) if line.startswith("agent ended")]) == 1


def test_a_bead_whose_job_another_machine_started_is_left_alone(on_server: Place) -> None:
    foreign = on_server.create("foreign")
    mark = f'--set-metadata=beads_dispatch.job="{"0" if prefix(os.uname().nodename) != "0000" else "1"}00012345678"'
    on_server.bd("update", foreign, "--status=in_progress", mark)
    with watching(on_server, CLOSES) as watcher:
        for title in ("first", "second"):  # before each tick it is asked how runs have ended
            bead = on_server.create(title)
            watcher.wait_for(f"{bead}: closed after")
    assert on_server.show(foreign)["status"] == "in_progress"


def test_in_a_second_terminal_explain_knows_the_watcher_and_whether_it_is_gone(on_server: Place) -> None:
    with watching(on_server, SLEEPS) as watcher:
        bead = on_server.create()
        watcher.wait_for(f"{bead}: dispatched")
        # The line comes before the record; in between a tick is at work on the bead, and `explain` answers that.
        follows = r"Its agent has been running here for \w+\.\s+The\s+running\s+watcher\s+follows\s+it"
        wait_for(lambda: re.search(follows, on_server.run("explain", bead).stdout))
        child = wait_for(lambda: children(on_server))[0]
        watcher.process.kill()
        watcher.wait()
        wait_for(lambda: "no running watcher was found" in on_server.run("explain", bead).stdout)
        os.kill(child, signal.SIGKILL)  # with it the run ends, as nobody else would see to


def test_a_signal_during_a_dispatch_lets_it_be_recorded_before_the_agent_ends(on_server: Place) -> None:
    """A bd that is slow to note the dispatch, and a signal while it is at it."""
    slow = f'case "$*" in *"dispatched: job="*) touch noting; sleep 2;; esac; exec {on_server.real_bd} "$@"'
    path = on_server.wrap_bd(slow.replace("touch noting", f"touch {on_server.folder}/noting"))
    with watching(on_server, SLEEPS, PATH=path) as watcher:
        bead = on_server.create()
        wait_for((on_server.folder / "noting").exists)
        watcher.process.send_signal(signal.SIGTERM)
        assert watcher.wait() == 0
    first, second = on_server.notes(bead)[-2:]
    assert first.startswith("dispatched: job=")
    assert second.startswith("agent ended: stopped with the watcher after ")


@pytest.mark.parametrize("mode", ["on_server", "embedded"])
def test_a_second_watcher_waits_and_leaves_the_jobs_of_the_first_alone(
    request: pytest.FixtureRequest, mode: str
) -> None:
    place: Place = request.getfixturevalue(mode)
    with watching(place, SLEEPS) as first:
        bead = place.create("first")
        first.wait_for(f"{bead}: dispatched")
        with watching(place, CLOSES) as second:
            who = "connection .* of root from .*" if place.server else f"process {first.process.pid}"
            second.wait_for(rf"another watcher is at work \({who}\): waiting until it ends")
            time.sleep(3)
            assert place.show(bead)["status"] == "in_progress"
            assert len(second.lines) == 2
            assert re.search(rf"\nagent: asked by the running watcher \({who}\)\n", place.run("status").stdout)
            assert first.end() == 0
            second.wait_for("the other watcher has ended: watching now")
            other = place.create("second")
            second.wait_for(f"{other}: closed after")
    # Though the lock's file names one. Dolt may take a moment to notice that a connection has gone.
    wait_for(lambda: "no running watcher was found" in place.run("status").stdout)


def test_on_a_terminal_each_line_begins_with_the_local_time(on_server: Place) -> None:
    ours, terminal = pty.openpty()
    words = [*COMMAND, "watch", "--command=true"]
    process = subprocess.Popen(
        words, env={**on_server.environ, "TZ": "UTC"}, cwd=on_server.folder, stdout=terminal, stderr=terminal
    )
    try:
        written = read_until(ours, b"watching ")
        process.send_signal(signal.SIGINT)
        written += read_until(ours, b"watcher: stopped\r\n")
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        os.close(terminal)
        os.close(ours)
    shown = WAITS.sub("", written.decode())
    lines = [re.sub(r"^([01]\d|2[0-3]):[0-5]\d:[0-5]\d ", "HH:MM:SS ", line) for line in shown.splitlines()]
    assert lines[0].startswith("HH:MM:SS beads-watcher: watching ")
    assert lines[1:] == ["HH:MM:SS beads-watcher: stopped"]


def read_until(terminal: int, what: bytes) -> bytes:
    """What has been written up to now, with this in it. It can come in pieces."""
    written = b""
    while what not in written:
        written += os.read(terminal, 4096)
    return written


def children(place: Place) -> list[int]:
    file = place.folder / "children"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--command", " "], "beads-watcher: --command is empty: give the command to run for each bead"),
        (["--command"], "beads-dispatch watch: argument --command: expected one argument"),
        (
            ["--jobs=2"],
            "beads-watcher: --jobs, --timeout, --worktrees, --setup, --check and --allow-all need --agent",
        ),
        (["--command=true", "--setup=true"], "beads-watcher: --setup needs --worktrees: it runs in a new one"),
        (["--agent=gpt"], "beads-dispatch watch: argument --agent: invalid choice: 'gpt' (choose from"),
        (["--agent=claude", "--command=true"], "beads-dispatch watch: argument --command: not allowed with argument"),
        (["--allow-all", "--command=true"], "beads-watcher: --allow-all needs --agent: "),
        (["--agent=opencode"], "beads-watcher: opencode is not on PATH: install it (a shell's alias is not enough)"),
        (["--command=true", "--assignee="], "beads-watcher: --assignee: must be a name of at most 255 printable"),
        (["--command=true", "--jobs=0"], "beads-dispatch watch: argument --jobs: at least 1 is needed"),
        (["--command", ""], "beads-watcher: --command is empty: give the command to run for each bead"),
        *(
            (
                ["--command=true", f"--timeout={text}"],
                f"beads-dispatch watch: argument --timeout: '{text}' is not a number",
            )
            for text in ("0", "-1", "soon")
        ),
        ([], "beads-watcher: nothing says where agents run: use --agent claude to run them here"),
    ],
)
def test_bad_input_is_one_clear_line(on_server: Place, words: list[str], line: str) -> None:
    done = on_server.run("watch", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(line)


def test_two_watchers_with_two_assignees_are_two_agents(on_server: Place) -> None:
    """`bd assign` chooses; neither sees the other's runs."""
    stub = on_server.folder / "bin" / "claude"
    stub.parent.mkdir()
    stub.write_text(f'#!/bin/sh\necho "$BEAD_ID $BEADS_ACTOR $*" > claude.txt; {CLOSES}\n')
    stub.chmod(0o755)
    with watching(on_server, f'echo "$BEAD_ID $BEADS_ACTOR" > other.txt; {CLOSES}', "--assignee=other"):
        path = f"{stub.parent}:{on_server.environ['PATH']}"
        with ended(Watcher(on_server.start("watch", "--agent=claude", PATH=path))) as watcher:
            watcher.wait_for("for each bead: exec claude -p ")
            ours = on_server.create("ours")
            theirs = on_server.create("theirs", "--assignee=other")
            for bead in (ours, theirs):
                wait_for(lambda: on_server.show(bead)["status"] == "closed")  # noqa: B023
    asked = (on_server.folder / "claude.txt").read_text()
    assert asked.startswith(f"{ours} agent -p Run: bd show {ours}. ")
    assert (on_server.folder / "other.txt").read_text() == f"{theirs} other\n"
    assert "theirs" in on_server.run("status", theirs, "--assignee=other").stdout


def test_without_a_workspace_it_says_so(tmp_path: Path, on_server: Place) -> None:
    environ = {key: value for key, value in on_server.environ.items() if key != "BEADS_DIR"}
    place = Place(tmp_path, {**environ, "HOME": str(tmp_path)})
    done: subprocess.CompletedProcess[str] = place.run("watch", "--command=true")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
