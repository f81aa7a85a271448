"""For how long what happened is written again."""

from types import SimpleNamespace
from typing import Any

import pytest

from beads_dispatch.core.errors import BdFailed
from beads_dispatch.jobs.cycle import Cycle
from beads_dispatch.jobs.writing import until_written


class Tick:
    """A tick's clock and stop signal. `stop_at`: when SIGTERM comes, in seconds after the answer to the POST."""

    def __init__(self, stop_at: float) -> None:
        self.seconds = 0.0
        clock = SimpleNamespace(monotonic=lambda: self.seconds, sleep=self.sleep)
        log = SimpleNamespace(error=lambda *_, **__: None)
        outside: Any = SimpleNamespace(clock=clock, log=log, stopping=lambda: self.seconds >= stop_at)
        self.cycle = Cycle(outside, SimpleNamespace(), 0.0)  # type: ignore[arg-type]
        self.cycle.answered_at = 0.0

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.mark.parametrize(
    ("stop_at", "works_at", "written"),
    [
        (1000, 55, True),
        (1000, 65, False),
        (0, 25, True),
        (0, 35, False),
        (35, 45, True),  # thirty seconds from the signal, not from the answer
        (20, 55, False),
        (58, 65, False),  # and never more than a minute
    ],
)
def test_a_minute_after_the_answer_or_half_of_one_after_a_stop_signal(
    stop_at: float, works_at: float, written: bool
) -> None:
    tick = Tick(stop_at)

    def step(_: object) -> bool:
        if tick.seconds < works_at:
            raise BdFailed("the circuit breaker is open")
        return True

    assert until_written(tick.cycle, "t-1", "a note", step) is written
