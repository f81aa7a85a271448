"""One way to write on a bead: read it, ask what is still to be written, write that; once, or until it is written."""

from collections.abc import Callable

from beads_dispatch.core.bead import Bead
from beads_dispatch.core.errors import DoltFailed, Failure
from beads_dispatch.core.writes import Intent, Settled, Write
from beads_dispatch.jobs.cycle import Cycle

# bd's circuit breaker stays open for 5 s; an embedded lock can be held for longer than bd's own deadline.
WRITE_SECONDS = 60.0
STOPPING_SECONDS = 30.0  # after a SIGTERM; the pod's grace period allows for it
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 4.0
LEAST_SECONDS = 5.0  # what the last call of bd gets, however late it is

Left = Callable[[], float]  # the seconds that a call of bd may still take


def fetch(cycle: Cycle, bead_id: str, just_read: Bead | None = None) -> Bead | None:
    """Return the bead as it now is. Raise DoltFailed if another process may hold our lock by now.

    `just_read`: as bd has returned it a moment ago (see `Queue.fetch`).
    """
    locked, bead = cycle.outside.queue.fetch(bead_id, just_read)
    if not locked:
        raise DoltFailed("the lock was lost: another process may hold it")
    return bead


def due(cycle: Cycle, intent: Intent, bead: Bead | None) -> Write | None:
    """Return what is due on a bead that was just read. None: it has changed meanwhile, and is left alone."""
    if bead is None or bead.assignee != cycle.settings.assignee:
        return None
    found = intent(bead, cycle.now())
    return found if isinstance(found, Write) else None


def once(cycle: Cycle, intent: Intent, bead: Bead | None) -> Write | None:
    """Write what is due on a bead that was just read. None: it has changed meanwhile.

    Raise BdFailed; NotAsExpected if another client wrote first.
    """
    found = due(cycle, intent, bead)
    if bead and found:
        cycle.outside.bd.update(bead, status=found.status, note=found.note, marks=found.marks)
    return found


def until_settled(cycle: Cycle, bead_id: str, line: str, intent: Intent) -> bool:
    """Read and write until nothing is left to write. Return False if time ran out. `line`: for the log."""
    tried = False

    def step(left: Left) -> bool:
        nonlocal tried
        bead = _read(cycle, bead_id, left)
        found = intent(bead, cycle.now()) if bead else Settled.LOST
        if bead is None or isinstance(found, Settled):
            if found is Settled.LOST and not tried:
                cycle.outside.log.info("changed", f"changed meanwhile, left as it is ({line})", bead=bead_id)
            return True
        tried = True
        cycle.outside.bd.update(bead, status=found.status, note=found.note, marks=found.marks, within=left())
        return not found.checked

    return until_written(cycle, bead_id, line, step)


def _read(cycle: Cycle, bead_id: str, left: Left) -> Bead | None:
    """Return the bead as it now is, even if our own connection, and with it the lock, is lost. Raise Failure."""
    try:
        return cycle.outside.queue.fetch(bead_id)[1]
    except Failure:
        return cycle.outside.bd.show(bead_id, within=left())


def until_written(cycle: Cycle, bead_id: str, what: str, step: Callable[[Left], bool]) -> bool:
    """Repeat `step` until it returns True. Return False, and log why, if time runs out.

    The time counts from the answer to the start, if there was one. A step that returns False is repeated at once,
    one that raises Failure after a pause.
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
            why = problem or "another client keeps overwriting it"
            cycle.error("not_written", f'gave up recording "{what}": {why}', bead_id)
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
