"""bd on one workspace: the folder that it may write to, and the version that it must have."""

from pathlib import Path
from typing import TYPE_CHECKING

from beads_dispatch.adapters.waiting import Waiting, unheard
from beads_dispatch.adapters.workspace import Workspace
from beads_dispatch.core.errors import BdFailed, Failure, Misconfigured
from beads_dispatch.core.text import hidden

if TYPE_CHECKING:
    from beads_dispatch.adapters.bd.answers import Answer

DEADLINE = 40.0  # seconds; bd itself retries inside for up to 30

WITHDRAWN = {
    "1.0.5": "it was withdrawn because it corrupts data",
    "1.2.1": "it was retracted: it migrates databases to a schema that no other release knows",
}

READS = frozenset({"list", "ready", "show", "comments"})  # what opens a database on a server without changing it


class BdProcess:
    """Run bd on one workspace. `deadline`: seconds that one call may take."""

    def __init__(self, workspace: Workspace, deadline: float = DEADLINE, waiting: Waiting = unheard) -> None:
        self.workspace = workspace
        self._deadline = deadline
        self._waiting = waiting
        self._private: Path | None = None
        self._checked = False

    def move(self, workspace: Workspace) -> None:
        """Run bd on this workspace from now on."""
        if workspace.mounted != self.workspace.mounted:
            self._private = None
        self.workspace = workspace

    def check(self) -> None:
        """Raise Misconfigured if there is no bd to run, or one that must not be used."""
        try:
            known = self._run("version").document()
        except BdFailed:
            return  # whatever is wrong, the call that we need bd for will show it
        self._require_not_withdrawn(str(known.get("version")) if isinstance(known, dict) else "")
        self._checked = True

    def version(self) -> str:
        """Return the version of the bd that ran last: each writes it beside metadata.json, so no call is spent."""
        try:
            return (self._folder() / ".local_version").read_text().strip()
        except OSError:
            return "unknown"

    def json(self, verb: str, *words: str, within: float | None = None) -> object:
        """Return bd's answer. `within`: seconds, if they are fewer than the usual deadline.

        Raise BdFailed; NoBead and NotAsExpected (a guard did not hold) are kinds of it. Raise WritesRefused, and
        Misconfigured if there is no bd, or one that must not be used.
        """
        if not self._checked and (self.workspace.server is None or verb not in READS):
            self.check()
        answer = self._run(verb, *words, within=within)
        if not self._checked and (version := self.version()) != "unknown":
            self._require_not_withdrawn(version)
            self._checked = True
        if answer.code:
            from beads_dispatch.adapters.bd import answers

            error, server = answers.failure(answer, self.version()), self.workspace.server
            raise type(error)(hidden(str(error), server.password if server else ""))
        return answer.document()

    def _run(self, verb: str, *words: str, within: float | None = None) -> "Answer":
        from beads_dispatch.adapters.bd import command  # an idle tick runs no bd, and does not load what that needs

        environ = {**self.workspace.environ, "BEADS_DIR": str(self._folder())}
        seconds = min(self._deadline, within or self._deadline)
        folder = self.workspace.folder
        return command.run(verb, "--json", *words, env=environ, cwd=folder, seconds=seconds, waiting=self._waiting)

    def _require_not_withdrawn(self, version: str) -> None:
        if why := WITHDRAWN.get(version):
            raise Misconfigured(f"bd {version} must not be used: {why}. Install another version (docs/upgrading.md)")

    def _folder(self) -> Path:
        """Return the folder that bd may write to: the workspace's own, or our copy of a mounted one."""
        if not self.workspace.mounted:
            return self.workspace.metadata.parent
        if self._private is None or not (self._private / "metadata.json").exists():  # something cleans up /tmp
            from beads_dispatch.adapters import private_folder

            try:
                self._private = private_folder.make(self.workspace.mounted)
            except OSError as error:
                what = f"{self.workspace.metadata}: cannot be copied to a private folder"
                raise Failure(f"{what}: {error}") from None
        return self._private
