"""What last became of a bead: a word from a fixed list, what it means, and what a person does next.

The word stands in the bead's `beads_dispatch.outcome` mark. `status`, `explain`, the metrics and the pages look it up
here; nothing reads it back from our own sentences.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """`word`: the mark's value. `do`: for a person, before the command that sends the bead again."""

    word: str
    means: str
    do: str = ""


_SEND = "Then send it again:"
_SURE = f"Make sure that no agent is working on it. {_SEND}"
_FIX = f"Fix what the note names. {_SEND}"
_LACKS = f"Add to the bead what it lacks. {_SEND}"
_SEE = "See what its agent has done. To send it again:"

# A start.
DISPATCHED = Outcome("dispatched", "It was handed over: an agent has the bead.")
UNCLEAR = Outcome("dispatch unclear", "The answer to its dispatch was lost: an agent may have the bead.", _SURE)
NOT_STARTED = Outcome("not started", "The runner could not start an agent.")
BUSY = Outcome("busy", "The runner had no room after all.")
REFUSED = Outcome("refused", "The runner refused the bead.")
RETURNED = Outcome("returned", "The tick took its claim back before anything was started.")
GIVEN_UP = Outcome("given up", "The runner refused it five times.", _FIX)
# The end of a run.
COMPLETED = Outcome(
    "completed", "The agent ended by itself and left the bead open.", f"Read its final message. {_LACKS}"
)
FAILED = Outcome("failed", "The agent ended with an error.", _FIX)
KILLED = Outcome(
    "killed",
    "The agent was killed: by a person, by a restart, or because memory ran out.",
    f"Look at the agent's machine. {_SEND}",
)
OUT_OF_MEMORY = Outcome(
    "out of memory", "The agent used more memory than its limit.", f"Give it more memory, or split the bead. {_SEND}"
)
TIMED_OUT = Outcome("timed out", "The agent took too long. Its process may still be working.", _SURE)
LOST = Outcome(
    "lost", "The agent service could not run the agent, or lost it. Its process may still be working.", _SURE
)
CANNOT_RUN = Outcome(
    "cannot run", "The agent's command or image could not be started.", f"Fix how the agent is started. {_SEND}"
)
CANNOT_WORK = Outcome(
    "cannot work",
    "The agent itself could not work: its login, its credit, its provider or the network.",
    f"Fix what the note names. {_SEND}",
)
USAGE_LIMIT = Outcome("usage limit", "The agent met a usage limit.", f"Wait until the limit is over. {_SEND}")
TURNS = Outcome("turns used up", "The agent used all the turns that it may take.", f"Allow more, or split it. {_SEND}")
BUDGET = Outcome("budget used up", "The agent spent all that it may spend.", f"Allow more, or split it. {_SEND}")
STOPPED = Outcome("stopped", "Its run was stopped.", "To send it again:")
CHECKED = Outcome("checked", "The agent ended well, the check passed, and so the bead was closed.")
CHECK_FAILED = Outcome("check failed", "The agent ended well, but the check did not pass.", _FIX)
NO_JOB = Outcome(
    "job unknown", "Its runner has no such job any more: it was restarted, or the run ended over an hour ago.", _SURE
)
STUCK = Outcome(
    "stuck",
    "Its job has been running for more than four times the threshold: the agent seems to hang.",
    f"Stop it. {_SEND}",
)
SILENT = Outcome(
    "no progress", "It made no progress for that long: its agent died, hangs, or works without a word.", _SURE
)
NOT_SENT = Outcome(
    "not sent", "It was in progress, but no dispatch is recorded: a tick may have been stopped in between.", _SURE
)
ASKS = Outcome("asks", "Its agent asks a question, and waits for you.", "Answer it, which sends the bead again:")
# A tick found that it must not run.
RUNS_USED_UP = Outcome(
    "runs used up",
    "Its agent reopened it again and again instead of closing it.",
    "Read in its notes what it lacks, and add that. Then start over:",
)
DEFERRED = Outcome(
    "deferral ended", "It was sent before it was deferred, so only a person can have it sent again.", _SEE
)
OPENED_LATE = Outcome("opened late", "A tick's late write reopened it after it had been dispatched.", _SEE)
TAKEN_BACK = Outcome(
    "taken back", "Another client has undone the record of its dispatch (an import, a restore or a merge).", _SEE
)

ALL = {known.word: known for known in list(globals().values()) if isinstance(known, Outcome)}
# After these, an agent may have the bead.
SENT = frozenset({DISPATCHED.word, UNCLEAR.word})


# How an earlier version, which wrote no mark, put each outcome into the notes. The first row that fits counts.
_IN_NOTES = (
    (r"agent ended: completed", COMPLETED),
    (r"agent ended: failed \(exit 127\)", CANNOT_RUN),
    (r"agent ended: failed \(exit (-9|-15|137|143)\)", KILLED),
    (r"agent ended: timed out", TIMED_OUT),
    (r"agent ended: error", LOST),
    (r"agent ended: usage limit", USAGE_LIMIT),
    (r"agent ended: stopped", STOPPED),
    (r"agent ended: the agent service", NO_JOB),
    (r"agent ended: ", FAILED),
    (r"reaper: .*still calls its job running", STUCK),
    (r"reaper: .*no dispatch recorded", NOT_SENT),
    (r"reaper: ", SILENT),
    (r".*\((attempt )?(\d) of \2\)$", GIVEN_UP),
    (r"not dispatched: 5 runs", RUNS_USED_UP),
    (r"not dispatched: its deferral", DEFERRED),
    (r"not dispatched: a late write", OPENED_LATE),
)


def of_notes(last_line: str) -> str:
    """Return the word for a blocked bead of an earlier version, by the last line of its notes; empty if none fits."""
    return next((outcome.word for begins, outcome in _IN_NOTES if re.match(begins, last_line)), "")
