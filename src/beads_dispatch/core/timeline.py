"""What happened to a bead, in order, from bd's history and events, its comments, its notes and our marks."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from beads_dispatch.core import bead as beads
from beads_dispatch.core import marks, notes
from beads_dispatch.core.bead import Bead, read_time
from beads_dispatch.core.errors import Unreadable
from beads_dispatch.core.text import json_object, one_line, utc

NOBODY = "someone"  # if bd has not recorded who
SAME_WRITE = timedelta(seconds=60)  # clients' clocks differ


@dataclass(frozen=True, slots=True)
class Version:
    """A bead as one write left it. `at`: UTC."""

    at: datetime
    bead: Bead


@dataclass(frozen=True, slots=True)
class Event:
    """A row of bd's table `events`: who changed what. `old`: the whole bead before; `new`: the fields that changed."""

    kind: str
    actor: str
    old: Mapping[str, object]
    new: Mapping[str, object]
    text: str  # the new value as it stands; of a close it is the reason, and no JSON


@dataclass(frozen=True, slots=True)
class Entry:
    """One moment of a bead's story. `at`: UTC; None if the time is unknown."""

    at: datetime | None
    who: str
    lines: tuple[str, ...]


def parse_versions(rows: Iterable[Mapping[str, object]]) -> list[Version]:
    """Parse `bd history --json`, oldest first. Skip what cannot be read: bd's older schemas lack some fields."""
    found = []
    for row in rows:
        at, issue = read_time(row.get("CommitDate")), row.get("Issue")
        try:
            if at and isinstance(issue, dict):
                found.append(Version(at, beads.parse(issue)))
        except Unreadable:
            continue
    return sorted(found, key=lambda version: version.at)


def parse_event(row: Mapping[str, object]) -> Event:
    """Parse a row of `events`, from `bd history --events --json` or from SQL."""
    old, new = (str(row.get(key) or "") for key in ("old_value", "new_value"))
    kind, actor = str(row.get("event_type")), str(row.get("actor") or "")
    return Event(kind, actor, json_object(old) or {}, json_object(new) or {}, new)


def woken_by_bd(events: Sequence[Mapping[str, object]]) -> bool:
    """Return whether it was bd that last set a bead's status, because its deferral had ended.

    A `bd ready` of 1.3 opens every deferred bead that is due, and removes the date. Times are in whole seconds, so the
    changes of one second come in no order.
    """
    set_status = [row for row in events if row.get("event_type") in ("status_changed", "reopened", "closed")]
    newest = max((str(row.get("created_at")) for row in set_status), default="")
    return any(str(row.get("created_at")) == newest and row.get("actor") == "bd-defer-wake" for row in set_status)


def parse_comments(rows: Iterable[Mapping[str, object]]) -> list[Entry]:
    """Parse `bd comments --json`."""
    found = []
    for row in rows:
        texts = f"comment: {row.get('text')}".split("\n")
        lines = tuple(one_line(text, 2000) for text in texts if text.strip())
        found.append(Entry(read_time(row.get("created_at")), str(row.get("author") or NOBODY), lines))
    return found


def timeline(
    bead: Bead, versions: Sequence[Version], events: Sequence[Event], comments: Iterable[Entry]
) -> list[Entry]:
    """Return the story of a bead, oldest first. `bead`: as it is now."""
    known = [*versions, Version(bead.updated_at, bead)]
    began = known[0].bead.created_at if versions else None
    entries = [*_first(known[0], began, events), *_changes(known, list(events)), *comments]
    first = datetime.min.replace(tzinfo=UTC)
    # To the second and stable, because comments and claims have no finer times. Entries without a time come first.
    return sorted([*entries, *_of_marks(bead, entries)], key=lambda entry: (entry.at or first).replace(microsecond=0))


def _first(version: Version, began: datetime | None, events: Sequence[Event]) -> Iterator[Entry]:
    made = next((event for event in events if event.kind == "created"), None)
    bead, assigned = version.bead, f"assigned to {version.bead.assignee or 'nobody'}"
    if began and version.at - began < SAME_WRITE:
        yield Entry(version.at, _who(made, []), (f"created, {assigned}",))
        return
    if began:
        yield Entry(began, _who(made, []), ("created",))
    yield Entry(version.at, NOBODY, (f"{bead.status}, {assigned}; bd has no record of what was before",))
    for line in filter(str.strip, bead.notes.split("\n")):
        claim = notes.newest_claim(line)
        yield Entry(claim[1] if claim else None, _author([line]), (_note(line),))


def _changes(versions: Sequence[Version], events: list[Event]) -> Iterator[Entry]:
    for before, after in pairwise(versions):
        was, now = before.bead.notes, after.bead.notes
        added = now[len(was) :] if _appended(was, now) else now
        lines = [line for line in added.split("\n") if line.strip()]
        said = tuple(_note(line) for line in lines)
        event = _made_by(before.bead, after.bead, events)
        if what := ", ".join(_differences(before.bead, after.bead, event)):
            said = (f"{what}: {said[0]}", *said[1:]) if said else (what,)
        if said:
            yield Entry(after.at, _who(event, lines), said)


def _differences(before: Bead, after: Bead, event: Event | None) -> Iterator[str]:
    if before.assignee != after.assignee:
        yield f"assigned to {after.assignee or 'nobody'}"
    if before.status != after.status:
        closed = f" ({one_line(event.text)})" if event and event.kind == "closed" and event.text else ""
        yield f"{before.status} → {after.status}{closed}"
    if before.priority != after.priority:
        yield f"priority {before.priority} → {after.priority}"
    if before.defer_until != after.defer_until and after.defer_until:
        yield f"deferred until {utc(after.defer_until)}"
    for name in ("title", "description", "acceptance_criteria"):
        if getattr(before, name) != getattr(after, name):
            yield f"{name.replace('_', ' ')} changed"
    if not _appended(before.notes, after.notes):
        yield "notes replaced" if after.notes else "notes removed"


def _appended(before: str, after: str) -> bool:
    return not before or after == before or after.startswith(before + "\n")


def _note(line: str) -> str:
    """Return a line of the notes as the timeline shows it. A claim's time is shown beside it, so it is left out."""
    claim = notes.newest_claim(line)
    token = f" (tick {claim[0]})" if claim and claim[0] else ""
    return f"claimed{token}" if claim else one_line(line, 2000)


def _made_by(before: Bead, after: Bead, events: list[Event]) -> Event | None:
    """Return the event of this change, and use it up. Events of one second have no order, so their content decides."""
    for event in events:
        if _fits(event, before, after):
            events.remove(event)
            return event
    return None


def _fits(event: Event, before: Bead, after: Bead) -> bool:
    if event.kind == "closed" and not event.new:
        return before.status != "closed" and after.status == "closed"
    names = ("status", "notes", "assignee", "priority", "title")
    was, now = ({name: getattr(bead, name) or "" for name in names} for bead in (before, after))
    old = {name: event.old.get(name) or "" for name in names}
    changed = {name: event.new[name] or "" for name in names if name in event.new}
    return bool(event.old) and was == old and now == {**was, **changed}


def _who(event: Event | None, lines: Sequence[str]) -> str:
    return event.actor if event and event.actor else _author(lines)


def _author(lines: Sequence[str]) -> str:
    """Return who writes such lines, for versions whose author bd does not record."""
    if any(line.startswith(("reaper: ", "agent ended: ", "checked: ")) for line in lines):
        return "beads-reaper"
    notice = notes.not_dispatched("")
    ours = any(notes.newest_claim(line) or notes.last_outcome(line) or line.startswith(notice) for line in lines)
    return "beads-dispatcher" if ours else NOBODY


def _of_marks(bead: Bead, entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield what only our marks still show because somebody replaced the notes."""
    text = "\n".join(line for entry in entries for line in entry.lines)
    claim, job = marks.claim(bead), marks.job(bead)
    if claim and f"(tick {claim[0]})" not in text:
        yield Entry(claim[1], "beads-dispatcher", (f"claimed (tick {claim[0]}); its note is gone",))
    if job and notes.dispatched(job) not in text:
        yield Entry(claim[1] if claim else None, "beads-dispatcher", (f"{notes.dispatched(job)}; its note is gone",))
