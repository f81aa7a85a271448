"""`make demo-picture`: runs the command that is given, and prints its first steps as a picture of a terminal (SVG)."""

import io
import re
import subprocess
import sys

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

STEPS = 5  # the story up to the sweep; the others would make the picture taller than a screen
STYLES = ((r"\d+\. .*", "bold"), (r" +\$ .*", "green"), (r" +(status: .*|\| .*)", "cyan"))
# The picture is shown where no font is loaded from elsewhere, so it names none that must be.
FONT_FACES = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def style(line: str) -> str:
    return next((style for known, style in STYLES if re.fullmatch(known, line)), "")


def picture(text: str) -> str:
    lines = text.splitlines()
    console = Console(record=True, width=max(map(len, lines)), file=io.StringIO())
    console.print(Text("$ make demo", "green"))
    for line in lines:
        console.print(Text(line, style(line)), soft_wrap=True)
    svg = console.export_svg(title="beads-dispatch", theme=MONOKAI, unique_id="demo")
    return FONT_FACES.sub("", svg)


def main(command: list[str]) -> int:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if not done.returncode:
        print(picture(done.stdout.partition(f"\n{STEPS + 1}. ")[0]))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
