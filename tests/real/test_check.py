"""`watch --check`: a bead is closed because its work passes, or goes back with what failed."""

import os
import signal

import pytest
from conftest import CLOSES, Place, wait_for
from test_watch_command import watching

# The first run leaves what does not pass; the second one is told why.
MENDS = 'echo "$BEAD_LAST_END" >> ends; echo run >> work'
CHECK = (
    '--check=grep -c run work; [ "$(grep -c run work)" != 1 ] || { echo "error: half of it is missing" >&2; exit 2; }'
)


def failing(bead: str, runs: str = "") -> str:
    return rf"{bead}: agent ended: check failed \(echo no; exit 2, exit 2\): no \({runs}open again\)"


@pytest.mark.parametrize("mode", ["on_server", "embedded"])
def test_a_check_that_fails_sends_the_bead_back_and_one_that_passes_closes_it(
    request: pytest.FixtureRequest, mode: str
) -> None:
    place: Place = request.getfixturevalue(mode)
    with watching(place, MENDS, CHECK) as watcher:
        bead = place.create()
        why = r"check failed \(grep -c run work; .*, exit 2\): error: half of it is missing"
        watcher.wait_for(rf"{bead}: agent ended: {why} \(open again\)")
        watcher.wait_for(f"beads-reaper: {bead}: checked: grep -c run work; ")
    shown = place.show(bead)
    assert (shown["status"], shown["metadata"]["beads_dispatch.outcome"]) == ("closed", "checked")
    first, second = (place.folder / "ends").read_text().splitlines()
    assert first == ""
    assert second.startswith("check failed (grep -c run work; ")
    assert second.endswith(": error: half of it is missing")
    log = place.run("logs", bead).stdout
    assert "beads-dispatch: check: grep -c run work; " in log
    assert "beads-dispatch: check passed\n" in log
    story = place.run("explain", bead).stdout
    assert "checked: grep -c run work" in story
    assert "agent ended: check failed (grep -c run work" in " ".join(story.split())


def test_an_agent_that_closes_its_bead_is_tested_all_the_same(on_server: Place) -> None:
    with watching(on_server, CLOSES, "--check=test -e done || { echo no; exit 2; }") as watcher:
        bead = on_server.create()
        watcher.wait_for(rf"{bead}: agent ended: check failed \(.*, exit 2\): no \(open again\)")
        (on_server.folder / "done").touch()
        watcher.wait_for(f"{bead}: closed after")
        assert watcher.end() == 0
    assert on_server.show(bead)["status"] == "closed"


def test_that_a_watcher_is_killed_during_the_check_loses_nothing(on_server: Place) -> None:
    waits = "--check=echo $BEAD_ID; [ -z $BEAD_ID ] || { until [ -e go ]; do sleep 0.1; done; echo no; exit 2; }"
    with watching(on_server, CLOSES, waits) as first:
        bead = on_server.create()
        wait_for(lambda: on_server.show(bead)["status"] == "closed")
        wait_for(lambda: on_server.run("logs", bead).stdout.endswith(f"\n{bead}\n"))
        os.kill(first.process.pid, signal.SIGKILL)
        first.wait()
    (on_server.folder / "go").touch()
    with watching(on_server, "sleep 300", "--check=true") as second:
        second.wait_for(rf"{bead}: agent ended: check failed \(.*, exit 2\): no \(open again\)")


def test_two_beads_in_a_row_that_do_not_pass_hold_the_queue(on_server: Place) -> None:
    with watching(on_server, "true", "--check=echo no; exit 2", "--jobs=1") as watcher:
        watcher.wait_for(r"it fails now \(exit 2: no\), and a bead is closed only when it passes")
        first, second = on_server.create("first"), on_server.create("second")
        watcher.wait_for(failing(first))
        watcher.wait_for(failing(second))
        watcher.wait_for("nothing is dispatched until ")
        assert watcher.end() == 0
    assert on_server.show(first)["status"] == on_server.show(second)["status"] == "open"


def test_a_check_has_a_time_of_its_own(on_server: Place) -> None:
    slow = "--check=[ -z $BEAD_ID ] || { sleep 300 & echo $! > child; wait; }"
    with watching(on_server, "true", slow, "--timeout=0.05") as watcher:
        bead = on_server.create()
        watcher.wait_for(rf"{bead}: agent ended: check failed \(.*, timed out\) \(open again\)")


def test_an_agent_that_met_its_limit_is_not_tested(on_server: Place) -> None:
    limit = '{"type": "result", "is_error": true, "result": "Claude AI usage limit reached"}'
    with watching(on_server, f"echo '{limit}'", "--check=true") as watcher:
        bead = on_server.create()
        watcher.wait_for(f"{bead}: agent ended: usage limit, ")
    assert on_server.show(bead)["status"] == "open"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--check=true"], "--jobs, --timeout, --worktrees, --setup, --check and --allow-all need --agent or"),
        (["--command=true", "--check=true", "--jobs=2"], "--check with --jobs above 1 needs --worktrees: "),
        (["--command=true", "--check=mkae test"], "--check cannot be run (exit 127): mkae: not found"),
        (["--command=true", "--check=sleep 300", "--timeout=0.01"], "--check does not end within --timeout, 0s"),
        (["--command=true", "--check= "], "--check is empty: give the command that tests the work"),
    ],
)
def test_a_check_that_cannot_be_used_is_one_clear_line(on_server: Place, words: list[str], line: str) -> None:
    done = on_server.run("watch", *words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"beads-watcher: {line}")
    assert len(done.stderr.splitlines()) == 1
