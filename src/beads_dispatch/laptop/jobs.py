"""The jobs: one run of the command for each bead, in the agent's working folder."""

import hashlib
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from beads_dispatch.adapters.clock import Clock
from beads_dispatch.adapters.log import Log
from beads_dispatch.core import runner, runs
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.notes import last_line
from beads_dispatch.core.text import one_line
from beads_dispatch.core.times import span
from beads_dispatch.laptop import logs
from beads_dispatch.laptop.output import Output, Process

MOST_JOBS = 300
# The first would beat BEADS_ACTOR, the others are no agent's business.
NOT_INHERITED = ("BD_ACTOR", "BEADS_NOTIFY_URLS", "API_BEARER_TOKEN")
FORGET_SECONDS = 3600.0  # as the agent service does, but a laptop's sleep does not count
DRAIN_SECONDS = 0.5  # for what an ended job has written; a child that it left behind may hold the pipe open


@dataclass(slots=True)
class Job:
    """One run. Times are aware, in UTC; `began` and `lost_at` are monotonic seconds.

    `bead`: as it was at the start. `stopped`: how we ended it, such as `timed out`. `lost_at`: since when it has been
    known that the job must not go on.
    """

    id: str
    bead: Bead
    path: Path
    output: Output
    process: Process
    started_at: datetime
    began: float
    stopped: str = ""
    timed_out: bool = False
    lost_at: float | None = None
    finished_at: datetime | None = None
    seconds: float = 0.0  # how long it ran, once it has ended

    @property
    def ended_at(self) -> float:
        """In monotonic seconds, once it has ended."""
        return self.began + self.seconds

    @property
    def status(self) -> str:
        """In the agent service's words."""
        if self.finished_at is None:
            return "running"
        return "timeout" if self.timed_out else "failed" if self.process.returncode else "completed"

    def summary(self) -> str:
        """How it ended: `failed (exit 127) after 0s: claudee: not found`, `timed out after 30m`."""
        code = self.process.returncode
        what = self.stopped or (f"failed (exit {code})" if code else "completed")
        last = "" if self.stopped or not code else last_line(self.output.stderr.text())
        return f"{what} after {span(self.seconds)}" + (f": {one_line(last)}" if last else "")


def prefix(machine: str) -> str:
    """How the ids of this machine's jobs begin. A bead on a shared database can have a job of another one's."""
    return hashlib.sha1(machine.encode(), usedforsecurity=False).hexdigest()[:4]


@dataclass(slots=True)
class Jobs:
    """The jobs at work, at most `capacity` at once, and those that ended within an hour.

    `environ`: what the jobs inherit. `folder`: where they run. `new_id`: random hex digits.
    """

    command: str
    capacity: int
    environ: Mapping[str, str]
    folder: Path
    clock: Clock
    new_id: Callable[[], str]
    log: Log
    mine: str = ""  # how the ids of this machine's jobs begin
    known: dict[str, Job] = field(default_factory=dict)  # the oldest first
    closed: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)

    def start(self, bead: Bead) -> str | None:
        """The job's id, or None where there is no room. Where it raises, nothing was started.

        Raises OSError, ValueError or RuntimeError.
        """
        with self.lock:
            if self.closed or len(self.running()) >= self.capacity:
                return None
            job = self._begin(bead, self.mine + self.new_id())
            self.known[job.id] = job
        self.log.info("started", f"job={job.id}, output in {job.path}", bead=bead.id, job=job.id)
        return job.id

    def get(self, job_id: str) -> Job | None:
        self._refresh()
        return self.known.get(job_id)

    def running(self) -> list[Job]:
        self._refresh()
        return [job for job in list(self.known.values()) if job.finished_at is None]

    def ended_lately(self, seconds: float) -> list[Job]:
        """Those that ended within the last `seconds`."""
        now = self.clock.monotonic()
        return [job for job in list(self.known.values()) if job.finished_at and now - job.ended_at <= seconds]

    def described(self, job: Job) -> runner.Job:
        """Return the job as every runner describes one.

        Time in which the laptop slept does not count: the job started as long ago as it has been running.
        """
        ran = timedelta(seconds=job.seconds if job.finished_at else self.clock.monotonic() - job.began)
        return runs.described(
            runner.Stage(job.status),
            job.output.stdout.lines(),
            job.output.stderr.text(),
            exit_code=job.process.returncode,
            started_at=(job.finished_at or self.clock.now()) - ran,
            finished_at=job.finished_at,
            timed=True,
            gone=True,
        )

    def close(self) -> None:
        """No job starts from now on."""
        with self.lock:
            self.closed = True

    def _begin(self, bead: Bead, job_id: str) -> Job:
        folder = logs.folder(self.environ)
        path, file = logs.create(folder, bead.id, job_id)
        output = Output(file)
        try:
            logs.prune(folder, {path} | {job.path for job in self.known.values() if job.finished_at is None})
            process = output.spawn(("/bin/sh", "-c", self.command), self._environ(bead, job_id), self.folder)
        except BaseException:
            with suppress(OSError):
                path.unlink()
            raise
        return Job(job_id, bead, path, output, process, self.clock.now(), self.clock.monotonic())

    def _environ(self, bead: Bead, job_id: str) -> dict[str, str | bytes]:
        """A bead's texts go into the environment, never into the command: they are not code."""
        texts = {
            "BEAD_ID": bead.id, "BEAD_TITLE": bead.title, "BEAD_DESCRIPTION": bead.description,
            "BEAD_ACCEPTANCE": bead.acceptance_criteria, "BEAD_JOB": job_id,
        }  # fmt: skip
        if bead.assignee:  # bd 1.3 lets nobody else close the bead
            texts["BEADS_ACTOR"] = bead.assignee
        inherited = {key: value for key, value in self.environ.items() if key not in NOT_INHERITED}
        return {**inherited, **{key: text.replace("\0", "").encode("utf-8", "replace") for key, text in texts.items()}}

    def _refresh(self) -> None:
        """Notices which jobs have ended, and forgets the old ones."""
        with self.lock:
            for job in self.known.values():
                if job.finished_at is None and job.process.poll() is not None:
                    self._finish(job)
            ended = [job for job in self.known.values() if job.finished_at]
            late, now = len(ended) - MOST_JOBS, self.clock.monotonic()
            for place, job in enumerate(ended):
                if place < late or now - job.ended_at > FORGET_SECONDS:
                    del self.known[job.id]

    def _finish(self, job: Job) -> None:
        job.finished_at, job.seconds = self.clock.now(), self.clock.monotonic() - job.began
        job.output.complete.wait(DRAIN_SECONDS)
        if job.stopped:
            line = f"beads-agent: {job.stopped} after {span(job.seconds)}\n".encode()
            job.output.stderr.add(line)
            logs.append(job.path, line)
        text, seconds = f"job={job.id} {job.summary()}", round(job.seconds, 3)
        self.log.info("ended", text, bead=job.bead.id, job=job.id, seconds=seconds)
