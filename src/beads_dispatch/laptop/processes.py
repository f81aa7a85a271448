"""Ending processes with all their children."""

import os
import signal
import subprocess
from collections.abc import Collection, Iterable
from contextlib import suppress

from beads_dispatch.adapters.clock import Clock

# How long each signal is given, in seconds. The last one only has to arrive.
SIGNALS = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 1.0))
TURN_SECONDS = 0.05


def end(leaders: Collection["subprocess.Popen[bytes]"], clock: Clock) -> None:
    """Ends each process, which leads a session of its own, and its descendants: SIGTERM, and SIGKILL after 5 s.

    A daemon that has left both its parent and its process group lives on, as it is meant to.
    """
    groups = _groups({leader.pid for leader in leaders})
    for number, seconds in SIGNALS:
        _send(groups, number)
        until = clock.monotonic() + seconds
        while groups and clock.monotonic() < until:
            clock.sleep(TURN_SECONDS)
            for leader in leaders:
                leader.poll()  # a zombie keeps its group
            groups = _send(groups, 0)


def _send(groups: Iterable[int], number: int) -> set[int]:
    """Sends the signal (0: none) to each group. Returns those that are there."""
    there = set()
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):  # PermissionError: macOS, of a group of zombies
            os.killpg(group, number)
            there.add(group)
    return there


def _groups(pids: set[int]) -> set[int]:
    """The process groups of these leaders and of all their descendants. A child may have made one of its own."""
    table = _table()
    family = set(pids)
    while more := {pid for pid, parent, _ in table if parent in family} - family:
        family |= more
    return pids | {group for pid, _, group in table if pid in family}


def _table() -> list[tuple[int, int, int]]:
    """Every process: pid, parent, group. Empty where there is no `ps`."""
    words = ("ps", "-A", "-o", "pid=", "-o", "ppid=", "-o", "pgid=")
    try:
        lines = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return []
    return [(int(pid), int(parent), int(group)) for pid, parent, group in map(str.split, lines)]
