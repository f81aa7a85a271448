"""The clock: the only module that reads the time."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Clock:
    """`now`: the time of day, aware, UTC. `monotonic`: seconds that never go back. `sleep`: waits so many seconds."""

    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]


SYSTEM = Clock(lambda: datetime.now(UTC), time.monotonic, time.sleep)
