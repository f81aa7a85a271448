"""Agents on this machine: what is kept of their output and of their files, and when their watcher ends."""

import fcntl
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from beads_dispatch.adapters.clock import SYSTEM, Clock
from beads_dispatch.adapters.log import Log
from beads_dispatch.adapters.queue import Snapshot
from beads_dispatch.adapters.runner import Runner
from beads_dispatch.adapters.stop import Stop
from beads_dispatch.core import marks
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.runner import Job, Stage
from beads_dispatch.laptop import logs, processes, record, runner
from beads_dispatch.laptop.environment import NOT_INHERITED, Earlier, environment
from beads_dispatch.laptop.output import FULL, Output, Tail
from beads_dispatch.laptop.presets import PRESETS
from beads_dispatch.laptop.record import Ended, Folder, Record
from beads_dispatch.laptop.watching import Local, unwritten

NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)
BEAD = Bead("t-1", "in_progress", 2, NOW, assignee="agent")
RECORD = Record("j1", "t-1", "abcdef", "queue", 1, "true", "/", "/log", 60.0, "boot", 0.0, 0.0)


@pytest.mark.parametrize(
    ("chunks", "text"),
    [
        ([], ""),
        ([b"a\n", b"b"], "a\nb"),
        ([b"0123456789"], "0123456789"),
        ([b"01234\n", b"56789"], "56789"),
        ([b"x" * 100, b"0123456789"], "0123456789"),
        ([b"x" * 100, b"\nabc\xc3", b"\xbc\x0bd\n"], "abc\u00fc\x0bd\n"),
        ([b"\xff\n"], "\ufffd\n"),
    ],
)
def test_the_last_part_of_a_stream(chunks: list[bytes], text: str) -> None:
    tail = Tail(10)
    for chunk in chunks:
        tail.add(chunk)
    assert tail.text() == text


def test_a_log_file_does_not_fill_the_disk(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        output = Output(file, left=10)
        for chunk in (b"0123", b"456789abc", b"def"):
            output.keep(chunk)
    assert (tmp_path / "log").read_bytes() == b"0123456789" + FULL


@pytest.mark.parametrize(
    ("environ", "where"),
    [
        ({"HOME": "/h"}, "/h/.local/state/beads-dispatch/logs"),
        ({"HOME": "/h", "XDG_STATE_HOME": ""}, "/h/.local/state/beads-dispatch/logs"),
        ({"HOME": "/h", "XDG_STATE_HOME": "relative"}, "/h/.local/state/beads-dispatch/logs"),
        ({"HOME": "/h", "XDG_STATE_HOME": "/s"}, "/s/beads-dispatch/logs"),
    ],
)
def test_where_the_logs_are(environ: dict[str, str], where: str) -> None:
    assert logs.folder(environ) == Path(where)


def test_the_newest_200_logs_and_those_of_running_jobs_are_kept(tmp_path: Path) -> None:
    paths = []
    for number in range(203):
        path, file = logs.create(tmp_path, "t-1", f"{number:012x}")
        file.close()
        os.utime(path, (number, number))
        paths.append(path)
    logs.prune(tmp_path, {paths[1]})
    assert set(tmp_path.iterdir()) == {paths[1], *paths[3:]}


def test_another_beads_log_is_not_taken(tmp_path: Path) -> None:
    for number, bead in enumerate(("t-1", "t-1", "t-1.1", "t-1-2", "../t")):
        path, file = logs.create(tmp_path, bead, f"{number:012x}")
        file.close()
        os.utime(path, (number, number))
        assert path.parent == tmp_path
    assert logs.newest(tmp_path, "t-1").name == "t-1-000000000001.log"
    assert logs.newest(tmp_path, "../t").name == ".._t-000000000004.log"


def test_a_folder_of_logs_that_cannot_be_looked_into_has_none(tmp_path: Path) -> None:
    assert logs.of(tmp_path / ("x" * 300), "t-1") == []  # HOME may be another user's; root may look into that one


def test_the_first_lines_are_kept_however_much_is_printed(tmp_path: Path) -> None:
    """An agent may name its session there."""
    (out, to_out), (err, to_err) = os.pipe(), os.pipe()
    with (tmp_path / "log").open("wb") as file, open(out, "rb") as stdout, open(err, "rb") as stderr:
        output = Output(file, stdout=Tail(10))
        output.follow(stdout, stderr)
        os.write(to_out, b"first\nsecond\n" + b"x" * 50)
        os.close(to_out)
        os.close(to_err)
        while output.streams.get_map():
            output.copy(1)
    assert output.head() == "first\nsecond"


@pytest.mark.parametrize(
    ("ended", "text"),
    [
        (Ended(0, 61, 0), "completed after 1m 1s"),
        (
            Ended(0, 61, 0, checked=True, check_failed="exit 2", check_words="3 failed"),
            "check failed (make test, exit 2) after 1m 1s: 3 failed",
        ),
        (Ended(3, 0.4, 0, stderr="one\nno\n"), "failed (exit 3) after 0s: no"),
        (Ended(-15, 1800, 0, stopped="timed out", timed_out=True, stderr="bye"), "timed out after 30m"),
        (Ended(None, 240, 0, stopped="stopped with the watcher"), "stopped with the watcher after 4m"),
    ],
)
def test_how_a_run_ended_in_words(ended: Ended, text: str) -> None:
    assert runner.summary(replace(RECORD, check="make test"), ended) == text


def test_a_record_comes_back_as_it_was_written_also_with_a_later_versions_fields(tmp_path: Path) -> None:
    folder, ended = Folder(tmp_path), replace(RECORD, ended=Ended(0, 1.5, 2.5, stdout="ü"))
    folder.write(ended)
    assert folder.read("j1") == ended
    path = tmp_path / "j1.json"
    path.write_text(path.read_text().replace('"job"', '"later": 1, "job"').replace('"seconds"', '"more": 2, "seconds"'))
    assert folder.read("j1") == ended
    path.write_text("{")
    assert folder.read("j1") is None


def test_a_run_lives_as_long_as_somebody_holds_its_lock(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "runs")
    lock = folder.create(RECORD)
    other = folder.create(replace(RECORD, job="j2", queue="another"))
    assert (folder.lives("j1"), folder.unfinished("queue")) == (True, [RECORD])
    os.close(lock)
    assert (folder.lives("j1"), folder.unfinished("queue")) == (False, [RECORD])  # killed: nobody has written its end
    folder.finish(replace(RECORD, ended=Ended(0, 1, 2)))
    assert (folder.lives("j1"), folder.unfinished("queue")) == (False, [])
    os.close(other)


def test_the_newest_records_of_ended_runs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "MOST_RECORDS", 2)
    folder = Folder(tmp_path)
    locks = [folder.create(replace(RECORD, job=f"j{number}", started_at=number)) for number in range(5)]
    for number in (1, 2, 3, 4):
        folder.finish(replace(RECORD, job=f"j{number}", started_at=number))
        os.utime(tmp_path / f"j{number}.json", (number, number))
    locks.append(folder.create(replace(RECORD, job="j5", started_at=5.0)))
    assert [one.job for one in folder.of("t-1")] == ["j0", "j3", "j4", "j5"]
    assert all(fcntl.flock(lock, fcntl.LOCK_UN) is None for lock in locks)


def test_the_environment_of_a_command() -> None:
    bead = replace(
        BEAD, title="a\0b", description="ü", acceptance_criteria="it works", notes="one\ntwo", issue_type="bug",
        labels=frozenset({"ui", "big"}),
    )  # fmt: skip
    inherited = {name: "x" for name in NOT_INHERITED} | {"BEADS_ACTOR": "me", "CLAUDE_CODE_OAUTH_TOKEN": "y"}
    assert environment(inherited, bead, "j1", Earlier(1, "failed (exit 3) after 2m: no", "s-1"), "/p/.beads") == {
        "CLAUDE_CODE_OAUTH_TOKEN": "y", "BEAD_ID": b"t-1", "BEAD_TITLE": b"ab", "BEAD_DESCRIPTION": "ü".encode(),
        "BEAD_ACCEPTANCE": b"it works", "BEAD_NOTES": b"one\ntwo", "BEAD_PRIORITY": b"2", "BEAD_TYPE": b"bug",
        "BEAD_LABELS": b"big,ui", "BEAD_JOB": b"j1", "BEAD_RUN": b"2", "BEAD_SESSION": b"s-1",
        "BEAD_LAST_END": b"failed (exit 3) after 2m: no", "BEADS_ACTOR": b"agent", "BEADS_DIR": b"/p/.beads",
    }  # fmt: skip


def test_a_text_that_no_program_can_be_given_is_cut_with_a_hint() -> None:
    bead = replace(BEAD, description="ü" * 60_000)
    text = cast(bytes, environment({}, bead, "j1", Earlier(), "")["BEAD_DESCRIPTION"]).decode()
    assert text == "ü" * 50_000 + "\n[cut: the whole text is in `bd show t-1`]"


@pytest.fixture
def stub(tmp_path: Path) -> dict[str, str]:
    """A PATH on which every agent prints its arguments, one a line, and knows --standalone."""
    for name in PRESETS:
        (tmp_path / name).write_text('#!/bin/sh\n[ "$*" = "run --help" ] && echo --standalone || printf "%s\\n" "$@"\n')
        (tmp_path / name).chmod(0o755)
    return {"PATH": f"{tmp_path}:/usr/bin:/bin", "BEAD_ID": "t-1", "BEADS_DIR": "/p/.beads", "BEAD_RUN": "1"}


def words(stub: dict[str, str], name: str, *, wide: bool = False, checked: bool = False, **more: str) -> list[str]:
    command = PRESETS[name].command(allow_all=wide, checked=checked, server=True)
    done = subprocess.run(
        ("/bin/sh", "-c", command), env={**stub, **more}, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_tells_the_agent_what_to_do_and_continues_a_session(stub: dict[str, str], name: str) -> None:
    (prompt,) = [word for word in words(stub, name) if word.startswith("Run: bd show t-1. ")]
    assert prompt.endswith("run: bd close t-1")
    (checked,) = [word for word in words(stub, name, checked=True) if word.startswith("Run: bd show t-1. ")]
    assert "bd close" not in checked
    end = 'failed "quick"; $(touch gone) `id`'
    again = words(stub, name, BEAD_SESSION="s-1", BEAD_RUN="2", BEAD_LAST_END=end)
    assert f"This is run 2. The last one ended so: {end}" in " ".join(again)
    flag = {"claude": ["--resume", "s-1"], "codex": ["exec", "resume", "s-1"], "opencode": ["--session", "s-1"]}[name]
    assert " ".join(flag) in " ".join(again)
    assert "s-1" not in words(stub, name)


@pytest.mark.parametrize(
    ("name", "wide", "flags"),
    [
        ("claude", False, ["--permission-mode", "acceptEdits", "--allowedTools"]),
        ("claude", True, ["--permission-mode", "bypassPermissions"]),
        ("codex", False, ["-c", 'sandbox_mode="workspace-write"', "-c", "sandbox_workspace_write.network_access=true"]),
        ("codex", False, ["-c", 'sandbox_workspace_write.writable_roots=["/p/.beads"]']),
        ("codex", True, ["-c", 'sandbox_mode="danger-full-access"']),
        ("opencode", False, ["run", "--standalone", "--format", "json"]),
        ("opencode", True, ["--auto"]),
    ],
)
def test_a_preset_is_narrow_unless_all_is_allowed(
    stub: dict[str, str], name: str, wide: bool, flags: list[str]
) -> None:
    given = words(stub, name, wide=wide)
    assert any(given[place : place + len(flags)] == flags for place in range(len(given))), given
    others = words(stub, name, wide=not wide)
    assert name == "opencode" or not any(others[place : place + len(flags)] == flags for place in range(len(others)))


def watched(folder: Path, stop: Stop, *living: Record) -> Local:
    """Look after these runs. Each lives as long as this process, which has its lock."""
    setup = runner.Setup("true", 1, timedelta(minutes=1), folder, {"XDG_STATE_HOME": str(folder)})
    clock, log = Clock(lambda: NOW, lambda: 240.0, lambda _: None), Log("x", lambda: NOW)
    local = runner.LocalRunner(setup, "queue", cast(Any, None), clock, str, log)
    for one in living:
        local.records.create(one)
        local.at_work[one.job] = one
    return Local(local, stop, log)


def test_the_first_ctrl_c_lets_agents_finish_and_the_second_stops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = Stop()
    local = watched(tmp_path, stop, RECORD)
    stop.first_drains()
    assert not local.stopping()
    stop._heard(2, None)
    local.turned(True)
    assert (local.stopping(), local.runner.draining) == (False, True)
    local.turned(True)
    line = "x: nothing new is started; t-1 (for 4m) may finish. Ctrl-C again stops"
    assert capsys.readouterr().out == f"{line}\n"
    stop._heard(2, None)
    assert local.stopping()


@pytest.mark.parametrize("number", [15, 1])
def test_a_stop_signal_does_not_wait(tmp_path: Path, number: int) -> None:
    stop = Stop()
    stop.first_drains()
    stop._heard(number, None)
    assert watched(tmp_path, stop, RECORD).stopping()


def test_once_no_agent_runs_the_first_ctrl_c_is_enough(tmp_path: Path) -> None:
    stop = Stop()
    stop.first_drains()
    stop._heard(2, None)
    assert watched(tmp_path, stop).stopping()


def test_only_the_watcher_that_has_the_lock_adopts_and_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[str] = []
    monkeypatch.setattr(Local, "stop_all", lambda _, why: stopped.append(why))
    local = watched(tmp_path, Stop())
    local.runner.records.create(RECORD)  # by an earlier watcher
    local.beads = (BEAD,)
    local.end(lambda: pytest.fail("another watcher's beads"))
    assert (stopped, local.runner.living()) == (["stopped with the watcher"], [])
    local.saw(Snapshot((BEAD,)))
    assert local.runner.living() == [RECORD]
    del local.runner.at_work[RECORD.job]
    local.saw(Snapshot(()))
    local.end(lambda: pytest.fail("nothing runs"))
    local.saw(Snapshot((BEAD,)))
    left = iter([True, True, False])
    local.end(lambda: next(left))
    assert next(left, None) is None


def test_an_end_is_left_to_write_while_a_bead_in_progress_has_a_job_that_is_over() -> None:
    def bead(job: str) -> Bead:
        return replace(BEAD, metadata={marks.JOB: f'"{job}"'})

    class Fake(Runner):
        def job(self, job_id: str) -> Job:
            return Job(Stage.COMPLETED, finished_at=NOW) if job_id == "over" else Job(Stage.RUNNING)

    fake = cast(Any, Fake)()
    assert not unwritten([BEAD, bead("running")], fake)
    assert unwritten([bead("running"), bead("over")], fake)


def test_a_run_that_ends_while_it_is_asked_about_was_not_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = runner.Setup("true", 1, timedelta(minutes=1), tmp_path, {"XDG_STATE_HOME": str(tmp_path)})
    local = runner.LocalRunner(setup, "queue", cast(Any, None), SYSTEM, str, Log("x", lambda: NOW))
    lock, lives = local.records.create(RECORD), Folder.lives

    def then_ends(folder: Folder, job: str) -> bool:
        lived = lives(folder, job)
        folder.write(replace(RECORD, ended=Ended(3, 1.5, 2.5)))
        return lived

    monkeypatch.setattr(Folder, "lives", then_ends)
    assert local.job("j1").stage is Stage.FAILED
    monkeypatch.undo()
    assert not local.records.lives("j1")  # though its process is still there
    assert [one.job for one in local.records.unfinished("queue")] == ["j1"]  # until a watcher notices
    os.close(lock)


@pytest.mark.parametrize(
    ("psutil", "lives", "stage", "words"),
    [
        (True, True, Stage.STOPPED, "stopped by a signal"),
        (False, False, Stage.STOPPED, "stopped by a signal"),
        (False, True, Stage.UNKNOWN, runner.MAY_LIVE),
    ],
)
def test_a_run_whose_parent_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, psutil: bool, lives: bool, stage: Stage, words: str
) -> None:
    monkeypatch.setattr(processes, "has_psutil", lambda: psutil)
    monkeypatch.setattr(processes, "group_lives", lambda group: lives)
    setup = runner.Setup("true", 1, timedelta(minutes=1), tmp_path, {"XDG_STATE_HOME": str(tmp_path)})
    local = runner.LocalRunner(setup, "queue", cast(Any, None), SYSTEM, str, Log("x", lambda: NOW))
    os.close(local.records.create(replace(RECORD, group=1, boot=record.boot_id())))
    found = local.job("j1")
    assert (found.stage, found.words) == (stage, words)


def test_on_windows_it_is_one_line() -> None:
    code = "import sys; from beads_dispatch import __main__; sys.platform = 'win32'; __main__.main()"
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == "beads-dispatch: it does not run on Windows itself: install it in WSL (docs/laptop.md)\n"
