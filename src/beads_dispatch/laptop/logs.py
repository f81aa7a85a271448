"""The files that keep what each job wrote: `<bead>-<job>.log`, the newest 200 of them."""

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from beads_dispatch.adapters.state_folder import state_folder
from beads_dispatch.core.errors import Failure

MOST_FILES = 200
FOLLOW_SECONDS = 0.3
SHOWN_BYTES = 1024 * 1024  # of the file's end: an event can be a long line, and only a few of its words are shown


def folder(environ: Mapping[str, str]) -> Path:
    return state_folder(environ) / "logs"


def create(logs: Path, bead: str, job: str) -> tuple[Path, BinaryIO]:
    """A new file, readable by its owner only, in a folder that is made again where it was removed. Raises OSError."""
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    logs.chmod(0o700)
    path = logs / f"{_name(bead)}-{job}.log"
    return path, open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600), "ab", buffering=0)


def prune(logs: Path, keep: Collection[Path]) -> None:
    """Removes the oldest files beyond 200, except those to `keep`, whose jobs still run."""
    for path in _by_age(_files(logs))[:-MOST_FILES]:
        if path not in keep:
            with suppress(OSError):
                path.unlink()


def of(logs: Path, bead: str) -> list[Path]:
    """The files of this bead, the oldest first."""
    name = re.compile(re.escape(_name(bead)) + r"-[0-9a-f]+\.log")
    return _by_age(path for path in _files(logs) if name.fullmatch(path.name))


def newest(logs: Path, bead: str) -> Path:
    """The newest file of this bead. Raises Failure where there is none."""
    if not (found := of(logs, bead)):
        raise Failure(
            f"no log of {bead} in {logs}: the laptop agent has not run it on this machine, "
            f"or its log was removed (the newest {MOST_FILES} are kept)"
        )
    return found[-1]


def job(path: Path) -> str:
    """Return the job whose output a file holds."""
    return path.stem.rpartition("-")[2]


def read(path: Path, lives: Callable[[], bool], sleep: Callable[[float], None]) -> Iterator[list[str]]:
    """Yield the last lines, then the new ones as they come for as long as the run lives. Raise Failure."""
    try:
        with path.open("rb") as file:
            begin = max(0, file.seek(0, os.SEEK_END) - SHOWN_BYTES)
            file.seek(begin)
            *lines, rest = file.read().split(b"\n")
            yield _texts(lines[begin > 0 :])
            while lives():
                sleep(FOLLOW_SECONDS)
                *lines, rest = (rest + file.read()).split(b"\n")
                yield _texts(lines)
            if last := rest + file.read():
                yield _texts(last.removesuffix(b"\n").split(b"\n"))
    except OSError as error:
        raise Failure(f"{path}: cannot be read: {error.strerror}") from None


def _texts(lines: Iterable[bytes]) -> list[str]:
    return [line.decode("utf-8", "replace") for line in lines]


def _name(bead: str) -> str:
    """The bead's id as a part of a file's name."""
    return re.sub(r"[^\w.-]", "_", bead, flags=re.ASCII)[:100]


def _files(logs: Path) -> list[Path]:
    """None where the folder is somebody else's: HOME can be kept from another user."""
    try:
        return list(logs.glob("*.log"))
    except OSError:
        return []


def _by_age(paths: Iterable[Path]) -> list[Path]:
    """The oldest first. A file that another agent removes meanwhile is left out."""
    found = []
    for path in paths:
        with suppress(OSError):
            found.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(found)]
