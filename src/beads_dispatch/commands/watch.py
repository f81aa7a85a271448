"""`watch`: tick and sweep, continuously; with --command the agents run here too."""

import os
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from beads_dispatch.adapters.clock import SYSTEM
from beads_dispatch.adapters.log import Log
from beads_dispatch.commands.wiring import NAMES, Wiring
from beads_dispatch.core.errors import Misconfigured
from beads_dispatch.jobs.cycle import Outside
from beads_dispatch.settings import Settings

if TYPE_CHECKING:
    from beads_dispatch.adapters.runner import Runner
    from beads_dispatch.jobs.following import Follower
    from beads_dispatch.jobs.watching import Jobs
    from beads_dispatch.monitoring.metrics import Metrics

R = TypeVar("R")

AGENT = "beads-agent"  # who says what became of a command
# Where agents run is known: here. What these name is not asked.
SERVICES = ("BEADBOARD_URL", "AGENT_SERVICE_URL", "API_BEARER_TOKEN")


def watch(args: Namespace, wiring: Wiring, log: Log) -> int:
    if args.run is None:
        if args.jobs or args.timeout:
            raise Misconfigured("--jobs and --timeout need --command: they are about the commands that it starts")
        return _watch(args, wiring, log)
    if not args.run.strip():
        raise Misconfigured("--command is empty: give the command to run for each bead")
    environ = {key: value for key, value in wiring.environ.items() if key not in SERVICES}
    wiring = replace(wiring, environ=environ)
    with _local_runner(args, wiring, log) as runner:
        return _watch(args, replace(wiring, local=runner), log)


@contextmanager
def _local_runner(args: Namespace, wiring: Wiring, log: Log) -> "Iterator[Runner]":
    """Its commands end after the watcher: a step under way may need an answer."""
    from beads_dispatch.laptop import runner
    from beads_dispatch.laptop.jobs import Jobs, prefix
    from beads_dispatch.laptop.supervisor import Supervisor

    agent_log = Log(AGENT, SYSTEM.now, log.as_json)
    chosen = wiring.settings(AGENT, needs_beadboard=False)
    bd = wiring.bd(chosen)
    bd.check()
    machine = prefix(os.uname().nodename)
    jobs = Jobs(args.run, args.jobs or 1, wiring.environ, wiring.cwd, SYSTEM, _new_id, agent_log, machine)
    with runner.running(Supervisor(jobs, bd, SYSTEM, args.timeout or chosen.threshold)) as local:
        yield local


def _new_id() -> str:
    return os.urandom(4).hex()


def _watch(args: Namespace, wiring: Wiring, log: Log) -> int:
    from beads_dispatch.jobs import watcher

    first = _settings(wiring, NAMES["tick"])
    wiring.bd(first).check()
    if first.notify_urls:
        _check_notify_urls(first.notify_urls, wiring)
    monitor = _listen(args.listen, first.assignee, log) if args.listen else None
    log.info("watching", f"watching {wiring.workspace()} for beads assigned to {first.assignee}")
    return watcher.watch(_watched(wiring, first, log), wiring.stopping, monitor)


def _settings(wiring: Wiring, actor: str) -> Settings:
    return wiring.settings(actor, needs_beadboard=wiring.local is None)


def _check_notify_urls(urls: str, wiring: Wiring) -> None:
    """Now, rather than when there is something to send."""
    from beads_dispatch.adapters import notify

    if problem := notify.problem(urls, wiring.environ):
        raise Misconfigured(f"BEADS_NOTIFY_URLS: {problem}")


def _watched(wiring: Wiring, first: Settings, log: Log) -> "Jobs":
    """The watcher's two jobs, each with its own actor and log."""
    import random

    from beads_dispatch.jobs import dispatcher, reaper
    from beads_dispatch.jobs.watching import Jobs

    logs = {name: Log(name, SYSTEM.now, first.json_log, repeats=False) for name in (NAMES["tick"], NAMES["sweep"])}

    def run(command: str, job: Callable[[Outside, Settings], R]) -> R:
        name = NAMES[command]
        return wiring.run(job, _settings(wiring, name), logs[name])

    return Jobs(
        open_queue=wiring.queues(first),
        tick=lambda: run("tick", dispatcher.tick),
        sweep=lambda gone: run("sweep", partial(reaper.sweep, no_job_left=gone)),
        threshold=first.threshold,
        clock=SYSTEM,
        jitter=random.uniform,
        log=log,
        stamp=wiring.workspace().stamp,
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
