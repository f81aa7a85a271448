"""Messages to a person through Apprise, in a process of their own, which can be killed at a deadline.

The URLs contain passwords. We pass them through a pipe, and keep nothing that Apprise prints.
"""

import json
import subprocess
import sys
from collections.abc import Mapping

SECONDS = 5.0  # for everything: the start of the process, and all services at once
CHECK_SECONDS = 30.0
TITLE = "beads-dispatch"
SENT, NOT_SENT, BAD_URL = 0, 1, 3  # the exit statuses of that process


def send(urls: str, text: str, environ: Mapping[str, str], seconds: float = SECONDS) -> str:
    """Send the text to all URLs. Return what went wrong, without any URL; empty if nothing did."""
    try:
        code = _run({"urls": urls, "text": text}, environ, seconds)
    except subprocess.TimeoutExpired:
        return f"not done within {seconds:g} s"
    except OSError as error:
        return f"cannot be started: {error.strerror}"
    return "" if code == SENT else _BAD if code == BAD_URL else "at least one service did not take it"


def problem(urls: str, environ: Mapping[str, str]) -> str:
    """Return why Apprise cannot use these URLs; empty if it can, or if the check takes too long. Send nothing."""
    try:
        return _BAD if _run({"urls": urls, "text": ""}, environ, CHECK_SECONDS) == BAD_URL else ""
    except (OSError, subprocess.TimeoutExpired):
        return ""


_BAD = "at least one of the URLs is none that Apprise knows"


def _run(task: Mapping[str, str], environ: Mapping[str, str], seconds: float) -> int:
    """Run this module as a process, which is killed at the deadline. Return its exit status.

    It has a session of its own: a Ctrl-C must not end a message under way. -P: our working folder is a project's,
    and may contain an `apprise.py` or a `json.py`.
    """
    done = subprocess.run(
        (sys.executable, "-P", "-m", __name__),
        input=json.dumps(task).encode(), env=environ, timeout=seconds, check=False,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    return done.returncode


def main() -> int:
    """Send the text, or if there is none, only check the URLs. Runs in the process of its own."""
    import apprise

    task = json.load(sys.stdin)
    known = apprise.Apprise(asset=apprise.AppriseAsset(app_id=TITLE))
    if not known.add(task["urls"]):
        return BAD_URL
    if not task["text"]:
        return SENT
    return SENT if known.notify(body=task["text"], title=TITLE, body_format=apprise.NotifyFormat.TEXT) else NOT_SENT


if __name__ == "__main__":
    sys.exit(main())
