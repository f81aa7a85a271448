"""`logs`: what a bead's last run on this machine wrote, as a person reads it."""

import shlex
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from beads_dispatch.adapters.clock import SYSTEM
from beads_dispatch.adapters.log import Log
from beads_dispatch.commands.paint import for_terminal
from beads_dispatch.commands.wiring import Wiring
from beads_dispatch.core import marks
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.errors import Ambiguous, Failure
from beads_dispatch.core.rendering import rendered
from beads_dispatch.core.runner import Job, Stage
from beads_dispatch.laptop import logs as files
from beads_dispatch.laptop.record import runs_folder
from beads_dispatch.laptop.runner import summary
from beads_dispatch.settings import Settings

SHOWN_LINES = 40


def logs(args: Namespace, wiring: Wiring, log: Log, answer: Callable[[str], None]) -> int:
    """Print the file's name and the last 40 lines. With --follow, continue until the run has ended."""
    if wiring.environ.get("BEADS_AGENT_CRONJOB"):
        chosen = wiring.settings(log.name, needs_beadboard=False)
        bead = wiring.bd(chosen).find(args.id)
        if not (command := job_log(bead, chosen)):
            raise Failure(f"{bead.id} has no Job: it was not dispatched, or its record was removed")
        answer(command)
        return 0
    folder, runs = files.folder(wiring.environ), runs_folder(wiring.environ)
    path = files.newest(folder, args.id if files.of(folder, args.id) else _whole_id(args.id, wiring, log))
    job, colour = files.job(path), for_terminal(wiring.environ, terminal=sys.stdout.isatty()).on
    answer(str(path))
    shown: list[str] = []
    for lines in files.read(path, lambda: args.follow and runs.lives(job), SYSTEM.sleep):
        new = [text for line in lines for text in rendered(line, colour=colour)]
        for text in new if shown else new[-SHOWN_LINES:]:
            answer(text)
        shown += new
    record = runs.read(job)
    ended = record.ended if record else None
    if not any(shown):
        answer("(it wrote nothing)" if ended else "(it has written nothing yet)")
    if args.follow and record and ended:
        answer(f"({summary(record, ended)})")
    return 0


def job_log(bead: Bead, chosen: Settings) -> str:
    """Return the command that shows the log of the bead's Job; empty if it has none, or agents are no Jobs."""
    if chosen.cron_job is None:
        return ""
    from beads_dispatch.core.kubernetes_jobs import job_of, log_command

    job = job_of(bead)
    return log_command(job, chosen.cron_job[0]) if job else ""


def command(bead: Bead, chosen: Settings, environ: Mapping[str, str]) -> str:
    """Return the command that shows what the bead's last run wrote; empty if nothing here knows it."""
    here = f"beads-dispatch logs {shlex.quote(bead.id)}" if files.of(files.folder(environ), bead.id) else ""
    return job_log(bead, chosen) or here


def _whole_id(text: str, wiring: Wiring, log: Log) -> str:
    """Return the id that a person has shortened; the text itself if bd cannot say. Raise Ambiguous."""
    try:
        return wiring.bd(wiring.settings(log.name, needs_beadboard=False)).find(text).id
    except Ambiguous:
        raise
    except Failure:
        return text


def last_lines(environ: Mapping[str, str], bead: Bead) -> list[str]:
    """Return the end of what the bead's last run on this machine wrote, as a person reads it. Raise Failure."""
    paths = files.of(files.folder(environ), bead.id)
    lines = [line for part in files.read(paths[-1], lambda: False, SYSTEM.sleep) for line in part] if paths else []
    return [text for line in lines[-10 * SHOWN_LINES :] for text in rendered(line)][-SHOWN_LINES:]


def last_line(environ: Mapping[str, str], bead: Bead) -> str:
    """Return the last line of a run of this machine, as a person reads it; nothing if it has none yet."""
    folder, job = files.folder(environ), marks.job(bead)
    try:
        path = next((one for one in files.of(folder, bead.id) if files.job(one) == job), None)
        lines = next(files.read(path, lambda: False, SYSTEM.sleep), []) if path else []
    except Failure:
        return ""
    shown = (text for line in reversed(lines) for text in reversed(rendered(line)))
    return next(filter(str.strip, shown), "").strip()


def at_work(environ: Mapping[str, str], job: str) -> Job | None:
    """Return the job of a run of this machine whose process lives, or None."""
    runs = runs_folder(environ)
    record = runs.read(job) if runs.lives(job) else None
    return Job(Stage.RUNNING, started_at=datetime.fromtimestamp(record.started_at, UTC), timed=True) if record else None
