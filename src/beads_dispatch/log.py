"""What a tick or a sweep says: a line of text for a person, or of JSON for a collector."""

import json
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

from beads_dispatch.notes import one_line, utc

# In a pod, what stands in this file becomes the container's termination message; elsewhere it does not exist.
TERMINATION_MESSAGE = "/dev/termination-log"


@dataclass(slots=True)
class Log:
    """Writes one line an event: to stdout, and what is worth an alert to stderr.

    `repeats` False leaves out a line that only says again what the line before said.
    """

    name: str
    as_json: bool = False
    repeats: bool = True
    failure: str = ""  # the last line that was worth an alert
    _last: tuple[str, ...] = ()

    def say(self, event: str, text: str, *, bead: str = "", level: str = "info") -> None:
        this = (event, text, bead)
        if self.repeats or this != self._last:
            self._write(event, text, bead, level, sys.stdout)
        self._last = this

    def fail(self, event: str, text: str, *, bead: str = "", level: str = "error") -> None:
        self._last = ()
        self.failure = self._write(event, text, bead, level, sys.stderr)

    def unreadable(self, lines: Iterable[str]) -> None:
        """The beads that cannot be read; a watcher says them itself, once, and not at every tick."""
        if self.repeats:
            for line in lines:
                self.fail("unreadable", f"left alone: {line}")

    def _write(self, event: str, text: str, bead: str, level: str, stream: TextIO) -> str:
        text = one_line(text, 600)
        line = f"{self.name}: {bead + ': ' if bead else ''}{text}"
        if self.as_json:
            known = {"time": utc(datetime.now(UTC)), "level": level, "logger": self.name, "event": event}
            line = json.dumps({**known, "bead": bead or None, "message": text}, ensure_ascii=False)
        put(line, stream)
        return line


def put(text: str, stream: TextIO) -> None:
    """Prints. Nobody reads any more, or the disk is full: that must not end a tick between its POST and its note."""
    try:
        print(text, file=stream, flush=True)
    except OSError:
        with suppress(OSError):  # else Python fails once more when it flushes the stream at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def leave_termination_message(line: str) -> None:
    """Why the command failed, where a pod's status shows it. Never creates the file."""
    with suppress(OSError):
        file = os.open(TERMINATION_MESSAGE, os.O_WRONLY | os.O_TRUNC)
        os.write(file, line.encode("utf-8", "replace"))
        os.close(file)
