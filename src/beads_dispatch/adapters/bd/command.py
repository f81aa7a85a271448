"""One run of bd: what it answers within a deadline, and what its failures say."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from beads_dispatch.adapters.waiting import Waiting, reported
from beads_dispatch.core.errors import BdFailed, Misconfigured
from beads_dispatch.core.text import json_object, one_line

MISSING = "bd is not on PATH: install beads 1.0.2 or later (https://github.com/steveyegge/beads)"


@dataclass(frozen=True, slots=True)
class Answer:
    """How bd ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """What bd says about a failure: JSON on either stream, or plain text among warnings on stderr."""
        for stream in (self.out, self.err):
            document = json_object(stream)
            if document and document.get("error"):
                return one_line(str(document["error"]))
        lines = [line for line in (self.err + "\n" + self.out).splitlines() if line[:5] == "Error"]
        return one_line(lines[0] if lines else self.err or self.out) or "no message"


def program(environ: Mapping[str, str]) -> str:
    """The full path of bd, which may run in another folder than ours. Raises Misconfigured."""
    found = shutil.which("bd", path=environ.get("PATH"))
    if not found:
        raise Misconfigured(MISSING)
    return os.path.abspath(found)


def run(
    *words: str,
    env: Mapping[str, str],
    cwd: Path,
    seconds: float,
    waiting: Waiting,
    inherits: tuple[int, ...] = (),
) -> Answer:
    """Runs bd with exactly this environment. Raises Misconfigured without a bd; BdFailed.

    It gets a session of its own: a Ctrl-C must not hit it while it writes. `inherits`: open files that it keeps open.
    """
    try:
        process = subprocess.Popen(
            (program(env), *words), env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, encoding="utf-8", errors="replace", start_new_session=True, pass_fds=inherits,
        )  # fmt: skip
    except (OSError, ValueError) as error:  # not executable; arguments too long; a NUL in an argument
        raise BdFailed(f"bd {words[0]}: cannot be started: {error}") from None
    try:
        with reported(waiting, f"waiting for bd {words[0]}, for up to {seconds:.0f} s"):
            out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise BdFailed(f"bd {words[0]}: no answer within {seconds:.0f} s") from None
    return Answer(process.returncode, out, err)
