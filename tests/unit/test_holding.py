"""What a tick may hand over by the holds that it reads."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from beads_dispatch.core import marks
from beads_dispatch.core.backoff import USAGE, Hold
from beads_dispatch.core.bead import Bead
from beads_dispatch.jobs.cycle import Cycle
from beads_dispatch.jobs.holding import Holding

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ENDED = Hold(NOW - 5 * MINUTE, 0, "t-1: agent ended: usage limit", "t-1")
CLAIM = {marks.CLAIM: marks.claim_value("abcdef", NOW - 2 * MINUTE)}
FIRST = Bead("t-1", "in_progress", 2, NOW, assignee="agent", metadata=CLAIM)


@pytest.mark.parametrize(("until", "places"), [(ENDED.until, 10), (NOW + MINUTE, 0)])
def test_a_tick_that_finds_the_next_limit_when_the_last_one_is_over_sends_nothing(until: datetime, places: int) -> None:
    """`until`: what is stored by then. A sweep writes the next limit between the tick's two looks."""
    stored, lines = {USAGE: ENDED}, []
    queue = SimpleNamespace(
        holds=lambda: dict(stored), now=lambda: NOW, set_hold=lambda kind, hold: stored.pop(kind) if not hold else None
    )
    clock = SimpleNamespace(monotonic=lambda: 0.0)
    log = SimpleNamespace(info=lambda event, text: lines.append(event))
    outside: Any = SimpleNamespace(queue=queue, clock=clock, log=log, stopping=lambda: False)
    settings: Any = SimpleNamespace(per_tick=10)
    holding = Holding(Cycle(outside, settings, 0.0))
    assert not holding.in_force()
    stored[USAGE] = Hold(until, 0, ENDED.reason, "" if until > NOW else "t-1")
    assert holding.places([FIRST]) == places
    assert lines == ([] if places else ["held"])
    assert bool(stored) is not bool(places)
