"""The clock: the only module that reads the time."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo


@dataclass(frozen=True, slots=True)
class Clock:
    """`now`: the time of day, aware, UTC. `monotonic`: seconds that never go back. `sleep`: waits so many seconds.

    `zone`: this machine's own, for a time that names none.
    """

    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]
    zone: Callable[[], tzinfo] = lambda: UTC


def _local_zone() -> tzinfo:
    from dateutil.tz import tzlocal

    return tzlocal()


SYSTEM = Clock(lambda: datetime.now(UTC), time.monotonic, time.sleep, _local_zone)
