"""A bead, parsed once from what bd or Dolt returned. Everything after this is typed."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from beads_dispatch.core.errors import Unreadable
from beads_dispatch.core.text import json_object

MARK = "beads_dispatch."
TOO_LARGE_COMMENTS = ("not dispatched: too large", "reaper: too large")  # how our comments on a large bead begin

# What bd 1.0.2 copies into one 64 KB column of `events` at every write.
_LONG_TEXTS = ("title", "description", "design", "acceptance_criteria", "notes", "metadata")


@dataclass(frozen=True, slots=True)
class Bead:
    """One bead, with bd's own field names. Times are aware, in UTC.

    `size`: bytes of the long texts as bd writes them in JSON.
    `metadata`: None if it is JSON but no object. bd's --set-metadata fails on that.
    """

    id: str
    status: str
    priority: int
    updated_at: datetime
    title: str = ""
    issue_type: str = ""
    assignee: str = ""
    description: str = ""
    acceptance_criteria: str = ""
    notes: str = ""
    ephemeral: bool = False
    pinned: bool = False
    no_history: bool = False
    labels: frozenset[str] = frozenset()
    metadata: Mapping[str, object] | None = field(default_factory=dict)
    created_at: datetime | None = None
    defer_until: datetime | None = None
    heartbeat_at: datetime | None = None
    lease_expires_at: datetime | None = None
    commented_at: datetime | None = None
    too_large_notice_at: datetime | None = None
    comment_count: int = 0
    size: int = 0

    @property
    def kept_apart(self) -> bool:
        """Return whether bd keeps it in the table `wisps`, and its comments in another table."""
        return self.ephemeral or self.no_history

    def mark(self, name: str) -> object:
        """Return the value of one of our marks in the bead's metadata, or None."""
        return (self.metadata or {}).get(MARK + name)


def parse(raw: Mapping[str, object]) -> Bead:
    """Return a Bead from one element of bd's JSON, or from one row of `adapters/dolt.py`.

    Raise Unreadable with the bead, the field and the value found.
    """
    whole = {**raw, **_from_comments(raw.get("comments"))}
    fields: dict[str, Any] = {}
    for key, (read, wanted) in _FIELDS.items():
        value = whole.get(key)
        if value is None and key not in _REQUIRED:  # bd leaves out empty fields
            continue
        fields[key] = read(value)
        if fields[key] is None:
            found = repr(raw[key])[:60] if key in raw else "missing"
            raise Unreadable(f"bead {str(raw.get('id', '?'))[:80]}: {key} is {found}, not {wanted}")
    return Bead(**fields, metadata=_metadata(raw.get("metadata")), size=_size(raw))


def with_comments(bead: Bead, times: Mapping[str, object]) -> Bead:
    """Return the bead with the times of its comments, as `adapters/dolt.py` reads them."""
    commented, notice = read_time(times["commented_at"]), read_time(times["too_large_notice_at"])
    return replace(bead, commented_at=commented, too_large_notice_at=notice)


def read_time(value: object) -> datetime | None:
    """Return an RFC 3339 text (bd writes up to nine decimals) or a UTC DATETIME as an aware time; None if neither."""
    try:
        time = _read_text(value) if isinstance(value, str) else value
        if isinstance(time, datetime):
            return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):  # OverflowError: an offset moves year 1 or 9999 out of range
        pass
    return None


def _read_text(text: str) -> datetime:
    from dateutil.parser import isoparse  # an idle tick against a server has no text to read

    return isoparse(text)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _flag(value: object) -> bool | None:
    return bool(value) if isinstance(value, int) else None  # SQL has 0 and 1


def _labels(value: object) -> frozenset[str] | None:
    return frozenset(value) if isinstance(value, list) and all(isinstance(one, str) for one in value) else None


_TEXT, _TIME = (_text, "text"), (read_time, "a time")
_REQUIRED = ("id", "status", "priority", "updated_at")
_FIELDS: dict[str, tuple[Callable[[object], object], str]] = {
    "id": (lambda value: _text(value) or None, "an id"),
    **dict.fromkeys(("status", "title", "issue_type", "assignee"), _TEXT),
    **dict.fromkeys(("description", "acceptance_criteria", "notes"), _TEXT),
    **dict.fromkeys(("created_at", "updated_at", "defer_until", "heartbeat_at", "lease_expires_at"), _TIME),
    **dict.fromkeys(("commented_at", "too_large_notice_at"), _TIME),
    **dict.fromkeys(("ephemeral", "pinned", "no_history"), (_flag, "true or false")),
    **dict.fromkeys(("priority", "comment_count"), (_whole, "a whole number")),
    "labels": (_labels, "a list of texts"),
}


def _metadata(value: object) -> Mapping[str, object] | None:
    if isinstance(value, str):  # over SQL a JSON column comes as text
        return {} if value == "null" else json_object(value)
    return value if isinstance(value, dict) else {} if value is None else None


def _from_comments(comments: object) -> dict[str, datetime | None]:
    """Return the times of the newest comment and of our newest one, from `bd show`. Dolt answers both directly."""
    known = [one for one in comments if isinstance(one, dict)] if isinstance(comments, list) else []
    made = [(at, str(one.get("text"))) for one in known if (at := read_time(one.get("created_at")))]
    if not made:
        return {}
    ours = [at for at, text in made if text.startswith(TOO_LARGE_COMMENTS)]
    return {"commented_at": max(at for at, _ in made), "too_large_notice_at": max(ours, default=None)}


def _size(raw: Mapping[str, object]) -> int:
    """Return how many bytes Go's json.Marshal needs for the long texts. It writes <, > and & with six bytes each."""
    written = json.dumps([raw.get(key) for key in _LONG_TEXTS], ensure_ascii=False, default=str)
    return len(written.encode("utf-8", "replace")) + 5 * sum(map(written.count, "<>&"))
