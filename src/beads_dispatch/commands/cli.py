"""The commands: what a person or a CronJob starts."""

import io
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, tzinfo
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beads_dispatch.adapters.clock import SYSTEM
from beads_dispatch.adapters.log import Log, leave_termination_message, put
from beads_dispatch.adapters.stop import Stop
from beads_dispatch.commands.arguments import parser
from beads_dispatch.commands.wiring import NAME, NAMES, Wiring, to_log
from beads_dispatch.core.errors import Failure, Misconfigured
from beads_dispatch.core.text import utc
from beads_dispatch.jobs.cycle import Outside
from beads_dispatch.settings import Settings

if TYPE_CHECKING:
    from beads_dispatch.commands.table import Look

READS_ONLY = {"status", "explain", "logs", "completion"}  # commands that a stop signal may end anywhere


def main(argv: Sequence[str] | None = None, stop: Stop | None = None) -> int:
    """Run one command. Return the exit status: 0 all well, 1 a failure, 2 bad configuration or usage.

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
    log = Log(NAMES.get(args.command, NAME), SYSTEM.now, os.environ.get("LOG_FORMAT") == "json", answers=answers)
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
    """Replace a closed standard stream (`>&-`, some supervisors) by /dev/null, before we open any file.

    Without this our first line ends us, or a connection gets the stream's number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "r" if number == 0 else "w"))


def _require_utf8() -> None:
    """Start this process again with UTF-8 for arguments, file names and environment, whatever the locale.

    bd and Dolt always speak UTF-8. Under Latin-1 or ASCII not even the dash of our own notes could be passed to bd.
    """
    if sys.getfilesystemencoding() != "utf-8" and sys.executable:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _run(args: Namespace, environ: Mapping[str, str], stop: Stop, log: Log) -> int:
    if args.command == "completion":
        return _completion(args.shell)
    if args.command == "watch" and (args.agent or args.run):  # `watch | tee` shows times too; a journal adds its own
        log.timed = "JOURNAL_STREAM" not in environ
    waits = to_log(replace(log, repeats=False))  # or a watcher that waits at every turn repeats itself
    wiring = Wiring(environ, _working_folder(), waits, stop, assignee=args.assignee)
    if args.command == "logs":
        from beads_dispatch.commands import logs

        return logs.logs(args, wiring, log, _answer)
    if args.command == "watch":
        from beads_dispatch.commands import watch

        return watch.watch(args, wiring, log, stop)
    ticks = args.command == "tick" and not args.dry_run
    chosen = wiring.settings(log.name, needs_beadboard=ticks)
    if args.command == "status":
        return _status(args, wiring, chosen, log)
    if args.command == "explain":
        return _explain(args.id, wiring, chosen, log)
    if args.command == "stop":
        from beads_dispatch.commands import stop as stopping

        return stopping.stop(args.id, wiring, chosen, log)
    if args.command == "resume":
        return _resume(wiring, chosen, log)
    sweep = partial(_learn_ends, wiring, log) if ticks else lambda: False
    report = wiring.run(_job(args), chosen, log, sweep=sweep)
    return int(report.failed or report.unreadable)


def _learn_ends(wiring: Wiring, log: Log) -> bool:
    """Sweep right before a tick starts anything, under the sweep's own lock. Return whether it wrote anything."""
    from beads_dispatch.jobs import reaper

    name = NAMES["sweep"]
    report = wiring.run(reaper.sweep, wiring.settings(name, needs_beadboard=False), replace(log, name=name))
    return bool(report.ended or report.blocked)


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


def _resume(wiring: Wiring, chosen: Settings, log: Log) -> int:
    """End the stored holds now. Hours and a budget stay: they follow from the clock and a count."""
    from beads_dispatch.core.holds import OF_RUNS, in_force, resumed
    from beads_dispatch.jobs.holding import all_holds

    with closing(wiring.queue(chosen)) as queue:
        ended = {}
        for kind, hold in queue.holds().items():
            stays = resumed(kind, hold, queue.now())
            if stays != hold:  # a failure that is only remembered holds nothing
                queue.set_hold(kind, stays)
                ended[kind] = hold
        left = in_force(all_holds(queue, chosen, SYSTEM.zone), queue.now())
    for kind, hold in ended.items():
        first = ", and one bead goes first" if kind in OF_RUNS else ""
        log.info("resumed", f"hold removed (it would have ended at {utc(hold.until)}){first}: {hold}")
    if left:
        log.info("resumed", f"still held until {utc(left.until)}: {left}")
    elif not ended:
        log.info("resumed", "the queue was not held")
    return 0


def _status(args: Namespace, wiring: Wiring, chosen: Settings, log: Log) -> int:
    from beads_dispatch.commands import logs, status

    def show(outside: Outside, settings: Settings) -> status.Status:
        found = status.status(outside, settings, args.id, partial(logs.last_line, wiring.environ))
        if args.json:
            _answer(status.as_json(found))
        else:
            look = _look(found.known.now, outside.clock.zone(), wiring.environ)
            _answer(status.as_table(found, status.agent_state(outside, found.beads), look))
        return found

    found = wiring.run(show, chosen, log, waits=False)
    log.unreadable(found.unreadable)
    for line in found.unknown:
        log.error("unknown", line)
    return 1 if found.unreadable or found.unknown else 0


def _explain(bead_id: str, wiring: Wiring, chosen: Settings, log: Log) -> int:
    from beads_dispatch.commands import explain, logs

    def show(outside: Outside, settings: Settings) -> None:
        story = explain.explain(outside, settings, bead_id, partial(logs.at_work, wiring.environ))
        look = _look(story.case.known.now, outside.clock.zone(), wiring.environ)
        _answer(explain.as_text(story, look, logs.command(story.case.bead, chosen, wiring.environ)))

    wiring.run(show, chosen, log, waits=False)
    return 0


def _look(now: datetime, zone: tzinfo, environ: Mapping[str, str]) -> "Look":
    """Return how to show a text: cut to the width and in colour on a terminal, whole and plain otherwise."""
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
    """Print the command's answer. Raise Failure if it is lost."""
    if not put(text, sys.stdout):
        raise Failure("the answer cannot be written to stdout: is the disk full?")
