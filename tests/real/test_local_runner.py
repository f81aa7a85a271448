"""Agents on this machine: the command's environment, its limits and its end, on the real bd."""

import os
import re
import shutil
import signal
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import CLOSES, Place, is_running, wait_for

from beads_dispatch.adapters import location
from beads_dispatch.adapters.bd.process import BdProcess
from beads_dispatch.adapters.bd.verbs import Bd
from beads_dispatch.adapters.clock import SYSTEM, Clock
from beads_dispatch.adapters.log import Log
from beads_dispatch.adapters.queue import Snapshot
from beads_dispatch.adapters.stop import Stop
from beads_dispatch.core import marks
from beads_dispatch.core.claim import Claim
from beads_dispatch.core.runner import Job, Outcome, Room, Stage
from beads_dispatch.laptop import watching
from beads_dispatch.laptop.runner import LocalRunner, Setup

# Its child has a session of its own, and so is not in its parent's process group.
COMMAND = 'printf "%s|" "$BEAD_ID" "$BEAD_TITLE" "$BEAD_ACCEPTANCE" "$BEAD_JOB"; setsid sleep 300 & echo $!; wait'


@dataclass
class Local:
    """A LocalRunner at work in a workspace, and what looks after its runs."""

    place: Place
    runner: LocalRunner
    watching: watching.Local

    def start(self, bead: str) -> str:
        answer = self.runner.start(Claim(self.runner.bd.show(bead), "abcdef", datetime.now(UTC)))
        assert answer.outcome is Outcome.ACCEPTED, answer
        return answer.job

    def ended(self, job: str) -> Job:
        wait_for(lambda: self.runner.job(job).stage is not Stage.RUNNING)
        self.watching.notice_ends()
        return self.runner.job(job)

    def path(self, job: str) -> Path:
        """The file with what the job writes."""
        record = self.runner.records.read(job)
        assert record
        return Path(record.log)

    def first_line(self, job: str) -> str:
        wait_for(lambda: "\n" in self.path(job).read_text())
        return self.path(job).read_text().splitlines()[0]


def make(place: Place, command: str, jobs: int = 1, minutes: float = 60, **environ: str) -> Local:
    known = {**place.environ, **environ}
    bd = Bd(BdProcess(location.find(known, place.folder)), "beads-agent", SYSTEM.sleep)
    setup = Setup(command, jobs, timedelta(minutes=minutes), place.folder, known)
    log = Log("beads-agent", SYSTEM.now)
    runner = LocalRunner(setup, "queue", bd, SYSTEM, lambda: os.urandom(4).hex(), log)
    return Local(place, runner, watching.Local(runner, Stop(), log))


@contextmanager
def local(place: Place, command: str, jobs: int = 1, minutes: float = 60, **environ: str) -> Iterator[Local]:
    one = make(place, command, jobs, minutes, **environ)
    try:
        yield one
    finally:
        one.watching.stop_all("stopped with the test")


def gone(pid: str) -> bool:
    return not is_running(int(pid))


def test_it_counts_its_places_and_passes_texts_that_are_no_code(embedded: Place) -> None:
    bead = embedded.create('a "title"; $(touch gone)')
    with local(embedded, COMMAND) as one:
        assert (one.runner.room(), one.runner.idle()) == (Room(True, 0, 1), True)
        job = one.start(bead)
        assert (one.runner.room(), one.runner.idle()) == (Room(False, 1, 1), False)
        again = one.runner.start(Claim(one.runner.bd.show(bead), "abcdef", datetime.now(UTC)))
        assert again.outcome is Outcome.BUSY
        *said, child = one.first_line(job).split("|")
        assert said == [bead, 'a "title"; $(touch gone)', "it works", job]
        assert not (embedded.folder / "gone").exists()
    wait_for(lambda: gone(child))  # by itself it would sleep for five minutes


def test_a_job_acts_as_the_assignee_and_may_close_its_bead(embedded: Place) -> None:
    bead = embedded.create()
    with local(embedded, CLOSES, BD_ACTOR="me", BEADS_ACTOR="me") as one:
        one.ended(one.start(bead))
    assert embedded.show(bead)["status"] == "closed"


def test_a_log_folder_that_was_swept_is_made_again(embedded: Place) -> None:
    with local(embedded, "echo here") as one:
        first = one.start(embedded.create())
        shutil.rmtree(one.path(first).parent)
        one.ended(first)
        second = one.start(embedded.create())
        assert one.first_line(second) == "here"


def test_what_cannot_be_started_is_known_as_not_started(embedded: Place) -> None:
    bead = embedded.create()
    with local(embedded, "true") as one:
        job = one.start(bead)
        one.ended(job)
        folder = one.path(job).parent
        shutil.rmtree(folder)
        folder.touch()
        answer = one.runner.start(Claim(one.runner.bd.show(bead), "abcdef", datetime.now(UTC)))
    assert answer.outcome is Outcome.NOT_STARTED
    assert answer.text.startswith("the command cannot be started: ")
    assert "\n" not in answer.text


def test_how_a_job_is_described(embedded: Place) -> None:
    waits = 'echo one; printf "error: two " >&2; echo "ü" >&2; until [ -e go ]; do sleep 0.1; done; exit 3'
    with local(embedded, waits) as one:
        job = one.start(embedded.create())
        running = one.runner.job(job)
        assert (running.stage, running.exit_code, running.finished_at) == (Stage.RUNNING, None, None)
        wait_for(lambda: {"one", "error: two ü"} <= set(one.path(job).read_text().splitlines()))
        (embedded.folder / "go").touch()
        failed = one.ended(job)
        assert (failed.stage, failed.exit_code, failed.words) == (Stage.FAILED, 3, "error: two ü")
        assert failed.started_at
        assert failed.finished_at
        assert failed.started_at < failed.finished_at
        assert failed.finished_at.tzinfo is UTC
        assert one.runner.job(f"{job}x").stage is Stage.UNKNOWN


def test_a_command_that_does_not_exist_says_so(embedded: Place, capfd: pytest.CaptureFixture[str]) -> None:
    # It exits once we have read why: after half a second a busy machine may not have.
    command = "claudee -p hello; code=$?; until [ -e go ]; do sleep 0.1; done; exit $code"
    with local(embedded, command) as one:
        job = one.start(embedded.create())
        wait_for(lambda: "claudee: not found" in one.path(job).read_text())
        (embedded.folder / "go").touch()
        ended = one.ended(job)
    assert (ended.stage, ended.exit_code) == (Stage.FAILED, 127)
    assert "claudee: not found" in ended.words
    assert "failed (exit 127) after " in capfd.readouterr().out


def test_a_child_that_is_left_behind_does_not_keep_a_job_running(embedded: Place) -> None:
    with local(embedded, "sleep 300 & echo $!") as one:
        job = one.start(embedded.create())
        assert one.ended(job).stage is Stage.COMPLETED
        os.kill(int(one.first_line(job)), signal.SIGKILL)


def test_the_environment_of_a_job(embedded: Place) -> None:
    prints = 'printf "%s|" "$BEAD_DESCRIPTION" "$BEADS_ACTOR" "${BD_ACTOR-unset}" "$PWD" "$KEPT"; echo'
    with local(embedded, prints, BD_ACTOR="me", BEADS_ACTOR="me", KEPT="kept") as one:
        line = one.first_line(one.start(embedded.create("a bead", "--description=what — it is")))
    assert line.split("|")[:-1] == ["what — it is", "agent", "unset", str(embedded.folder), "kept"]


def test_a_timeout_ends_a_job_with_its_children(embedded: Place) -> None:
    with local(embedded, COMMAND, minutes=0.2) as one:  # long enough for the child to be named
        job = one.start(embedded.create())
        child = one.first_line(job).split("|")[-1]
        ended = one.ended(job)
        wait_for(lambda: gone(child))
        wait_for(lambda: "beads-dispatch: timed out after " in one.path(job).read_text())
    assert ended.stage is Stage.TIMEOUT
    assert ended.finished_at


def test_logs_prints_the_end_of_the_newest(embedded: Place) -> None:
    state = embedded.folder / "state"
    none = embedded.run("logs", "t-none", XDG_STATE_HOME=str(state))
    assert (none.returncode, none.stdout) == (1, "")
    assert none.stderr.startswith("beads-dispatch: no log of t-none in ")
    with local(embedded, "echo $BEAD_JOB; seq 50; echo end >&2", XDG_STATE_HOME=str(state)) as one:
        bead = embedded.create()
        for _ in range(2):
            last = one.start(bead)
            one.ended(last)
            path = one.path(last)
            wait_for(lambda: "end\n" in path.read_text())  # noqa: B023
    assert path == state / "beads-dispatch" / "logs" / f"{bead}-{last}.log"
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent)] == [0o600, 0o700]
    done = embedded.run("logs", bead, XDG_STATE_HOME=str(state))
    lines = done.stdout.splitlines()
    assert (lines[0], lines[-1]) == (str(path), "end")
    assert lines[1:] == path.read_text().splitlines()[-40:]


@dataclass
class Ahead:
    """A clock that a test moves."""

    seconds: float = 0.0

    def clock(self) -> Clock:
        return Clock(SYSTEM.now, lambda: SYSTEM.monotonic() + self.seconds, SYSTEM.sleep)


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
def test_a_run_that_has_lost_its_bead_is_stopped(embedded: Place, words: Sequence[str], why: str) -> None:
    lost, kept = embedded.create(), embedded.create()
    with local(embedded, "sleep 300", jobs=2) as one:
        ahead = Ahead()
        one.runner.clock = ahead.clock()
        lost_job, kept_job = one.start(lost), one.start(kept)
        for job in (lost_job, kept_job):
            wait_for(lambda: one.runner.records.read(job).group)  # type: ignore[union-attr] # noqa: B023
        embedded.bd(*(word.format(lost) for word in words))
        one.watching.saw(Snapshot(*one.runner.bd.assigned("agent")))
        one.watching.turned(True)
        ahead.seconds = 59
        one.watching.turned(True)
        assert not one.runner.records.asked_to_stop(lost_job)
        ahead.seconds = 61
        one.watching.turned(True)
        assert one.runner.records.asked_to_stop(lost_job) == f"stopped ({why})"
        assert one.ended(lost_job).stage is Stage.STOPPED
        assert f"beads-dispatch: stopped ({why}) after " in one.path(lost_job).read_text()
        assert one.runner.job(kept_job).stage is Stage.RUNNING


def test_a_second_run_knows_the_first_and_a_session_that_is_gone_is_dropped(embedded: Place) -> None:
    prints = 'printf "%s|" "$BEAD_RUN" "$BEAD_SESSION" "$BEAD_LAST_END" >&2; echo >&2; '
    gone = '[ -n "$BEAD_SESSION" ] && echo "No conversation found with session ID: $BEAD_SESSION" >&2 && exit 1; '
    result = '{"type": "result", "is_error": true, "result": "I gave up", "session_id": "abc-123"}'
    with local(embedded, f"{prints}{gone}echo '{result}'; exit 3") as one:
        bead = embedded.create()
        first, second = one.start(bead), ""
        assert one.ended(first).session == "abc-123"
        second = one.start(bead)
        ended = one.ended(second)
        texts = [one.path(job).read_text().splitlines() for job in (first, second)]
    assert "1|||" in texts[0]
    once, again = (
        [line for line in texts[1] if re.fullmatch(rf"2\|{session}\|failed \(exit 3\) after \ds: I gave up\|", line)]
        for session in ("abc-123", "")
    )
    assert (len(once), len(again)) == (1, 1)
    assert "beads-dispatch: session abc-123 cannot be continued: starting afresh" in texts[1]
    assert (ended.stage, ended.exit_code, ended.words) == (Stage.FAILED, 3, "I gave up")


def test_a_run_outlives_its_watcher_and_the_next_one_of_its_queue_adopts_it(embedded: Place) -> None:
    first = make(embedded, "until [ -e go ]; do sleep 0.1; done; echo done >&2; exit 3")
    bead = embedded.create()
    job = first.start(bead)
    wait_for(lambda: first.runner.job(job).stage is Stage.RUNNING)
    others = make(embedded, "true")
    others.runner.queue = "another"
    others.watching.saw(Snapshot(()))
    assert others.runner.room() == Room(True, 0, 1)
    others.watching.stop_all("stopped with the other watcher")
    with local(embedded, "true") as second:
        second.watching.saw(Snapshot(()))
        assert second.runner.room() == Room(False, 1, 1)
        assert second.runner.job(job).stage is Stage.RUNNING
        (embedded.folder / "go").touch()
        ended = second.ended(job)
        assert (ended.stage, ended.exit_code, ended.words) == (Stage.FAILED, 3, "done")
        assert second.runner.room().free


def test_a_job_that_its_watcher_could_not_note_is_noted_by_the_next_one(embedded: Place) -> None:
    bead = embedded.create()
    with local(embedded, "true") as first:
        known = first.runner.bd.show(bead)
        change = marks.claimed(known, "abcdef", SYSTEM.now())
        first.runner.bd.update(known, status="in_progress", note="claimed", marks=change)
        job = first.start(bead)  # and here it was killed
        first.ended(job)
    for _ in range(2):
        again = make(embedded, "true")
        again.watching.saw(Snapshot((again.runner.bd.show(bead),)))
    assert embedded.notes(bead) == ["claimed", f"dispatched: job={job}"]
    assert marks.job(again.runner.bd.show(bead)) == job


def test_a_run_whose_parent_process_was_killed_has_ended_and_so_has_its_command(embedded: Place) -> None:
    with local(embedded, COMMAND) as one:
        job = one.start(embedded.create())
        child = one.first_line(job).split("|")[-1]
        record = one.runner.records.read(job)
        assert record
        os.kill(record.pid, signal.SIGKILL)
        wait_for(lambda: not one.runner.records.lives(job))
        one.watching.notice_ends()
        ended = one.runner.job(job)
        assert (ended.stage, ended.words) == (Stage.STOPPED, "stopped by a signal")
        assert one.runner.room().free
        wait_for(lambda: gone(child) and not is_running(record.group))


def test_after_a_restart_of_the_machine_a_run_has_ended(embedded: Place) -> None:
    one = make(embedded, "sleep 300")
    job = one.start(embedded.create())
    record = wait_for(lambda: (known := one.runner.records.read(job)) and known.group and known)
    os.kill(record.pid, signal.SIGKILL)
    wait_for(lambda: not one.runner.records.lives(job))
    # Its ids belong to other processes now, such as this one.
    one.runner.records.write(replace(record, boot="another", pid=os.getpid(), group=os.getpgid(0)))
    again = make(embedded, "true")
    again.watching.saw(Snapshot(()))
    assert (again.runner.job(job).stage, again.runner.room().free) == (Stage.STOPPED, True)
    assert again.runner.job(job).words == "stopped by a restart of the machine"
    os.killpg(record.group, signal.SIGKILL)  # nothing was restarted here


def test_the_end_of_a_run_spares_the_tracker(embedded: Place) -> None:
    """bd's Dolt server may have been started by an agent's bd: it is in its session and has its environment."""
    tracker = "setsid sleep 300 & echo $! > $BEADS_DIR/dolt-server.pid; (trap '' TERM; setsid sleep 299) & echo $!"
    with local(embedded, tracker) as one:
        job = one.start(embedded.create())
        child = one.first_line(job)
        assert one.ended(job).stage is Stage.COMPLETED
        assert gone(child)
    pid = int((embedded.metadata.parent / "dolt-server.pid").read_text())
    assert is_running(pid)
    os.kill(pid, signal.SIGKILL)


def test_a_bead_that_a_sweep_has_blocked_first_asks_nothing(
    embedded: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    bead = embedded.create()
    with local(embedded, "echo 3 tests failed >&2; exit 1") as it:
        job = it.start(bead)
        wait_for(lambda: it.runner.job(job).stage is not Stage.RUNNING)
        known = it.runner.bd.show(bead)
        it.runner.bd.update(known, status="blocked", note="agent ended: failed", marks=marks.blocked(known, "failed"))
        it.watching.notice_ends()
    assert re.search(rf"{bead}: failed \(exit 1\) after \w+: 3 tests failed\n", capsys.readouterr().out)
