"""What a run has started, and how to end it: the process tree, its session, and strays by BEAD_JOB."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

# For how many seconds we wait after each signal. SIGKILL only has to arrive.
SIGNALS = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 2.0))
TURN_SECONDS = 0.05


def end(group: int, job: str, environ: Mapping[str, str], *, root: int = 0) -> None:
    """End what a run has started: SIGTERM, and SIGKILL after five seconds. Never bd's own Dolt server.

    `group`: of the command, which leads a session. `root`: the run's parent process, whose descendants end too. If
    that was killed, only what bears the run's BEAD_JOB is known to be the run's: a group's id may have been reused.
    Without psutil only the group is ended: a process that has moved to another group lives on.
    """
    for number, seconds in SIGNALS:
        until = time.monotonic() + seconds
        signalled: set[int] = set()
        while time.monotonic() < until:
            found = _found(group, job, environ, root)
            if not found:
                return
            for pid in found - signalled:  # also what it starts meanwhile
                with suppress(ProcessLookupError, PermissionError):  # PermissionError: macOS, of a group of zombies
                    os.kill(pid, number)
            signalled |= found
            time.sleep(TURN_SECONDS)


def try_out(
    command: str, folder: Path, environ: Mapping[str, str], seconds: float, stopping: Callable[[], bool]
) -> tuple[int | None, str]:
    """Run a command once. Return its exit status and the line that says why it failed; None if it took too long."""
    import tempfile

    from beads_dispatch.core import lines

    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            ("/bin/sh", "-c", command), cwd=folder, env=environ, stdin=subprocess.DEVNULL,
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
        until = time.monotonic() + seconds
        while (code := process.poll()) is None and time.monotonic() < until and not stopping():
            time.sleep(TURN_SECONDS)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        output.seek(max(0, output.seek(0, os.SEEK_END) - 16 * 1024))
        return code, lines.reason(output.read().decode("utf-8", "replace"), "")


def has_psutil() -> bool:
    """Return whether strays can be found. It is not imported."""
    from importlib.util import find_spec

    return find_spec("psutil") is not None


def _found(group: int, job: str, environ: Mapping[str, str], root: int) -> set[int]:
    """Return what to signal: process ids, or minus the group's id."""
    try:
        import psutil
    except ModuleNotFoundError:
        return {-group} if root and group_lives(group) else set()
    tree, spared, found = set[int](), {os.getpid(), root, *_trackers(environ)}, set[int]()
    with suppress(psutil.Error):  # the root may be gone by now
        tree = {one.pid for one in psutil.Process(root).children(recursive=True)} if root else tree
    for one in psutil.process_iter(["status", "environ"]):  # None: gone by now, or somebody else's
        if one.pid in spared or one.info["status"] in (None, psutil.STATUS_ZOMBIE):
            continue
        marked = (one.info["environ"] or {}).get("BEAD_JOB") == job
        if marked or one.pid in tree or (root and _session(one.pid) == group):
            found.add(one.pid)
    return found


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def group_lives(group: int) -> bool:
    """Return whether the group has a process. A zombie counts: we collect our own child, and init the others."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _trackers(environ: Mapping[str, str]) -> set[int]:
    """Return the Dolt servers that bd manages: an agent's bd may have started one, but every client needs it.

    bd 1.0.2 and 1.3.0 write its pid beside the database, or into the folder of the shared server. They give it a
    process group of its own, but it stays in the session of the agent that happened to start it.
    """
    shared = environ.get("BEADS_SHARED_SERVER_DIR") or os.path.join(environ.get("HOME", "/"), ".beads", "shared-server")
    pids = set()
    for folder in (environ.get("BEADS_DIR", ""), shared):
        with suppress(OSError, ValueError):
            pids.add(int((Path(folder) / "dolt-server.pid").read_text()))
    return pids
