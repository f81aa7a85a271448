"""What a tick would do, printed: no lock and no write, but the services are asked whether there is room."""

from beads_dispatch.adapters.runner import NOWHERE
from beads_dispatch.core import eligibility, marks, notes
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.errors import ServiceFailed
from beads_dispatch.jobs import dispatcher, room
from beads_dispatch.jobs.cycle import Outside
from beads_dispatch.jobs.dispatcher import Report, Tick
from beads_dispatch.settings import Settings


def tick(outside: Outside, settings: Settings) -> Report:
    """Log what a tick would do, without a lock and without a write. Raise Failure if it cannot begin."""
    return dispatcher.run(outside, settings, _show)


def _show(tick: Tick) -> None:
    cycle, beads = tick.cycle, tick.beads
    for bead, reason in eligibility.needs_notice(beads, cycle.now()):
        cycle.info("would_notify", f"would note: {notes.not_dispatched(reason.text)}", bead)
    for bead in eligibility.expired_deferrals(beads, cycle.now()):
        what = "block it, because an agent may have it" if marks.possibly_dispatched(bead) else "open it"
        cycle.info("would_reopen", f"its deferral has ended: would {what}", bead)
    selected = tick.select()
    if selected and _would_have_room(tick, selected[0]):
        for bead in [bead for bead in selected if room.is_last_run_gone(cycle, bead)][: tick.most]:
            cycle.info("would_dispatch", f"would claim and dispatch: {bead.title}", bead)


def _would_have_room(tick: Tick, bead: Bead) -> bool:
    cycle = tick.cycle
    if cycle.outside.runner is NOWHERE:
        cycle.outside.log.info("not_asked", "BEADBOARD_URL is not set: nobody was asked whether there is room")
        return True
    try:
        return tick.ask_for_room(bead)
    except ServiceFailed as error:
        cycle.error("service_failed", f"{error} ({error.url})", bead)
        return False
