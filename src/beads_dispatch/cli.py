"""The commands."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from beads_dispatch import settings
from beads_dispatch.bd import Bd
from beads_dispatch.errors import Failure
from beads_dispatch.log import Log
from beads_dispatch.queue import Queue, open_queue
from beads_dispatch.settings import Settings

NAMES = {"tick": "beads-dispatcher", "sweep": "beads-reaper", "status": "beads-dispatch", "agent": "beads-agent"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status: 0 well, 1 a failure, 2 wrong configuration or usage."""
    args = _parser().parse_args(argv)
    log = Log(NAMES[args.command], os.environ.get("LOG_FORMAT") == "json")
    try:
        return _run(args, os.environ, log)
    except Failure as error:
        log.fail("misconfigured" if error.exit_status == 2 else "failed", str(error))
        return error.exit_status


def dispatcher() -> int:
    """`beads-dispatcher`: `beads-dispatch tick`."""
    return main(["tick", *sys.argv[1:]])


def reaper() -> int:
    """`beads-reaper`: `beads-dispatch sweep`."""
    return main(["sweep", *sys.argv[1:]])


def _run(args: argparse.Namespace, environ: Mapping[str, str], log: Log) -> int:
    ticks = args.command == "tick" and not args.dry_run
    chosen = settings.read(environ, Path.cwd(), actor=log.name, needs_beadboard=ticks)
    bd = Bd(chosen.workspace, chosen.actor, environ)
    if args.command == "agent":
        from beads_dispatch import agent

        return agent.run(args.port, agent.Jobs(args.run, args.jobs, environ, log), bd)
    queue = open_queue(chosen.workspace, bd, chosen.assignee)
    try:
        return _status(args, queue, chosen, bd, log) if args.command == "status" else _job(args, queue, chosen, bd, log)
    finally:
        queue.close()


def _job(args: argparse.Namespace, queue: Queue, chosen: Settings, bd: Bd, log: Log) -> int:
    from beads_dispatch import dispatcher, reaper

    job = dispatcher.tick if args.command == "tick" else reaper.sweep
    return job(queue, bd, chosen, log, _stop_signal(), dry_run=args.dry_run)


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
    print(as_json if args.json else status.as_table(rows, chosen.assignee))
    for line in unreadable:
        log.fail("unreadable", line)
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
    status = commands.add_parser("status", help="every bead of the assignee, and why it is not running")
    status.add_argument("--json", action="store_true", help="the same for a program")
    agent = commands.add_parser("agent", help="a stand-in for BeadBoard and its agent, on this machine")
    agent.add_argument("--command", dest="run", required=True, help="run for each bead, with BEAD_ID and so on set")
    agent.add_argument("--port", type=_port, default=3000, help="on 127.0.0.1 (default: 3000; 0: a free one)")
    agent.add_argument("--jobs", type=_jobs, default=1, help="how many at once (default: 1)")
    return parser


def _jobs(text: str) -> int:
    if not _port(text):
        raise argparse.ArgumentTypeError("at least 1 is needed")
    return int(text)
