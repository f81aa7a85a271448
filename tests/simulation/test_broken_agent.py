"""An agent that cannot work uses up no beads: it is tried seldom, and once it is repaired all is done."""

from typing import Any

import pytest

from beads_dispatch.core.holds import OF_RUNS
from simulation.agents import BROKEN
from simulation.schedule import outage
from simulation.world import World

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
