"""When the watcher takes a snapshot, ticks, sweeps and waits, by a clock that the test sets."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from memory import NOW, Database, MemoryQueue

from beads_dispatch.adapters.agent_service import AgentService
from beads_dispatch.adapters.beadboard_runner import BeadBoardRunner
from beads_dispatch.adapters.clock import Clock
from beads_dispatch.adapters.exchange import Ask
from beads_dispatch.adapters.log import Log
from beads_dispatch.core import pacing
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.beadboard_answers import Reply
from beads_dispatch.core.errors import Failure
from beads_dispatch.core.holds import Hold
from beads_dispatch.core.pacing import Came
from beads_dispatch.core.runner import Job, Outcome, Stage
from beads_dispatch.core.text import utc
from beads_dispatch.jobs import dispatcher, reaper, watcher
from beads_dispatch.jobs.following import Follower
from beads_dispatch.jobs.sweeping import Sweeping
from beads_dispatch.jobs.ticking import Ticking
from beads_dispatch.jobs.watched_database import WatchedDatabase
from beads_dispatch.jobs.watching import Jobs

MINUTE = timedelta(minutes=1)


@dataclass
class Watched:
    """A watcher on a database in memory; `tick` and `sweep` are what the test makes of them."""

    database: Database = field(default_factory=Database)
    tick: Callable[[], dispatcher.Report] = dispatcher.Report
    sweep: Callable[[], reaper.Report] = reaper.Report
    places: Callable[[], bool] | None = None  # whether the agent service has one, where it is known
    seconds: float = 1000.0
    wall: float = 5_000_000.0
    ticks: list[float] = field(default_factory=list)
    sweeps: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        clock = Clock(lambda: datetime.fromtimestamp(self.wall, UTC), lambda: self.seconds, self.sleep)
        jobs = Jobs(
            open_queue=lambda: MemoryQueue(self.database),
            tick=self._tick,
            sweep=self._sweep,
            threshold=30 * MINUTE,
            clock=clock,
            jitter=lambda least, most: (least + most) / 2,
            log=Log("watcher", clock.now),
            follower=None if self.places is None else Follower(self._service(), clock, 30 * MINUTE),
        )
        database = WatchedDatabase(jobs, MemoryQueue(self.database))
        self.work = watcher._Watcher(jobs, database, Ticking(jobs), Sweeping(jobs))

    def _service(self) -> BeadBoardRunner:
        def request(ask: Ask) -> Reply:
            return Reply(200, json.dumps({"busy": not (self.places and self.places())}))

        return BeadBoardRunner(None, AgentService("http://agents", lambda: "", request, print, lambda: self.seconds))

    def _tick(self) -> dispatcher.Report:
        self.ticks.append(self.seconds)
        return self.tick()

    def _sweep(self, gone: frozenset[str]) -> reaper.Report:
        self.sweeps.append(self.seconds)
        return self.sweep()

    def turn(self, seconds: int = 1) -> None:
        """Takes this many turns, one a second."""
        for _ in range(seconds):
            self.work.turn()
            self.seconds += 1
            self.sleep(1)

    def sleep(self, seconds: float) -> None:
        """Advances the time of day, but not the monotonic clock."""
        self.wall += seconds
        self.database.now += timedelta(seconds=seconds)


def between(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times)]


def test_while_nothing_changes_it_reads_the_fingerprint_only_and_a_snapshot_every_five_minutes() -> None:
    watched = Watched()
    watched.turn(299)
    assert (watched.database.fingerprints, watched.database.reads) == (299, 1)
    watched.turn(2)
    assert watched.database.reads == 2
    assert (watched.ticks, watched.sweeps) == ([], [])


def test_a_change_costs_one_snapshot_and_a_new_bead_one_tick() -> None:
    watched = Watched()
    watched.turn(3)
    watched.database.put("a", status="closed")
    watched.turn(3)
    assert (watched.database.reads, watched.ticks) == (2, [])
    watched.database.put("b")
    watched.turn(3)
    assert watched.database.reads == 3
    assert watched.ticks == [1006.0]  # it changed nothing: bd did not call the bead ready


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"beads_dispatch.retry_after": utc(NOW + 2 * MINUTE)}},
        {"metadata": {"beads_dispatch.runs": 2, "beads_dispatch.claim": f"tabcdef {utc(NOW)}"}},
        {"defer_until": NOW + 2 * MINUTE},
        {"defer_until": NOW + 2 * MINUTE, "status": "deferred"},
    ],
)
def test_it_waits_for_the_end_of_a_back_off_a_hold_or_a_deferral(fields: dict[str, object]) -> None:
    watched = Watched()
    watched.database.put("a", **fields)
    watched.turn(120)
    assert (watched.database.reads, watched.ticks) == (1, [])
    watched.turn(2)
    assert watched.ticks == [1120.0]


def test_it_asks_for_room_again_and_sooner_after_an_agent_has_ended() -> None:
    watched = Watched(tick=lambda: dispatcher.Report(Came.BUSY))
    watched.database.put("a")
    watched.database.put("b", status="in_progress")
    watched.turn(35)
    assert between(watched.ticks) == [3, pacing.ROOM_SECONDS, pacing.ROOM_SECONDS]
    watched.database.set("b", status="closed")
    watched.turn(4)
    assert watched.ticks[-1] == 1000 + 35 + 3  # once BeadBoard has forgotten its status


def test_a_free_place_is_filled_at_the_next_turn_where_the_agent_service_counts_them() -> None:
    watched = Watched(tick=lambda: dispatcher.Report(Came.FULL), places=lambda: watched.seconds >= 1007)
    watched.database.put("a")
    watched.work.ticking.came, watched.work.ticking.times = Came.FULL, 1
    watched.turn(8)
    assert watched.ticks == [1000, 1007]


def test_a_service_that_is_busy_for_another_reason_is_not_asked_each_second() -> None:
    watched = Watched(tick=lambda: dispatcher.Report(Came.BUSY), places=lambda: True)
    watched.database.put("a")
    watched.turn(33)
    assert between(watched.ticks) == [3, pacing.ROOM_SECONDS]


def test_a_backlog_goes_on_without_a_pause_where_the_agent_service_counts_its_places() -> None:
    watched = Watched(places=lambda: True)

    def tick() -> dispatcher.Report:
        watched.database.set("a", priority=len(watched.ticks))  # a tick writes
        return dispatcher.Report(Came.SENT, answers=[Outcome.ACCEPTED])

    watched.tick = tick
    watched.database.put("a")
    for _ in range(3):
        watched.work.turn()
        assert watched.work.ticking.goes_on
    assert watched.ticks == [1000.0] * 3
    watched.database.gone = True  # the simulation found a watcher that never paused again
    watched.work.turn()
    assert not watched.work.ticking.goes_on
    watched.database.gone = False
    watched.seconds += 60
    watched.database.set("a", status="in_progress")
    watched.work.turn()
    assert not watched.work.ticking.goes_on


def test_after_a_dispatch_it_waits_until_beadboard_has_forgotten_its_status() -> None:
    watched = Watched()

    def tick() -> dispatcher.Report:
        watched.database.set("a", priority=len(watched.ticks))  # a tick writes
        return dispatcher.Report(Came.SENT, answers=[Outcome.ACCEPTED])

    watched.tick = tick
    watched.database.put("a")
    watched.turn(7)
    assert between(watched.ticks) == [3, 3]


@pytest.mark.parametrize("outcome", [Outcome.BUSY, Outcome.NOT_STARTED, Outcome.UNCLEAR])
def test_the_queue_waits_even_where_its_hold_could_not_be_written(outcome: Outcome) -> None:
    watched = Watched()

    def tick() -> dispatcher.Report:
        watched.database.set("a", notes="a claim, and what became of it")
        return dispatcher.Report(Came.HELD, failed=outcome is not Outcome.BUSY, answers=[outcome])

    watched.tick = tick
    watched.database.put("a", metadata=None)
    watched.turn(300)
    assert between(watched.ticks) == [120, 120]


def test_once_a_person_has_ended_the_hold_a_tick_runs_at_once() -> None:
    watched = Watched()

    def tick() -> dispatcher.Report:
        watched.database.holds["service"] = Hold(watched.database.now + 2 * MINUTE, 1, "down")
        watched.database.set("a", notes="a claim, and what became of it")
        return dispatcher.Report(Came.HELD, failed=True, answers=[Outcome.NOT_STARTED])

    watched.tick = tick
    watched.database.put("a")
    watched.turn(20)
    watched.database.holds["service"] = Hold(watched.database.now, 1, "down")  # as `resume` leaves it
    watched.database.set("a", notes="the hold is over")
    watched.turn(2)
    assert watched.ticks == [1000, 1020]


def test_beads_that_are_refused_for_their_own_fault_do_not_slow_the_next_one() -> None:
    watched = Watched()

    def tick() -> dispatcher.Report:
        watched.database.put(f"another {len(watched.ticks)}")
        return dispatcher.Report(Came.SENT, failed=True, answers=[Outcome.BEAD_AT_FAULT])

    watched.tick = tick
    watched.database.put("a")
    watched.turn(30)
    assert set(between(watched.ticks)) == {3}


def test_a_bead_that_is_not_ready_does_not_cost_a_call_of_bd_at_every_change() -> None:
    watched = Watched(tick=lambda: dispatcher.Report(Came.NOT_READY, not_ready=frozenset({"a"})))
    watched.database.put("a")
    for _ in range(30):
        watched.database.put("another", status="closed")
        watched.turn()
    assert between(watched.ticks) == [3] * 9


def test_after_a_laptop_slept_it_takes_a_snapshot_at_once_and_gives_the_agents_time() -> None:
    watched = Watched()
    watched.database.put("a", status="in_progress")
    watched.turn(2000)
    reads, sweeps = watched.database.reads, len(watched.sweeps)
    watched.sleep(3600)
    watched.turn(2)
    assert watched.database.reads == reads + 1
    watched.turn(590)
    assert len(watched.sweeps) == sweeps
    watched.turn(20)
    assert len(watched.sweeps) == sweeps + 1


def test_ticks_that_fail_and_send_nothing_run_less_and_less_often() -> None:
    watched = Watched(tick=lambda: dispatcher.Report(Came.FAILED, failed=True))
    watched.database.put("a")
    watched.turn(400)
    waits = between(watched.ticks)
    assert waits[:4] == [3, 3, 4, 8]
    assert waits[-1] == pacing.LONGEST_PAUSE
    watched.tick = lambda: dispatcher.Report(Came.SENT, failed=True, answers=[Outcome.ACCEPTED])
    watched.turn(120)
    assert watched.work.ticking.came is not Came.FAILED


def test_once_the_database_answers_again_a_tick_that_failed_with_it_runs_at_once() -> None:
    watched = Watched(tick=lambda: dispatcher.Report(Came.FAILED, failed=True))
    watched.database.put("a")
    watched.turn(400)
    watched.database.gone = True
    watched.turn()
    watched.database.gone = False
    watched.turn(2)
    assert watched.ticks[-1] >= 1401


def test_a_new_bead_does_not_wait_for_the_failures_of_another() -> None:
    watched = Watched(tick=lambda: dispatcher.Report(Came.FAILED, failed=True))
    watched.database.put("a")
    watched.turn(400)
    watched.database.put("b")
    watched.turn(5)
    assert watched.ticks[-1] == 1400 + 3  # once BeadBoard has forgotten its status


def test_a_job_that_fails_does_not_end_the_watcher(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> dispatcher.Report:
        raise Failure("no way on")

    watched = Watched(tick=broken)
    watched.database.put("a")
    watched.turn(2)
    assert capsys.readouterr().err == "watcher: no way on\n"


def test_a_lost_database_is_reported_once_and_asked_less_and_less_often(capsys: pytest.CaptureFixture[str]) -> None:
    watched = Watched()
    watched.turn()
    queues = [watched.work.database.queue]
    watched.database.gone = True
    watched.turn(300)
    queues.append(watched.work.database.queue)
    assert capsys.readouterr().err == "watcher: Dolt at nowhere: refused (asking until it answers)\n"
    assert 20 <= watched.work.database.failures <= 40
    assert queues[0] is not queues[1]
    watched.turn(310)
    assert capsys.readouterr().err == "watcher: Dolt at nowhere: refused (asking until it answers)\n"  # a reminder
    watched.database.gone = False
    watched.turn(16)
    assert capsys.readouterr().out == "watcher: the database answers again\n"


def test_it_sweeps_at_the_moment_a_bead_becomes_stale_and_again_while_it_is() -> None:
    watched = Watched()
    watched.database.put("a", status="in_progress")
    watched.turn(1800)
    assert watched.sweeps == []
    watched.turn(1300)
    assert watched.sweeps[0] == 1000 + 1801
    assert between(watched.sweeps) == [600, 600]


@pytest.mark.parametrize(("minutes", "seconds"), [(30, 600), (300, 600), (15, 300), (0.02, 5)])
def test_how_often_it_sweeps(minutes: float, seconds: float) -> None:
    assert pacing.sweep_every(timedelta(minutes=minutes)) == seconds


def test_what_can_wait_is_no_work_for_a_tick() -> None:
    database = Database()
    database.put("a", acceptance_criteria="", notes="not dispatched: no acceptance criteria")
    database.put("b", status="blocked")
    assert not pacing.has_work(database.beads.values(), database.holds, NOW)
    database.put("c", acceptance_criteria="")
    assert pacing.has_work(database.beads.values(), database.holds, NOW)  # it needs a notice


def test_a_hold_delays_eligible_beads_but_not_notices() -> None:
    database = Database()
    database.put("a")
    database.holds["service"] = Hold(NOW + MINUTE, 1, "down")
    assert not pacing.has_work(database.beads.values(), database.holds, NOW)
    assert pacing.has_work(database.beads.values(), database.holds, NOW + MINUTE)
    database.put("b", acceptance_criteria="")
    assert pacing.has_work(database.beads.values(), database.holds, NOW)


def test_a_second_watcher_waits_reports_that_once_and_takes_over(capsys: pytest.CaptureFixture[str]) -> None:
    database = Database()
    first, second = Watched(database), Watched(database)
    database.put("t-1")
    for _ in range(3):
        first.turn()
        second.turn()
    assert (len(first.ticks), second.ticks, second.work.turn()) == (1, [], True)  # its database answers
    database.put("t-2")
    first.work.database.queue.close()
    second.turn(3)
    assert len(second.ticks) == 1
    first.work.database.locked = None  # as after an outage
    database.put("t-3")
    first.turn(3)
    assert len(first.ticks) == 1
    line = "another watcher is at work (somebody): waiting until it ends"
    assert capsys.readouterr().out.splitlines() == [
        f"watcher: {line}",
        "watcher: the other watcher has ended: watching now",
        f"watcher: {line}",
    ]


def test_after_an_outage_the_lock_is_taken_anew() -> None:
    first = Watched()
    first.turn()
    first.database.gone = True
    first.turn()
    assert first.database.locks == {}
    first.database.gone = False
    first.turn(5)
    assert "watcher" in first.database.locks


@pytest.mark.parametrize("here", [True, False])
def test_only_a_runner_that_is_here_is_asked_anew_right_before_a_tick(here: bool) -> None:
    """Its place is free at once, and the next bead must not go into what the last run has met."""
    jobs = iter([Job(Stage.RUNNING, started_at=NOW), Job(Stage.FAILED, finished_at=NOW)])
    runner: Any = SimpleNamespace(here=here, job_of=lambda bead: "7", job=lambda job: next(jobs))
    follower = Follower(runner, Clock(lambda: NOW, lambda: 1000.0, print), 30 * MINUTE)
    bead = Bead("t-1", "in_progress", 2, NOW)
    assert not follower.found_end([bead], NOW, eager=False)
    assert follower.found_end([bead], NOW, eager=True) is here
