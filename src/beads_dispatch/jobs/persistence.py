"""What happened is written until it is written: tried again with back-off, each time reading first."""

from collections.abc import Callable

from beads_dispatch.core.errors import Failure
from beads_dispatch.jobs.cycle import Cycle

# bd's circuit breaker stays open for 5 s; an embedded lock can be held for longer than bd's own deadline.
WRITE_SECONDS = 60.0
STOPPING_SECONDS = 30.0  # after a SIGTERM; the pod's grace period allows for it
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 4.0
LEAST_SECONDS = 5.0  # what the last call of bd gets, however late it is

Left = Callable[[], float]  # the seconds that a call of bd may still take


def until_written(cycle: Cycle, bead_id: str, what: str, step: Callable[[Left], bool]) -> bool:
    """Repeats `step` until it returns True. False, and a line in the log, where time runs out.

    The time counts from the answer to the POST, where there was one. A step that returns False is
    repeated at once, one that raises Failure after a pause.
    """
    clock, pause = cycle.outside.clock, FIRST_PAUSE
    left = _time_left(cycle)
    while True:
        problem: Failure | None = None
        try:
            if step(lambda: max(LEAST_SECONDS, left())):
                return True
        except Failure as error:  # NotAsExpected too: another client wrote in between, so read again
            problem = error
        if left() < pause:
            cycle.error("not_written", f"{what}: could not be written: {problem or 'it is lost each time'}", bead_id)
            return False
        if problem:
            clock.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def _time_left(cycle: Cycle) -> Left:
    now = cycle.outside.clock.monotonic
    ends = (now() if cycle.answered_at is None else cycle.answered_at) + WRITE_SECONDS
    heard = False

    def left() -> float:
        nonlocal ends, heard
        if not heard and cycle.outside.stopping():
            ends, heard = min(ends, now() + STOPPING_SECONDS), True
        return ends - now()

    return left
