"""What a tick or a sweep says: a line of text for a person, or of JSON for a collector."""

import json
import os
import sys
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
    _last: tuple[str, ...] = ()

    def say(self, event: str, text: str, *, bead: str = "", level: str = "info") -> None:
        this = (event, text, bead)
        if self.repeats or this != self._last:
            self._write(event, text, bead, level, sys.stdout)
        self._last = this

    def fail(self, event: str, text: str, *, bead: str = "", level: str = "error") -> None:
        self._last = ()
        _leave_termination_message(self._write(event, text, bead, level, sys.stderr))

    def _write(self, event: str, text: str, bead: str, level: str, stream: TextIO) -> str:
        text = one_line(text, 600)
        line = f"{self.name}: {bead + ': ' if bead else ''}{text}"
        if self.as_json:
            known = {"time": utc(datetime.now(UTC)), "level": level, "logger": self.name, "event": event}
            line = json.dumps({**known, "bead": bead or None, "message": text}, ensure_ascii=False)
        print(line, file=stream, flush=True)
        return line


def _leave_termination_message(line: str) -> None:
    """The last failure, where a pod's status shows it. Never creates the file."""
    with suppress(OSError):
        file = os.open(TERMINATION_MESSAGE, os.O_WRONLY | os.O_TRUNC)
        os.write(file, line.encode("utf-8", "replace"))
        os.close(file)
