"""What a tick would do, printed: no lock and no write, but the services are asked whether there is room."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from beads_dispatch import room
from beads_dispatch.core import backoff, claim, eligibility, notes
from beads_dispatch.core.backoff import USAGE
from beads_dispatch.core.bead import Bead
from beads_dispatch.cycle import Cycle
from beads_dispatch.errors import ServiceFailed

if TYPE_CHECKING:
    from beads_dispatch.dispatcher import _Tick


def rehearse(tick: "_Tick") -> None:
    """Logs what a tick would do."""
    cycle, beads = tick.cycle, tick.beads
    for bead, reason in eligibility.needs_notice(beads, cycle.now()):
        cycle.info("would_notify", f"would note: {notes.not_dispatched(reason.text)}", bead)
    for bead in eligibility.expired_deferrals(beads, cycle.now()):
        what = "block it, because an agent may have it" if claim.possibly_dispatched(bead) else "open it"
        cycle.info("would_reopen", f"its deferral has ended: would {what}", bead)
    selected = tick.select()
    left = _places(tick, selected)
    if selected and left and _would_have_room(cycle, selected[0]):
        for bead in [bead for bead in selected if not room.still_runs(cycle, bead)][:left]:
            cycle.info("would_dispatch", f"would claim and dispatch: {bead.title}", bead)


def _places(tick: "_Tick", selected: Sequence[Bead]) -> int:
    """How many beads would be handed over: `Holding.places`, without its write."""
    allows = backoff.probe(tick.holding.holds.get(USAGE), tick.beads, tick.cycle.now())
    if selected and allows == "none":
        tick.cycle.outside.log.info("held", "waiting: one bead runs first after the usage limit")
    if selected and not tick.cycle.settings.beadboard_url:
        tick.cycle.outside.log.info("not_asked", "BEADBOARD_URL is not set: nobody was asked whether there is room")
    return {"none": 0, "one": 1}.get(allows, tick.cycle.settings.per_tick)


def _would_have_room(cycle: Cycle, bead: Bead) -> bool:
    if not cycle.settings.beadboard_url:
        return True
    try:
        free = cycle.outside.agent_service.has_room() and not cycle.outside.board.busy()
    except ServiceFailed as error:
        cycle.error("service_failed", f"{error} ({error.url})", bead)
        return False
    if not free:
        cycle.info("busy", "waiting: the agent is busy", bead)
    return free
