"""What a number of schedules has visited: rows of the answers table, faults, events of the jobs, ends of runs."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from beads_dispatch.jobs import dispatcher
from simulation.faults import FAULTS, STARTED_NOTHING, UNCLEAR

JOBS = (
    "dispatcher", "reaper", "watcher", "watched_database", "claims", "following", "holding", "housekeeping", "room",
    "writing", "cycle",
)  # fmt: skip
_EVENT = re.compile(r'(?:cycle|log)\.(?:info|error)\(\s*"(\w+)"')
# Events that only a person's command, a wrong environment or the end of the process causes.
NEVER = {"misconfigured", "not_asked", "would_block", "would_dispatch", "would_end", "would_notify", "would_reopen"}


def events() -> set[str]:
    """Every event that the jobs log, read from their sources."""
    folder = Path(dispatcher.__file__).parent
    found = {event for name in JOBS for event in _EVENT.findall((folder / f"{name}.py").read_text())}
    consequences = re.findall(r'Consequence\(\s*"(\w+)"', (folder.parent / "core" / "consequence.py").read_text())
    return (found | set(consequences)) - NEVER


def wanted() -> set[str]:
    """What must have been visited."""
    return {
        *(f"fault: {fault}" for fault in FAULTS),
        *(f"answer: {status} {text}" for status, text in STARTED_NOTHING),
        *(f"answer: {status} {text}" for status, text in UNCLEAR if status != 200),
        *("answer: not delivered", "answer: 200 with a job", "answer: 200 without one"),
        *(f"log: {event}" for event in events()),
        *(f"job: {stage}" for stage in ("completed", "failed", "timeout", "error")),
        *(f"end: {kind}" for kind in ENDS),
    }


ENDS = (
    "completed",
    "failed",
    "cannot run",
    "killed",
    "usage limit",
    "timed out",
    "lost",
    "job unknown",
    "stuck",
)


def report(counts: Mapping[str, int]) -> Iterator[str]:
    """A line for each thing that was counted, and what is missing."""
    yield from (f"{count:12}  {what}" for what, count in sorted(counts.items()))
    missing = sorted(wanted() - counts.keys())
    least = min((counts[what], what) for what in wanted() if what in counts)
    yield f"visited least: {least[1]}, {least[0]} times" + (f"; never: {', '.join(missing)}" if missing else "")
