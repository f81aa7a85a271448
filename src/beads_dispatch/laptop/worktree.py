"""A git worktree for each bead, on a branch of its own. We never merge, push, or remove what nobody else has."""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

GIT_SECONDS = 300.0  # a checkout may be large, or fetch what LFS keeps
INCLUDE = ".worktreeinclude"
LONGEST_NAME = 80


class GitFailed(Exception):
    """A worktree cannot be made or read. The text is one line for a person."""


def name(bead: str) -> str:
    """Return the bead's id as a folder and as the last part of a branch. Ids that differ have names that differ."""
    safe = re.sub(r"\.\.+|[^\w.-]|^[.-]+|\.lock$|\.$", "-", bead, flags=re.ASCII)[:LONGEST_NAME]
    unchanged = safe == bead
    return safe if unchanged else f"{safe.rstrip('.-')}-{hashlib.sha1(bead.encode()).hexdigest()[:6]}"


def branch(bead: str) -> str:
    return f"bead/{name(bead)}"


def git(folder: Path, *words: str) -> str:
    """Run git in the folder. Return its output. Raise GitFailed with its reason."""
    try:
        done = subprocess.run(
            ("git", "-C", str(folder), *words), capture_output=True, text=True, errors="replace",
            stdin=subprocess.DEVNULL, timeout=GIT_SECONDS, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise GitFailed("git is not on PATH") from None
    except (OSError, subprocess.SubprocessError) as error:
        raise GitFailed(f"git {words[0]}: {error}") from None
    if done.returncode:
        raise GitFailed(_reason(done.stderr) or f"git {words[0]} ended with exit status {done.returncode}")
    return done.stdout


def _reason(stderr: str) -> str:
    """Return the line that says why: git prints progress before it, and hints after it."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(fatal|error|git-lfs)\b|.*: (not found|No space left)", line)]
    return (errors or lines or [""])[-1].removeprefix("fatal: ").removeprefix("error: ")


@dataclass(frozen=True, slots=True)
class Repository:
    """`folder`: where the watcher was started. `top`: its checkout. `root`: the folder in which the worktrees are."""

    folder: Path
    top: Path
    root: Path

    def paths(self) -> Sequence[str]:
        """Return what makes this repository again from a record."""
        return [str(path) for path in (self.folder, self.top, self.root)]

    def path(self, bead: str) -> Path:
        return self.root / name(bead)

    def inside(self, bead: str) -> Path:
        """Return the folder of the worktree that corresponds to the one where the watcher was started."""
        return self.path(bead) / self.folder.resolve().relative_to(self.top)

    def unmerged(self) -> set[str]:
        """Return the beads' branches with commits that the checkout does not have."""
        found = git(self.top, "for-each-ref", "--no-merged=HEAD", "--format=%(refname:short)", "refs/heads/bead/")
        return set(found.split())

    def prepare(self, bead: str, base: str) -> bool:
        """Make the bead's worktree from `base`, or find the one of its last run. Return whether it is a new one."""
        path, mine = self.path(bead), branch(bead)
        for step in ("rebase-merge", "rebase-apply"):
            if (self.top / git(self.top, "rev-parse", "--git-path", step).strip()).exists():
                raise GitFailed(f"{self.top} is in the middle of a rebase: finish it first")
        git(self.top, "worktree", "prune")  # forgets those whose folder was removed by hand
        if path.exists():
            self._require(path, mine)
            return False
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        known = git(self.top, "for-each-ref", "--format=%(refname:short)", f"refs/heads/{mine}").strip()
        try:
            git(self.top, "worktree", "add", "--quiet", *(() if known else ("-b", mine)), str(path), known or base)
            if (path / ".gitmodules").exists():
                git(path, "submodule", "update", "--quiet", "--init", "--recursive")
            self._copy_included(path)
            _mark(path).write_text(bead, "utf-8")
        except (GitFailed, OSError) as error:
            self.discard(bead, new_branch=not known)
            raise GitFailed(str(error)) from None
        return True

    def discard(self, bead: str, *, new_branch: bool) -> None:
        """Remove a worktree in which no agent has worked yet."""
        for words in (("worktree", "remove", "--force", "--force", str(self.path(bead))), ("worktree", "prune")):
            _try(self.top, *words)
        shutil.rmtree(self.path(bead), ignore_errors=True)
        if new_branch:
            _try(self.top, "branch", "-d", branch(bead))  # -d: never one that has commits

    def state(self, bead: str) -> str:
        """Return what the bead's worktree holds: `branch bead/x: 2 commits, clean`. Empty if there is none."""
        path, mine = self.path(bead), branch(bead)
        if not path.exists():
            return ""
        try:
            commits = int(git(self.top, "rev-list", "--count", mine, "--not", "HEAD"))
            files = len(_changes(path))
        except (GitFailed, ValueError):
            return f"branch {mine}"
        work = f"{files} file{'s' * (files != 1)} not committed" if files else "clean"
        return f"branch {mine}: {commits} commit{'s' * (commits != 1)}, {work}"

    def removable(self) -> dict[str, Path]:
        """Return the worktrees whose work another branch contains too, by the id of their bead."""
        found = {}
        for path in sorted(self.root.glob("*")):
            if self._is_elsewhere(path) and (bead := _bead(path)):
                found[bead] = path
        return found

    def remove(self, path: Path) -> bool:
        """Remove a worktree with its branch, unless git finds it dirty. Return whether it is gone."""
        _try(self.top, "worktree", "remove", str(path))
        if not path.exists():
            _try(self.top, "branch", "-D", f"bead/{path.name}")
        return not path.exists()

    def _is_elsewhere(self, path: Path) -> bool:
        """Return whether the worktree is clean, and every commit of its branch is on another branch as well."""
        mine = f"bead/{path.name}"
        try:
            self._require(path, mine)
            listed = ("for-each-ref", f"--contains={mine}", "--format=%(refname:short)", "refs/heads/", "refs/remotes/")
            others = git(self.top, *listed)
            return not _changes(path) and bool(set(others.split()) - {mine})
        except GitFailed:
            return False

    def _require(self, path: Path, mine: str) -> None:
        """Raise GitFailed if something else is in the worktree's place."""
        if git(path, "rev-parse", "--abbrev-ref", "HEAD").strip() != mine:
            raise GitFailed(f"{path} is not on the branch {mine}")
        if Path(git(path, "rev-parse", "--show-toplevel").strip()).resolve() != path.resolve():
            raise GitFailed(f"{path} is no git worktree")

    def _copy_included(self, path: Path) -> None:
        """Copy the files that git ignores and .worktreeinclude lists, in the same syntax as .gitignore."""
        if not (self.top / INCLUDE).exists():
            return
        listed = ("ls-files", "-z", "--others", "--ignored")
        wanted = git(self.top, *listed, f"--exclude-from={INCLUDE}").split("\0")
        ignored = set(git(self.top, *listed, "--exclude-standard").split("\0"))
        for file in wanted:
            if file and file in ignored and not file.startswith(".beads/"):
                (path / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.top / file, path / file, follow_symlinks=False)


def find(folder: Path, root: Path) -> Repository:
    """Return the repository that the folder is in. `root`: for the worktrees of all repositories. Raise GitFailed."""
    try:
        top = Path(git(folder, "rev-parse", "--show-toplevel").strip()).resolve()
    except GitFailed as error:
        raise GitFailed(f"--worktrees needs a git repository with a checkout: {error}") from None
    try:
        git(top, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    except GitFailed:
        raise GitFailed("--worktrees needs a commit to start from: this repository has none") from None
    digest = hashlib.sha1(str(top).encode("utf-8", "surrogateescape")).hexdigest()[:6]
    return Repository(folder, top, root.resolve() / f"{top.name}-{digest}")


def _mark(path: Path) -> Path:
    """Return the file that says whose worktree it is: a folder's name does not always give back the bead's id."""
    return Path(git(path, "rev-parse", "--absolute-git-dir").strip()) / "bead"


def _bead(path: Path) -> str:
    try:
        return _mark(path).read_text("utf-8")
    except (GitFailed, OSError, ValueError):
        return ""


def _changes(path: Path) -> Sequence[str]:
    return git(path, "status", "--porcelain").splitlines()


def _try(folder: Path, *words: str) -> None:
    try:
        git(folder, *words)
    except GitFailed:
        pass
