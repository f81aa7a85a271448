"""The only subprocess: bd's verbs, that return Beads or raise."""

import atexit
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from beads_dispatch import bead, notes
from beads_dispatch.bead import Bead
from beads_dispatch.errors import BdFailed, Failure, Misconfigured, NotAsExpected, Unreadable
from beads_dispatch.workspace import Workspace

DEADLINE = 40.0  # seconds; bd itself retries inside for up to 30
MISSING = "bd is not on PATH: install beads 1.0.2 or later (https://github.com/steveyegge/beads)"
MISMATCH = 13  # bd 1.3's exit status where --if-status or --if-assignee does not hold
TRIES = 3

# Without these bd runs hooks, starts a Dolt server of its own, or writes back-ups and an export beside metadata.json.
_QUIET = {"TZ": "UTC", "BD_NO_HOOKS": "1", "BEADS_DOLT_AUTO_START": "0", "BD_BACKUP_ENABLED": "false"}
_QUIET["BD_EXPORT_AUTO"] = "false"


class Bd:
    """bd, pointed at one workspace and speaking as one actor."""

    def __init__(
        self, workspace: Workspace, actor: str, environ: Mapping[str, str], deadline: float = DEADLINE
    ) -> None:
        self._workspace = workspace
        self._actor = actor
        self._environ = environ
        self._deadline = deadline
        self._unguarded = ""  # a version that turned out not to know --if-status
        self._copy: Path | None = None

    def check(self) -> None:
        """Raises Misconfigured where there is no bd to run."""
        if not shutil.which("bd", path=self._environ.get("PATH")):
            raise Misconfigured(MISSING)

    def ready(self, assignee: str) -> frozenset[str]:
        """The ids of the assignee's open beads that bd calls ready. bd can list custom statuses too."""
        listed = self._json("ready", f"--assignee={assignee}", "-n", "0")
        return frozenset(str(row["id"]) for row in _rows(listed) if row.get("status") == "open" and "id" in row)

    def assigned(self, assignee: str) -> tuple[tuple[Bead, ...], tuple[str, ...]]:
        """The assignee's beads that are not closed, and what is wrong with those that cannot be read."""
        hidden = ("--include-gates", "--include-infra", "--include-templates")
        rows = _rows(self._json("list", f"--assignee={assignee}", "-n", "0", *hidden))
        return read_all(row for row in rows if row.get("status") != "closed")

    def show(self, bead_id: str) -> Bead:
        """One bead, with its comments and its heartbeat."""
        answer = self._json("show", f"--id={bead_id}")
        if any(row.get("comments_omitted") for row in _rows(answer)):  # bd 1.3 counts them only, unless asked
            answer = self._json("show", f"--id={bead_id}", "--include-comments")
        return _one(answer, bead_id)

    def comment(self, bead_id: str, text: str) -> None:
        """A comment: it fits on a bead that is too large for a note."""
        self._json("comment", "--", bead_id, text)

    def update(
        self,
        known: Bead,
        *,
        note: str | None = None,
        status: str | None = None,
        marks: Mapping[str, str] | None = None,
        unmark: Sequence[str] = (),
        tries: int = TRIES,
    ) -> Bead:
        """One write, one transaction: the note, the marks and, guarded where bd can, the status.

        Returns the bead as bd says it now is. Tried again only where bd says that nothing was written.
        """
        words = [f"--append-notes={note}"] if note else []
        if known.metadata is not None:  # on other JSON than an object every --set-metadata fails
            words += [f"--set-metadata={key}={value}" for key, value in (marks or {}).items()]
            words += [f"--unset-metadata={key}" for key in unmark]
        guard: list[str] = []
        if status:
            words.append(f"--status={status}")
            guard = [f"--if-status={known.status}", f"--if-assignee={known.assignee}"]
        if not words:
            return known
        return _one(self._write(words, guard, known.id, tries), known.id)

    def _write(self, words: Sequence[str], guard: Sequence[str], bead_id: str, tries: int) -> object:
        guards = guard if guard and self._can_guard() else ()
        try:
            return self._json("update", *words, *guards, "--", bead_id)
        except BdFailed as error:
            if guards and "unknown flag" in str(error):
                self._unguarded = self._version()
                return self._write(words, (), bead_id, tries)
            # Error 1213: Dolt rolled the transaction back, for another client wrote the same bead.
            if tries == 1 or "serialization failure" not in str(error):
                raise
        time.sleep(0.1)
        return self._write(words, guard, bead_id, tries - 1)

    def _can_guard(self) -> bool:
        """Whether this bd has --if-status."""
        version = self._version()
        return not version.startswith("1.0.") and version != self._unguarded

    def _version(self) -> str:
        """Every bd writes its version beside metadata.json, so no call is spent; it may be another one tomorrow."""
        try:
            return (self._folder / ".local_version").read_text().strip()
        except OSError:
            return "unknown"

    @property
    def _folder(self) -> Path:
        """The folder that bd may write to: the workspace's own, or a private copy of a mounted one."""
        if not self._workspace.mounted:
            return self._workspace.metadata.parent
        if self._copy is None or not (self._copy / "metadata.json").exists():  # /tmp is swept, some day
            self._copy = _private_copy(self._workspace.metadata)
        return self._copy

    def _json(self, verb: str, *words: str) -> object:
        code, out, err = self._run(verb, "--json", f"--actor={self._actor}", *words)
        if code == MISMATCH:
            raise NotAsExpected(f"bd {verb}: {_message(out, err)}")
        if code != 0:
            raise BdFailed(f"bd {verb}: {self._hide(_message(out, err))} (exit {code})")
        try:
            return json.loads(out)
        except ValueError:
            raise BdFailed(f"bd {verb}: answered with no JSON: {notes.one_line(out, 80)!r}") from None

    def _run(self, *argv: str) -> tuple[int, str, str]:
        """Exit status, stdout, stderr. In a session of its own: a Ctrl-C must not hit bd while it writes."""
        try:
            process = subprocess.Popen(
                ("bd", *argv), env=self._env(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError:
            raise Misconfigured(MISSING) from None
        except (OSError, ValueError) as error:  # not executable; too long a list of words; a NUL in a word
            raise BdFailed(f"bd {argv[0]}: cannot be started: {error}") from None
        try:
            out, err = process.communicate(timeout=self._deadline)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise BdFailed(f"bd {argv[0]}: no answer within {self._deadline:g} s") from None
        return process.returncode, out, err

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
    try:
        folder = Path(tempfile.mkdtemp(prefix="beads-dispatch-"))  # mode 0700: bd warns of any other
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        shutil.copyfile(metadata, folder / "metadata.json")
    except OSError as error:
        raise Failure(f"{metadata}: cannot be copied to a private folder: {error}") from None
    return folder


def _message(out: str, err: str) -> str:
    """What bd says of a failure: JSON on either stream, or plain text among warnings on stderr."""
    for stream in (out, err):
        try:
            document = json.loads(stream)
        except ValueError:
            continue
        if isinstance(document, dict) and document.get("error"):
            return notes.one_line(str(document["error"]))
    lines = [line for line in (err + "\n" + out).splitlines() if line[:5] == "Error"]
    return notes.one_line(lines[0] if lines else err or out) or "no message"


def _rows(answer: object) -> Sequence[dict[str, object]]:
    """bd's lists; it writes `null` or nothing for an empty one."""
    rows = answer if answer is not None else []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BdFailed("bd answered with no list of beads: a schema that we do not understand")
    return rows


def read_all(rows: Iterable[Mapping[str, object]]) -> tuple[tuple[Bead, ...], tuple[str, ...]]:
    """The beads that can be read, and a line for each that cannot."""
    good, bad = [], []
    for row in rows:
        try:
            good.append(bead.parse(row))
        except Unreadable as error:
            bad.append(str(error))
    return tuple(good), tuple(bad)


def _one(answer: object, bead_id: str) -> Bead:
    for row in _rows(answer):
        if row.get("id") == bead_id:  # bd matches prefixes
            try:
                return bead.parse(row)
            except Unreadable as error:
                raise BdFailed(f"bd: {error}") from None
    raise BdFailed(f"bd: no bead {bead_id} in its answer")
