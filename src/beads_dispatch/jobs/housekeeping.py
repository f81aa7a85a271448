"""What a tick does before it selects: notices, ended deferrals, beads that must not run again, and lost records."""

from collections.abc import Iterable
from functools import partial

from beads_dispatch.core import claim, eligibility, notes
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.errors import BdFailed, NotAsExpected
from beads_dispatch.core.writes import Intent, end_deferral, restore, stop_running
from beads_dispatch.jobs.cycle import Cycle
from beads_dispatch.jobs.writing import fetch, once

NOTICE_SECONDS = 60.0  # what a tick may spend on notices


def notify(cycle: Cycle, beads: Iterable[Bead]) -> None:
    """Write once, on each bead that a person must fix, why it is not dispatched."""
    for bead, reason in eligibility.needs_notice(beads, cycle.now()):
        if cycle.out_of_time(NOTICE_SECONDS, "the next tick adds the other notices"):
            return
        line = notes.not_dispatched(reason.text)
        try:
            if reason is eligibility.TOO_LARGE:
                cycle.outside.bd.comment(bead.id, notes.TOO_LARGE)
            else:
                cycle.outside.bd.update(bead, note=line)
            cycle.info("notified", line, bead)
        except BdFailed as error:
            cycle.error("not_notified", f"{line}, but that could not be noted: {error}", bead)


def tidy(cycle: Cycle, beads: Iterable[Bead], seconds: float) -> None:
    """Restore lost records, block the beads that must not run again, and end the deferrals whose time has come.

    This comes before `bd ready`, because the `ready` of an embedded bd 1.3 opens every deferred bead.
    """
    known, now = tuple(beads), cycle.now()
    deferred = eligibility.expired_deferrals(known, now)
    entries = cycle.outside.queue.ledger([bead.id for bead in deferred]) if deferred else {}
    work: list[tuple[Bead, Intent]] = [
        *((bead, restore) for bead in claim.lost_records(known, now)),
        *((bead, stop_running) for bead, _ in eligibility.not_again(known, now)),
        *((bead, partial(end_deferral, entry=entries.get(bead.id))) for bead in deferred),
    ]
    for bead, intent in work:
        if cycle.out_of_time(seconds, "the rest is left to the next tick"):
            return
        carry_out(cycle, bead, intent)


def carry_out(cycle: Cycle, bead: Bead, intent: Intent, job: str = "") -> None:
    """Write what is due on a bead, if it still is, and log what became of it. `job`: for the log."""
    try:
        fresh = bead if bead.kept_apart else fetch(cycle, bead.id)  # in another table, and never dispatched
        written = once(cycle, intent, fresh)
    except NotAsExpected:
        written = None
    except BdFailed as error:
        cycle.error("not_tidied", f"could not be written: {error}", bead)
        return
    if written is None:
        cycle.info("changed", "changed meanwhile: left alone", bead)
    elif written.status == "blocked":
        cycle.info("blocked", written.note or "", bead, level="warning", job=job)
        cycle.notify(bead, "blocked", written.note or "")
    elif written.status == "open":
        cycle.info("reopened", "its deferral has ended: open again", bead)
    else:
        cycle.info("restored", "the record of its dispatch was lost to another write: written again", bead)
