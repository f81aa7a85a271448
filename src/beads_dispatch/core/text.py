"""Small conversions of text that every part uses: to one line, without secrets, and times as we store them."""

import json
from datetime import UTC, datetime

LIMIT = 200  # characters of somebody else's text that go into a note


def one_line(text: str, limit: int = LIMIT) -> str:
    """Return the text as one line without control characters, cut at `limit` characters."""
    shown = "".join(c if c.isprintable() else " " for c in text[: 20 * limit])
    line = " ".join(shown.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def hidden(text: str, secret: str) -> str:
    """Return the text with this secret masked; an empty secret masks nothing.

    Servers quote what they refuse, such as a header or a password.
    """
    return text.replace(secret, "***") if secret else text


def utc_minute(time: datetime) -> str:
    """Return a time as UTC to the minute: `2026-11-23T22:14Z`."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")


def utc(time: datetime) -> str:
    """Return a time as notes and marks store it, UTC to the second: `2026-11-23T22:14:05Z`."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def json_object(body: str) -> dict[str, object] | None:
    """Return a body's JSON object; None if it is no JSON or another type."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
