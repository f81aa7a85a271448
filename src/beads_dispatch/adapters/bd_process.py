"""How bd is run: in which environment, on which folder, for how long, and what its failures say."""

import json
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from beads_dispatch.adapters.workspace import Workspace
from beads_dispatch.core import notes
from beads_dispatch.errors import BdFailed, Failure, Misconfigured, NotAsExpected

DEADLINE = 40.0  # seconds; bd itself retries inside for up to 30
MISSING = "bd is not on PATH: install beads 1.0.2 or later (https://github.com/steveyegge/beads)"
MISMATCH = 13  # bd 1.3's exit status where --if-status or --if-assignee does not hold

# Without these bd runs hooks, starts a Dolt server of its own, or writes back-ups and an export beside metadata.json.
_QUIET = {"TZ": "UTC", "BD_NO_HOOKS": "1", "BEADS_DOLT_AUTO_START": "0", "BD_BACKUP_ENABLED": "false"}
_QUIET["BD_EXPORT_AUTO"] = "false"


class BdProcess:
    """Runs bd on one workspace. `environ`: our own environment. `deadline`: seconds that one call may take."""

    def __init__(self, workspace: Workspace, environ: Mapping[str, str], deadline: float = DEADLINE) -> None:
        self._workspace = workspace
        self._environ = environ
        self._deadline = deadline
        self._copy: Path | None = None

    def check(self) -> None:
        """Raises Misconfigured where there is no bd to run."""
        import shutil

        if not shutil.which("bd", path=self._environ.get("PATH")):
            raise Misconfigured(MISSING)

    def version(self) -> str:
        """Every bd writes its version beside metadata.json, so no call is spent. It can change while we run."""
        try:
            return (self._folder / ".local_version").read_text().strip()
        except OSError:
            return "unknown"

    def json(self, verb: str, *words: str, within: float | None = None) -> object:
        """bd's answer, parsed. `within`: seconds, where they are fewer than the usual deadline.

        Raises BdFailed; NotAsExpected where a guard did not hold; Misconfigured without bd.
        """
        seconds = min(self._deadline, within or self._deadline)
        code, out, err = self._run(seconds, verb, "--json", *words)
        if code == MISMATCH:
            raise NotAsExpected(f"bd {verb}: {_message(out, err)}")
        if code != 0:
            raise BdFailed(f"bd {verb}: {self._hide(_message(out, err))} (exit {code})")
        try:
            return json.loads(out)
        except ValueError:
            raise BdFailed(f"bd {verb}: its answer is not JSON: {notes.one_line(out, 80)!r}") from None

    def _run(self, seconds: float, *argv: str) -> tuple[int, str, str]:
        """Exit status, stdout, stderr. bd gets a session of its own: a Ctrl-C must not hit it while it writes."""
        import subprocess  # an idle tick runs no bd, so it does not load what only that needs

        try:
            process = subprocess.Popen(
                ("bd", *argv), env=self._env(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError:
            raise Misconfigured(MISSING) from None
        except (OSError, ValueError) as error:  # not executable; arguments too long; a NUL in an argument
            raise BdFailed(f"bd {argv[0]}: cannot be started: {error}") from None
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise BdFailed(f"bd {argv[0]}: no answer within {seconds:g} s") from None
        return process.returncode, out, err

    @property
    def _folder(self) -> Path:
        """The folder that bd may write to: the workspace's own, or a private copy of a mounted one."""
        if not self._workspace.mounted:
            return self._workspace.metadata.parent
        if self._copy is None or not (self._copy / "metadata.json").exists():  # something may clean up /tmp
            self._copy = _private_copy(self._workspace.metadata)
        return self._copy

    def _env(self) -> dict[str, str]:
        env = {**self._environ, **_QUIET, "BEADS_DIR": str(self._folder)}
        if server := self._workspace.server:
            known = {"HOST": server.host, "PORT": str(server.port), "USER": server.user, "DATABASE": server.database}
            env |= {f"BEADS_DOLT_SERVER_{key}": value for key, value in known.items()}
        return env

    def _hide(self, text: str) -> str:
        secret = self._workspace.server.password if self._workspace.server else ""
        return text.replace(secret, "***") if secret else text


def _private_copy(metadata: Path) -> Path:
    import atexit
    import shutil
    import tempfile

    try:
        folder = Path(tempfile.mkdtemp(prefix="beads-dispatch-"))  # mode 0700: bd warns of any other
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        shutil.copyfile(metadata, folder / "metadata.json")
    except OSError as error:
        raise Failure(f"{metadata}: cannot be copied to a private folder: {error}") from None
    return folder


def _message(out: str, err: str) -> str:
    """What bd says about a failure: JSON on either stream, or plain text among warnings on stderr."""
    for stream in (out, err):
        try:
            document = json.loads(stream)
        except ValueError:
            continue
        if isinstance(document, dict) and document.get("error"):
            return notes.one_line(str(document["error"]))
    lines = [line for line in (err + "\n" + out).splitlines() if line[:5] == "Error"]
    return notes.one_line(lines[0] if lines else err or out) or "no message"
