"""Before a claim: would an agent start, and is the bead's last one gone?"""

from beads_dispatch.core import holds, marks, notes
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.errors import ServiceFailed
from beads_dispatch.core.writes import Note
from beads_dispatch.jobs.cycle import Cycle
from beads_dispatch.jobs.holding import Holding
from beads_dispatch.jobs.writing import until_settled


def still_runs(cycle: Cycle, bead: Bead) -> bool:
    """Whether the last job of an open bead is still at work: its agent or a person set it open meanwhile."""
    job_id = marks.last_job(bead) or cycle.outside.runner.job_of(bead)
    if not job_id:
        return False
    from beads_dispatch.core import runs  # most beads have no last job

    if not runs.at_work(cycle.outside.runner.job(job_id), cycle.now(), cycle.settings.threshold):
        return False
    cycle.info("still_runs", f"waiting: its last job {job_id} still runs", bead, job=job_id)
    return True


def note_outage(cycle: Cycle, holding: Holding, bead: Bead, error: ServiceFailed) -> None:
    """Records that a service does not answer: once for an outage, on the bead that met it first.

    How it fails may change from tick to tick; the hold has the last reason, for `status`.
    """
    origin = "/".join(error.url.split("/")[:3])
    cycle.error("service_failed", str(error) if origin in str(error) else f"{error} ({error.url})", bead)
    last, line = holding.service, notes.failed(None, str(error))
    if last is not None and last.reason == line:
        return
    noted = last is not None and _culprit(last.reason) == _culprit(line)
    if holding.set(holds.outage(last, cycle.now(), line, bead.id)) and not noted:
        until_settled(cycle, bead.id, line, Note(line))


def _culprit(line: str) -> list[str]:
    """`dispatch failed: the agent service is not healthy: refused` without how it failed."""
    return line.split(": ")[:2]
