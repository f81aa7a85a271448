"""What a job writes: copied to its log file as it comes, and its last part kept for an answer."""

import io
import os
import selectors
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO

# Together below what our own clients read of an answer (adapters/http.py).
STDOUT_BYTES = 32 * 1024
STDERR_BYTES = 4 * 1024
CHUNK_BYTES = 64 * 1024
LOG_BYTES = 64 * 1024 * 1024  # of a job's log file: a command in a loop must not fill the disk
FULL = b"\nbeads-agent: the rest is not kept\n"

Process = subprocess.Popen[bytes]


@dataclass(slots=True)
class Tail:
    """The last part of a stream, at most so many bytes."""

    most: int
    kept: bytes = b""
    cut: bool = False

    def add(self, chunk: bytes) -> None:
        whole = self.kept + chunk
        self.cut = self.cut or len(whole) > self.most
        self.kept = whole[-self.most :]

    def text(self) -> str:
        """From the first whole line on, where the beginning is gone and there is a whole line."""
        text = self.kept.decode("utf-8", "replace")
        return text.partition("\n")[2] or text if self.cut else text

    def lines(self) -> list[str]:
        """Each with its newline."""
        return list(io.StringIO(self.text()))


@dataclass(slots=True)
class Output:
    """The stdout and stderr of one job. `complete` is set once both have ended."""

    file: BinaryIO
    stdout: Tail = field(default_factory=lambda: Tail(STDOUT_BYTES))
    stderr: Tail = field(default_factory=lambda: Tail(STDERR_BYTES))
    complete: threading.Event = field(default_factory=threading.Event)
    left: int = LOG_BYTES  # what the file may still take

    def spawn(self, argv: Sequence[str], environ: Mapping[str, str | bytes], folder: Path) -> Process:
        """Starts the program in a session of its own. Where it raises (OSError, ValueError, RuntimeError), it has not.

        The thread that copies begins before the program, so that nothing can fail after it.
        """
        started: SimpleQueue[Process | None] = SimpleQueue()
        threading.Thread(target=self._copy, args=(started,), daemon=True).start()
        process = None
        try:
            process = subprocess.Popen(
                argv, env=environ, cwd=folder, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, start_new_session=True,
            )  # fmt: skip
        finally:
            started.put(process)
        return process

    def _copy(self, started: "SimpleQueue[Process | None]") -> None:
        process = started.get()
        with self.file:
            if process and process.stdout and process.stderr:
                with process.stdout, process.stderr:
                    self._copy_both({process.stdout: self.stdout, process.stderr: self.stderr})
        self.complete.set()

    def _copy_both(self, tails: Mapping[object, Tail]) -> None:
        with selectors.DefaultSelector() as selector:
            for stream, tail in tails.items():
                selector.register(stream, selectors.EVENT_READ, tail)  # type: ignore[arg-type]
            while selector.get_map():
                for key, _ in selector.select():
                    chunk = os.read(key.fd, CHUNK_BYTES)
                    if not chunk:
                        selector.unregister(key.fileobj)
                    key.data.add(chunk)
                    self._keep(chunk)

    def _keep(self, chunk: bytes) -> None:
        if self.left > 0:
            with suppress(OSError):  # a full disk must not stop the job
                self.file.write(chunk if len(chunk) < self.left else chunk[: self.left] + FULL)
        self.left -= len(chunk)
