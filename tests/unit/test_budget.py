"""Hours and a budget hold the queue, and what the agent is to blame for is given back."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import memory
import pytest

from beads_dispatch.core import hours
from beads_dispatch.core.holds import BUDGET, HOURS
from beads_dispatch.jobs.cycle import Cycle
from beads_dispatch.jobs.holding import Holding, all_holds, count_run

NIGHT = hours.parse("19:00-07:00")


def settings(**fields: object) -> Any:
    return SimpleNamespace(**{"hours": None, "per_day": None, **fields})


@pytest.mark.parametrize(
    ("fields", "started", "kinds"),
    [
        ({}, 9, set()),
        ({"hours": NIGHT}, 9, set()),  # it is 22:00
        ({"hours": hours.parse("07:00-19:00")}, 0, {HOURS}),
        ({"per_day": 3}, 2, set()),
        ({"per_day": 3}, 3, {BUDGET}),
        ({"per_day": 0}, 0, {BUDGET}),
        ({"hours": hours.parse("07:00-19:00"), "per_day": 3}, 3, {HOURS, BUDGET}),
    ],
)
def test_what_the_clock_and_the_count_hold(fields: dict[str, object], started: int, kinds: set[str]) -> None:
    queue: Any = memory.MemoryQueue(memory.Database())
    queue.count_runs("2026-11-23", started)
    assert set(all_holds(queue, settings(**fields), lambda: UTC)) == kinds


def test_a_run_is_counted_and_given_back_and_a_new_day_begins_at_none() -> None:
    database = memory.Database()
    queue: Any = memory.MemoryQueue(database)
    outside: Any = SimpleNamespace(queue=queue, clock=SimpleNamespace(zone=lambda: UTC))
    cycle = Cycle(outside, settings(per_day=3), 0.0)
    for more in (1, 1, -1):
        count_run(cycle, more)
    assert (queue.runs_on("2026-11-23"), Holding(cycle).left_today()) == (1, 2)
    database.now += timedelta(days=1)
    assert Holding(cycle).left_today() == 3
    count_run(Cycle(outside, settings(), 0.0), 1)  # without a budget nothing is written
    assert queue.runs_on("2026-11-24") == 0
    assert database.now == datetime(2026, 11, 24, 22, 0, tzinfo=UTC)
