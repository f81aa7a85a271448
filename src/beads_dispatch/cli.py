"""The commands: what a person or a CronJob starts."""

import argparse
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from beads_dispatch import settings
from beads_dispatch.adapters.agent_service import AgentService
from beads_dispatch.adapters.bd import Bd
from beads_dispatch.adapters.bd_process import BdProcess
from beads_dispatch.adapters.beadboard import BeadBoard
from beads_dispatch.adapters.clock import SYSTEM
from beads_dispatch.adapters.queue import Queue, open_queue
from beads_dispatch.core.outcomes import Reply
from beads_dispatch.cycle import Outside
from beads_dispatch.errors import Failure, Misconfigured
from beads_dispatch.log import Log, leave_termination_message, put
from beads_dispatch.settings import Settings

if TYPE_CHECKING:
    from beads_dispatch.monitoring.health import Health
    from beads_dispatch.monitoring.metrics import Metrics

R = TypeVar("R")
Stopping = Callable[[], bool]

NAMES = {
    "tick": "beads-dispatcher", "sweep": "beads-reaper", "watch": "beads-watcher",
    "status": "beads-dispatch", "agent": "beads-agent",
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns the exit status: 0 all well, 1 a failure, 2 bad configuration or usage."""
    args = _parser().parse_args(argv)
    log = Log(NAMES[args.command], SYSTEM.now, os.environ.get("LOG_FORMAT") == "json")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a Latin-1 terminal has no long dash
    try:
        status = _run(args, os.environ, log)
    except Failure as error:
        log.error("misconfigured" if error.exit_status == 2 else "failed", str(error))
        status = error.exit_status
    if status:
        leave_termination_message(log.failure)
    return status


def dispatcher() -> int:
    """`beads-dispatcher`: `beads-dispatch tick`."""
    return main(["tick", *sys.argv[1:]])


def reaper() -> int:
    """`beads-reaper`: `beads-dispatch sweep`."""
    return main(["sweep", *sys.argv[1:]])


def _run(args: argparse.Namespace, environ: Mapping[str, str], log: Log) -> int:
    if args.command == "watch":
        return _watch(args, environ, log)
    ticks = args.command == "tick" and not args.dry_run
    chosen = settings.read(environ, Path.cwd(), actor=log.name, needs_beadboard=ticks)
    bd = _bd(chosen, environ)
    if args.command == "agent":
        return _agent(args, environ, bd, log)
    with closing(open_queue(chosen.workspace, bd, chosen.assignee, SYSTEM.now)) as queue:
        if args.command == "status":
            return _status(args, queue, chosen, bd, log)
        outside = _outside(queue, bd, chosen, log, _stop_signal())
        report = _job(args.command)(outside, chosen, dry_run=args.dry_run)
        return int(report.exit_status)


def _bd(chosen: Settings, environ: Mapping[str, str]) -> Bd:
    return Bd(BdProcess(chosen.workspace, environ), chosen.actor, SYSTEM.sleep)


def _outside(queue: Queue, bd: Bd, chosen: Settings, log: Log, stopping: Stopping) -> Outside:
    board = BeadBoard(chosen.beadboard_url, _request, SYSTEM, stopping)
    agent_service = AgentService(chosen.agent_url, _request)
    return Outside(queue, bd, board, agent_service, SYSTEM, lambda: os.urandom(3).hex(), log, stopping)


def _request(method: str, url: str, seconds: float, content: dict[str, str] | None) -> Reply:
    from beads_dispatch.adapters.http import request  # httpx costs more than a whole idle tick

    return request(method, url, seconds, content)


def _job(command: str) -> Callable[..., Any]:
    from beads_dispatch import dispatcher, reaper

    return dispatcher.tick if command == "tick" else reaper.sweep


def _agent(args: argparse.Namespace, environ: Mapping[str, str], bd: Bd, log: Log) -> int:
    from beads_dispatch.laptop import agent

    bd.check()
    jobs = agent.Jobs(args.run, args.jobs, environ, log, lambda: os.urandom(6).hex())
    return agent.run(args.port, jobs, bd)


def _watch(args: argparse.Namespace, environ: Mapping[str, str], log: Log) -> int:
    from beads_dispatch import watcher

    chosen = settings.read(environ, Path.cwd(), actor=NAMES["tick"], needs_beadboard=True)
    _bd(chosen, environ).check()
    stopping = _stop_signal()
    health, metrics = _listen(args.listen, log) if args.listen else (None, None)
    log.info("watching", f"watching {chosen.workspace} for beads assigned to {chosen.assignee}")
    return watcher.watch(_watched_jobs(environ, stopping, chosen, log), stopping, health, metrics)


def _watched_jobs(environ: Mapping[str, str], stopping: Stopping, first: Settings, log: Log) -> Any:
    """Each job with its own actor and log, and with the workspace as it is at that moment.

    A Dolt server that bd manages has another port after each start.
    """
    import random

    from beads_dispatch import dispatcher, reaper, watcher

    bd_of = cache(lambda chosen: _bd(chosen, environ))
    logs = {command: Log(NAMES[command], SYSTEM.now, first.json_log, repeats=False) for command in ("tick", "sweep")}

    def opened(command: str) -> tuple[Outside, Settings]:
        chosen = settings.read(environ, Path.cwd(), actor=NAMES[command], needs_beadboard=True)
        bd = bd_of(chosen)
        queue = open_queue(chosen.workspace, bd, chosen.assignee, SYSTEM.now)
        return _outside(queue, bd, chosen, logs[command], stopping), chosen

    def run(command: str, job: Callable[[Outside, Settings], R]) -> R:
        outside, chosen = opened(command)
        with closing(outside.queue):
            return job(outside, chosen)

    return watcher.Jobs(
        open_queue=lambda: opened("tick")[0].queue,
        tick=lambda: run("tick", dispatcher.tick),
        sweep=lambda: run("sweep", reaper.sweep),
        threshold=first.threshold,
        clock=SYSTEM,
        jitter=random.uniform,
        log=log,
    )


def _listen(address: tuple[str, int], log: Log) -> "tuple[Health, Metrics]":
    from beads_dispatch.monitoring import health

    try:
        from beads_dispatch.monitoring.metrics import Metrics
    except ModuleNotFoundError:
        raise Misconfigured("--listen needs prometheus-client: pip install 'beads-dispatch[metrics]'") from None
    state = health.Health(SYSTEM.monotonic)
    metrics = Metrics(state, SYSTEM.now)
    server = health.serve(*address, state, metrics.text)
    log.info("listening", f"/healthz, /readyz and /metrics on {address[0]}:{server.server_port}")
    return state, metrics


def _stop_signal() -> Stopping:
    """Whether SIGTERM or Ctrl-C asked us to end. The step under way goes on."""
    asked: list[object] = []
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *what: asked.append(what))
    return lambda: bool(asked)


def _status(args: argparse.Namespace, queue: Queue, chosen: Settings, bd: Bd, log: Log) -> int:
    from beads_dispatch import status

    rows, unreadable = status.status(queue, bd, chosen.assignee)
    as_json = json.dumps(rows, indent=2, ensure_ascii=False)
    put(as_json if args.json else status.as_table(rows, chosen.assignee), sys.stdout)
    log.unreadable(unreadable)
    return 1 if unreadable else 0


class _Version(argparse.Action):
    """--version without the cost of importlib.metadata on every other call."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"beads-dispatch {version('beads-dispatch')}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="beads-dispatch", description="Hand a bead to an AI agent by assigning it: bd assign <id> agent"
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    tick = commands.add_parser("tick", help="hand the next bead to BeadBoard (beads-dispatcher)")
    sweep = commands.add_parser("sweep", help="block the beads that make no progress (beads-reaper)")
    for command in (tick, sweep):
        command.add_argument("--dry-run", action="store_true", help="print what it would do, write nothing")
    watch = commands.add_parser("watch", help="both, continuously, in one process that acts only on a change")
    watch.add_argument("--listen", type=_address, metavar="HOST:PORT", help="serve /healthz, /readyz and /metrics")
    status = commands.add_parser("status", help="every bead of the assignee, and why it is not running")
    status.add_argument("--json", action="store_true", help="the same for a program")
    agent = commands.add_parser("agent", help="a stand-in for BeadBoard and its agent, on this machine")
    agent.add_argument("--command", dest="run", required=True, help="run for each bead, with BEAD_ID and so on set")
    agent.add_argument("--port", type=_port, default=3000, help="on 127.0.0.1 (default: 3000; 0: a free one)")
    agent.add_argument("--jobs", type=_jobs, default=1, help="how many at once (default: 1)")
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 65535")
    return int(text)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (host and colon):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:8080")
    return host, _port(port)


def _jobs(text: str) -> int:
    if not _port(text):
        raise argparse.ArgumentTypeError("at least 1 is needed")
    return int(text)
