"""What a tick does before it selects: notices, ended deferrals, beads that must not run again, and lost records."""

from collections.abc import Callable, Iterable

from beads_dispatch.core import claim, eligibility, marks, notes
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.eligibility import Reason
from beads_dispatch.core.errors import BdFailed, NotAsExpected
from beads_dispatch.jobs.claims import fetch
from beads_dispatch.jobs.cycle import Cycle

NOTICE_SECONDS = 60.0  # what a tick may spend on notices


def notify(cycle: Cycle, beads: Iterable[Bead]) -> None:
    """Writes once, on each bead that a person must fix, why it is not dispatched."""
    for bead, reason in eligibility.needs_notice(beads, cycle.now()):
        if cycle.out_of_time(NOTICE_SECONDS, "the next tick adds the other notices"):
            return
        line = notes.not_dispatched(reason.text)
        try:
            _add_notice(cycle, bead, reason, line)
            cycle.info("notified", line, bead)
        except BdFailed as error:
            cycle.error("not_notified", f"{line}, but that could not be noted: {error}", bead)


def _add_notice(cycle: Cycle, bead: Bead, reason: Reason, line: str) -> None:
    if reason is eligibility.TOO_LARGE:
        cycle.outside.bd.comment(bead.id, notes.TOO_LARGE)
    else:
        cycle.outside.bd.update(bead, note=line)


def tidy(cycle: Cycle, beads: Iterable[Bead], seconds: float) -> None:
    """Restores lost records, blocks the beads that must not run again, and ends the deferrals whose time has come.

    This comes before `bd ready`, because the `ready` of an embedded bd 1.3 opens every deferred bead.
    """
    known, now = tuple(beads), cycle.now()
    work: list[tuple[Bead, Callable[[Cycle, Bead], None]]] = [
        *((bead, _restore) for bead in claim.lost_records(known, now)),
        *((bead, _stop_running) for bead, _ in eligibility.not_again(known, now)),
        *((bead, _end_deferral) for bead in eligibility.expired_deferrals(known, now)),
    ]
    for bead, change in work:
        if cycle.out_of_time(seconds, "the rest is left to the next tick"):
            return
        _try(cycle, bead, change)


def _try(cycle: Cycle, known: Bead, change: Callable[[Cycle, Bead], None]) -> None:
    try:
        bead = known if known.kept_apart else fetch(cycle, known)  # in another table, and never dispatched
        if bead is None or bead.assignee != cycle.settings.assignee:
            raise NotAsExpected
        change(cycle, bead)
    except NotAsExpected:
        cycle.info("changed", "changed meanwhile: left alone", known)
    except BdFailed as error:
        cycle.error("not_tidied", f"could not be written: {error}", known)


def _restore(cycle: Cycle, bead: Bead) -> None:
    line, change = claim.lost_record(bead, cycle.now())
    if (line, change) == (None, {}):
        raise NotAsExpected
    cycle.outside.bd.update(bead, note=line, marks=change)
    cycle.info("restored", "the record of its dispatch was lost to another write: written again", bead)


def _stop_running(cycle: Cycle, bead: Bead) -> None:
    found = eligibility.not_again([bead], cycle.now())
    if not found:
        raise NotAsExpected
    _block(cycle, bead, found[0][1].text)


def _end_deferral(cycle: Cycle, bead: Bead) -> None:
    if not eligibility.expired_deferrals([bead], cycle.now()):
        raise NotAsExpected
    if marks.possibly_dispatched(bead):
        _block(cycle, bead, notes.SENT_BEFORE)
    else:
        cycle.outside.bd.update(bead, status="open", marks=marks.reopened(cycle.now()))
        cycle.info("reopened", "its deferral has ended: open again", bead)


def _block(cycle: Cycle, bead: Bead, why: str) -> None:
    line = notes.not_dispatched(why)
    cycle.outside.bd.update(bead, status="blocked", note=line, marks=marks.ended(bead))
    cycle.info("blocked", line, bead, level="warning")
    cycle.notify(bead, "blocked", line)
