"""The commands of docs/runbook.md: the lines of its `sh` blocks."""

import re
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "runbook.md"

# What changes nothing need not be executed. The pattern lets no second command through.
READ_ONLY = re.compile(
    r"(kubectl (-n beads-(server|agents) )?(get|logs|describe)|"
    r"bd (show|list|comments)|beads-dispatch status|terraform plan|"
    r"kubectl -n beads-server exec deployment/beads-watcher -- beads-dispatch (status|(tick|sweep) --dry-run))"
    r"( ([^\s;&|<>`$]*<\w+>|[^\s;&|<>`$]+))*( \| jq '[^']*')?"
)


def commands(page: str) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    lines = (line.strip() for block in blocks for line in block.splitlines())
    return [line for line in lines if line and not line.startswith("#")]
