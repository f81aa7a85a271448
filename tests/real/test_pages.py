"""The pages' commands for a first bead of one's own, as a person would paste them."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import CLOSES, PATIENCE, tool, wait_for

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/**/*.md"), *ROOT.glob("terraform/**/*.md")]
)


def first_bead(page: Path) -> list[str]:
    """Return the command blocks of the page's section that runs `bd init`; none if the page makes no workspace."""
    sections = re.split(r"^## ", page.read_text(), flags=re.MULTILINE)
    blocks = [re.findall(r"^```(?:sh)?\n(.*?)^```", section, re.DOTALL | re.MULTILINE) for section in sections]
    return next((found for found in blocks if any("bd init" in block for block in found)), [])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of somebody who uses git, with a stand-in for Claude Code on the PATH."""
    (tmp_path / ".gitconfig").write_text("[user]\n\tname = you\n\temail = you@localhost\n")
    claude = tmp_path / "bin" / "claude"
    claude.parent.mkdir()
    claude.write_text(f"#!/bin/sh\n{CLOSES}\n")
    claude.chmod(0o755)
    return tmp_path


def terminal(home: Path) -> dict[str, str]:
    """The environment of a new terminal. bd's hooks and exports are left as they are for anybody."""
    ours = ("BEAD", "BD_", "AGENT_", "GIT_", "XDG_")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    folders = (home / "bin", Path(tool("bd")).parent, Path(sys.executable).parent)
    return {**clean, "HOME": str(home), "PATH": ":".join([*map(str, folders), clean["PATH"]])}


@contextmanager
def first_terminal(home: Path, block: str) -> Iterator[Path]:
    """Run the block, whose last command stays in the foreground, and yield its log. Ctrl-C ends it."""
    log = home / "log"
    with log.open("w") as out:
        shell = subprocess.Popen(
            ["bash", "-ec", block],
            cwd=home,
            env=terminal(home),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield log
        os.killpg(shell.pid, signal.SIGINT)
        shell.wait(PATIENCE)
    finally:
        if shell.poll() is None:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()


def type_in(home: Path, folder: Path, line: str) -> str:
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=terminal(home),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, (line, done.stdout, done.stderr)
    return done.stdout


@pytest.mark.parametrize("page", [page for page in PAGES if first_bead(page)], ids=lambda page: page.name)
def test_a_first_bead_is_closed_in_a_git_repository_with_an_identity(home: Path, page: Path) -> None:
    """`bd init` of 1.0.2 without --skip-hooks hangs there for five minutes: its own pre-commit hook waits for it."""
    watch, *others = first_bead(page)
    with first_terminal(home, watch) as log:
        wait_for(lambda: "beads-watcher: watching" in log.read_text(), context=f"no watcher: {watch}")
        (folder,) = (found.parent for found in home.glob("*/.beads"))
        bead = ""
        for line in "\n".join(others).splitlines():
            shown = type_in(home, folder, line.replace("<id>", bead))
            bead = next(iter(re.findall(rf"\b{folder.name}-\w+", shown)), bead)
        wait_for(lambda: f"beads-agent: {bead}: closed after " in log.read_text())
    assert '"status": "closed"' in type_in(home, folder, f"bd show --id={bead} --json")


def test_the_readme_shows_a_first_bead() -> None:
    assert first_bead(ROOT / "README.md")
