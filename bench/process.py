"""What a process costs: with all its children, and what it costs the Dolt server meanwhile."""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

SETTLE_SECONDS = 0.2  # what Dolt still does for a client that has left
SAMPLE_SECONDS = 0.005
TRACED = "execve,open,openat,creat,write,pwrite64,writev,pwritev,copy_file_range,sendfile"
# Only what has a path. `write(3</tmp/a>, ""..., 4096) = 4096`; copy_file_range names the file that is read first.
WRITTEN = re.compile(r"(?:pwrite64|pwritev|writev|write|sendfile)\(\d+<(/[^>]*)>, .* = (\d+)$")
COPIED = re.compile(r"copy_file_range\(.*, \d+<(/[^>]*)>, .* = (\d+)$")
OPENED = re.compile(r"(?:openat|open|creat)\(.*(?:O_WRONLY|O_RDWR|O_CREAT).* = \d+<(/[^>]*)>$")


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one run, in seconds. `cpu`: of the process and its children; `dolt`: of the server."""

    wall: float
    cpu: float
    dolt: float


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one run. `memory`: bytes, of all its processes at once; `log`: bytes that it printed.

    `requests` (HTTP) and `statements` (SQL) are counted by whoever serves them.
    """

    processes: int
    files: int
    written: int
    memory: int
    log: int
    requests: int = 0
    statements: int = 0


def cpu_seconds(pid: int) -> float:
    """Of a process, its threads that have ended included: the clock that clock_getcpuclockid(3) gives."""
    return time.clock_gettime((~pid << 3) | 2)


@contextmanager
def pod(environ: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The environment with an empty /tmp of its own, as a new pod has it."""
    with tempfile.TemporaryDirectory(prefix="beads-bench-pod-") as folder:
        yield {**environ, "HOME": folder, "TMPDIR": folder}


def measure(words: Sequence[str], environ: Mapping[str, str], dolt: int) -> Cost:
    """Raises RuntimeError, with what it printed, if it fails."""
    with pod(environ) as env, tempfile.TemporaryFile() as output:
        before, began = cpu_seconds(dolt), time.monotonic()
        process = subprocess.Popen(words, env=env, cwd=env["HOME"], stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        time.sleep(SETTLE_SECONDS)
        _check(words, process.returncode, _printed(output))
        return Cost(wall, usage.ru_utime + usage.ru_stime, cpu_seconds(dolt) - before)


def count(words: Sequence[str], environ: Mapping[str, str]) -> Counts:
    """The same under strace, which makes it slow: so nothing is timed here."""
    with pod(environ) as env, tempfile.TemporaryFile() as output, tempfile.TemporaryDirectory() as traces:
        # A file for each process (-ff): in a common one, a call that another process interrupts takes two lines.
        strace = ["strace", "-ff", "-yy", "--seccomp-bpf", "-s", "0", "-e", f"trace={TRACED}", "-o", f"{traces}/trace"]
        process = subprocess.Popen([*strace, *words], env=env, cwd=env["HOME"], stdout=output, stderr=output)
        peak = _peak_memory(process)
        printed = _printed(output)
        _check(words, process.returncode, printed)
        lines = [line for trace in Path(traces).iterdir() for line in trace.read_text(errors="replace").splitlines()]
        return _counts(lines, peak, len(printed))


def _printed(output: IO[bytes]) -> bytes:
    output.seek(0)
    return output.read()


def _check(words: Sequence[str], status: int, printed: bytes) -> None:
    if status:
        raise RuntimeError(f"{' '.join(words)}: exit status {status}: {printed.decode(errors='replace')[-1000:]}")


def _counts(trace: Sequence[str], peak: int, printed: int) -> Counts:
    started = sum(line.startswith("execve(") and line.endswith(" = 0") for line in trace)
    opened = {found[1] for line in trace if (found := OPENED.match(line)) and _is_file(found[1])}
    writes = [found for line in trace if (found := WRITTEN.match(line) or COPIED.match(line)) and _is_file(found[1])]
    return Counts(started, len(opened), sum(int(found[2]) for found in writes), peak, printed)


def _is_file(path: str) -> bool:
    """Not a device, and not what the run prints: that is counted as log."""
    return not path.startswith(("/dev/", "/proc/")) and "(deleted)" not in path


def _peak_memory(process: "subprocess.Popen[bytes]") -> int:
    """Bytes: the most that all below strace held at once. Waits until it has ended."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(_resident(pid) for pid in _children(process.pid)))
        time.sleep(SAMPLE_SECONDS)
    return peak


def _children(pid: int) -> Iterator[int]:
    """All below this one, at any depth, but those that have not started their program yet: they share its memory."""
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                if _program(int(child)) != _program(pid):
                    yield int(child)
                yield from _children(int(child))


def _program(pid: int) -> str:
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/exe")
    return ""


def _resident(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


@dataclass(frozen=True, slots=True)
class Running:
    """A process that goes on until it is stopped, and the file that has what it prints."""

    pid: int
    output: Path

    def printed(self) -> str:
        return self.output.read_text(errors="replace")


@contextmanager
def running(words: Sequence[str], environ: Mapping[str, str]) -> Iterator[Running]:
    """Ends it, with what it has started, in the end. Raises RuntimeError if it has ended before."""
    with pod(environ) as env:
        output = Path(env["HOME"]) / "output"
        with output.open("wb") as file:
            process = subprocess.Popen(
                words, env=env, cwd=env["HOME"], stdout=file, stderr=file, start_new_session=True
            )
        try:
            yield Running(process.pid, output)
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(words)} has ended: {output.read_text()[-1000:]}")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            time.sleep(SETTLE_SECONDS)  # for what it has started and does not wait for


def written_bytes(pid: int) -> int:
    """What a process has written to files and pipes, its log among them, since it started. Not to sockets."""
    found = re.search(r"^wchar: (\d+)$", Path(f"/proc/{pid}/io").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0
