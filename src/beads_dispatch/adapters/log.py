"""What a tick, a sweep or the watcher prints: a line of text for a person, or of JSON for a collector."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

from beads_dispatch.core.text import one_line

Field = str | int | float | None  # None: unknown, and left out

# In a pod, the content of this file becomes the container's termination message. Elsewhere it does not exist.
TERMINATION_MESSAGE = "/dev/termination-log"


@dataclass(slots=True)
class Log:
    """Write one line for each event: to stdout, and what is worth an alert to stderr. On a terminal with the time.

    `now`: the time of day, UTC. `repeats` False: leaves out a line that only repeats the one before.
    `timed`: with the time on stdout, also if that is a pipe.
    `answers`: stdout is for the command's answer, so every line goes to stderr.
    JSON also has the fields that a caller knows: `job`, `tick`, `http_status`, `seconds`.
    """

    name: str
    now: Callable[[], datetime]
    as_json: bool = False
    repeats: bool = True
    answers: bool = False
    timed: bool = False
    failure: str = ""  # the last line that was worth an alert
    _last: tuple[str, ...] = ()

    def info(self, event: str, text: str, *, bead: str = "", level: str = "info", **fields: Field) -> None:
        this = (event, text, bead)
        if self.repeats or this != self._last:
            self._write(event, text, bead, level, sys.stderr if self.answers else sys.stdout, fields)
        self._last = this

    def error(self, event: str, text: str, *, bead: str = "", level: str = "error", **fields: Field) -> None:
        self._last = ()
        self.failure = self._write(event, text, bead, level, sys.stderr, fields)

    def unreadable(self, lines: Iterable[str]) -> None:
        """Log the beads that cannot be read. (A watcher does so itself, once, and not at every tick.)"""
        if self.repeats:
            for line in lines:
                self.error("unreadable", f"left alone: {line}")

    def _write(self, event: str, text: str, bead: str, level: str, stream: TextIO, fields: Mapping[str, Field]) -> str:
        text = one_line(text, 600)
        which = f"{one_line(bead)}: " if bead else ""  # an id can have a line break too
        line = f"{self._time(stream)}{self.name}: {which}{text}"
        if self.as_json:
            time = self.now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            known = {"time": time, "level": level, "logger": self.name, "event": event}
            more = {name: value for name, value in fields.items() if value not in (None, "")}
            line = json.dumps({**known, "bead": bead or None, **more, "message": text}, ensure_ascii=False)
        put(line, stream)
        return line

    def _time(self, stream: TextIO) -> str:
        """Return the time for a person at a terminal, in the local zone. A file or a collector adds its own."""
        shown = stream.isatty() or (self.timed and stream is sys.stdout)
        return self.now().astimezone().strftime("%H:%M:%S ") if shown else ""


def put(text: str, stream: TextIO) -> bool:
    """Print a line. A closed pipe or a full disk must not end a tick between its POST and its note.

    Return False if the text is lost. There may be room for the next one.
    """
    try:
        stream.write(f"{text}\n")  # in one piece, because several threads may print
        stream.flush()
    except BrokenPipeError:
        drain(stream)  # its reader has closed it
    except OSError:
        return False
    return True


def drain(stream: TextIO) -> None:
    """Send the rest to /dev/null. Otherwise Python fails once more when it flushes the stream at exit."""
    try:
        stream.flush()
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def leave_termination_message(line: str) -> None:
    """Write why the command failed into the file that a pod's status shows. Never create that file."""
    with suppress(OSError):
        file = os.open(TERMINATION_MESSAGE, os.O_WRONLY | os.O_TRUNC)
        os.write(file, line.encode("utf-8", "replace"))
        os.close(file)
