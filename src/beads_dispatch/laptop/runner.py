"""Agents on this machine: a command for each bead, under a parent process that outlives the watcher."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from beads_dispatch.adapters.bd.verbs import Bd
from beads_dispatch.adapters.clock import Clock
from beads_dispatch.adapters.log import Log
from beads_dispatch.adapters.runner import Runner
from beads_dispatch.core import marks, notes, runs
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.claim import Claim
from beads_dispatch.core.errors import Failure
from beads_dispatch.core.runner import Answer, Job, Outcome, Room, Stage
from beads_dispatch.core.text import one_line
from beads_dispatch.core.times import span
from beads_dispatch.laptop import logs, processes
from beads_dispatch.laptop.environment import Earlier, environment
from beads_dispatch.laptop.record import Ended, Folder, Record, boot_id, runs_folder
from beads_dispatch.laptop.worktree import GitFailed, Repository, branch

# Without psutil nobody can tell whose the process group is by now, so nothing is ended and nothing is started.
MAY_LIVE = "the process that looked after its command was killed, and the command may still be running"


def prefix(machine: str) -> str:
    """Return how the ids of this machine's jobs begin: on a shared database a bead's job may be another machine's."""
    return hashlib.sha1(machine.encode(), usedforsecurity=False).hexdigest()[:4]


@dataclass(frozen=True, slots=True)
class Setup:
    """What we run for each bead. `timeout`: for one run. `folder`: in which it runs. `environ`: what it inherits.

    `beads_dir`: the workspace's .beads folder, or nothing if bd finds it.
    `repository`: whose worktrees the beads get; None: they share the folder. `prepare`: runs first in a new one.
    `check`: tests the work of an agent that has ended well.
    """

    command: str
    capacity: int
    timeout: timedelta
    folder: Path
    environ: Mapping[str, str]
    beads_dir: str = ""
    repository: Repository | None = None
    prepare: str = ""
    check: str = ""


@dataclass(slots=True)
class LocalRunner(Runner):
    """`queue`: names the queue whose runs these are. `new_id`: random hex digits. `mine`: how this machine's ids begin.

    `at_work`: the runs that have not ended as far as we know, also those that we have adopted from an earlier watcher.
    `draining`: start nothing more. `parents`: the runs' parent processes that we have started.
    """

    setup: Setup
    queue: str
    bd: Bd
    clock: Clock
    new_id: Callable[[], str]
    log: Log
    mine: str = ""
    at_work: dict[str, Record] = field(default_factory=dict)
    draining: bool = False
    parents: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    follows = here = True

    @property
    def records(self) -> Folder:
        return runs_folder(self.setup.environ)

    def room(self) -> Room:
        taken, capacity = len(self.living()), self.setup.capacity
        return Room(taken < capacity and not self.draining, taken, capacity)

    def start(self, claim: Claim) -> Answer:
        if not self.room().free:
            return Answer(Outcome.BUSY, None, "every place is taken")
        try:
            base = self._base(claim.bead)
            if len(base) > 1:
                return Answer(Outcome.BEAD_AT_FAULT, None, f"it needs {' and '.join(base)}: merge one of them first")
            record = self._start(claim, *base)
        except (OSError, ValueError, RuntimeError, GitFailed, Failure) as error:
            return Answer(Outcome.NOT_STARTED, None, f"the command cannot be started: {one_line(str(error))}")
        self.at_work[record.job] = record
        self.log.info("started", f"job={record.job}, output in {record.log}", bead=record.bead, job=record.job)
        return Answer(Outcome.ACCEPTED, None, "", record.job)

    def job(self, job_id: str) -> Job:
        """Return a job as it is. We know nothing about a job of another machine, so it does not count as lost."""
        lives = self.records.lives(job_id)  # asked before the record is read: it may end in between
        record = self.records.read(job_id)
        if record is None:
            mine = job_id.startswith(self.mine)
            return Job(Stage.UNKNOWN) if mine else Job(Stage.FOREIGN, "another machine started it")
        return self._described(record, lives=lives)

    def living(self) -> list[Record]:
        """Return the runs that live."""
        return [record for job, record in self.at_work.items() if self.records.lives(job)]

    def idle(self) -> bool:
        return not self.living()

    def stop(self, job_id: str) -> bool:
        return not self.records.stop(job_id, "stopped")

    def _base(self, bead: Bead) -> Sequence[str]:
        """Return the branches of the bead's closed dependencies that are not merged yet."""
        unmerged = self.setup.repository.unmerged() if self.setup.repository else set()
        if not unmerged - {branch(bead.id)}:
            return ()
        closed = (branch(needed) for needed, status in self.bd.dependencies(bead.id) if status == "closed")
        return sorted(unmerged & set(closed))

    def _start(self, claim: Claim, base: str = "HEAD") -> Record:
        job, bead = self.mine + self.new_id(), claim.bead
        folder = logs.folder(self.setup.environ)
        path, file = logs.create(folder, bead.id, job)
        with file:
            try:
                logs.prune(folder, {path} | {Path(record.log) for record in self.living()})
                earlier = self._earlier(bead)
                record = self._record(claim, job, path, earlier, base)
                environ = environment(self.setup.environ, bead, job, earlier, self.setup.beads_dir)
                self._spawn(record, environ, file)
            except BaseException:
                with suppress(OSError):
                    path.unlink()
                raise
        return record

    def _earlier(self, bead: Bead) -> Earlier:
        """Describe the bead's last run from its record, or if another machine ran it, from its marks."""
        records = self.records.of(bead.id, self.queue)
        if not records or not (ended := records[-1].ended):
            return Earlier(marks.runs(bead), notes.last_end(bead.notes))
        job = self._described(records[-1], lives=False)
        words, how = "" if job.words == ended.stopped else job.words, _how(records[-1], ended)
        return Earlier(records[-1].run, f"{how}: {words}" if words else how, job.session)

    def _record(self, claim: Claim, job: str, log: Path, earlier: Earlier, base: str) -> Record:
        setup, repository = self.setup, self.setup.repository
        return Record(
            job,
            claim.bead.id,
            claim.token,
            self.queue,
            earlier.run + 1,
            setup.command,
            str(setup.folder),
            str(log),
            setup.timeout.total_seconds(),
            boot_id(),
            self.clock.now().timestamp(),
            self.clock.monotonic(),
            earlier.session,
            repository.paths() if repository else None,
            base,
            setup.prepare,
            setup.check,
        )

    def _spawn(self, record: Record, environ: Mapping[str, str | bytes], log: BinaryIO) -> None:
        """Start the parent process, in a session of its own. If this raises, nothing runs."""
        lock = self.records.create(record)
        # -P: the project's folder must not be searched for modules.
        words = (sys.executable, "-P", "-X", "utf8", "-m", "beads_dispatch.laptop.parent")
        try:
            process = subprocess.Popen(
                (*words, str(self.records.path / f"{record.job}.json")), env=environ, cwd=record.folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, pass_fds=(lock,),
            )  # fmt: skip
        except BaseException:
            self.records.remove(record.job)
            raise
        finally:
            os.close(lock)
        self.parents.append(process)

    def _described(self, record: Record, *, lives: bool) -> Job:
        if record.ended is None and lives:
            ran = timedelta(seconds=self.clock.monotonic() - record.began)  # a laptop's sleep does not count
            return Job(Stage.RUNNING, started_at=self.clock.now() - ran, timed=True)
        ended = record.ended or self.killed(record)
        finished = datetime.fromtimestamp(ended.finished_at, UTC)
        if ended.stopped == MAY_LIVE:
            return Job(Stage.UNKNOWN, MAY_LIVE, finished_at=finished)
        began, code = finished - timedelta(seconds=ended.seconds), ended.exit_code
        job = Job(_stage(ended), exit_code=code, started_at=began, finished_at=finished, timed=True, gone=True)
        job = runs.described(job, (ended.head + ended.stdout).splitlines(keepends=True), ended.stderr)
        if job.stage is Stage.STOPPED:
            return replace(job, words=ended.stopped)
        if ended.cannot_run:
            return replace(job, words=ended.cannot_run, cannot_run=True)
        if ended.checked:
            words = ended.check_words if ended.check_failed else job.words
            job = replace(job, words=words, check=record.check, check_failed=ended.check_failed)
        return replace(job, words=f"({ended.branch}) {job.words}".rstrip()) if ended.branch else job

    def killed(self, record: Record) -> Ended:
        """Return how a run ended whose parent process was killed."""
        now = self.clock.now().timestamp()
        if record.boot != boot_id():
            return Ended(None, 0.0, now, stopped="stopped by a restart of the machine")
        lost = not processes.has_psutil() and record.group and processes.group_lives(record.group)
        why = MAY_LIVE if lost else "stopped by a signal"
        return Ended(None, self.clock.monotonic() - record.began, now, stopped=why)


def _stage(ended: Ended) -> Stage:
    if ended.timed_out:
        return Stage.TIMEOUT
    if ended.stopped:
        return Stage.STOPPED
    return Stage.FAILED if ended.exit_code or ended.cannot_run else Stage.COMPLETED


def summary(record: Record, ended: Ended) -> str:
    """Say how a run ended: `failed (exit 127) after 0s: claudee: not found`, `timed out after 30m`."""
    last = ended.check_words
    if ended.exit_code and not ended.stopped:
        last = notes.last_line(ended.stderr)
    return _how(record, ended) + (f": {one_line(last)}" if last else "")


def _how(record: Record, ended: Ended) -> str:
    code = ended.exit_code
    what = ended.stopped or (f"failed (exit {code})" if code else "completed")
    if ended.check_failed:
        what = f"check failed ({one_line(record.check, 80)}, {ended.check_failed})"
    return f"{what} after {span(ended.seconds)}"
