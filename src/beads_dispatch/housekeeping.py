"""What a tick does before it selects: notices on beads that a person must fix, and deferrals that have ended."""

from collections.abc import Iterable

from beads_dispatch.claims import fetch
from beads_dispatch.core import eligibility, notes
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.eligibility import Reason
from beads_dispatch.cycle import Cycle
from beads_dispatch.errors import BdFailed, NotAsExpected

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


def reopen_deferred(cycle: Cycle, beads: Iterable[Bead], seconds: float) -> None:
    """Opens each bead whose deferral has ended, or blocks it where it was dispatched before.

    This comes before `bd ready`, because the `ready` of an embedded bd 1.3 opens both kinds.
    """
    for bead in eligibility.expired_deferrals(beads, cycle.now()):
        if cycle.out_of_time(seconds, "the rest is left to the next tick"):
            return
        try:
            _reopen(cycle, bead)
        except NotAsExpected:
            cycle.info("changed", "changed meanwhile: left alone", bead)
        except BdFailed as error:
            cycle.error("not_reopened", f"its deferral has ended, but that could not be written: {error}", bead)


def _reopen(cycle: Cycle, known: Bead) -> None:
    bead = known if known.ephemeral else fetch(cycle, known)  # a wisp is in another table, and is never dispatched
    if bead is None or bead.assignee != cycle.settings.assignee:
        raise NotAsExpected
    if not eligibility.expired_deferrals([bead], cycle.now()):
        raise NotAsExpected
    if notes.possibly_dispatched(bead.notes):
        line = notes.not_dispatched(notes.SENT_BEFORE)
        cycle.outside.bd.update(bead, status="blocked", note=line)
        cycle.info("blocked", line, bead, level="warning")
    else:
        cycle.outside.bd.update(bead, status="open")
        cycle.info("reopened", "its deferral has ended: open again", bead)
