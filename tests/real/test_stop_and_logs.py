"""`stop ID` and `logs -f ID`, beside a watcher whose agents run here."""

import re

from conftest import PATIENCE, Place, wait_for
from test_watch_command import SLEEPS, watching
from test_watcher import Watcher


def test_logs_follows_a_run_to_its_end_and_says_when_there_is_nothing_yet(on_server: Place) -> None:
    event = '{"type": "text", "part": {"text": "I begin"}}'
    begins, goes = (f"until [ -e {name} ]; do sleep 0.1; done" for name in ("begin", "go"))
    command = f"{begins}; echo '{event}'; {goes}; printf bye; exit 3"
    with watching(on_server, command) as watcher:
        bead = on_server.create()
        watcher.wait_for(f"{bead}: dispatched")
        assert on_server.run("logs", bead).stdout.endswith(".log\n(it has written nothing yet)\n")
        reader = Watcher(on_server.start("logs", "-f", bead))
        try:
            (on_server.folder / "begin").touch()
            reader.wait_for("^I begin\n")
            (on_server.folder / "go").touch()
            assert reader.wait() == 0
        finally:
            reader.process.kill()
    assert reader.lines[-2] == "bye\n"
    assert re.fullmatch(r"\(failed \(exit 3\) after \w+\)\n", reader.lines[-1])


def test_stop_ends_the_run_and_blocks_the_bead(on_server: Place) -> None:
    with watching(on_server, SLEEPS) as watcher:
        bead = on_server.create()
        watcher.wait_for(f"{bead}: dispatched")
        done = on_server.run("stop", bead, BEADS_ACTOR="ann")
        assert done.returncode == 0
        assert (
            done.stdout == f"beads-dispatch: {bead}: its run is stopped. To send it again: bd update {bead} -s open\n"
        )
        watcher.wait_for(rf"beads-agent: {bead}: stopped by ann after \w+")
        shown = on_server.show(bead)
        assert (shown["status"], shown["metadata"]["beads_dispatch.outcome"]) == ("blocked", "stopped")
        assert on_server.notes(bead)[-1] == "agent ended: stopped by ann"
        again = on_server.run("stop", bead)
        assert (again.returncode, again.stderr) == (
            1, f"beads-dispatch: {bead} is blocked, and no run of it is working on this machine: nothing to stop\n",
        )  # fmt: skip


def test_a_watcher_stops_at_once_what_was_stopped_from_another_machine(on_server: Place) -> None:
    with watching(on_server, SLEEPS) as watcher:
        bead = on_server.create()
        watcher.wait_for(f"{bead}: dispatched")
        elsewhere = str(on_server.folder / "elsewhere")
        done = on_server.run("stop", bead, BEADS_ACTOR="ann", XDG_STATE_HOME=elsewhere)
        assert "if another machine runs it, the watcher there stops it within seconds" in done.stdout
        line = wait_for(lambda: next((one for one in watcher.lines if "stopped by ann" in one), ""), PATIENCE)
        assert f"{bead}: stopped by ann after " in line
