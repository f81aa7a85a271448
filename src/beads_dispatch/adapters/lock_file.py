"""A lock that lives as long as its process: an flock on a file that stays."""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from beads_dispatch.core.errors import Failure
from beads_dispatch.core.text import one_line


class LockFile:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def take(self) -> bool:
        """Take the lock without waiting, and write its holder into the file. Raise Failure."""
        try:
            self._file = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.pwrite(self._file, f"process {os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            self.release()
            return False
        except OSError as error:
            raise Failure(f"{self._path}: cannot be locked: {error.strerror}") from None
        return True

    def holder(self, held_for: float = 0.0) -> str:
        """Describe the lock's holder; empty if the lock is free or the holder is unknown.

        `held_for`: only a holder that has had the lock for so many seconds.
        """
        try:
            with self._path.open("rb") as file:
                seconds = time.time() - os.fstat(file.fileno()).st_mtime  # `take` writes into it
                if seconds < held_for or not is_locked(file):
                    return ""
                who = one_line(file.readline().decode("utf-8", "replace"), 80)
        except OSError:
            return ""
        return f"{who}, for {seconds:.0f} s" if held_for else who

    def held(self) -> bool:
        """Return whether we hold the lock. A file that somebody has removed or replaced locks nobody out."""
        try:
            return self._file is not None and os.path.samestat(os.fstat(self._file), os.stat(self._path))
        except OSError:
            return False

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def is_locked(file: BinaryIO) -> bool:
    """Return whether a process holds the lock. To ask takes a free lock for an instant."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def wait_until_free(path: Path, seconds: float) -> None:
    """Wait until no process holds the lock of this file, but no longer than `seconds`."""
    until = time.monotonic() + seconds
    with suppress(OSError), path.open("rb") as file:
        while is_locked(file) and time.monotonic() < until:
            time.sleep(0.02)
