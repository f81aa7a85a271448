"""`--help`, `--version` and the completion script."""

import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from beads_dispatch.commands import arguments, cli, manual

COMMANDS = ["tick", "sweep", "watch", "status", "explain", "logs", "stop", "resume", "completion"]


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        arguments.parser().parse_args(words)
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("words", [[], *([command] for command in COMMANDS)])
def test_each_help_has_what_it_does_variables_exit_statuses_and_an_example(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = printed(capsys, *words, "--help")
    page = manual.PAGES[" ".join(words)]
    assert shown.startswith("usage: beads-dispatch")
    assert all(text in " ".join(shown.split()) for text in (page.text, *manual.STATUSES.values()))
    assert all(f"  {name} " in shown for name in page.variables)
    text, examples = shown.split("\nexamples:\n")
    assert examples.splitlines() == [f"  {line}" for line in page.examples]
    assert max(map(len, text.splitlines())) <= 80


def test_a_terminal_of_no_width_gets_a_help_page_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "2")
    assert "examples:" in printed(capsys, "watch", "--help")


def test_every_variable_is_on_some_page() -> None:
    source = Path(cli.__file__).parents[1]
    text = (source / "settings.py").read_text() + (source / "adapters" / "location.py").read_text()
    read = set(re.findall(r'"((?:BEADBOARD|BEADS|AGENT|LOG|API)_[A-Z_]+)"', text))
    of_bd = {name for name in read if name.startswith("BEADS_DOLT_S")}
    assert read - of_bd <= {name for page in manual.PAGES.values() for name in page.variables}


def test_there_is_a_page_for_each_command() -> None:
    assert sorted(manual.PAGES) == sorted(["", *COMMANDS])


@pytest.mark.parametrize("example", [line for page in manual.PAGES.values() for line in page.examples])
def test_each_example_is_accepted(example: str) -> None:
    words = shlex.split(re.sub(r'^eval "\$\((.*)\)"$', r"\1", example))
    start = words.index("beads-dispatch")
    assert arguments.parser().parse_args(words[start + 1 :]).command in COMMANDS


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_a_full_disk_ends_neither_in_a_traceback(option: str) -> None:
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-m", "beads_dispatch", option]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", [["--version"], ["tick", "--version"], ["sweep", "--version"]])
def test_the_version_of_all_three_programs(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert printed(capsys, *words) == f"beads-dispatch {version('beads-dispatch')}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_completion_script_knows_every_command(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert cli._completion(shell) == 0
    script = capsys.readouterr().out
    assert all(command in script for command in COMMANDS)
    assert "--dry-run" in script


def test_bash_accepts_the_script() -> None:
    script = subprocess.run(
        [sys.executable, "-m", "beads_dispatch", "completion", "bash"], capture_output=True, text=True, check=True
    ).stdout
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
