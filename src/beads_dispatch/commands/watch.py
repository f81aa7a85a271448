"""`watch`: tick and sweep, continuously; with --command the agents run here too."""

import os
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from beads_dispatch.adapters.clock import SYSTEM
from beads_dispatch.adapters.log import Log
from beads_dispatch.adapters.state_folder import state_folder
from beads_dispatch.adapters.stop import Stop
from beads_dispatch.commands.wiring import NAMES, Wiring, random_hex
from beads_dispatch.core.errors import Failure, Misconfigured
from beads_dispatch.core.times import span
from beads_dispatch.jobs.cycle import Outside
from beads_dispatch.settings import SERVICES, Settings

if TYPE_CHECKING:
    from beads_dispatch.jobs.following import Follower
    from beads_dispatch.jobs.watching import Jobs, Monitor
    from beads_dispatch.laptop.runner import LocalRunner, Setup
    from beads_dispatch.laptop.worktree import Repository
    from beads_dispatch.monitoring.metrics import Metrics

R = TypeVar("R")

NOWHERE = (
    "nothing says where agents run: use --agent claude to run them here (see --help for others), "
    "or set BEADBOARD_URL or BEADS_AGENT_CRONJOB"
)
AGENT = "beads-agent"  # who says what became of a command


def watch(args: Namespace, wiring: Wiring, log: Log, stop: Stop) -> int:
    if args.agent is None and args.run is None:
        if args.jobs or args.timeout or args.allow_all or args.worktrees is not None or args.setup or args.check:
            raise Misconfigured(
                "--jobs, --timeout, --worktrees, --setup, --check and --allow-all need --agent or --command"
            )
        if not any(wiring.environ.get(name) for name in ("BEADBOARD_URL", "BEADS_AGENT_CRONJOB")):
            raise Misconfigured(NOWHERE)
        return _watch(args, wiring, log, [])
    shared = args.worktrees is None
    for wrong, text in (
        (args.run is not None and args.allow_all, "--allow-all needs --agent: --command has its permissions in itself"),
        (args.setup and shared, "--setup needs --worktrees: it runs in a new one"),
        (args.check is not None and not args.check.strip(), "--check is empty: give the command that tests the work"),
        (
            args.check and (args.jobs or 1) > 1 and shared,
            "--check with --jobs above 1 needs --worktrees: it would test the others' work too",
        ),
        (args.run is not None and not args.run.strip(), "--command is empty: give the command to run for each bead"),
    ):
        if wrong:
            raise Misconfigured(text)
    environ = {key: value for key, value in wiring.environ.items() if key not in SERVICES}
    return _watch_here(args, replace(wiring, environ=environ), log, stop)


def _watch_here(args: Namespace, wiring: Wiring, log: Log, stop: Stop) -> int:
    """Watch, and run the agents here. They outlive us if we are killed; the next watcher adopts them."""
    from beads_dispatch.laptop import processes
    from beads_dispatch.laptop.watching import Local

    runner = _local_runner(args, wiring, log)
    if args.check:
        _try_check(runner.setup, stop, log)
    local = Local(runner, stop, log)
    if not processes.has_psutil():
        log.info("no_psutil", "a run's strays are not found without psutil: pip install '.[laptop]'")
    stop.first_drains()
    here = replace(wiring, local=runner, stopping=local.stopping)
    status = _watch(args, here, log, [local])
    local.end(partial(_sweep_once_more, replace(here, stopping=lambda: False), log))
    return status


def _local_runner(args: Namespace, wiring: Wiring, log: Log) -> "LocalRunner":
    from beads_dispatch.laptop.runner import LocalRunner, Setup, prefix

    chosen = wiring.settings(AGENT, needs_beadboard=False)
    bd = wiring.bd(chosen)
    bd.check()
    timeout, workspace = args.timeout or chosen.threshold, wiring.workspace()
    beads_dir = "" if workspace.mounted else str(workspace.metadata.parent)
    command = args.run if args.agent is None else _preset(args, wiring, log)
    repository = _repository(args.worktrees, wiring) if args.worktrees is not None else None
    if (args.jobs or 1) > 1 and not repository:
        log.info("shared", f"{args.jobs} agents share one checkout: --worktrees gives each bead its own")
    setup = Setup(
        command, args.jobs or 1, timeout, wiring.cwd, wiring.environ, beads_dir, repository,
        args.setup or "", args.check or "",
    )  # fmt: skip
    agent_log = Log(AGENT, SYSTEM.now, log.as_json, timed=log.timed)
    queue = f"{workspace.identity()} {chosen.assignee}"
    return LocalRunner(setup, queue, bd, SYSTEM, partial(random_hex, 4), agent_log, prefix(os.uname().nodename))


def _try_check(setup: "Setup", stop: Stop, log: Log) -> None:
    """Run the check once, before any agent does. Raise Misconfigured if it cannot be run."""
    from beads_dispatch.laptop import processes

    log.info("check", f"trying the check: {setup.check}")
    code, last = processes.try_out(setup.check, setup.folder, setup.environ, setup.timeout.total_seconds(), stop)
    if code in (126, 127):
        raise Misconfigured(f"--check cannot be run (exit {code}): {last}")
    if code is None and not stop():
        raise Misconfigured(f"--check does not end within --timeout, {span(setup.timeout.total_seconds())}")
    if code:
        log.info("check", f"it fails now (exit {code}: {last}), and a bead is closed only when it passes")


def _repository(folder: str, wiring: Wiring) -> "Repository":
    """Return the repository whose worktrees the beads get. `folder`: for them; empty: the state folder."""
    from beads_dispatch.laptop import worktree

    root = wiring.cwd / folder if folder else state_folder(wiring.environ) / "worktrees"
    try:
        return worktree.find(wiring.cwd, root)
    except worktree.GitFailed as error:
        raise Misconfigured(str(error)) from None


def _preset(args: Namespace, wiring: Wiring, log: Log) -> str:
    """Return the command of --agent, once it is known that its program is there."""
    from shutil import which

    from beads_dispatch.laptop.presets import PRESETS

    preset = PRESETS[args.agent]
    if not which(preset.program, path=wiring.environ.get("PATH")):
        raise Misconfigured(f"{preset.program} is not on PATH: install it (a shell's alias is not enough)")
    server = wiring.workspace().server is not None
    command = preset.command(allow_all=args.allow_all, checked=bool(args.check), server=server)
    log.info("agent", f"for each bead: {command}")
    if args.allow_all:
        log.info("agent", f"--allow-all: {preset.means}. So may whoever can assign a bead")
    return command


def _sweep_once_more(wiring: Wiring, log: Log) -> bool:
    """Write the ends of runs that nobody asks about later. Return whether one is left."""
    from beads_dispatch.jobs import reaper
    from beads_dispatch.laptop import watching

    def sweep(outside: Outside, settings: Settings) -> bool:
        reaper.sweep(outside, settings)
        return watching.unwritten(outside.queue.snapshot().running, outside.runner)

    try:
        return wiring.run(
            sweep, _settings(wiring, NAMES["sweep"]), Log(NAMES["sweep"], SYSTEM.now, log.as_json, timed=log.timed)
        )
    except Failure as error:
        log.error("failed", str(error))
        return True


def _watch(args: Namespace, wiring: Wiring, log: Log, monitors: "list[Monitor]") -> int:
    from beads_dispatch.jobs import watcher

    first = _settings(wiring, NAMES["tick"])
    wiring.bd(first).check()
    if first.notify_urls:
        from beads_dispatch.adapters import notify

        if problem := notify.problem(first.notify_urls, wiring.environ):  # now, not when there is something to send
            raise Misconfigured(f"BEADS_NOTIFY_URLS: {problem}")
    if args.listen:
        monitors.append(_listen(args.listen, first.assignee, wiring, log))
    log.info("watching", f"watching {wiring.workspace()} for beads assigned to {first.assignee}")
    if lacks := _what_hides_ends(wiring, first):
        log.info("no_token", f"{lacks} is not set: how runs end is known only roughly")
    return watcher.watch(_watched(wiring, first, log), wiring.stopping, monitors)


def _what_hides_ends(wiring: Wiring, first: Settings) -> str:
    """Return the variable without which the agent service cannot be asked how a run ended; empty if none is missing."""
    if wiring.local or first.cron_job:
        return ""
    if not first.agent_url:
        return "AGENT_SERVICE_URL"
    return "" if first.agent_token or first.agent_token_file else "API_BEARER_TOKEN"


def _settings(wiring: Wiring, actor: str) -> Settings:
    return wiring.settings(actor, needs_beadboard=wiring.local is None)


def _watched(wiring: Wiring, first: Settings, log: Log) -> "Jobs":
    """Return the watcher's two jobs, each with its own actor and log."""
    import random

    from beads_dispatch.jobs import dispatcher, reaper
    from beads_dispatch.jobs.holding import all_holds
    from beads_dispatch.jobs.watching import Jobs

    logs = {
        name: Log(name, SYSTEM.now, first.json_log, repeats=False, timed=log.timed)
        for name in (NAMES["tick"], NAMES["sweep"])
    }

    def run(command: str, job: Callable[[Outside, Settings], R]) -> R:
        name = NAMES[command]
        return wiring.run(job, _settings(wiring, name), logs[name])

    return Jobs(
        open_queue=wiring.queues(first),
        tick=lambda: run("tick", dispatcher.tick),
        sweep=lambda gone: run("sweep", partial(reaper.sweep, no_job_left=gone)),
        threshold=first.threshold,
        holds=lambda queue: all_holds(queue, first, SYSTEM.zone),
        clock=SYSTEM,
        jitter=random.uniform,
        log=log,
        stamp=wiring.workspace().stamp,
        turn_seconds=1.0 if wiring.workspace().server else 0.25,
        follower=_follower(wiring, first, log),
    )


def _follower(wiring: Wiring, first: Settings, log: Log) -> "Follower | None":
    """Return what asks how runs end; None if the runner cannot say."""
    runner = wiring.runner(first, log)
    if not runner.follows:
        return None
    from beads_dispatch.jobs.following import Follower

    return Follower(runner, SYSTEM, first.threshold)


def _listen(address: tuple[str, int], assignee: str, wiring: Wiring, log: Log) -> "Metrics":
    from importlib.metadata import version

    from beads_dispatch.monitoring import health

    try:
        from beads_dispatch.commands.page import Pages
        from beads_dispatch.monitoring.metrics import Metrics
    except ModuleNotFoundError as error:
        raise Misconfigured(f"--listen needs {error.name}: pip install '.[listen]'") from None
    state = health.Health(SYSTEM.monotonic)
    metrics = Metrics(state, SYSTEM.now, assignee, version("beads-dispatch"))
    server = health.serve(*address, state, metrics.text, Pages(wiring, log))
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    log.info("listening", f"a page, /healthz, /readyz and /metrics on http://{host}:{server.server_port}")
    return metrics
