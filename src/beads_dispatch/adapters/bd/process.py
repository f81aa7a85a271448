"""bd on one workspace: in which environment and folder it runs, and what its answers mean."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from beads_dispatch.adapters.bd.environment import environment
from beads_dispatch.adapters.waiting import Waiting, unheard
from beads_dispatch.adapters.workspace import Workspace
from beads_dispatch.core.errors import BdFailed, Failure, NoBead, NotAsExpected
from beads_dispatch.core.text import hidden, one_line

if TYPE_CHECKING:
    from beads_dispatch.adapters.bd.command import Answer
    from beads_dispatch.adapters.private_folder import PrivateFolder

DEADLINE = 40.0  # seconds; bd itself retries inside for up to 30
MISMATCH = 13  # bd 1.3's exit status where --if-status or --if-assignee does not hold

# bd shows only the beads that have the label which `directory.labels` gives the folder it runs in, or one above it.
# No folder has one here, and no redirect either; BEADS_DIR tells bd which workspace it works on.
CWD = Path("/")


class BdProcess:
    """Runs bd on one workspace. `environ`: our own environment. `deadline`: seconds that one call may take."""

    def __init__(
        self,
        workspace: Workspace,
        environ: Mapping[str, str],
        deadline: float = DEADLINE,
        waiting: Waiting = unheard,
    ) -> None:
        self._workspace = workspace
        self._environ = environ
        self._deadline = deadline
        self._waiting = waiting
        self._private: PrivateFolder | None = None

    def check(self) -> None:
        """Raises Misconfigured where there is no bd to run."""
        from beads_dispatch.adapters.bd import command as bd_command

        bd_command.program(self._environ)

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

        env, seconds = self._env(), min(self._deadline, within or self._deadline)
        locks = (self._private.lock,) if self._private else ()  # so that an orphaned bd keeps its folder
        answer = bd_command.run(
            verb, "--json", *words, env=env, cwd=CWD, seconds=seconds, waiting=self._waiting, inherits=locks
        )
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
        if not self._workspace.mounted:
            return self._workspace.metadata.parent
        if self._private is None or not (self._private.beads / "metadata.json").exists():  # something cleans up /tmp
            self._private = _private_copy(self._workspace)
        return self._private.beads

    def _env(self) -> dict[str, str]:
        env = environment(self._environ, mounted=bool(self._workspace.mounted))
        env["BEADS_DIR"] = str(self._folder())
        if self._workspace.database:
            env["BEADS_DOLT_SERVER_DATABASE"] = self._workspace.database
        if server := self._workspace.server:
            known = {"HOST": server.host, "PORT": str(server.port), "USER": server.user, "DATABASE": server.database}
            known |= {"MODE": "1", "TLS": str(int(server.tls))}
            env |= {f"BEADS_DOLT_SERVER_{key}": value for key, value in known.items()}
        return env

    def _hide(self, text: str) -> str:
        secret = self._workspace.server.password if self._workspace.server else ""
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
