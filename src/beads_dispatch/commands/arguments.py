"""The command line: commands, options and their values."""

import argparse
import re
import sys
from datetime import timedelta
from typing import Any, NoReturn

from beads_dispatch.adapters.log import put
from beads_dispatch.laptop.presets import PRESETS


class _Version(argparse.Action):
    """Print --version. Only then pay for importlib.metadata."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        put(f"beads-dispatch {version('beads-dispatch')}", sys.stdout)
        parser.exit()


class _Help(argparse.Action):
    """Print the help. Only then pay for its texts."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from shutil import get_terminal_size

        from beads_dispatch.commands.manual import PAGES

        page = PAGES[parser.prog.removeprefix("beads-dispatch").strip()]
        width = get_terminal_size().columns - 2  # as argparse does
        parser.description, parser.epilog = page.description(width), page.epilog(width)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        put(parser.format_help().removesuffix("\n"), sys.stdout)
        parser.exit()


class _Parser(argparse.ArgumentParser):
    """A parser with our --help and --version, which reports a mistake in one line."""

    def __init__(self, **words: Any) -> None:
        super().__init__(**words, add_help=False)
        self.add_argument("-h", "--help", action=_Help, nargs=0, help="show this text")
        self.add_argument("--version", action=_Version, nargs=0, help="print the version")

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """Return the parser of every command with its options."""
    root = _Parser(prog="beads-dispatch")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    tick = commands.add_parser("tick", help="dispatch the next bead, once (also: beads-dispatcher)")
    sweep = commands.add_parser("sweep", help="record how runs ended, once (also: beads-reaper)")
    for command in (tick, sweep):
        command.add_argument("--dry-run", action="store_true", help="only print what it would do")
    watch = commands.add_parser("watch", help="both, continuously; --agent runs the agents here")
    watch.add_argument(
        "--listen", type=_address, metavar="PORT",
        help="serve a page to look at, health and metrics on 127.0.0.1:PORT, or on HOST:PORT",
    )  # fmt: skip
    status = commands.add_parser("status", help="show what runs, what waits and why")
    status.add_argument("id", nargs="*", metavar="ID", help="only these beads (an id may be shortened, as for bd)")
    status.add_argument("--json", action="store_true", help="print JSON, for programs")
    explain = commands.add_parser("explain", help="tell one bead's story, and what to do next")
    explain.add_argument("id", metavar="ID", help="the bead's id (it may be shortened, as for bd)")
    logs = commands.add_parser("logs", help="show what a bead's last agent here wrote")
    logs.add_argument("id", metavar="ID", help="the bead's id (it may be shortened, as for bd)")
    logs.add_argument("-f", "--follow", action="store_true", help="continue until the run has ended")
    stop = commands.add_parser("stop", help="stop a bead's run, and block the bead")
    stop.add_argument("id", metavar="ID", help="the bead's id (it may be shortened, as for bd)")
    commands.add_parser("resume", help="end what holds the queue, now")
    _add_runner_options(watch)
    for command in commands.choices.values():
        command.add_argument("--assignee", metavar="NAME", help="whose beads (default: BEADS_ASSIGNEE, or agent)")
    completion = commands.add_parser("completion", help="print a completion script for your shell")
    completion.add_argument("shell", choices=("bash", "zsh"), help="your shell")
    return root


def _add_runner_options(watch: argparse.ArgumentParser) -> None:
    agents = watch.add_mutually_exclusive_group()
    agents.add_argument(
        "--agent", choices=tuple(PRESETS), metavar="NAME",
        help=f"run agents here: {', '.join(PRESETS)}",
    )  # fmt: skip
    agents.add_argument(
        "--command",
        dest="run",
        metavar="CMD",
        help="run a command of yours for each bead, with BEAD_ID and so on in its environment",
    )
    watch.add_argument("--allow-all", action="store_true", help="let the --agent run any command without asking")
    watch.add_argument(
        "--worktrees", nargs="?", const="", metavar="DIR",
        help="a git worktree for each bead, on the branch bead/<id>, below DIR (default: the state folder)",
    )  # fmt: skip
    watch.add_argument("--setup", metavar="CMD", help="run this first in a new worktree, such as npm ci")
    watch.add_argument(
        "--check", metavar="CMD",
        help="test the work of each agent that ends well, such as 'make test': closes the bead, or sends it back",
    )  # fmt: skip
    watch.add_argument("--jobs", type=_jobs, help="how many agents at once (default: 1)")
    watch.add_argument(
        "--timeout", type=_minutes, metavar="MINUTES",
        help="stop an agent, or a check, after this long (default: BEADS_REAPER_THRESHOLD_MINUTES)",
    )  # fmt: skip


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 65535")
    return int(text)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = (text if ":" in text else f"127.0.0.1:{text}").rpartition(":")
    if not (host and colon):
        raise argparse.ArgumentTypeError(f"{text!r} is neither PORT nor HOST:PORT, such as 8080 or [::]:8080")
    return host.removeprefix("[").removesuffix("]"), _port(port)  # [::]:8080


def _jobs(text: str) -> int:
    if not _port(text):
        raise argparse.ArgumentTypeError("at least 1 is needed")
    return int(text)


def _minutes(text: str) -> timedelta:
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text, re.ASCII) or float(text) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes above 0")
    return timedelta(minutes=float(text))
