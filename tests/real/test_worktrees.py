"""Worktrees: each bead gets a branch and a folder of its own, and nothing that is only there is ever removed."""

import re
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import CLOSES, PATIENCE, Place, wait_for
from test_watch_command import watching

from beads_dispatch.laptop import worktree
from beads_dispatch.laptop.worktree import GitFailed, Repository

USER = ("-c", "user.name=you", "-c", "user.email=you@localhost")
COMMITS = f"git {' '.join(USER)} add -A && git {' '.join(USER)} commit -qm work"


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ("git", *USER, "-C", str(folder), *words), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


def checkout(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q", "-b", "main")
    (folder / ".gitignore").write_text(".env\nbuild/\n/.beads/\n/.local/\nwrapped/\n")
    (folder / "shared.txt").write_text("one\n")
    git(folder, "add", ".gitignore", "shared.txt")
    git(folder, "commit", "-qm", "first")
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return worktree.find(checkout(tmp_path / "project"), tmp_path / "trees")


@pytest.mark.parametrize(
    ("bead", "branch"),
    [
        ("demo-wcw", "bead/demo-wcw"),
        ("demo-wcw.1", "bead/demo-wcw.1"),
        ("a..b", "bead/a-b-"),
        ("../x y", "bead/--x-y-"),
        ("x.lock", "bead/x-"),
        ("x" * 200, f"bead/{'x' * 80}-"),
    ],
)
def test_a_branch_for_every_id(repository: Repository, bead: str, branch: str) -> None:
    made = worktree.branch(bead)
    assert made == branch or re.fullmatch(re.escape(branch) + "[0-9a-f]{6}", made)
    assert repository.prepare(bead, "HEAD")
    assert git(repository.path(bead), "rev-parse", "--abbrev-ref", "HEAD").strip() == made


def test_a_second_run_continues_in_the_worktree_of_the_first(repository: Repository) -> None:
    assert repository.prepare("t-1", "HEAD")
    assert repository.state("t-1") == "branch bead/t-1: 0 commits, clean"
    (repository.path("t-1") / "work.txt").write_text("half")
    assert repository.state("t-1") == "branch bead/t-1: 0 commits, 1 file not committed"
    assert not repository.prepare("t-1", "HEAD")
    assert (repository.path("t-1") / "work.txt").read_text() == "half"
    assert not (repository.top / "work.txt").exists()


def test_what_nobody_else_has_is_never_removed(repository: Repository) -> None:
    for bead in ("dirty", "ahead", "merged", "empty"):
        repository.prepare(bead, "HEAD")
    (repository.path("dirty") / "x").touch()
    for bead in ("ahead", "merged"):
        git(repository.path(bead), "commit", "-q", "--allow-empty", "-m", f"work on {bead}")
    git(repository.top, "merge", "-q", "--no-ff", "-m", "merged", "bead/merged")
    assert repository.state("ahead") == "branch bead/ahead: 1 commit, clean"
    removable = repository.removable()
    assert set(removable) == {"merged", "empty"}
    assert all(repository.remove(path) for path in removable.values())
    assert not repository.remove(repository.path("dirty"))
    assert set(git(repository.top, "branch", "--format=%(refname:short)").split()) == {
        "main",
        "bead/dirty",
        "bead/ahead",
    }


def test_ignored_files_that_are_listed_are_copied(repository: Repository) -> None:
    top = repository.top
    (top / ".env").write_text("SECRET=1")
    (top / "build").mkdir()
    (top / "build" / "large.bin").touch()
    (top / "untracked.txt").touch()  # not ignored: it is not copied
    (top / ".worktreeinclude").write_text(".env\nuntracked.txt\n")
    repository.prepare("t-1", "HEAD")
    there = {path.name for path in repository.path("t-1").iterdir()}
    assert ".env" in there
    assert not there & {"build", "untracked.txt"}


def broken(repository: Repository, how: str) -> str:
    """Breaks it. Returns the reason that is to be given."""
    top = repository.top
    if how == "rebase":
        git(top, "switch", "-q", "-c", "side")
        for name in ("side", "main"):
            git(top, "switch", "-q", name)
            (top / "shared.txt").write_text(name)
            git(top, "commit", "-qam", name)
        subprocess.run(("git", *USER, "-C", str(top), "rebase", "-q", "side"), capture_output=True, check=False)
        return "is in the middle of a rebase: finish it first"
    if how == "checked out":
        git(top, "switch", "-q", "-c", "bead/t-1")
        return "bead/t-1' is already (checked out|used by worktree) at"
    if how == "taken":
        repository.path("t-1").mkdir(parents=True)
        (repository.path("t-1") / "file").touch()
        return "not a git repository"
    git(top, "config", "filter.lfs.smudge", "git-lfs-is-missing smudge")
    git(top, "config", "filter.lfs.required", "true")
    (top / ".gitattributes").write_text("*.bin filter=lfs\n")
    git(top, "-c", "filter.lfs.required=false", "add", ".gitattributes")
    (top / "a.bin").write_text("pointer")
    git(top, "-c", "filter.lfs.clean=cat", "add", "a.bin")
    git(top, "-c", "filter.lfs.clean=cat", "commit", "-qm", "lfs")
    return "smudge filter lfs failed"


@pytest.mark.parametrize("how", ["rebase", "checked out", "taken", "lfs"])
def test_a_worktree_that_cannot_be_made_says_why_in_one_line_and_leaves_nothing(
    repository: Repository, how: str
) -> None:
    reason = broken(repository, how)
    with pytest.raises(GitFailed) as failed:
        repository.prepare("t-1", "HEAD")
    assert re.search(reason, str(failed.value))
    assert "\n" not in str(failed.value)
    assert how == "taken" or not repository.path("t-1").exists()
    assert how == "checked out" or "bead/t-1" not in git(repository.top, "branch", "--format=%(refname:short)")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        ([], "--worktrees needs a git repository with a checkout: not a git repository"),
        (["init", "-q", "--bare"], "--worktrees needs a git repository with a checkout: this operation must be run in"),
        (["init", "-q"], "--worktrees needs a commit to start from: this repository has none"),
    ],
)
def test_without_a_checkout_it_is_refused(on_server: Place, make: list[str], reason: str) -> None:
    if make:
        git(on_server.folder, *make)
    done = on_server.run("watch", "--command=true", "--worktrees")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"beads-watcher: {reason}")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("mode", ["on_server", pytest.param("embedded", marks=pytest.mark.slow)])
def test_three_at_once_that_edit_one_file_leave_three_branches_and_the_checkout_alone(
    request: pytest.FixtureRequest, mode: str
) -> None:
    place: Place = request.getfixturevalue(mode)
    checkout(place.folder)
    state = place.folder.parent / "state"
    edits = f'echo "$BEAD_ID" >> shared.txt; {COMMITS}; touch "$HOME/on-$BEAD_ID"'
    all_three = 'until [ "$(ls "$HOME"/on-* | wc -l)" = 3 ]; do sleep 0.1; done'
    with watching(
        place, f"{edits}; {all_three}; {CLOSES}", "--jobs=3", "--worktrees", XDG_STATE_HOME=str(state)
    ) as watcher:
        beads = [place.create(title) for title in ("one", "two", "three")]
        for bead in beads:
            watcher.wait_for(rf"{bead}: closed after \w+ \(branch bead/{bead}: 1 commit, clean\)")
    assert (place.folder / "shared.txt").read_text() == "one\n"
    assert git(place.folder, "branch", "--show-current") == "main\n"
    for bead in beads:
        assert git(place.folder, "show", f"bead/{bead}:shared.txt") == f"one\n{bead}\n"


def test_setup_runs_once_and_its_failure_is_the_agents(on_server: Place) -> None:
    checkout(on_server.folder)
    state = on_server.folder.parent / "state"
    with watching(
        on_server, CLOSES, "--worktrees", "--setup=echo no space >&2; exit 4", XDG_STATE_HOME=str(state)
    ) as watcher:
        bead = on_server.create()
        watcher.wait_for(rf"{bead}: agent ended: cannot run: --setup failed \(exit 4\): no space \(open again\)")
        watcher.wait_for("nothing is dispatched until ")
    assert "bead/" not in git(on_server.folder, "branch")
    runs = 'echo ran >> "$HOME/setup"'
    again = f'git rev-parse --abbrev-ref HEAD > "$HOME/branch"; ls > "$HOME/files"; {CLOSES}'
    on_server.run("resume")
    with watching(on_server, again, "--worktrees", f"--setup={runs}", XDG_STATE_HOME=str(state)) as watcher:
        watcher.wait_for(f"{bead}: closed after")
        watcher.wait_for(f"worktree removed: bead/{bead} holds nothing that is not elsewhere")
    assert (on_server.folder / "setup").read_text() == "ran\n"
    assert (on_server.folder / "branch").read_text() == f"bead/{bead}\n"


def test_a_bead_starts_from_the_branch_of_what_it_depends_on(on_server: Place) -> None:
    checkout(on_server.folder)
    state = on_server.folder.parent / "state"
    work = f'cat shared.txt > "$HOME/seen-$BEAD_ID"; echo "$BEAD_TITLE" >> shared.txt; {COMMITS}; {CLOSES}'
    with watching(on_server, work, "--worktrees", XDG_STATE_HOME=str(state)) as watcher:
        first = on_server.create("first")
        watcher.wait_for(f"{first}: closed after")
        second = on_server.create("second", "--deps", first)
        watcher.wait_for(f"{second}: closed after")
        other = on_server.create("other")
        watcher.wait_for(f"{other}: closed after")
        both = on_server.create("both", "--deps", f"{second},{other}")
        watcher.wait_for(
            rf"{both}: dispatch failed: it needs bead/\S+ and bead/\S+: merge one of them first \(attempt 1 of 5\)"
        )
        watcher.process.send_signal(signal.SIGTERM)
        watcher.wait()
    assert (on_server.folder / f"seen-{second}").read_text() == "one\nfirst\n"
    assert (on_server.folder / f"seen-{other}").read_text() == "one\n"
    wait_for(lambda: on_server.show(both)["status"] == "open")
