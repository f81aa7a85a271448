"""The laptop agent's decisions: what a job has lost, what is kept of its output and of its log files."""

import itertools
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from beads_dispatch.adapters.bd.verbs import Bd
from beads_dispatch.adapters.clock import Clock
from beads_dispatch.adapters.log import Log
from beads_dispatch.core import marks
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.errors import BdFailed
from beads_dispatch.core.runner import Stage
from beads_dispatch.laptop import jobs as module
from beads_dispatch.laptop import logs, processes
from beads_dispatch.laptop.jobs import Jobs, span
from beads_dispatch.laptop.output import Output, Tail
from beads_dispatch.laptop.runner import LocalRunner
from beads_dispatch.laptop.supervisor import Supervisor, lost_reason

NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)
BEAD = Bead("t-1", "in_progress", 2, NOW, assignee="agent")


@pytest.mark.parametrize(
    ("start", "now", "why"),
    [
        ({}, {}, ""),
        ({}, {"status": "closed"}, "its bead is closed"),
        ({}, {"status": "blocked"}, "its bead is blocked"),
        ({}, {"status": "open"}, ""),
        ({}, {"status": "deferred"}, ""),
        ({}, {"assignee": ""}, "its bead is assigned to nobody now"),
        ({}, {"assignee": "eve"}, "its bead is assigned to eve now"),
        ({}, {"assignee": "eve", "status": "closed"}, "its bead is assigned to eve now"),
        ({"status": "blocked"}, {"status": "blocked"}, ""),  # somebody dispatched it by hand
        ({"status": "blocked"}, {"status": "closed"}, "its bead is closed"),
        ({"assignee": ""}, {"assignee": ""}, ""),
    ],
)
def test_whether_a_job_may_continue(start: dict[str, str], now: dict[str, str], why: str) -> None:
    assert lost_reason(replace(BEAD, **start), replace(BEAD, **now)) == why


@pytest.mark.parametrize(
    ("chunks", "text", "lines"),
    [
        ([], "", []),
        ([b"a\n", b"b"], "a\nb", ["a\n", "b"]),
        ([b"0123456789"], "0123456789", ["0123456789"]),
        ([b"01234\n", b"56789"], "56789", ["56789"]),
        ([b"x" * 100, b"0123456789"], "0123456789", ["0123456789"]),
        ([b"x" * 100, b"\nabc\xc3", b"\xbc\x0bd\n"], "abc\u00fc\x0bd\n", ["abc\u00fc\x0bd\n"]),
        ([b"\xff\n"], "\ufffd\n", ["\ufffd\n"]),
    ],
)
def test_the_last_part_of_a_stream(chunks: list[bytes], text: str, lines: list[str]) -> None:
    tail = Tail(10)
    for chunk in chunks:
        tail.add(chunk)
    assert (tail.text(), tail.lines()) == (text, lines)


def test_a_log_file_does_not_fill_the_disk(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        output = Output(file, left=10)
        for chunk in (b"0123", b"456789abc", b"def"):
            output._keep(chunk)
    assert (tmp_path / "log").read_bytes() == b"0123456789\nbeads-agent: the rest is not kept\n"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0s"), (59.9, "59s"), (60, "1m"), (5400, "1h 30m")])
def test_how_long(seconds: float, text: str) -> None:
    assert span(seconds) == text


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


@dataclass
class Times:
    """A clock that is set. Its sleep lets a real process end, too."""

    now: datetime = NOW
    monotonic: float = 0.0

    def sleep(self, seconds: float) -> None:
        self.monotonic += seconds
        time.sleep(0.05)


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def jobs(tmp_path: Path, times: Times, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    monkeypatch.setattr(module, "DRAIN_SECONDS", 120.0)  # a busy machine may need more than its half second
    clock, ids = (
        Clock(lambda: times.now, lambda: times.monotonic, times.sleep),
        map("{:012x}".format, itertools.count()),
    )
    return Jobs("true", 9, {"HOME": str(tmp_path)}, tmp_path, clock, lambda: next(ids), Log("x", lambda: NOW))


def run(jobs: Jobs) -> str:
    job = jobs.start(BEAD)
    assert job
    until = time.monotonic() + 120
    while jobs.running():
        assert time.monotonic() < until
        time.sleep(0.01)
    return job


def test_an_ended_job_is_known_for_an_hour(jobs: Jobs, times: Times) -> None:
    job = run(jobs)
    times.monotonic += 3600
    times.now += timedelta(days=2)  # the laptop slept
    assert jobs.get(job)
    times.monotonic += 1
    assert jobs.get(job) is None


def test_a_laptop_s_sleep_does_not_count_as_time_at_work(jobs: Jobs, times: Times) -> None:
    jobs.command = "sleep 300"
    assert jobs.start(BEAD)
    (job,) = jobs.running()
    times.monotonic += 240
    times.now += timedelta(hours=9)
    assert jobs.described(job).started_at == datetime(2026, 11, 25, 16, 56, tzinfo=UTC)
    processes.end([job.process], jobs.clock)


def test_a_job_of_another_machine_is_not_lost(jobs: Jobs) -> None:
    jobs.mine = "abcd"
    job = run(jobs)
    assert job.startswith("abcd")
    local = LocalRunner(jobs)
    assert [local.job(one).stage for one in (job, "abcd0", "0123")] == [
        Stage.COMPLETED, Stage.UNKNOWN, Stage.FOREIGN,
    ]  # fmt: skip


def test_only_so_many_ended_jobs_are_known(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_JOBS", 2)
    made = [run(jobs) for _ in range(3)]
    assert [jobs.get(job) is not None for job in made] == [False, True, True]


def test_what_is_known_of_an_ended_job(jobs: Jobs) -> None:
    job = jobs.get(run(jobs))
    assert job
    known = jobs.described(job)
    assert (known.stage, known.exit_code, known.finished_at) == (Stage.COMPLETED, 0, NOW)


def test_none_starts_after_the_end(jobs: Jobs) -> None:
    jobs.close()
    assert jobs.start(BEAD) is None


def test_what_cannot_start_leaves_no_log(jobs: Jobs, tmp_path: Path) -> None:
    jobs.folder = tmp_path / "gone"
    with pytest.raises(FileNotFoundError):
        jobs.start(BEAD)
    assert list(logs.folder(jobs.environ).iterdir()) == []
    assert jobs.running() == []


@dataclass
class Shown:
    """What bd shows of the bead. None: bd fails."""

    times: Times
    bead: Bead | None = BEAD
    asked: list[float] = field(default_factory=list)

    def show(self, _: str, within: float | None = None) -> Bead:
        self.asked.append(self.times.monotonic)
        if self.bead is None:
            raise BdFailed("bd: broken")
        return self.bead


@dataclass
class Supervised:
    supervisor: Supervisor
    times: Times
    bd: Shown

    def at(self, second: float) -> str:
        """The job's status after a turn at that second."""
        self.times.monotonic = second
        self.supervisor.turn()
        (job,) = self.supervisor.jobs.known.values()
        return job.status


@pytest.fixture
def supervised(jobs: Jobs, times: Times) -> Iterator[Supervised]:
    jobs.command = "sleep 300"
    bd = Shown(times)
    one = Supervisor(jobs, cast(Bd, bd), jobs.clock, timedelta(minutes=30))
    one.turn()
    assert bd.asked == []  # nothing runs
    jobs.start(BEAD)
    yield Supervised(one, times, bd)
    bd.bead = replace(BEAD, status="closed")
    one.stop()


def test_a_job_is_ended_a_minute_after_its_bead_was_lost(supervised: Supervised) -> None:
    supervised.bd.bead = replace(BEAD, assignee="")
    assert [supervised.at(second) for second in (0, 15, 30, 59.9)] == ["running"] * 4
    assert supervised.at(75) == "failed"


def test_a_bead_that_comes_back_in_time_keeps_its_job(supervised: Supervised) -> None:
    supervised.bd.bead = replace(BEAD, status="blocked")
    assert [supervised.at(second) for second in (0, 15, 30, 45)] == ["running"] * 4
    supervised.bd.bead = BEAD
    assert supervised.at(60) == "running"
    supervised.bd.bead = replace(BEAD, status="blocked")
    assert [supervised.at(second) for second in (75, 90, 134)] == ["running"] * 3


def test_a_bd_that_fails_ends_nothing(supervised: Supervised) -> None:
    supervised.bd.bead = None
    assert [supervised.at(second) for second in (0, 100, 1000)] == ["running"] * 3


def test_bd_is_asked_every_15_seconds_at_most(supervised: Supervised) -> None:
    for second in range(50):
        supervised.at(second)
    assert supervised.bd.asked == [0, 15, 30, 45]


def test_a_timeout(supervised: Supervised) -> None:
    assert [supervised.at(second) for second in (0, 1799.9, 1800)] == ["running", "running", "timeout"]


def test_a_folder_of_logs_that_cannot_be_looked_into_has_none(tmp_path: Path) -> None:
    assert logs.of(tmp_path / ("x" * 300), "t-1") == []  # HOME may be another user's; root may look into that one


@dataclass
class Written(Shown):
    """A bd that also keeps what is written."""

    writes: list[dict[str, object]] = field(default_factory=list)

    def update(self, _: Bead, **change: object) -> None:
        self.writes.append(change)


FAILED = "agent ended: failed (exit 3) after Ns: no"
STOPPED = "agent ended: stopped with the laptop agent after Ns"


def result(**fields: object) -> str:
    return json.dumps({"type": "result", **fields})


@pytest.mark.parametrize(
    ("command", "ends", "fields", "status", "line"),
    [
        ("sleep 300", False, {}, "blocked", STOPPED),
        ("sleep 300", False, {"status": "open", "metadata": {}}, None, STOPPED),
        ("sleep 300", False, {"status": "blocked"}, None, None),
        ("sleep 300", False, {"status": "closed"}, None, None),
        ("sleep 300", False, {"metadata": {marks.JOB: '"other"'}}, None, None),
        ("echo no >&2; exit 3", True, {}, "open", f"{FAILED} (open again, attempt 1 of 3)"),
        ("true", True, {}, "blocked", "agent ended: completed after Ns, bead not closed"),
        ("true", True, {"status": "closed"}, None, None),
        (
            "printf %s '" + result(result="You have hit your limit, resets 9am (UTC)", is_error=True) + "'; exit 1",
            True, {}, "open", "agent ended: usage limit, resets 2026-11-25T09:00Z (open again)",
        ),
    ],
)  # fmt: skip
def test_what_becomes_of_a_bead_when_its_agent_is_stopped(
    jobs: Jobs, times: Times, command: str, ends: bool, fields: dict[str, object], status: str | None, line: str | None
) -> None:
    bd = Written(times)
    one = Supervisor(jobs, cast(Bd, bd), jobs.clock, timedelta(minutes=30))
    jobs.command = command
    job = run(jobs) if ends else jobs.start(BEAD)
    bd.bead = replace(BEAD, **{"metadata": {marks.JOB: f'"{job}"'}, **fields})  # type: ignore[arg-type]
    one.stop()
    written = [(write.get("status"), re.sub(r"after \d+s", "after Ns", str(write["note"]))) for write in bd.writes]
    assert written == ([(status, line)] if line else [])
