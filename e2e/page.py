"""The commands of the operator's pages: the lines of their `sh` blocks."""

import re
from pathlib import Path

PAGES = ("runbook", "cluster", "kubernetes", "upgrading", "troubleshooting")

# What changes nothing need not be executed. The pattern lets no second command through.
READ_ONLY = re.compile(
    r"(kubectl (-n beads-(server|agents) )?(get|logs|describe)|"
    r"bd (show|list|comments)|beads-dispatch status|terraform plan|"
    r"kubectl -n beads-server exec deployment/beads-watcher -- beads-dispatch (status|(tick|sweep) --dry-run))"
    r"( ([^\s;&|<>`$]*<\w+>|[^\s;&|<>`$]+))*( \| jq '[^']*')?"
)


def commands() -> list[str]:
    """Return every command of the pages."""
    folder = Path(__file__).parent.parent / "docs"
    text = "\n".join((folder / f"{name}.md").read_text() for name in PAGES)
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = (line.strip() for block in blocks for line in block.splitlines())
    return [line for line in lines if line and not line.startswith("#")]
