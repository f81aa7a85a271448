"""A long outage costs few requests, few notes, and nothing twice."""

import pytest

from simulation.schedule import outage

WATCHER = {"dispatchers": 0, "reapers": 0, "watchers": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "hours", "requests", "watched", "characters"),
    [
        ("board", 2, 1600, 2700, 200),  # it may be waking up: its status is asked each second, for 45 s
        ("service", 12, 80, 240, 200),
        ("Dolt", 168, 0, 0, 0),
        ("bd", 24, 0, 0, 0),
        ("Invalid token", 48, 10, 10, 2500),  # a dispatch that is tried each hour: a claim and its end, 105 characters
        ("fetch failed", 24, 5, 5, 500),
        ("Queue full", 168, 10, 10, 20_000),  # BeadBoard says free and refuses
    ],
)  # fmt: skip
def test_an_outage_is_bounded(what: str, hours: int, requests: int, watched: int, characters: int) -> None:
    """`requests`, `watched`: at most so many an hour, by CronJobs and by a watcher. `characters`: in the notes."""
    for most, actors in ((requests, {}), (watched, WATCHER)):
        world = outage(what, hours, **actors)
        assert world.counts["requests"] <= most * hours
        assert max(len(row["notes"]) for row in world.rows.values()) <= characters
