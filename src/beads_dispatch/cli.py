"""The commands."""

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
from beads_dispatch.bd import Bd
from beads_dispatch.errors import Failure, Misconfigured
from beads_dispatch.log import Log, leave_termination_message, put
from beads_dispatch.queue import Queue, open_queue
from beads_dispatch.settings import Settings

if TYPE_CHECKING:
    from beads_dispatch import watch
    from beads_dispatch.listen import Health
    from beads_dispatch.metrics import Metrics

R = TypeVar("R")

NAMES = {
    "tick": "beads-dispatcher", "sweep": "beads-reaper", "watch": "beads-watcher",
    "status": "beads-dispatch", "agent": "beads-agent",
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status: 0 well, 1 a failure, 2 wrong configuration or usage."""
    args = _parser().parse_args(argv)
    log = Log(NAMES[args.command], os.environ.get("LOG_FORMAT") == "json")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal of Latin-1 has no dash as long as ours
    try:
        status = _run(args, os.environ, log)
    except Failure as error:
        log.fail("misconfigured" if error.exit_status == 2 else "failed", str(error))
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
    bd = Bd(chosen.workspace, chosen.actor, environ)
    if args.command == "agent":
        from beads_dispatch import agent

        bd.check()
        return agent.run(args.port, agent.Jobs(args.run, args.jobs, environ, log), bd)
    with closing(open_queue(chosen.workspace, bd, chosen.assignee)) as queue:
        if args.command == "status":
            return _status(args, queue, chosen, bd, log)
        report = _job(args.command)(queue, bd, chosen, log, _stop_signal(), dry_run=args.dry_run)
        return int(report.exit_status)


def _job(command: str) -> Callable[..., Any]:
    from beads_dispatch import dispatcher, reaper

    return dispatcher.tick if command == "tick" else reaper.sweep


def _watch(args: argparse.Namespace, environ: Mapping[str, str], log: Log) -> int:
    from beads_dispatch import watch

    chosen = settings.read(environ, Path.cwd(), actor=NAMES["tick"], needs_beadboard=True)
    Bd(chosen.workspace, chosen.actor, environ).check()
    stopping = _stop_signal()
    health, metrics = _listen(args.listen, log) if args.listen else (None, None)
    log.say("watching", f"waits for beads of {chosen.assignee} in {chosen.workspace}")
    return watch.watch(_jobs_of(environ, stopping, chosen), log, stopping, health, metrics)


def _jobs_of(environ: Mapping[str, str], stopping: Callable[[], bool], first: Settings) -> "watch.Jobs":
    """Each job with its own actor and log, and with the workspace as it is at that moment.

    A Dolt server that bd manages has another port after each start.
    """
    from beads_dispatch import dispatcher, reaper, watch

    door = cache(lambda chosen: Bd(chosen.workspace, chosen.actor, environ))
    logs = {command: Log(NAMES[command], first.json_log, repeats=False) for command in ("tick", "sweep")}

    def opened(command: str) -> tuple[Queue, Bd, Settings, Log]:
        chosen = settings.read(environ, Path.cwd(), actor=NAMES[command], needs_beadboard=True)
        return open_queue(chosen.workspace, door(chosen), chosen.assignee), door(chosen), chosen, logs[command]

    def run(command: str, job: Callable[..., R]) -> R:
        queue, *rest = opened(command)
        with closing(queue):
            return job(queue, *rest, stopping)

    return watch.Jobs(
        open_queue=lambda: opened("tick")[0],
        tick=lambda: run("tick", dispatcher.tick),
        sweep=lambda: run("sweep", reaper.sweep),
        threshold=first.threshold,
    )


def _listen(address: tuple[str, int], log: Log) -> "tuple[Health, Metrics]":
    from beads_dispatch import listen

    try:
        from beads_dispatch.metrics import Metrics
    except ModuleNotFoundError:
        raise Misconfigured("--listen needs prometheus-client: pip install 'beads-dispatch[metrics]'") from None
    health = listen.Health()
    metrics = Metrics(health)
    server = listen.serve(*address, health, metrics.text)
    log.say("listening", f"/healthz, /readyz and /metrics on {address[0]}:{server.server_port}")
    return health, metrics


def _stop_signal() -> Callable[[], bool]:
    """Whether SIGTERM or Ctrl-C asked us to end; the step under way goes on."""
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


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 65535")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="beads-dispatch", description="Hand a bead to an AI agent by assigning it: bd assign <id> agent"
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    tick = commands.add_parser("tick", help="hand the next bead to BeadBoard (beads-dispatcher)")
    sweep = commands.add_parser("sweep", help="block the beads that stopped moving (beads-reaper)")
    for command in (tick, sweep):
        command.add_argument("--dry-run", action="store_true", help="say what it would do, write nothing")
    watch = commands.add_parser("watch", help="both, for ever, in one process that only acts on a change")
    watch.add_argument("--listen", type=_address, metavar="HOST:PORT", help="serve /healthz, /readyz and /metrics")
    status = commands.add_parser("status", help="every bead of the assignee, and why it is not running")
    status.add_argument("--json", action="store_true", help="the same for a program")
    agent = commands.add_parser("agent", help="a stand-in for BeadBoard and its agent, on this machine")
    agent.add_argument("--command", dest="run", required=True, help="run for each bead, with BEAD_ID and so on set")
    agent.add_argument("--port", type=_port, default=3000, help="on 127.0.0.1 (default: 3000; 0: a free one)")
    agent.add_argument("--jobs", type=_jobs, default=1, help="how many at once (default: 1)")
    return parser


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (host and colon):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:8080")
    return host, _port(port)


def _jobs(text: str) -> int:
    if not _port(text):
        raise argparse.ArgumentTypeError("at least 1 is needed")
    return int(text)
