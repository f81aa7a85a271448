"""Our commands on a real terminal."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
from contextlib import suppress

from conftest import COMMAND, PATIENCE, WAITS, Place


def on_terminal(place: Place, columns: int, *words: str, **environ: str) -> str:
    """What the command shows on a terminal of 24 lines, but for what is slow."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {key: value for key, value in place.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [*COMMAND, *words], env={**env, "TERM": "xterm", **environ}, cwd=place.folder, stdin=its, stdout=its, stderr=its
    )
    os.close(its)
    shown = b""
    with suppress(OSError):  # Linux: the other end is closed
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    assert process.wait(PATIENCE) == 0
    return WAITS.sub("", shown.decode().replace("\r\n", "\n"))
