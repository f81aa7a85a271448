"""The commands: what a person or a CronJob starts."""

import io
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from beads_dispatch.adapters.clock import SYSTEM
from beads_dispatch.adapters.log import Log, leave_termination_message, put
from beads_dispatch.adapters.queue import Queue
from beads_dispatch.adapters.stop import Stop, Stopping
from beads_dispatch.commands.arguments import parser
from beads_dispatch.commands.wiring import Wiring, to_log
from beads_dispatch.core import backoff
from beads_dispatch.core.backoff import Hold
from beads_dispatch.core.errors import Failure, Misconfigured
from beads_dispatch.core.text import utc
from beads_dispatch.jobs.cycle import Outside
from beads_dispatch.settings import Settings

if TYPE_CHECKING:
    from beads_dispatch.commands.table import Look
    from beads_dispatch.jobs import watcher
    from beads_dispatch.jobs.following import Follower
    from beads_dispatch.monitoring.metrics import Metrics

R = TypeVar("R")

NAMES = {
    "tick": "beads-dispatcher", "sweep": "beads-reaper", "watch": "beads-watcher",
    "status": "beads-dispatch", "explain": "beads-dispatch", "resume": "beads-dispatch", "logs": "beads-dispatch",
    "completion": "beads-dispatch", "agent": "beads-agent",
}  # fmt: skip
READS_ONLY = {"status", "explain", "logs", "completion"}  # commands that a stop signal may end anywhere
STOP_SECONDS = 0.2  # how soon the laptop agent notices a stop signal


def main(argv: Sequence[str] | None = None, stop: Stop | None = None) -> int:
    """Runs one command. Returns the exit status: 0 all well, 1 a failure, 2 bad configuration or usage.

    `stop`: listens for the stop signals already.
    """
    _require_streams()
    if not (stop and stop()):
        _require_utf8()
    if stop is None:
        stop = Stop()
        stop.listen()
    args = parser().parse_args(argv)
    answers = args.command in READS_ONLY
    log = Log(NAMES[args.command], SYSTEM.now, os.environ.get("LOG_FORMAT") == "json", answers=answers)
    if answers:
        stop.at_once()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        status = _run(args, os.environ, stop, log)
    except Failure as error:
        log.error("misconfigured" if error.exit_status == 2 else "failed", str(error))
        status = error.exit_status
    if status:
        leave_termination_message(log.failure)
    return status


def _require_streams() -> None:
    """Where a standard stream is closed (`>&-`, some supervisors), /dev/null takes its place.

    Otherwise the first line ends us, and a connection gets its number. No file of ours is open yet.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "r" if number == 0 else "w"))


def _require_utf8() -> None:
    """Starts this process anew with UTF-8 for arguments, names of files and environment, whatever the locale.

    bd and Dolt always speak UTF-8. Under Latin-1 or ASCII not even the dash of our own notes could be passed to bd.
    """
    if sys.getfilesystemencoding() != "utf-8" and sys.executable:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _run(args: Namespace, environ: Mapping[str, str], stopping: Stopping, log: Log) -> int:
    if args.command == "logs":
        return _logs(args.id, environ)
    if args.command == "completion":
        return _completion(args.shell)
    waits = to_log(replace(log, repeats=False))  # a watcher may wait at every turn
    wiring = Wiring(environ, _working_folder(), waits, stopping)
    if args.command == "watch":
        return _watch(args, wiring, log)
    if args.command == "agent":
        return _agent(args, wiring, log)
    ticks = args.command == "tick" and not args.dry_run
    chosen = wiring.settings(log.name, needs_beadboard=ticks)
    if args.command == "status":
        return _status(args, wiring, chosen, log)
    if args.command == "explain":
        return _explain(args.id, wiring, chosen, log)
    if args.command == "resume":
        return _resume(wiring, chosen, log)
    return int(wiring.run(_job(args), chosen, log).exit_status)


def _working_folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise Misconfigured("the working folder has been removed: change to another one") from None


def _job(args: Namespace) -> Callable[[Outside, Settings], Any]:
    if args.command == "sweep":
        from beads_dispatch.jobs import reaper

        return partial(reaper.sweep, dry_run=args.dry_run)
    if args.dry_run:
        from beads_dispatch.jobs import dry_run

        return dry_run.tick
    from beads_dispatch.jobs import dispatcher

    return dispatcher.tick


def _agent(args: Namespace, wiring: Wiring, log: Log) -> int:
    with _serving(args, args.port, wiring, log) as url:
        log.info("listening", f"BEADBOARD_URL={url}")
        while not wiring.stopping():
            SYSTEM.sleep(STOP_SECONDS)
    return 0


def _serving(args: Namespace, port: int, wiring: Wiring, log: Log) -> AbstractContextManager[str]:
    """The laptop agent, while it serves. Yields its URL."""
    from beads_dispatch.laptop import agent
    from beads_dispatch.laptop.jobs import Jobs, prefix
    from beads_dispatch.laptop.supervisor import Supervisor

    if not args.run.strip():
        raise Misconfigured("--command is empty: give the command to run for each bead")
    chosen = wiring.settings(log.name, needs_beadboard=False)
    bd = wiring.bd(chosen)
    bd.check()
    mine = prefix(os.uname().nodename)
    jobs = Jobs(args.run, args.jobs or 1, wiring.environ, wiring.cwd, SYSTEM, lambda: os.urandom(4).hex(), log, mine)
    return agent.serving(port, Supervisor(jobs, bd, SYSTEM, args.timeout or chosen.threshold))


def _logs(bead: str, environ: Mapping[str, str]) -> int:
    from beads_dispatch.laptop import logs

    path = logs.newest(logs.folder(environ), bead)
    _answer(f"{path}\n{logs.end_of(path)}")
    return 0


def _watch(args: Namespace, wiring: Wiring, log: Log) -> int:
    """The watcher alone, or with a laptop agent of its own. The watcher ends first: its step may need an answer."""
    if args.run is None:
        if args.jobs or args.timeout:
            raise Misconfigured("--jobs and --timeout need --command: they are the laptop agent's")
        return _watch_alone(args, wiring, log)
    agent_log = Log(NAMES["agent"], SYSTEM.now, log.as_json)
    # The agent is this process itself.
    wiring = _with(wiring, BEADBOARD_URL="", AGENT_SERVICE_URL="", API_BEARER_TOKEN="")
    with _serving(args, 0, wiring, agent_log) as url:
        wiring = _with(wiring, BEADBOARD_URL=url, AGENT_SERVICE_URL=url)
        return _watch_alone(args, _patient(wiring, args.timeout), log)


def _with(wiring: Wiring, **environ: str) -> Wiring:
    return replace(wiring, environ={**wiring.environ, **environ})


def _patient(wiring: Wiring, timeout: timedelta | None) -> Wiring:
    """No command seems to hang before its own timeout: a running job may take four times the threshold."""
    if timeout is None or timeout / 2 <= wiring.settings(NAMES["sweep"], needs_beadboard=False).threshold:
        return wiring
    return _with(wiring, BEADS_REAPER_THRESHOLD_MINUTES=f"{timeout / 2 / timedelta(minutes=1):.3f}")


def _watch_alone(args: Namespace, wiring: Wiring, log: Log) -> int:
    from beads_dispatch.jobs import watcher

    first = wiring.settings(NAMES["tick"], needs_beadboard=True)
    wiring.bd(first).check()
    if first.notify_urls:
        _check_notify_urls(first.notify_urls, wiring)
    monitor = _listen(args.listen, first.assignee, log) if args.listen else None
    log.info("watching", f"watching {first.workspace} for beads assigned to {first.assignee}")
    return watcher.watch(_watched(wiring, first, log), wiring.stopping, monitor)


def _check_notify_urls(urls: str, wiring: Wiring) -> None:
    """Now, rather than when there is something to send."""
    from beads_dispatch.adapters import notify

    if problem := notify.problem(urls, wiring.environ):
        raise Misconfigured(f"BEADS_NOTIFY_URLS: {problem}")


def _watched(wiring: Wiring, first: Settings, log: Log) -> "watcher.Jobs":
    """The watcher's two jobs, each with its own actor and log."""
    import random

    from beads_dispatch.jobs import dispatcher, reaper, watcher

    logs = {name: Log(name, SYSTEM.now, first.json_log, repeats=False) for name in (NAMES["tick"], NAMES["sweep"])}

    def run(command: str, job: Callable[[Outside, Settings], R]) -> R:
        name = NAMES[command]
        return wiring.run(job, wiring.settings(name, needs_beadboard=True), logs[name])

    return watcher.Jobs(
        open_queue=lambda: wiring.queue(wiring.settings(NAMES["tick"], needs_beadboard=True)),
        tick=lambda: run("tick", dispatcher.tick),
        sweep=lambda gone: run("sweep", partial(reaper.sweep, no_job_left=gone)),
        threshold=first.threshold,
        clock=SYSTEM,
        jitter=random.uniform,
        log=log,
        stamp=first.workspace.stamp,
        follower=_follower(wiring, first, log),
    )


def _follower(wiring: Wiring, first: Settings, log: Log) -> "Follower | None":
    """Asks how runs end, if the runner can say."""
    runner = wiring.runner(first, log)
    if not runner.follows:
        return None
    from beads_dispatch.jobs.following import Follower

    return Follower(runner, SYSTEM, first.threshold)


def _listen(address: tuple[str, int], assignee: str, log: Log) -> "Metrics":
    from importlib.metadata import version

    from beads_dispatch.monitoring import health

    try:
        from beads_dispatch.monitoring.metrics import Metrics
    except ModuleNotFoundError:
        raise Misconfigured("--listen needs prometheus-client: pip install '.[metrics]'") from None
    state = health.Health(SYSTEM.monotonic)
    metrics = Metrics(state, SYSTEM.now, assignee, version("beads-dispatch"))
    server = health.serve(*address, state, metrics.text)
    log.info("listening", f"/healthz, /readyz and /metrics on {address[0]}:{server.server_port}")
    return metrics


def _resume(wiring: Wiring, chosen: Settings, log: Log) -> int:
    """Ends every hold of the queue now."""
    with closing(wiring.queue(chosen)) as queue:
        ended = [hold for kind, hold in queue.holds().items() if _resume_one(queue, kind, hold)]
    for hold in ended:
        log.info("resumed", f"ended: nothing is dispatched until {utc(hold.until)}: {hold}")
    if not ended:
        log.info("resumed", "the queue was not held")
    return 0


def _resume_one(queue: Queue, kind: str, hold: Hold) -> bool:
    """Whether there was anything to end: a failure that is only remembered holds nothing."""
    stays = backoff.resumed(kind, hold, queue.now())
    if stays != hold:
        queue.set_hold(kind, stays)
    return stays != hold


def _status(args: Namespace, wiring: Wiring, chosen: Settings, log: Log) -> int:
    from beads_dispatch.commands import status

    def show(outside: Outside, settings: Settings) -> status.Status:
        found = status.status(outside, settings, args.id)
        if args.json:
            _answer(status.as_json(found))
        else:
            look = _look(found.known.now, outside.clock.zone(), wiring.environ)
            _answer(status.as_table(found, status.agent_state(outside), look))
        return found

    found = wiring.run(show, chosen, log, waits=False)
    log.unreadable(found.unreadable)
    for bead_id in found.unknown:
        log.error("unknown", "there is no such bead in this workspace", bead=bead_id)
    return 1 if found.unreadable or found.unknown else 0


def _explain(bead_id: str, wiring: Wiring, chosen: Settings, log: Log) -> int:
    from beads_dispatch.commands import explain
    from beads_dispatch.laptop import logs

    def show(outside: Outside, settings: Settings) -> None:
        story = explain.explain(outside, settings, bead_id)
        look = _look(story.case.known.now, outside.clock.zone(), wiring.environ)
        has_log = bool(logs.of(logs.folder(wiring.environ), bead_id))
        _answer(explain.as_text(story, look, has_log=has_log))

    wiring.run(show, chosen, log, waits=False)
    return 0


def _look(now: datetime, zone: tzinfo, environ: Mapping[str, str]) -> "Look":
    """Cut to the terminal's width and in colour on one; whole and plain otherwise."""
    import shutil

    from beads_dispatch.commands import paint
    from beads_dispatch.commands.table import Look

    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else None
    return Look(now, zone, width, paint.for_terminal(environ, terminal=terminal))


def _completion(shell: str) -> int:
    try:
        import shtab
    except ModuleNotFoundError:
        raise Misconfigured("completion needs shtab: pip install '.[completion]'") from None
    _answer(shtab.complete(parser(), shell))
    return 0


def _answer(text: str) -> None:
    """Prints what the command was asked for. Raises Failure where it is lost."""
    if not put(text, sys.stdout):
        raise Failure("the answer cannot be written to stdout: is the disk full?")
