"""`stop`: ends a bead's run, and blocks the bead so that nothing starts it again."""

from beads_dispatch.adapters.log import Log
from beads_dispatch.adapters.runner import NOWHERE
from beads_dispatch.commands.wiring import Wiring
from beads_dispatch.core import marks, notes, outcomes
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.errors import Failure
from beads_dispatch.laptop.record import runs_folder
from beads_dispatch.settings import Settings


def stop(text: str, wiring: Wiring, chosen: Settings, log: Log) -> int:
    """Block the bead first: the end of a run whose bead is in progress would open it again. Raise Failure."""
    bd, runs = wiring.bd(chosen), runs_folder(wiring.environ)
    bead = bd.find(text)
    living = [one.job for one in runs.of(bead.id) if runs.lives(one.job)]
    if bead.status != "in_progress" and not living:
        raise Failure(f"{bead.id} is {bead.status}, and no run of it is working on this machine: nothing to stop")
    who = wiring.environ.get("BEADS_ACTOR") or wiring.environ.get("USER") or "a person"
    if bead.status == "in_progress":
        bd.update(bead, status="blocked", note=notes.stopped(who), marks=marks.blocked(bead, outcomes.STOPPED.word))
    asked = [job for job in living if runs.stop(job, f"stopped by {who}")]
    became = "its run is stopped" if asked else _ended(bead, wiring, chosen, log)
    log.info("stopped", f"{became}. To send it again: bd update {bead.id} -s open", bead=bead.id)
    return 0


def _ended(bead: Bead, wiring: Wiring, chosen: Settings, log: Log) -> str:
    """End a run that is not on this machine, if its runner can. Return what became of it."""
    job, runner = marks.job(bead), wiring.runner(chosen, log, waits=False)
    if job and runner is not NOWHERE and runner.stop(job):
        return "its run is stopped"
    if chosen.beadboard_url or chosen.agent_url:
        return (
            f"job {job or 'unknown'} goes on, because the agent service cannot stop one. Restarting it stops all of "
            "its jobs, such as: kubectl rollout restart deployment/claude-agent-service"
        )
    return "if another machine runs it, the watcher there stops it within seconds"
