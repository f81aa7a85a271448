"""Text as everybody needs it: one line of somebody else's words, a secret hidden, a time as it is stored."""

import json
from datetime import UTC, datetime

LIMIT = 200  # characters of somebody else's text that go into a note


def one_line(text: str, limit: int = LIMIT) -> str:
    """The text as one line without control characters, cut at `limit` characters."""
    shown = "".join(c if c.isprintable() else " " for c in text[: 20 * limit])
    line = " ".join(shown.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def hidden(text: str, secret: str) -> str:
    """The text without this secret, which may be empty. Others echo what they refuse: a header, a password."""
    return text.replace(secret, "***") if secret else text


def utc_minute(time: datetime) -> str:
    """The same to the minute: `2026-11-23T22:14Z`."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")


def utc(time: datetime) -> str:
    """A time as notes and marks store it: UTC, whole seconds, `2026-11-23T22:14:05Z`."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def json_object(body: str) -> dict[str, object] | None:
    """The JSON object that a body is, or None."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
