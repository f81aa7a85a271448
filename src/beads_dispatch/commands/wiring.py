"""Put a job's adapters together, from the environment as it is at that moment."""

import os
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from beads_dispatch import settings
from beads_dispatch.adapters import location
from beads_dispatch.adapters.agent_service import AgentService
from beads_dispatch.adapters.bd.process import BdProcess
from beads_dispatch.adapters.bd.verbs import Bd
from beads_dispatch.adapters.beadboard import BeadBoard
from beads_dispatch.adapters.beadboard_runner import BeadBoardRunner
from beads_dispatch.adapters.clock import SYSTEM
from beads_dispatch.adapters.exchange import Ask, mounted_token
from beads_dispatch.adapters.log import Log
from beads_dispatch.adapters.queue import LastSnapshot, Queue, open_queue
from beads_dispatch.adapters.runner import NOWHERE, Runner
from beads_dispatch.adapters.waiting import Waiting
from beads_dispatch.adapters.workspace import Workspace
from beads_dispatch.core.beadboard_answers import Reply
from beads_dispatch.core.errors import Misconfigured
from beads_dispatch.jobs.cycle import Outside
from beads_dispatch.settings import Settings

R = TypeVar("R")

# Who these commands say they are: in their log lines, and as bd's actor. Every other one is NAME.
NAMES = {"tick": "beads-dispatcher", "sweep": "beads-reaper", "watch": "beads-watcher"}
NAME = "beads-dispatch"


@dataclass(eq=False)
class Located:
    """The database as we have found it, and bd on it, by actor. A watcher's jobs share it."""

    process: BdProcess | None = None
    bds: dict[str, Bd] = field(default_factory=dict)
    last: LastSnapshot = field(default_factory=LastSnapshot)


@dataclass(frozen=True)
class Wiring:
    """`environ`: our environment. `cwd`: where bd looks for its workspace. `stopping`: whether to end early.

    `waiting`: reports that bd or Dolt takes long.
    `local`: the runner of this process, if agents run here. `assignee`: by an option.
    """

    environ: Mapping[str, str]
    cwd: Path
    waiting: Waiting
    stopping: Callable[[], bool] = lambda: False
    local: Runner | None = None
    assignee: str | None = None
    located: Located = field(default_factory=Located, repr=False)

    def settings(self, actor: str, *, needs_beadboard: bool) -> Settings:
        """Return the settings. Raise Misconfigured with every wrong variable, also those that name the database."""
        wrong = []
        try:
            chosen = settings.read(self.environ, actor=actor, needs_beadboard=needs_beadboard, assignee=self.assignee)
        except Misconfigured as error:
            wrong.append(str(error))
        try:
            self.workspace()
        except Misconfigured as error:
            wrong.append(str(error))
        if wrong:
            raise Misconfigured("; ".join(wrong))
        return chosen

    def workspace(self) -> Workspace:
        """Return the workspace. It is looked for once. Raise Failure."""
        return self._process().workspace

    def _process(self) -> BdProcess:
        if self.located.process is None:
            self.located.process = BdProcess(location.find(self.environ, self.cwd, self.waiting), waiting=self.waiting)
        return self.located.process

    def bd(self, chosen: Settings) -> Bd:
        if chosen.actor not in self.located.bds:
            self.located.bds[chosen.actor] = Bd(self._process(), chosen.actor, SYSTEM.sleep)
        return self.located.bds[chosen.actor]

    def queue(self, chosen: Settings) -> Queue:
        """Return a queue with a connection of its own. The caller closes it."""
        workspace, bd = self.workspace(), self.bd(chosen)
        return open_queue(workspace, bd, chosen.assignee, SYSTEM.now, self.waiting, self.located.last)

    def queues(self, chosen: Settings) -> Callable[[], Queue]:
        """Return a function that opens a queue. From its second call on, it finds the database again.

        The mounted file has changed then, or the connection is lost: a server that bd manages has another port after
        each start.
        """
        opened = False

        def open_next() -> Queue:
            nonlocal opened
            if opened:
                self._process().move(location.find(self.environ, self.cwd, self.waiting))
            opened = True
            return self.queue(chosen)

        return open_next

    def runner(self, chosen: Settings, log: Log, *, waits: bool = True) -> Runner:
        """Return where agents run. `waits`: whether to wait for a BeadBoard that is waking up. Raise Misconfigured."""
        if self.local:
            return self.local
        if chosen.cron_job:
            from beads_dispatch.adapters import kubernetes
            from beads_dispatch.adapters.job_runner import JobRunner

            url, (namespace, cron_job) = kubernetes.address(self.environ), chosen.cron_job
            namespace = namespace or kubernetes.Account().namespace()
            api = kubernetes.Kubernetes(url, namespace, _request, to_log(log))
            return JobRunner(api, cron_job, chosen.agent_jobs, SYSTEM, self.stopping)
        if not (chosen.beadboard_url or chosen.agent_url):
            return NOWHERE
        waiting = to_log(log)
        board = BeadBoard(chosen.beadboard_url, _request, SYSTEM, self.stopping if waits else lambda: True, waiting)
        file = chosen.agent_token_file
        token = partial(mounted_token, Path(file)) if file else lambda: chosen.agent_token
        service = AgentService(chosen.agent_url, token, _request, waiting, SYSTEM.monotonic)
        return BeadBoardRunner(board if chosen.beadboard_url else None, service if chosen.agent_url else None)

    def run(
        self, job: Callable[[Outside, Settings], R], chosen: Settings, log: Log, *, waits: bool = True,
        sweep: Callable[[], bool] = lambda: False,
    ) -> R:  # fmt: skip
        """Run a tick or a sweep on a queue of its own. Send its messages once the lock is free again.

        `waits`: for a BeadBoard that is waking up. `sweep`: learns how runs ended, before a tick starts anything.
        """
        runner = self.runner(chosen, log, waits=waits)
        notices: list[str] = []
        try:
            with closing(self.queue(chosen)) as queue:
                outside = Outside(
                    queue,
                    self.bd(chosen),
                    runner,
                    SYSTEM,
                    partial(random_hex, 3),
                    log,
                    self.stopping,
                    _warm_up,
                    sweep,
                    notices,
                )
                return job(outside, chosen)
        finally:
            if notices and chosen.notify_urls:
                self._send(notices, chosen, log)

    def _send(self, notices: list[str], chosen: Settings, log: Log) -> None:
        from beads_dispatch.adapters import notify
        from beads_dispatch.core.notices import message

        if problem := notify.send(chosen.notify_urls, message(notices), self.environ):
            log.info("message_failed", f"a message to BEADS_NOTIFY_URLS: {problem}", level="warning")
        else:
            log.info("message_sent", f"sent to BEADS_NOTIFY_URLS: {len(notices)} notice(s)")


def random_hex(size: int) -> str:
    """Return so many random bytes as hex digits."""
    return os.urandom(size).hex()


def _warm_up() -> None:
    from threading import Thread

    def load() -> None:
        import dateutil.parser  # noqa: F401

        import beads_dispatch.adapters.http  # noqa: F401

    Thread(target=load, daemon=True).start()


def to_log(log: Log) -> Waiting:
    """Return what an adapter calls to report a long wait."""
    return lambda text: log.info("waiting", text)


def _request(ask: Ask) -> Reply:
    from beads_dispatch.adapters.http import request  # httpx costs more than a whole idle tick

    return request(ask)
