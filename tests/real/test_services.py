"""The service files of deploy/laptop: valid, and what they start works."""

import configparser
import plistlib
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from conftest import CLOSES, PATIENCE, Place, make_place, wait_for

FOLDER = Path(__file__).parents[2] / "deploy" / "laptop"
UNIT, PLIST = FOLDER / "beads-dispatch@.service", FOLDER / "beads-dispatch.plist"

# Stands in for Claude Code: it keeps what it was asked, and does it.
CLAUDE = f'#!/bin/sh\nprintf "%s\\n" "$@" > "$HOME/asked"\n{CLOSES}\ntouch "$HOME/done"\n'


@pytest.fixture
def home(tmp_path: Path) -> Place:
    """A home folder with what the files expect, and the workspace in ~/project."""
    place = make_place(tmp_path / "home" / "project", None)
    programs = place.folder.parent / ".local" / "bin"
    programs.mkdir(parents=True)
    (programs / "beads-dispatch").symlink_to(Path(sys.executable).parent / "beads-dispatch")
    (programs / "bd").symlink_to(place.real_bd)
    (programs / "claude").write_text(CLAUDE)
    (programs / "claude").chmod(0o755)
    (place.folder.parent / "Library" / "Logs").mkdir(parents=True)
    return place


def unit() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, delimiters="=")
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    parser.read(UNIT)
    return parser["Service"]


def test_the_unit_is_valid(home: Place, tmp_path: Path) -> None:
    service = unit()
    assert {service["Restart"], service["KillMode"]} == {"on-failure", "process"}
    if analyze := shutil.which("systemd-analyze"):
        environ = {"HOME": str(home.folder.parent), "XDG_RUNTIME_DIR": str(tmp_path)}
        words = [analyze, "--user", "verify", str(UNIT)]
        done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def works(home: Place, words: Sequence[str], folder: Path, environ: Mapping[str, str]) -> None:
    """A bead is worked on and closed, and SIGTERM ends the service with 0."""
    environ = {"HOME": str(home.folder.parent), **environ}
    process = subprocess.Popen(words, cwd=folder, env=environ, stdout=subprocess.DEVNULL)
    try:
        bead = home.create()
        # Not asked of bd again and again: embedded, its calls wait for each other.
        wait_for((home.folder.parent / "done").exists)
        assert home.show(bead)["status"] == "closed"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
    asked = (home.folder.parent / "asked").read_text()
    assert asked.startswith(f"-p\nRun: bd show {bead}. ")
    assert "--permission-mode\nacceptEdits\n" in asked


def test_what_the_unit_starts_works(home: Place) -> None:
    service, user = unit(), str(home.folder.parent)
    name, _, path = service["Environment"].replace("%h", user).partition("=")
    command = service["ExecStart"].replace("%h", user)
    assert (service["WorkingDirectory"], name) == ("%f", "PATH")
    works(home, shlex.split(command), home.folder, {name: path})


def test_what_the_launch_agent_starts_works(home: Place) -> None:
    plist = plistlib.loads(PLIST.read_bytes())
    assert (plist["Label"], plist["RunAtLoad"], plist["KeepAlive"]) == (
        "beads-dispatch",
        True,
        {"SuccessfulExit": False},
    )
    works(home, plist["ProgramArguments"], Path("/"), {})
    log = home.folder.parent / "Library" / "Logs" / "beads-dispatch.log"
    assert "beads-watcher: stopped" in log.read_text()
