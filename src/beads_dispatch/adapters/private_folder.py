"""A folder of our own, where bd may write beside a metadata.json. No process of ours leaves one behind for good."""

import atexit
import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "beads-dispatch-"
_LOCK = "in-use.lock"


@dataclass(frozen=True, slots=True)
class PrivateFolder:
    """`lock`: an open file, locked as long as we or a bd that inherits it live."""

    path: Path
    lock: int

    @property
    def beads(self) -> Path:
        """Inside, because bd 1.3 also writes `.beads.gate.lock` beside the folder that it works on."""
        return self.path / ".beads"


def make(metadata: str) -> PrivateFolder:
    """A new folder with this metadata.json, removed when we end. Raises OSError."""
    Path(tempfile.gettempdir()).mkdir(parents=True, exist_ok=True)  # what cleans up may have removed it too
    remove_abandoned()
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = _lock(path / _LOCK, os.O_CREAT)
        if lock is not None:  # None: another process of ours took it for abandoned right now
            break
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    folder = PrivateFolder(path, lock)
    folder.beads.mkdir(mode=0o700)  # bd warns of any other mode
    (folder.beads / "metadata.json").write_text(metadata, "utf-8")
    return folder


def remove_abandoned() -> None:
    """Removes the folders of processes that were killed: the kernel has released their locks."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # not ours, or just gone
            if path.lstat().st_uid == os.geteuid() and (lock := _lock(path / _LOCK)) is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)


def _lock(path: Path, flags: int = 0) -> int | None:
    """The open file, locked; None where somebody else has the lock or has removed the file. Raises OSError."""
    file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | flags, 0o600)
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file), os.stat(path)):
            return file
    os.close(file)
    return None
