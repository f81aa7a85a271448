"""A bead's story from bd's history and events, comments, notes and marks."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from beads_dispatch.core import timeline
from beads_dispatch.core.bead import Bead, parse
from beads_dispatch.core.timeline import Entry, Event, Version

NOW = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
CLAIM = "auto-dispatcher claimed at 2026-11-23T22:00:00Z (tick abcdef)"


def issue(**fields: Any) -> dict[str, Any]:
    made = {"created_at": "2026-11-23T22:00:00Z", "updated_at": "2026-11-23T22:00:00Z"}
    return {"id": "t-1", "title": "x", "status": "open", "priority": 2, "assignee": "agent", **made, **fields}


def history(*issues: dict[str, Any]) -> list[Version]:
    """As bd writes it, the newest first, a second apart."""
    rows = [{"CommitDate": f"2026-11-23T22:00:{k:02}.5Z", "Issue": one} for k, one in enumerate(issues)]
    return timeline.parse_versions(reversed(rows))


def event(actor: str, old: dict[str, Any], **new: Any) -> Event:
    row = {"event_type": "updated", "actor": actor, "old_value": json.dumps(old), "new_value": json.dumps(new)}
    return timeline.parse_event(row)


def story(versions: list[Version], events: list[Event], comments: list[Entry], **now: Any) -> list[tuple[str, str]]:
    last = versions[-1].bead if versions else parse(issue())
    bead = Bead(**{**{name: getattr(last, name) for name in Bead.__slots__}, **now})
    return [(entry.who, " / ".join(entry.lines)) for entry in timeline.timeline(bead, versions, events, comments)]


def test_each_write_with_who_made_it() -> None:
    steps = [
        issue(),
        issue(priority=0),
        issue(priority=0, status="in_progress", notes=CLAIM),
        issue(priority=0, status="in_progress", notes=f"{CLAIM}\ndispatched: job=7"),
        issue(priority=0, status="in_progress", notes=f"{CLAIM}\ndispatched: job=7"),  # a comment, to bd's history
        issue(priority=0, status="in_progress", notes=f"{CLAIM}\ndispatched: job=7\none\ntwo"),
        issue(priority=0, status="closed", notes=f"{CLAIM}\ndispatched: job=7\none\ntwo"),
    ]
    events = [
        event("agent", steps[4], notes=steps[5]["notes"]),
        event("sweeper", steps[2], notes=steps[3]["notes"]),  # in no order: theirs are random ids
        event("ann", steps[0], priority=0),
        event("ticker", steps[1], status="in_progress", notes=CLAIM),
        Event("created", "bob", {}, {}, ""),
        Event("closed", "agent", {}, {}, "it works"),
    ]
    said = [Entry(NOW + timedelta(seconds=4), "ann", ("comment: hurry",))]
    assert story(history(*steps), events, said) == [
        ("bob", "created, assigned to agent"),
        ("ann", "priority 2 → 0"),
        ("ticker", "open → in_progress: claimed (tick abcdef)"),
        ("sweeper", "dispatched: job=7"),
        ("ann", "comment: hurry"),
        ("agent", "one / two"),
        ("agent", "in_progress → closed (it works)"),
    ]


def test_each_event_is_used_once_and_only_where_it_fits() -> None:
    opened, blocked, urgent = issue(), issue(status="blocked"), issue(priority=0)
    steps = [opened, blocked, opened, blocked, opened, urgent, issue(priority=0, status="blocked")]
    events = [
        event("late", urgent, status="blocked"),
        event("ann", opened, status="blocked"),
        event("bob", opened, status="blocked"),
    ]
    assert [who for who, what in story(history(*steps), events, []) if what == "open → blocked"] == [
        "ann",
        "bob",
        "late",
    ]


def test_where_bd_does_not_say_who_our_own_lines_do() -> None:
    steps = [
        issue(),
        issue(status="in_progress", notes=CLAIM),
        issue(status="blocked", notes=f"{CLAIM}\nagent ended: failed (exit 1)"),
        issue(notes=f"{CLAIM}\nagent ended: failed (exit 1)"),
        issue(assignee="bob", title="y", acceptance_criteria="z", defer_until="2026-11-24T22:00:00Z"),
    ]
    assert story(history(*steps), [], []) == [
        ("someone", "created, assigned to agent"),
        ("beads-dispatcher", "open → in_progress: claimed (tick abcdef)"),
        ("beads-reaper", "in_progress → blocked: agent ended: failed (exit 1)"),
        ("someone", "blocked → open"),
        (
            "someone",
            "assigned to bob, deferred until 2026-11-24T22:00:00Z, title changed, acceptance criteria changed, "
            "notes removed",
        ),
    ]


def test_replaced_notes_leave_the_marks() -> None:
    kept = {"beads_dispatch.claim": "tfedcba 2026-11-23T22:00:01Z", "beads_dispatch.job": '"9"'}
    steps = [issue(), issue(notes="half of it"), issue(notes="all of it")]
    assert story(history(*steps), [], [], metadata=kept) == [
        ("someone", "created, assigned to agent"),
        ("someone", "half of it"),
        ("beads-dispatcher", "claimed (tick fedcba); its note is gone"),
        ("beads-dispatcher", "dispatched: job=9; its note is gone"),
        ("someone", "notes replaced: all of it"),
    ]


def test_a_history_that_begins_late() -> None:
    """After `bd flatten`, and beyond the newest 200 versions."""
    old = issue(created_at="2026-11-01T00:00:00Z", status="blocked", notes=f"{CLAIM}\nreaper: no progress for 31m")
    found = timeline.timeline(parse(old), history(old), [], [])
    assert [(entry.at is not None, entry.who, entry.lines[0]) for entry in found] == [
        (False, "beads-reaper", "reaper: no progress for 31m"),
        (True, "someone", "created"),
        (True, "someone", "blocked, assigned to agent; bd has no record of what was before"),
        (True, "beads-dispatcher", "claimed (tick abcdef)"),
    ]


def test_no_history_at_all() -> None:
    bead = parse(issue(notes="reaper: no progress for 31m"))
    found = timeline.timeline(bead, [], [], [])
    assert [entry.lines[0] for entry in found] == [
        "reaper: no progress for 31m",
        "open, assigned to agent; bd has no record of what was before",
    ]


def test_what_is_not_yet_in_the_history_is_shown() -> None:
    steps = [issue()]
    later = NOW + timedelta(minutes=5)
    assert story(history(*steps), [], [], status="blocked", updated_at=later)[-1] == ("someone", "open → blocked")


def test_odd_rows_are_left_out() -> None:
    rows = [{"CommitDate": "soon", "Issue": issue()}, {"CommitDate": "2026-11-23T22:00:00Z", "Issue": {"id": "x"}}, {}]
    assert timeline.parse_versions(rows) == []
    assert timeline.parse_event({"old_value": "{", "new_value": "[1]"}).new == {}
    (entry,) = timeline.parse_comments([{"text": "a\n\nb"}])
    assert (entry.at, entry.who, entry.lines) == (None, "someone", ("comment: a", "b"))


WAKES = {"event_type": "status_changed", "actor": "bd-defer-wake", "new_value": "open"}


@pytest.mark.parametrize(
    ("later", "woken"),
    [
        ([], True),
        ([{"event_type": "updated", "actor": "ann", "created_at": "2026-12-01T10:00:09Z"}], True),  # a new title, say
        ([{"event_type": "status_changed", "actor": "ann", "created_at": "2026-12-01T10:00:09Z"}], False),
        ([{"event_type": "reopened", "actor": "ann", "created_at": "2026-12-01T10:00:09Z"}], False),
        ([{"event_type": "status_changed", "actor": "ann", "created_at": "2026-12-01T10:00:05Z"}], True),  # no order
    ],
)
def test_a_bead_that_bd_itself_has_opened(later: list[dict[str, object]], woken: bool) -> None:
    before = {"event_type": "status_changed", "actor": "ann", "created_at": "2026-12-01T10:00:01Z"}
    rows = [before, {**WAKES, "created_at": "2026-12-01T10:00:05Z"}, *later]
    assert timeline.woken_by_bd(rows) is woken
    assert not timeline.woken_by_bd([before])
    assert not timeline.woken_by_bd([])
