"""`make demo-picture`: print two terminals in which two beads are dispatched, as a picture (SVG).

What it shows is the real output of the commands that it shows. Only Claude Code is a stand-in.
"""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import time
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

COLUMNS, LINES = 92, 16  # of each terminal; readable when the picture is 720 pixels wide
CLAUDE = """\
#!/bin/sh
sleep 5
case $BEAD_TITLE in *haiku*) bd close "$BEAD_ID" --reason "three lines in haiku.txt" ;; *) kill -9 $$ ;; esac
"""
NEW = """\
git init -q && git config user.name you && git config user.email you@localhost
bd init -p try --skip-agents --skip-hooks --stealth --non-interactive
"""
WATCH = "beads-dispatch watch --agent claude"
CREATE = "bd create '{}' --acceptance '{}' --silent"
ASSIGN = "bd assign {} agent"
STATUS = "beads-dispatch status"
EXPLAIN = "beads-dispatch explain {} | tail -n 5"
# bd's questions to the terminal, and our lines about a slow machine
NOISE = re.compile(r"\x1b\]11;\?\x07|\x1b\[c|^.*: (?:waiting for|waited) .*\n", re.MULTILINE)
# A picture on a page cannot load a font. Rich's clip cuts the underscores of the last line (15.0).
UNWANTED = re.compile(r"""@font-face \{.*?\}\s*| clip-path="url\(#t\d-clip-terminal\)\"""", re.DOTALL)


class Terminal:
    """A terminal in the folder, and what it shows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        others = ("BEAD", "BD_", "XDG_", "AGENT_", "API_", "NO_COLOR")
        clean = {key: value for key, value in os.environ.items() if not key.startswith(others)}
        path = f"{folder.parent}/bin:{clean['PATH']}"
        self.environ = {**clean, "HOME": str(folder.parent), "PATH": path, "TERM": "xterm-256color", "TZ": "UTC"}
        self.shown = ""

    def start(self, command: str) -> tuple[subprocess.Popen[bytes], int]:
        self.shown += f"\x1b[32m$ {command}\x1b[0m\n"
        ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
        process = subprocess.Popen(
            command, shell=True, cwd=self.folder, env=self.environ, stdin=subprocess.DEVNULL, stdout=its, stderr=its
        )
        os.close(its)
        return process, ours

    def read(self, terminal: int, until: str = "") -> None:
        """Read until the text is shown, or until the command ends."""
        with suppress(OSError):  # Linux: the other end is closed
            while part := os.read(terminal, 65536):
                self.shown += part.decode().replace("\r\n", "\n")
                if until and until in self.shown:
                    return

    def run(self, command: str) -> None:
        process, terminal = self.start(command)
        self.read(terminal)
        os.close(terminal)
        if process.wait():
            sys.exit(f"{self.shown}\nended {process.returncode}: {command}")

    def silently(self, command: str) -> str:
        return subprocess.run(
            command, shell=True, cwd=self.folder, env=self.environ, check=True, capture_output=True, text=True
        ).stdout.strip()


def play(folder: Path) -> list[str]:
    """Return what each of the two terminals shows."""
    first, second = Terminal(folder), Terminal(folder)
    second.silently(NEW)
    haiku = second.silently(CREATE.format("Write a haiku about queues", "three lines in haiku.txt"))
    crash = second.silently(CREATE.format("Refactor until it crashes", "the tests pass"))
    watcher, terminal = first.start(WATCH)
    first.read(terminal, "watching")
    second.silently(ASSIGN.format(haiku))
    first.read(terminal, f"{haiku}: closed")
    second.run(ASSIGN.format(crash))
    first.read(terminal, f"{crash}: dispatched")
    time.sleep(2)  # so that it shows how long the run takes by then
    second.run(STATUS)
    first.read(terminal, "attempt 1 of 3")
    second.run(EXPLAIN.format(crash))
    watcher.terminate()
    watcher.wait(60)
    os.close(terminal)
    return [NOISE.sub("", each.shown).replace(str(folder.parent), "~") for each in (first, second)]


def picture(terminals: list[str]) -> str:
    """Return both terminals, one below the other. A line that would take more than two is cut."""
    parts, bottom, width = [], 0.0, 0.0
    for number, shown in enumerate(terminals, 1):
        console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
        lines = list(Text.from_ansi(shown).split())
        for line in lines:
            if len(line) > 2 * COLUMNS:
                line.truncate(COLUMNS, overflow="ellipsis")
        if sum(len(line.wrap(console, COLUMNS)) for line in lines) > LINES:
            sys.exit(f"{shown}\nmore than {LINES} lines of {COLUMNS} columns")
        console.print(*lines, sep="\n")
        svg = UNWANTED.sub("", console.export_svg(title=f"terminal {number}", theme=MONOKAI, unique_id=f"t{number}"))
        width, height = map(float, re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)[0])
        parts.append(svg.replace("<svg ", f'<svg y="{bottom}" width="{width}" height="{height}" ', 1))
        bottom += height
    return f'<svg viewBox="0 0 {width} {bottom}" xmlns="http://www.w3.org/2000/svg">\n{"".join(parts)}\n</svg>'


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        claude = Path(name) / "bin" / "claude"
        claude.parent.mkdir()
        claude.write_text(CLAUDE)
        claude.chmod(0o755)
        folder = Path(name) / "try"
        folder.mkdir()
        print(picture(play(folder)))
