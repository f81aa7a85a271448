"""The record of each run, in a file of its own: what is to run, where it runs, and how it ended.

The watcher writes it before the run, the run's parent process afterwards. The parent holds a lock on a second file for
as long as it lives. So any later watcher can tell whether the run still continues, also after a reboot or if its pid
was reused.
"""

import fcntl
import json
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from beads_dispatch.adapters.lock_file import is_locked
from beads_dispatch.adapters.state_folder import by_age, state_folder

MOST_RECORDS = 100


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended. `exit_code`: of the command; negative for a signal. `finished_at`: Unix time.

    `stopped`: why we stopped it, such as `timed out`. `cannot_run`: why the command could not be started at all.
    `seconds`: how long it ran; a laptop's sleep does not count. `stdout`, `stderr`: the last part of each;
    `head`: the first lines of stdout, if they are not in there. `branch`: what the bead's worktree holds.
    `checked`: whether the check ran. `check_failed`: how it failed, such as `exit 2`, with `check_words`.
    """

    exit_code: int | None
    seconds: float
    finished_at: float
    stopped: str = ""
    timed_out: bool = False
    cannot_run: str = ""
    stdout: str = ""
    stderr: str = ""
    head: str = ""
    branch: str = ""
    checked: bool = False
    check_failed: str = ""
    check_words: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One run.

    `token`: of the claim for which it was started. `queue`: whose run it is; only that queue's watcher looks after it.
    `log`: the file with its output. `timeout`: seconds. `session`: of the last run, which the command continues.
    `repository`: the paths of the one whose worktree the bead gets, if any. `base`: what its branch starts from.
    `setup`: runs first in a new one. `check`: tests the work of an agent that has ended well.
    `began`: monotonic seconds, which all processes share until the machine restarts (`boot`).
    `pid`: the parent process. `group`: the process group of the command.
    """

    job: str
    bead: str
    token: str
    queue: str
    run: int
    command: str
    folder: str
    log: str
    timeout: float
    boot: str
    started_at: float
    began: float
    session: str = ""
    repository: Sequence[str] | None = None
    base: str = ""
    setup: str = ""
    check: str = ""
    pid: int = 0
    group: int = 0
    ended: Ended | None = None


def boot_id() -> str:
    """Return a text that differs after each start of the machine, or nothing if the machine has none."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


@dataclass(frozen=True, slots=True)
class Folder:
    """`$XDG_STATE_HOME/beads-dispatch/runs`: for each run `<job>.json`, `<job>.lock` while it lives, `<job>.stop`."""

    path: Path

    def create(self, record: Record) -> int:
        """Write a new record. Return its lock, which the parent process inherits. Raise OSError."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)
        self._prune()
        lock = os.open(self._lock(record.job), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.write(record)
        except BaseException:
            os.close(lock)
            self.remove(record.job)
            raise
        return lock

    def write(self, record: Record) -> None:
        """Replace the record in one step. Raise OSError."""
        path = self.path / f"{record.job}.json"
        new = path.with_suffix(".new")
        with open(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(asdict(record), file)
        new.replace(path)

    def read(self, job: str) -> Record | None:
        """Return the record, or None if there is none that can be read."""
        try:
            return _record(json.loads((self.path / f"{job}.json").read_text("utf-8")))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def lives(self, job: str) -> bool:
        """Return whether the run's parent process lives, and has not yet written how the run ended."""
        try:
            with self._lock(job).open("rb") as file:
                if not is_locked(file):
                    return False
        except OSError:
            return False
        record = self.read(job)
        return record is None or record.ended is None

    def unfinished(self, queue: str = "") -> list[Record]:
        """Return the queue's runs that live, or whose end no watcher has noticed yet.

        `queue`: empty for every queue's.
        """
        jobs = [path.stem for path in by_age(self.path, "*.lock")]
        return [record for job in jobs if (record := self.read(job)) and queue in ("", record.queue)]

    def of(self, bead: str, queue: str = "") -> list[Record]:
        """Return the runs of a bead, the oldest first."""
        records = (self.read(path.stem) for path in by_age(self.path, "*.json"))
        found = [one for one in records if one and one.bead == bead and queue in ("", one.queue)]
        return sorted(found, key=lambda one: one.started_at)

    def finish(self, record: Record) -> None:
        """Write how the run ended, and that its end is noticed. Raise OSError."""
        self.write(record)
        self._lock(record.job).unlink(missing_ok=True)

    def stop(self, job: str, why: str) -> bool:
        """Ask the run's parent process to end it. Return whether it was there to be asked."""
        record = self.read(job)
        if not (record and record.pid and self.lives(job)):
            return False
        with suppress(OSError):
            (self.path / f"{job}.stop").write_text(why, "utf-8")  # it reads this once SIGTERM has come
        with suppress(ProcessLookupError):
            os.kill(record.pid, signal.SIGTERM)
        return True

    def asked_to_stop(self, job: str) -> str:
        with suppress(OSError, ValueError):
            return (self.path / f"{job}.stop").read_text("utf-8")
        return ""

    def remove(self, job: str) -> None:
        for suffix in ("json", "new", "stop", "lock"):
            with suppress(OSError):
                (self.path / f"{job}.{suffix}").unlink()

    def _lock(self, job: str) -> Path:
        return self.path / f"{job}.lock"

    def _prune(self) -> None:
        """Remove the oldest records of ended runs."""
        ended = [path for path in by_age(self.path, "*.json") if not path.with_suffix(".lock").exists()]
        for path in ended[:-MOST_RECORDS]:
            self.remove(path.stem)


def _record(found: Mapping[str, Any]) -> Record:
    """Read a record without the fields that only another version of ours knows."""
    fields = {name: value for name, value in found.items() if name in Record.__slots__}
    if ended := fields.get("ended"):
        fields["ended"] = Ended(**{name: value for name, value in ended.items() if name in Ended.__slots__})
    return Record(**fields)


def runs_folder(environ: Mapping[str, str]) -> Folder:
    return Folder(state_folder(environ) / "runs")
