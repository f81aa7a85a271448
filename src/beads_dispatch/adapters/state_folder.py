"""What we keep on this machine outside of `.beads`, which a `git clean` removes."""

import hashlib
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from beads_dispatch.core.errors import Failure


def state_folder(environ: Mapping[str, str]) -> Path:
    """Return `$XDG_STATE_HOME/beads-dispatch`. By the XDG rules a relative path counts as unset: ~/.local/state."""
    state = Path(environ.get("XDG_STATE_HOME", ""))
    home = environ.get("HOME") or os.path.expanduser("~")
    return (state if state.is_absolute() else Path(home) / ".local" / "state") / "beads-dispatch"


def read_text(path: Path) -> str:
    """Return a file's text, even if it is not all UTF-8; empty if there is no file. Raise Failure."""
    try:
        return path.read_text("utf-8", "replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise Failure(f"{path}: cannot be read: {error.strerror}") from None


def by_age(folder: Path, pattern: str) -> list[Path]:
    """Return the files that fit, the oldest first, without those that another process removes meanwhile.

    The folder may be somebody else's, which we may not read: HOME can be kept from another user.
    """
    found = []
    with suppress(OSError):
        for path in folder.glob(pattern):
            with suppress(OSError):
                found.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(found)]


class LedgerFolder:
    """The ledger of one project: a file for each bead, so that two ticks never write the same file at once."""

    def __init__(self, environ: Mapping[str, str], project: str, kept: timedelta) -> None:
        self._folder = state_folder(environ) / "ledger" / _name(project)
        self._kept = kept

    def read(self, bead_id: str) -> str:
        """Return what the ledger says about a bead; empty if nothing. Raise Failure if it cannot be read."""
        return read_text(self._path(bead_id))

    def write(self, bead_id: str, text: str) -> None:
        """Write it whole or not at all. Raise Failure."""
        path = self._path(bead_id)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = path.with_suffix(f".{os.getpid()}")
            new.write_text(text, "utf-8")
            new.replace(path)
        except OSError as error:
            raise Failure(f"{path}: cannot be written: {error.strerror}") from None
        self._prune()

    def _prune(self) -> None:
        """Remove entries that are older than a year. One that cannot be removed does no harm."""
        oldest = time.time() - self._kept.total_seconds()
        for path in self._folder.iterdir():
            with suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()

    def _path(self, bead_id: str) -> Path:
        return self._folder / _name(bead_id)


def _name(text: str) -> str:
    """Return a name for a file. Ids may differ only by case, which some file systems ignore."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
