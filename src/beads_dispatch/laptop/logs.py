"""The files that keep what each job wrote: `<bead>-<job>.log`, the newest 200 of them."""

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from beads_dispatch.adapters.state_folder import by_age, state_folder
from beads_dispatch.core.errors import Failure

MOST_FILES = 200
FOLLOW_SECONDS = 0.3
SHOWN_BYTES = 1024 * 1024  # of the file's end: an event can be a long line, and only a few of its words are shown


def folder(environ: Mapping[str, str]) -> Path:
    return state_folder(environ) / "logs"


def create(logs: Path, bead: str, job: str) -> tuple[Path, BinaryIO]:
    """Create a log file that only its owner may read, and its folder if somebody has removed it. Raise OSError."""
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    logs.chmod(0o700)
    path = logs / f"{_name(bead)}-{job}.log"
    return path, open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600), "ab", buffering=0)


def prune(logs: Path, keep: Collection[Path]) -> None:
    """Remove the oldest files beyond 200, except those to `keep`, whose jobs still run."""
    for path in by_age(logs, "*.log")[:-MOST_FILES]:
        if path not in keep:
            with suppress(OSError):
                path.unlink()


def of(logs: Path, bead: str) -> list[Path]:
    """Return the log files of this bead, the oldest first."""
    name = re.compile(re.escape(_name(bead)) + r"-[0-9a-f]+\.log")
    return [path for path in by_age(logs, "*.log") if name.fullmatch(path.name)]


def newest(logs: Path, bead: str) -> Path:
    """Return the newest log file of this bead. Raise Failure if it has none."""
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
    """Return the bead's id as a part of a file's name."""
    return re.sub(r"[^\w.-]", "_", bead, flags=re.ASCII)[:100]
