"""One run of bd, within a deadline."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

from beads_dispatch.adapters.bd.answers import Answer
from beads_dispatch.adapters.waiting import Waiting, reported
from beads_dispatch.core.errors import BdFailed, Misconfigured

MISSING = "bd is not on PATH: install beads 1.0.2 or later (https://github.com/steveyegge/beads)"


def run(*words: str, env: Mapping[str, str], cwd: Path, seconds: float, waiting: Waiting) -> Answer:
    """Run bd with exactly this environment. Raise Misconfigured if there is no bd; BdFailed.

    It gets a session of its own: a Ctrl-C must not hit it while it writes.
    """
    if not (bd := shutil.which("bd", path=env.get("PATH"))):
        raise Misconfigured(MISSING)
    verb = " ".join(takewhile(lambda word: word[:1] != "-", words))
    try:
        process = subprocess.Popen(
            (os.path.abspath(bd), *words), env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, encoding="utf-8", errors="replace", start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:  # not executable; arguments too long; a NUL in an argument
        raise BdFailed(f"bd {verb}: cannot be started: {error}") from None
    try:
        with reported(waiting, f"waiting for bd {verb}, for up to {seconds:.0f} s"):
            out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise BdFailed(f"bd {verb}: no answer within {seconds:.0f} s") from None
    return Answer(verb, process.returncode, out, err)
