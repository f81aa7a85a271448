"""What a run writes: copied to its log file as it comes, and the last part of each stream kept."""

import os
import selectors
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO

STDOUT_BYTES = 1024 * 1024  # a result object can be one long line: it holds the input of every refused tool
STDERR_BYTES = 16 * 1024
HEAD_BYTES = 16 * 1024
CHUNK_BYTES = 64 * 1024
LOG_BYTES = 64 * 1024 * 1024  # of a log file: a command in a loop must not fill the disk
FULL = b"\nbeads-dispatch: the rest is not kept\n"


@dataclass(slots=True)
class Tail:
    """The last part of a stream, at most so many bytes."""

    most: int
    kept: bytearray = field(default_factory=bytearray)
    cut: bool = False

    def add(self, chunk: bytes) -> None:
        self.kept += chunk
        if len(self.kept) > 2 * self.most:  # not at each chunk, because a cut moves all that is kept
            self._cut()

    def text(self) -> str:
        """From the first whole line on, if the beginning is gone and there is a whole line."""
        self._cut()
        text = self.kept.decode("utf-8", "replace")
        return text.partition("\n")[2] or text if self.cut else text

    def _cut(self) -> None:
        if len(self.kept) > self.most:
            del self.kept[: -self.most]
            self.cut = True


@dataclass(slots=True)
class Output:
    """The stdout and stderr of the commands of one run."""

    file: BinaryIO
    stdout: Tail = field(default_factory=lambda: Tail(STDOUT_BYTES))
    stderr: Tail = field(default_factory=lambda: Tail(STDERR_BYTES))
    left: int = LOG_BYTES  # bytes that the file may still take
    first: bytes = b""  # of stdout
    streams: selectors.DefaultSelector = field(default_factory=selectors.DefaultSelector)

    def follow(self, stdout: BinaryIO, stderr: BinaryIO) -> None:
        """Copy these from now on, each until its end."""
        self.streams.register(stdout, selectors.EVENT_READ, self.stdout)
        self.streams.register(stderr, selectors.EVENT_READ, self.stderr)

    def copy(self, seconds: float) -> bool:
        """Copy what has been written, or wait so long for something. Return whether there was anything."""
        ready = self.streams.select(seconds) if self.streams.get_map() else []
        for key, _ in ready:
            chunk = os.read(key.fd, CHUNK_BYTES)
            if not chunk:
                self.streams.unregister(key.fileobj)
            key.data.add(chunk)
            if key.data is self.stdout and len(self.first) < HEAD_BYTES:
                self.first += chunk[: HEAD_BYTES - len(self.first)]
            self.keep(chunk)
        return bool(ready)

    def head(self) -> str:
        """Return the first lines of stdout, if they are no longer in its tail: an agent may name its session there."""
        return self.first.decode("utf-8", "replace").rpartition("\n")[0] if self.stdout.cut else ""

    def leave(self) -> None:
        """Read no further: a process that we could not end may hold the pipe open."""
        for key in list(self.streams.get_map().values()):
            self.streams.unregister(key.fileobj)

    def say(self, text: str) -> None:
        """Add a line of ours to the log file, also if it is full."""
        with suppress(OSError):
            self.file.write(f"beads-dispatch: {text}\n".encode("utf-8", "replace"))

    def keep(self, chunk: bytes) -> None:
        if self.left > 0:
            with suppress(OSError):  # a full disk must not stop the run
                self.file.write(chunk if len(chunk) < self.left else chunk[: self.left] + FULL)
        self.left -= len(chunk)
