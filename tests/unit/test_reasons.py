"""Why each bead is where it is, as a table: what `status`, `explain` and the metrics say."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from beads_dispatch.core import eligibility, marks, reasons
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.holds import SERVICE, USAGE, Hold, in_force
from beads_dispatch.core.reasons import Known, QueueState
from beads_dispatch.core.text import utc

NOW = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LATER = NOW + 2 * MINUTE
FAILED = "dispatch failed HTTP 502: fetch failed"


def bead(status: str = "open", **fields: Any) -> Bead:
    known = {"assignee": "agent", "acceptance_criteria": "it works", **fields}
    return Bead(str(known.pop("id", "t-1")), status, 2, NOW, **known)


def marked(**values: object) -> dict[str, object]:
    return {f"beads_dispatch.{name}": value for name, value in values.items()}


def known(queue: QueueState = QueueState(), **fields: Any) -> Known:  # noqa: B008
    return Known("agent", NOW, queue, frozenset({"t-1", "t-2"}), **fields)


HAND = marked(claim="tabcdef 2026-11-23T21:59:50Z")
OLD = marked(claim="tabcdef 2026-11-23T21:50:00Z")
TABLE: list[tuple[Bead, str, str]] = [
    (bead(), "eligible", reasons.NEXT),
    (bead(acceptance_criteria=""), "no acceptance criteria", "no acceptance criteria"),
    (bead(id="t-9"), "not ready", eligibility.NOT_READY.text),
    (bead(defer_until=LATER), "deferred", "deferred until 2026-11-23T22:02:00Z"),
    (
        bead(notes=f"{FAILED} (attempt 1 of 5)", metadata=marked(retry_after="2026-11-23T22:02:00Z", attempts=1)),
        "backing off",
        f"backing off until 2026-11-23T22:02:00Z; {FAILED} (attempt 1 of 5)",
    ),
    (
        bead(metadata=marked(claim="tabcdef 2026-11-23T21:59:00Z", runs=2)),
        "run 3 in a row waits",
        "run 3 in a row waits until 2026-11-23T22:01:00Z",
    ),
    (bead("in_progress", metadata=HAND), "handing over", "being handed over"),
    (bead("in_progress", metadata=OLD), "not sent", "no dispatch recorded"),
    (bead("in_progress", metadata={**HAND, **marked(job='"7"')}), "dispatched", "dispatched: job=7"),
    (bead("in_progress", metadata=HAND, notes="dispatch unclear: x"), "dispatch unclear", "dispatch unclear: x"),
    (bead("in_progress", notes="dispatched: job=8"), "dispatched", "dispatched: job=8"),
    (bead("in_progress"), "not sent", "no dispatch recorded"),
    (bead("blocked", notes="agent ended: failed (exit 1)"), "failed", "agent ended: failed (exit 1)"),
    (bead("blocked", notes="reaper: no progress for 31m"), "no progress", "reaper: no progress for 31m"),
    (bead("blocked"), "other", "blocked, without a note"),
    (bead("blocked", notes="which port?", metadata=marked(job='"7"', outcome="dispatched")), "asks", "which port?"),
    (bead("blocked", notes="which port?\ndispatched: job=7", metadata=marked(outcome="asks")), "asks", "which port?"),
    (bead("blocked", notes="x", metadata=marked(outcome="timed out")), "timed out", "x"),
    (bead("deferred", defer_until=LATER), "", "deferred until 2026-11-23T22:02:00Z"),
    (bead("deferred", defer_until=NOW), "", "its deferral has ended: the next tick opens it"),
    (
        bead("deferred", defer_until=NOW, metadata=OLD),
        "",
        "its deferral has ended: the next tick blocks it, because an agent may have it",
    ),
    (bead("closed"), "closed", "closed"),
    (bead(assignee="ann"), "other", "assigned to ann, not to agent"),
    (bead("blocked", assignee=""), "other", "assigned to nobody, not to agent"),
]


@pytest.mark.parametrize(("one", "kind", "reason"), TABLE)
def test_each_bead_has_a_kind_and_a_reason(one: Bead, kind: str, reason: str) -> None:
    found = reasons.standings([one], known())[one.id]
    assert (found.kind, found.reason) == (kind, reason)


def test_the_line_is_the_one_in_which_a_tick_dispatches() -> None:
    failed = bead(id="t-1", metadata=marked(failed_at="2026-11-23T21:00:00Z"))
    beads = [failed, bead(id="t-2"), bead(id="t-3"), bead(id="t-4", metadata=marked(job="9"))]
    view = Known("agent", NOW, QueueState(), frozenset({"t-1", "t-2", "t-4"}), {"t-4": "its last job 9 still runs"})
    found = reasons.standings(beads, view)
    assert reasons.places(beads, view) == {"t-2": 1, "t-1": 2}
    assert [found[one].brief for one in ("t-1", "t-2", "t-3", "t-4")] == [
        "2nd in line", "1st in line", "waits for a dependency or its parent", "its last job 9 still runs",
    ]  # fmt: skip
    assert (found["t-1"].reason, found["t-4"].kind) == ("2nd in line", "still runs")


HELD = Hold(LATER, 1, FAILED, "t-7")
LIMIT = Hold(NOW + 9 * MINUTE, 0, "t-7: agent ended: usage limit")
ENDED = Hold(NOW - 9 * MINUTE, 0, "t-7: agent ended: usage limit")


@pytest.mark.parametrize(
    ("holds", "kind", "text", "reason"),
    [
        ({}, "open", "open", ""),
        (
            {SERVICE: HELD},
            "held",
            f"held until 2026-11-23T22:02:00Z: t-7: {FAILED}",
            f"the queue is held until 2026-11-23T22:02:00Z: t-7: {FAILED}",
        ),
        (
            {SERVICE: HELD, USAGE: LIMIT},
            "usage limit",
            "held until 2026-11-23T22:09:00Z: t-7: agent ended: usage limit",
            "the queue is held until 2026-11-23T22:09:00Z: t-7: agent ended: usage limit",
        ),
        (
            {SERVICE: Hold(NOW - MINUTE, 1, FAILED)},
            "failing",
            f"open; tried again at each tick; last time: {FAILED}",
            f"tried again at each tick; last time: {FAILED}",
        ),
        (
            {USAGE: ENDED},
            "probing",
            "open; one bead runs first, to see whether the usage limit is over",
            "one bead runs first, to see whether the usage limit is over",
        ),
    ],
)
def test_the_queue(holds: dict[str, Hold], kind: str, text: str, reason: str) -> None:
    queue = reasons.queue_state(holds, [], NOW)
    assert (queue.kind, queue.text, queue.reason) == (kind, text, reason)
    assert queue.until == (hold.until if (hold := in_force(holds, NOW)) else None)
    found = reasons.standings([bead()], known(queue))["t-1"]
    assert (found.reason, found.place, found.retry_at) == (reason or reasons.NEXT, 1, queue.until)
    assert found.kind == ("held" if queue.until else "eligible")


def test_the_bead_that_runs_first_after_a_usage_limit_is_named() -> None:
    sent = bead("in_progress", id="t-7", metadata=marked(claim=f"tabcdef {utc(NOW)}", job="1"))
    usage = Hold(NOW - MINUTE, 0, "x", "t-1", NOW - MINUTE)
    queue = reasons.queue_state({USAGE: usage}, [sent, bead()], NOW)
    assert queue.text == "open; t-7 runs first, to see whether the usage limit is over"


def test_a_queue_that_cannot_be_written_is_not_open() -> None:
    queue = reasons.queue_state({SERVICE: HELD}, [], NOW, "Dolt: denied")
    assert (queue.kind, queue.reason) == ("unwritable", "nothing can be claimed: Dolt: denied")


def test_when_it_is_tried_again() -> None:
    waits = bead(metadata=marked(retry_after="2026-11-23T22:02:00Z"))
    assert reasons.standing(waits, known()).retry_at == LATER
    assert reasons.standing(bead("deferred", defer_until=LATER), known()).retry_at == LATER
    assert reasons.standing(bead("deferred", defer_until=NOW), known()).retry_at is None
    assert marks.retry_after(waits, NOW) == LATER


@pytest.mark.parametrize(
    ("where", "brief"),
    [
        (reasons.Standing("x", "agent ended: failed (exit 1) after 3m: boom"), "failed (exit 1) after 3m: boom"),
        (reasons.Standing("x", "not dispatched: 5 runs"), "5 runs"),
        (reasons.Standing("x", "dispatched: job=7", short="for 3m: → Bash: ls"), "for 3m: → Bash: ls"),
        (reasons.Standing("x", "the queue is held", 11), "11th in line"),
    ],
)
def test_in_a_narrow_table_the_reason_comes_first(where: reasons.Standing, brief: str) -> None:
    assert where.brief == brief


def test_the_queue_in_one_line_and_what_a_bead_waits_for() -> None:
    beads = [bead(), bead(acceptance_criteria=""), bead("blocked"), bead("in_progress"), bead("deferred")]
    assert reasons.counted(beads, 5, NOW) == "1 running · 2 waiting · 2 need you · 5 closed today"
    assert reasons.standing(bead(id="t-9"), known(needs={"t-9": "t-1 and t-2"})).reason == "waits for t-1 and t-2"
