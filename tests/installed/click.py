"""In place of click, which no installation has: import-linter needs it. httpx would import click and rich if they were
there, and each command of a test would take a third longer."""

raise ImportError("not installed beside beads-dispatch")
