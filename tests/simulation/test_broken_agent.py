"""An agent that cannot work uses up no beads: it is tried seldom, and once it is repaired all is done."""

from collections.abc import Callable
from typing import Any

import pytest

from beads_dispatch.core.holds import OF_RUNS
from simulation import deliberate
from simulation.agents import BROKEN
from simulation.schedule import outage
from simulation.world import BEGIN, World

WATCH = {"dispatchers": 0, "reapers": 0, "watchers": 1}
CRON = {"dispatchers": 1, "reapers": 1}
MODES = {
    "watch, capacity 1": {**WATCH, "places": 1, "per_tick": 1},
    "watch, capacity 10": {**WATCH, "places": 10, "per_tick": 10},
    "cron, capacity 1": {**CRON, "places": 1, "per_tick": 1},
    "cron, capacity 10, one a tick": {**CRON, "places": 10, "per_tick": 1},
    "cron, capacity 10": {**CRON, "places": 10, "per_tick": 10},
}
HOURS, BEADS, MOST_RUNS = 4, 40, 25
SILENT = ("fails late", "does nothing")  # no words say so: up to three beads are blocked before it shows


def statuses(world: World) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in world.rows.values():
        found[row["status"]] = found.get(row["status"], 0) + 1
    return found


QUICK = ("watch, capacity 10", "cron, capacity 10")  # these show the most runs
GRID = [pytest.param(mode, marks=[] if mode in QUICK else [pytest.mark.slow]) for mode in MODES]
HOLD_SECONDS = 180.0  # a hold of two minutes, and the next tick


@pytest.mark.parametrize("mode", GRID)
@pytest.mark.parametrize("broken", BROKEN)
def test_four_hours_of_an_agent_that_always_fails(broken: str, mode: str) -> None:
    fields: dict[str, Any] = {**MODES[mode], "agent": broken, "beads": BEADS}
    world = outage("", HOURS, **fields)
    assert world.service.started <= MOST_RUNS
    assert statuses(world).get("blocked", 0) <= (3 if broken in SILENT else 0)


@pytest.mark.parametrize("mode", GRID)
@pytest.mark.parametrize("broken", [one for one in BROKEN if one not in SILENT])
def test_once_it_is_repaired_all_is_done_and_no_hold_is_left(broken: str, mode: str) -> None:
    fields: dict[str, Any] = {**MODES[mode], "agent": broken, "beads": 12}
    world = outage("", 12, repaired_after=63 * 60, **fields)
    assert statuses(world) == {"closed": 12}
    assert not [key for key in world.local if key.split(".")[2] in OF_RUNS]


@pytest.mark.parametrize("mode", GRID)
@pytest.mark.parametrize("trouble", ["fails at once", "sounds broken", "leaves", "at fault", "never found"])
def test_a_broken_bead_delays_the_others_by_one_hold_at_most(trouble: str, mode: str) -> None:
    fields: dict[str, Any] = {**MODES[mode], "beads": 12}
    without, world = outage("", 3, **fields), outage("", 3, troublemaker=trouble, **fields)
    assert statuses(world).get("closed") == 11
    assert last_closed(world) - last_closed(without) <= HOLD_SECONDS


def last_closed(world: World) -> float:
    """When the last of the good beads was closed, simulated seconds."""
    ends = [row["updated_at"] for key, row in world.rows.items() if key != "s-0" and row["status"] == "closed"]
    return (max(ends) - BEGIN).total_seconds()


@pytest.mark.parametrize("mode", QUICK)
def test_a_lone_bead_that_sounds_like_a_broken_agent_does_not_hold_the_queue_for_ever(mode: str) -> None:
    fields: dict[str, Any] = {**MODES[mode], "beads": 3}
    assert statuses(outage("", 3, troublemaker="sounds broken", **fields)) == {"closed": 2, "blocked": 1}


CAPACITY_10, CAPACITY_1 = QUICK, ("watch, capacity 1", "cron, capacity 1")


@pytest.mark.parametrize(("fault", "check", "case", "modes"), [
    (deliberate.block_a_bead_for_its_agents_fault, test_four_hours_of_an_agent_that_always_fails, "no login",
     CAPACITY_10),
    (deliberate.let_all_go_after_a_hold, test_four_hours_of_an_agent_that_always_fails, "overloaded", CAPACITY_10),
    (deliberate.forget_that_the_agent_works_again, test_once_it_is_repaired_all_is_done_and_no_hold_is_left, "no login",
     CAPACITY_10),
    (deliberate.try_the_same_bead_after_a_hold, test_a_broken_bead_delays_the_others_by_one_hold_at_most,
     "sounds broken", CAPACITY_1),
], ids=lambda value: getattr(value, "__name__", None))  # fmt: skip
def test_a_deliberate_fault_is_found(
    fault: Callable[[pytest.MonkeyPatch], None], check: Callable[[str, str], None], case: str, modes: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    fault(monkeypatch)
    for mode in modes:
        with pytest.raises(AssertionError):
            check(case, mode)
