"""What the benchmark is doing, on stderr: one line that changes on a terminal, one a step elsewhere."""

import sys
import time
from collections.abc import Iterator

_BEGAN = time.monotonic()
_last = ""


def say(step: str, detail: str = "") -> None:
    """Shows the step. `detail` (such as `run 3 of 15`) is for a terminal only, where nothing scrolls."""
    global _last  # noqa: PLW0603
    text = f"bench: {time.monotonic() - _BEGAN:4.0f} s: {step}"
    if sys.stderr.isatty():
        print(f"\r\033[K{text}{', ' if detail else ''}{detail}", end="", file=sys.stderr, flush=True)
    elif step != _last:
        print(text, file=sys.stderr, flush=True)
    _last = step


def counted(step: str, times: int) -> Iterator[int]:
    """0, 1, … and shows each."""
    for number in range(times):
        say(step, f"{number + 1} of {times}")
        yield number


def wait(step: str, seconds: float) -> None:
    """Sleeps, and shows how long still."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        say(step, f"{left:.0f} s left")
        time.sleep(min(1.0, left))
