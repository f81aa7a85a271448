"""bd on one workspace: in which environment and folder it runs, and what its answers mean."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from beads_dispatch.adapters.waiting import Waiting, unheard
from beads_dispatch.adapters.workspace import Workspace
from beads_dispatch.core.errors import BdFailed, Failure, NoBead, NotAsExpected
from beads_dispatch.core.text import hidden, one_line

if TYPE_CHECKING:
    from beads_dispatch.adapters.bd.command import Answer
    from beads_dispatch.adapters.private_folder import PrivateFolder

DEADLINE = 40.0  # seconds; bd itself retries inside for up to 30
MISMATCH = 13  # bd 1.3's exit status where --if-status or --if-assignee does not hold


class BdProcess:
    """Runs bd on one workspace. `deadline`: seconds that one call may take."""

    def __init__(self, workspace: Workspace, deadline: float = DEADLINE, waiting: Waiting = unheard) -> None:
        self.workspace = workspace
        self._deadline = deadline
        self._waiting = waiting
        self._private: PrivateFolder | None = None

    def move(self, workspace: Workspace) -> None:
        """From now on run bd on this workspace."""
        if workspace.mounted != self.workspace.mounted:
            self._private = None
        self.workspace = workspace

    def check(self) -> None:
        """Raise Misconfigured if there is no bd to run."""
        from beads_dispatch.adapters.bd import command as bd_command

        bd_command.program(self.workspace.environ)

    def version(self) -> str:
        """Every bd writes its version beside metadata.json, so no call is spent. It can change while we run."""
        try:
            return (self._folder() / ".local_version").read_text().strip()
        except OSError:
            return "unknown"

    def json(self, verb: str, *words: str, within: float | None = None) -> object:
        """bd's answer, parsed. `within`: seconds, where they are fewer than the usual deadline.

        Raises BdFailed; NoBead and NotAsExpected (a guard did not hold) are two kinds of it; Misconfigured without bd.
        """
        from beads_dispatch.adapters.bd import (
            command as bd_command,  # an idle tick runs no bd, and does not load what that needs
        )

        env = {**self.workspace.environ, "BEADS_DIR": str(self._folder())}
        locks = (self._private.lock,) if self._private else ()  # so that an orphaned bd keeps its folder
        answer = bd_command.run(
            verb, "--json", *words, env=env, cwd=self.workspace.folder,
            seconds=min(self._deadline, within or self._deadline), waiting=self._waiting, inherits=locks,
        )  # fmt: skip
        if answer.code == MISMATCH:
            raise NotAsExpected(f"bd {verb}: {answer.message}")
        if answer.code != 0:
            kind, message = _failure(answer)
            raise kind(f"bd {verb}: {self._hide(message)} (exit {answer.code})")
        try:
            return json.loads(answer.out)
        except (ValueError, RecursionError):
            raise BdFailed(f"bd {verb}: its answer is not JSON: {one_line(answer.out, 80)!r}") from None

    def _folder(self) -> Path:
        """The folder that bd may write to: the workspace's own, or a private copy of a mounted one."""
        if not self.workspace.mounted:
            return self.workspace.metadata.parent
        if self._private is None or not (self._private.beads / "metadata.json").exists():  # something cleans up /tmp
            self._private = _private_copy(self.workspace)
        return self._private.beads

    def _hide(self, text: str) -> str:
        secret = self.workspace.server.password if self.workspace.server else ""
        return hidden(text, secret)


def _failure(answer: "Answer") -> tuple[type[BdFailed], str]:
    """What bd's failure is, and its reason.

    bd 1.0.2's `show` finds "no issues" where its query failed, too. The reason is then on stderr only.
    """
    for line in answer.err.splitlines():
        if line.startswith("Error fetching") and "no issue found" not in line:
            return BdFailed, one_line(line)
    return NoBead if "no issues found" in answer.message else BdFailed, answer.message


def _private_copy(workspace: Workspace) -> "PrivateFolder":
    from beads_dispatch.adapters import private_folder

    try:
        return private_folder.make(workspace.mounted)
    except OSError as error:
        raise Failure(f"{workspace.metadata}: cannot be copied to a private folder: {error}") from None
