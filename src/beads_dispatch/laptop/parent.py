"""The parent process of one run: `python -m beads_dispatch.laptop.parent RECORD LOCK`.

It outlives the watcher, so that a watcher's crash or upgrade costs no run. It owns the pipes, so that an agent never
dies of a broken one; it keeps the timeout, caps the log file, and writes how the run ended into the run's record. It
starts in well under a tenth of a second: only the standard library and a few small modules of ours are imported.
"""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from beads_dispatch.laptop import processes
from beads_dispatch.laptop.output import Output
from beads_dispatch.laptop.presets import CANNOT_RESUME
from beads_dispatch.laptop.record import Ended, Folder, Record
from beads_dispatch.laptop.worktree import GitFailed, Repository, branch, git

TURN_SECONDS = 0.2  # how soon it notices the command's end, its timeout and a signal
QUICK_SECONDS = 60.0  # an agent that cannot continue a session says so at once
DRAIN_SECONDS = 0.5  # to read what is left in the pipes, once every writer is gone

Process = subprocess.Popen[bytes]


@dataclass(slots=True)
class Run:
    """`asked`: whether SIGTERM has come. `ended`: what we know so far about how the run ended."""

    folder: Folder
    record: Record
    output: Output
    asked: bool = False
    ended: Ended = field(default_factory=lambda: Ended(None, 0.0, 0.0))

    def run(self) -> Ended:
        """Run the command until it ends, and end what it has started. Return how it ended."""
        try:
            self._prepare()
            code = None if self.ended.stopped else self._command(self.record.command)
            if self.record.session and not self.ended.stopped and code and self._cannot_resume():
                self.output.say(f"session {self.record.session} cannot be continued: starting afresh")
                os.environ["BEAD_SESSION"] = ""
                self.record = replace(self.record, session="")
                code = self._command(self.record.command)
        except (OSError, ValueError, GitFailed) as error:
            self._note_time()
            why = str(error) if isinstance(error, GitFailed) else f"the command cannot be started: {error}"
            return self._described(None, cannot_run=why)
        return self._check(self._described(code))

    def _prepare(self) -> None:
        """Make the bead's worktree, if the record asks for one. Raise GitFailed."""
        record, repository = self.record, self._repository()
        if repository is None:
            return
        known = branch(record.bead) in git(repository.top, "branch", "--format=%(refname:short)").split()
        new = repository.prepare(record.bead, record.base)
        self.record = replace(record, folder=str(repository.inside(record.bead)))
        if new and record.setup and (code := self._command(record.setup)) and not self.ended.stopped:
            repository.discard(record.bead, new_branch=not known)
            last = self.output.stderr.text() or self.output.stdout.text()
            raise GitFailed(f"--setup failed (exit {code}): {last.strip().splitlines()[-1] if last.strip() else ''}")

    def _repository(self) -> Repository | None:
        return Repository(*map(Path, self.record.repository)) if self.record.repository else None

    def _check(self, ended: Ended) -> Ended:
        """Test the work of an agent that has ended well. The check has a timeout of its own."""
        if not self.record.check or not _ended_well(ended):
            return ended
        self.output = Output(self.output.file, left=self.output.left)
        self.output.say(f"check: {self.record.check}")
        try:
            code = self._command(self.record.check, time.monotonic() + self.record.timeout)
            failed = "timed out" if self.ended.timed_out else f"exit {code}" if code else ""
        except (OSError, ValueError) as error:
            failed = f"cannot be started: {error}"
        ended = replace(ended, seconds=self.ended.seconds, finished_at=self.ended.finished_at)
        if self.ended.stopped and not self.ended.timed_out:
            return replace(ended, stopped=self.ended.stopped)
        self.output.say(f"check failed ({failed})" if failed else "check passed")
        from beads_dispatch.core import lines

        why = lines.reason(self.output.stdout.text(), self.output.stderr.text()) if failed else ""
        return replace(ended, checked=True, check_failed=failed, check_words=why)

    def _command(self, command: str, until: float | None = None) -> int | None:
        """Run a command until it ends. Return its exit status. `until`: monotonic seconds; None: the run's timeout."""
        process = subprocess.Popen(
            ("/bin/sh", "-c", command), env=os.environ, cwd=self.record.folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, start_new_session=True,
        )  # fmt: skip
        assert process.stdout
        assert process.stderr
        self.output.follow(process.stdout, process.stderr)  # type: ignore[arg-type]
        self.record = replace(self.record, group=process.pid)
        self.folder.write(self.record)
        return self._wait(process, self.record.began + self.record.timeout if until is None else until)

    def _cannot_resume(self) -> bool:
        said = self.output.stderr.text() + self.output.stdout.text()
        quick = time.monotonic() - self.record.began < QUICK_SECONDS
        return quick and any(words in said for words in CANNOT_RESUME)

    def _wait(self, process: Process, until: float) -> int | None:
        """Copy the output until the command has ended and nobody writes any more. Return the exit status."""
        while process.poll() is None and not self._must_end(until):
            self.output.copy(TURN_SECONDS)
        self._note_time()
        self._end_all(process)
        drained = time.monotonic() + DRAIN_SECONDS
        while self.output.streams.get_map() and time.monotonic() < drained:
            self.output.copy(TURN_SECONDS)
        self.output.leave()
        return process.poll()

    def _note_time(self) -> None:
        self.ended = replace(self.ended, seconds=time.monotonic() - self.record.began, finished_at=time.time())

    def _end_all(self, process: Process) -> None:
        """End what the command has started. Read the pipes meanwhile, because a full one would keep an agent alive."""
        from threading import Thread

        job = self.record.job
        ending = Thread(target=lambda: processes.end(process.pid, job, os.environ, root=os.getpid()))
        ending.start()
        while ending.is_alive():
            process.poll()  # a zombie keeps its group alive
            if not self.output.copy(processes.TURN_SECONDS):
                ending.join(processes.TURN_SECONDS)

    def _must_end(self, until: float) -> bool:
        if self.asked:
            why = self.folder.asked_to_stop(self.record.job) or "stopped by a signal"
            self.ended = replace(self.ended, stopped=why)
        elif time.monotonic() >= until:
            self.ended = replace(self.ended, stopped="timed out", timed_out=True)
        return bool(self.ended.stopped)

    def _described(self, code: int | None, cannot_run: str = "") -> Ended:
        """Return how the run ended, with its last words and what its worktree holds."""
        out, repository = self.output, self._repository()
        return replace(
            self.ended,
            exit_code=code,
            cannot_run=cannot_run,
            stdout=out.stdout.text(),
            stderr=out.stderr.text(),
            head=out.head(),
            branch=repository.state(self.record.bead) if repository else "",
        )


def _ended_well(ended: Ended) -> bool:
    """Return whether an agent has done its work. Its own words count too: after a usage limit it may exit with 0."""
    if ended.exit_code != 0 or ended.stopped:
        return False
    from beads_dispatch.core import words
    from beads_dispatch.core.wordings import Trouble

    said = words.said((ended.head + ended.stdout).splitlines(keepends=True), ended.stderr)
    if said.structured:
        return not said.is_error
    return ended.seconds > QUICK_SECONDS or said.trouble is Trouble.NONE


def main(path: str) -> int:
    file = Path(path)
    folder = Folder(file.parent)
    record = folder.read(file.stem)
    if record is None:
        return 1
    with open(os.open(record.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab", buffering=0) as log:
        run = Run(folder, replace(record, pid=os.getpid()), Output(log))
        _listen(run)
        folder.write(run.record)
        ended = run.run()
        if ended.stopped or ended.cannot_run:
            run.output.say(ended.cannot_run or f"{ended.stopped} after {ended.seconds:.0f}s")
        folder.write(replace(run.record, ended=ended))  # the watcher that notices the end removes the lock
    return 0


def _listen(run: Run) -> None:
    def heard(*_: object) -> None:
        run.asked = True

    signal.signal(signal.SIGTERM, heard)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)  # not SIG_IGN: the command would inherit that
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # inherited as ignored, every exit status reads as 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
