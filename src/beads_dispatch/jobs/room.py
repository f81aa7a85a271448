"""Before a claim: is the bead's last agent gone, and does its record stand?"""

from collections.abc import Mapping, Sequence
from functools import partial

from beads_dispatch.core import holds, ledger, marks, notes
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.errors import ServiceFailed
from beads_dispatch.core.ledger import Entry
from beads_dispatch.core.writes import block_taken_back, block_woken, note
from beads_dispatch.jobs.cycle import Cycle, Outside
from beads_dispatch.jobs.holding import Holding
from beads_dispatch.jobs.housekeeping import carry_out
from beads_dispatch.jobs.writing import until_settled
from beads_dispatch.settings import Settings


def waits_for(outside: Outside, settings: Settings, bead: Bead, known: Entry | None = None) -> str:
    """Return what an open bead's last run keeps it waiting for; empty if nothing does.

    `known`: what the ledger remembers of it, if the bead itself no longer shows that.
    """
    job_id = (known.job if known else "") or marks.last_job(bead) or outside.runner.job_of(bead)
    if not job_id:
        return ""
    from beads_dispatch.core import runs  # most beads have no last job
    from beads_dispatch.core.runner import Stage

    runner, now = outside.runner, outside.queue.now()
    job = runner.job(job_id)
    if runs.at_work(job, now, settings.threshold) or runs.may_begin(job, bead, now):
        return f"its last job {job_id} still runs"
    claim = marks.claim(bead)
    started = known.at if known else claim[1] if claim else None
    if not (runner.follows and job.stage is Stage.DOUBT and started) or now - started > settings.threshold:
        return ""
    # Somebody opened it, and nobody can say whether its agent is gone: a second agent would do the same work.
    return "" if runner.idle() else f"its last job {job_id} may still run (nobody can say: {job.words})"


def is_last_run_gone(cycle: Cycle, bead: Bead, known: Entry | None = None) -> bool:
    """Return whether the bead's last run is over. Log what it waits for if not."""
    why = waits_for(cycle.outside, cycle.settings, bead, known)
    if why:
        cycle.info("still_runs", f"waiting: {why}", bead, job=known.job if known else marks.last_job(bead))
    return not why


def not_taken_back(cycle: Cycle, beads: Sequence[Bead], entries: Mapping[str, Entry]) -> list[Bead]:
    """Return the beads whose record stands. Block each bead that was taken back, once its job is gone."""
    good = []
    for bead in beads:
        known = entries.get(bead.id)
        if not (known and ledger.taken_back(bead, known)):
            good.append(bead)
        elif is_last_run_gone(cycle, bead, known):
            carry_out(cycle, bead, partial(block_taken_back, entry=known), known.job)
    return good


def is_woken(cycle: Cycle, bead: Bead) -> bool:
    """Return whether bd itself has opened a bead that an agent may have. Block it then: it must not start again."""
    if not marks.possibly_dispatched(bead):
        return False
    from beads_dispatch.core import timeline  # most beads have no record of a dispatch

    woken = timeline.woken_by_bd(cycle.outside.queue.events(bead.id))
    if woken:
        carry_out(cycle, bead, partial(block_woken, known=bead))
    return woken


def note_outage(cycle: Cycle, holding: Holding, bead: Bead, error: ServiceFailed) -> None:
    """Record that a service does not answer: once for an outage, on the bead that met it first.

    How it fails may change from tick to tick; the hold keeps the last reason, for `status`.
    """
    origin = "/".join(error.url.split("/")[:3])
    cycle.error("service_failed", str(error) if origin in str(error) else f"{error} ({error.url})", bead)
    last, line = holding.service, notes.failed(None, str(error))
    if last is not None and last.reason == line:
        return
    noted = last is not None and _culprit(last.reason) == _culprit(line)
    if holding.set(holds.outage(last, cycle.now(), line, bead.id)) and not noted:
        until_settled(cycle, bead.id, line, partial(note, line=line))


def _culprit(line: str) -> list[str]:
    """Return `dispatch failed: the agent service is not healthy: refused` without how it failed."""
    return line.split(": ")[:2]
