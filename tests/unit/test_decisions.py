"""The decisions, as tables and on arbitrary garbage."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beads_dispatch.adapters.bd.verbs import read_all
from beads_dispatch.core import backoff, claim, eligibility, marks, notes, pacing, staleness
from beads_dispatch.core.bead import Bead, parse
from beads_dispatch.core.claim import Claim

NOW = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CLAIM = notes.claimed(NOW, "abcdef")


def bead(**fields: Any) -> Bead:
    known = {"id": "t-1", "status": "open", "priority": 2, "updated_at": NOW, "acceptance_criteria": "it works"}
    return parse({**known, "assignee": "agent", **fields})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, None),
        ({"issue_type": "epic"}, None),
        ({"acceptance_criteria": ""}, eligibility.NO_CRITERIA),
        ({"acceptance_criteria": " \t\n\u00a0\u3000\ufeff\u2003"}, eligibility.NO_CRITERIA),
        ({"acceptance_criteria": "\u001c"}, None),
        ({"ephemeral": True}, eligibility.EPHEMERAL),
        ({"labels": ["gt:agent"]}, eligibility.AGENT_BEAD),
        ({"description": "x" * 50_000}, eligibility.TOO_LARGE),
        ({"description": "<" * 9_000}, eligibility.TOO_LARGE),
        ({"description": "x" * 40_000}, None),
        ({"issue_type": "gate"}, eligibility.Reason("bd never lists it as ready: type gate", needs_person=True)),
        ({"pinned": True}, eligibility.Reason("bd never lists it as ready: pinned", needs_person=True)),
        ({"defer_until": "2026-11-23T22:00:01Z"}, eligibility.Reason("deferred until 2026-11-23T22:00:01Z")),
        ({"defer_until": "2026-11-23T22:00:00Z"}, None),
        (
            {"metadata": {"beads_dispatch.retry_after": "2026-11-23T22:02:00Z"}},
            eligibility.Reason("backing off until 2026-11-23T22:02:00Z"),
        ),
        ({"metadata": {"beads_dispatch.retry_after": "2026-11-23T22:00:00Z"}}, None),
        ({"metadata": {"beads_dispatch.retry_after": "2026-11-23T23:00:01Z"}}, None),
        ({"metadata": {"beads_dispatch.retry_after": "9999-12-31T23:59:59Z"}}, None),
        ({"metadata": {"beads_dispatch.retry_after": ["soon"]}}, None),
        ({"metadata": [1]}, eligibility.ODD_METADATA),
        ({"metadata": {"beads_dispatch.runs": 5}}, eligibility.RUNS_USED_UP),
    ],
)
def test_ineligible_reason(fields: dict[str, object], reason: eligibility.Reason | None) -> None:
    assert eligibility.ineligible_reason(bead(**fields), NOW) == reason


def test_order_is_priority_then_age_then_id() -> None:
    beads = [
        bead(id="t-4", priority=1, updated_at=NOW),
        bead(id="t-3", priority=1, updated_at=NOW),
        bead(id="t-2", priority=1, updated_at=NOW - MINUTE),
        bead(id="t-1", priority=2, updated_at=NOW - 60 * MINUTE),
        bead(id="t-5", priority=0),
    ]
    assert [one.id for one in eligibility.eligible(beads, NOW)] == ["t-5", "t-2", "t-3", "t-4", "t-1"]


def test_a_deferral_ends_at_its_time() -> None:
    over, later = bead(status="deferred", defer_until=NOW), bead(status="deferred", defer_until=NOW + MINUTE)
    assert eligibility.expired_deferrals([over, later, bead(status="deferred"), bead(defer_until=NOW)], NOW) == [over]


@pytest.mark.parametrize(
    ("lines", "possibly"),
    [
        ([], False),
        (["a word of the agent's"], False),
        ([CLAIM], True),
        ([CLAIM, notes.dispatched("j"), "a word of the agent's"], True),
        ([CLAIM, notes.unclear(None, "lost")], True),
        ([CLAIM, notes.returned("agent busy")], False),
        ([CLAIM, notes.failed(502, "Invalid token")], False),
        ([CLAIM, notes.failed(502, "Invalid token"), CLAIM], True),
    ],
)
def test_a_claim_that_was_not_undone_may_have_been_sent(lines: list[str], possibly: bool) -> None:
    assert notes.possibly_dispatched("\n".join(lines)) is possibly


def test_waiting_doubles_to_an_hour() -> None:
    assert [backoff.backoff(step) // MINUTE for step in (1, 2, 3, 4, 5, 6, 7, 1000)] == [2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize(
    ("fields", "stale"),
    [
        ({"updated_at": NOW - 29 * MINUTE}, False),
        ({"updated_at": NOW - 30 * MINUTE}, False),
        ({"updated_at": NOW - 31 * MINUTE}, True),
        ({"updated_at": NOW - 31 * MINUTE, "heartbeat_at": "2026-11-23T21:58:00Z"}, False),
        ({"updated_at": NOW - 31 * MINUTE, "lease_expires_at": "2026-11-23T22:01:00Z"}, False),
        ({"updated_at": NOW - 31 * MINUTE, "lease_expires_at": "2026-11-23T21:59:00Z"}, True),
        (
            {"updated_at": NOW - 31 * MINUTE, "comments": [{"created_at": "2026-11-23T21:50:00Z", "text": "x"}]},
            False,
        ),
        ({"updated_at": NOW + 60 * MINUTE}, False),
        ({"updated_at": NOW - 31 * MINUTE, "status": "open"}, False),
    ],
)
def test_stale(fields: dict[str, object], stale: bool) -> None:
    assert staleness.stale(bead(**{"status": "in_progress", **fields}), NOW, 30 * MINUTE) is stale


CLAIMED, OURS = notes.claimed(NOW, "aaaaaa"), {"beads_dispatch.claim": "taaaaaa 2026-11-23T22:00:00Z"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, None),
        ({"status": "closed"}, "its status is now closed"),
        ({"assignee": "me"}, "it is now assigned to me"),
        ({"notes": ""}, None),
        (
            {"metadata": {"beads_dispatch.claim": "tbbbbbb 2026-11-23T22:00:00Z"}},
            "our claim is no longer the newest on it",
        ),
        ({"metadata": {**OURS, "beads_dispatch.job": '"j1"'}}, "job j1 was recorded on it meanwhile"),
        ({"metadata": {}}, "our claim is no longer the newest on it"),
        ({"acceptance_criteria": "\u00a0"}, "its acceptance criteria are gone"),
    ],
)
def test_claim_lost_reason(fields: dict[str, object], reason: str | None) -> None:
    one = bead(**{"status": "in_progress", "notes": CLAIMED, "metadata": OURS, **fields})
    claimed = Claim(bead(), "aaaaaa", NOW)
    assert claim.lost_reason(one, claimed) == reason
    assert claim.releasable(one, claimed) is (reason in (None, "its acceptance criteria are gone"))


def test_a_bead_gets_its_notice_once() -> None:
    one = bead(acceptance_criteria="")
    assert eligibility.needs_notice([one], NOW) == [(one, eligibility.NO_CRITERIA)]
    assert (
        eligibility.needs_notice([bead(acceptance_criteria="", notes="not dispatched: no acceptance criteria")], NOW)
        == []
    )


def test_a_large_bead_has_its_notice_in_a_comment_until_it_is_claimed_again() -> None:
    large = {"description": "x" * 50_000}
    comments = [{"created_at": "2026-11-23T21:00:00Z", "text": notes.TOO_LARGE}]
    new, claimed = bead(**large), bead(**large, comments=comments, notes=CLAIMED)
    assert eligibility.needs_notice([new, bead(**large, comments=comments)], NOW) == [(new, eligibility.TOO_LARGE)]
    assert eligibility.needs_notice([claimed], NOW) == [(claimed, eligibility.TOO_LARGE)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
GOOD = {
    "id": st.sampled_from(["t-1", "t-2", "t-3", "-x", "t'; DROP"]),
    "status": st.sampled_from(["open", "in_progress", "blocked", "closed"]),
    "priority": st.integers(0, 4),
    "updated_at": st.sampled_from(["2026-11-23T21:00:00Z", "2026-11-23T21:00:00.123456789Z", "0001-01-01T00:00:00Z"]),
    "acceptance_criteria": st.sampled_from(["it works", "", "\u00a0"]),
    "notes": st.text(),
    "labels": st.sampled_from([[], ["gt:agent"]]),
    "ephemeral": st.booleans(),
    "defer_until": st.sampled_from([None, "2030-01-01T00:00:00Z"]),
}
MARKS = ("claim", "job", "runs", "attempts", "failed_at", "retry_after")
METADATA = JSON | st.dictionaries(st.sampled_from([f"beads_dispatch.{name}" for name in MARKS]), JSON)
ROWS = st.lists(
    st.fixed_dictionaries({}, optional={**{key: good | JSON for key, good in GOOD.items()}, "metadata": METADATA}),
    max_size=6,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # its first draw loads tables
@given(rows=ROWS, seed=st.integers())
def test_any_garbage_gives_the_same_choice_and_never_an_ineligible_bead(rows: list[dict[str, Any]], seed: int) -> None:
    beads, unreadable = read_all(rows)
    assert len(beads) + len(unreadable) == len(rows)
    chosen = eligibility.eligible(beads, NOW)
    for one in chosen:
        assert one.status == "open"
        assert not eligibility.blank(one.acceptance_criteria)
        assert not one.ephemeral
        assert "gt:agent" not in one.labels
    shuffled = list(beads)
    random.Random(seed).shuffle(shuffled)
    again = eligibility.eligible(shuffled, NOW)
    assert [order_key(one) for one in again] == [order_key(one) for one in chosen]
    pacing.has_work(beads, {}, NOW)
    eligibility.next_wakeup(beads, {}, NOW)
    for one in beads:
        marks.possibly_dispatched(one)
        claim.lost_record(one, NOW)


def order_key(one: Bead) -> tuple[object, ...]:
    return (one.priority, one.updated_at, one.id)
