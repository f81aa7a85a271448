"""How a run ends: what each answer of the agent service means for its bead."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from beads_dispatch.core import backoff, marks, runs
from beads_dispatch.core.backoff import Hold
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.runner import Job, Stage

NOW = datetime(2026, 11, 25, 8, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HALF_HOUR = 30 * MINUTE
BEAD = Bead("t-1", "in_progress", 2, NOW - 5 * MINUTE, assignee="agent", metadata={marks.JOB: '"abc"', marks.RUNS: 1})
RAN = {"started_at": "2026-11-25T07:55:00.123456+00:00", "finished_at": "2026-11-25T07:59:00.123456+00:00"}
LIMIT = "You've hit your limit · resets 9am (UTC)"


def document(status: str, **fields: object) -> dict[str, object]:
    known = RAN if status not in ("queued", "running") else {"started_at": RAN["started_at"]}
    return {"status": status, "prompt": "x", "agent": "y", **known, **fields}


def result(text: str, **fields: object) -> list[str]:
    import json

    return ["a line\n", json.dumps({"type": "result", "result": text, **fields}) + "\n"]


@pytest.mark.parametrize(
    ("answer", "kind", "line"),
    [
        (document("queued"), None, ""),
        (document("running"), None, ""),
        (
            document("running", started_at="2026-11-25T05:00:00+00:00"),
            "stuck",
            "reaper: no progress for 180m — blocking (threshold 30m, the agent service still calls its job running)",
        ),
        (
            document("completed", exit_code=0, output=result("I need a key")),
            "completed",
            "agent ended: completed after 4m, bead not closed: I need a key",
        ),
        (
            document("completed", exit_code=0, output=["words\n"]),
            "completed",
            "agent ended: completed after 4m, bead not closed: words",
        ),
        (
            document("failed", exit_code=1, output=result("It broke", is_error=True)),
            "failed",
            "agent ended: failed (exit 1) after 4m: It broke",
        ),
        (
            document("failed", exit_code=127, output=[], stderr="warning\n/bin/sh: 1: claudee: not found\n"),
            "failed",
            "agent ended: failed (exit 127) after 4m: claudee: not found",
        ),
        (document("failed", exit_code=-9), "failed", "agent ended: failed (exit -9) after 4m"),
        (
            document("timeout"),
            "timeout",
            "agent ended: timed out after 4m; its process may still be at work",
        ),
        (
            document("error", error="[Errno 2] No such file or directory: 'claude'"),
            "error",
            "agent ended: error: [Errno 2] No such file or directory: 'claude'; its process may still be at work",
        ),
        (
            document("failed", exit_code=1, output=result(LIMIT, is_error=True)),
            "usage limit",
            "agent ended: usage limit, resets 2026-11-25T09:00Z",
        ),
        (
            document("completed", exit_code=0, output=result("429 rate_limit_error", is_error=True)),
            "usage limit",
            "agent ended: usage limit, no reset time, next try 2026-11-25T08:30Z",
        ),
        (
            document("completed", exit_code=0, output=result(f"I read: {LIMIT}", is_error=False)),
            "completed",
            f"agent ended: completed after 4m, bead not closed: I read: {LIMIT}",
        ),
        (
            document("failed", exit_code=1, output=[LIMIT]),
            "usage limit",
            "agent ended: usage limit, resets 2026-11-25T09:00Z",
        ),
        (
            document("failed", exit_code=1, output=["I read in the bead:\n", "\n", LIMIT, "\n", "So I stopped.\n"]),
            "failed",
            f"agent ended: failed (exit 1) after 4m: I read in the bead: {LIMIT} So I stopped.",
        ),
        (document("dancing"), None, ""),
        ({}, None, ""),
    ],
)
def test_what_the_end_of_a_job_means(answer: dict[str, object], kind: str | None, line: str) -> None:
    end = runs.end(runs.parse(answer), BEAD, NOW, HALF_HOUR, UTC)
    assert (end.kind if end else None) == kind
    assert (end.line if end else "") == line
    assert (end.status if end else None) == (None if kind is None else "open" if kind == "usage limit" else "blocked")


def test_an_unknown_job_has_ended_and_a_doubtful_answer_says_nothing() -> None:
    end = runs.end(Job(Stage.UNKNOWN), BEAD, NOW, HALF_HOUR, UTC)
    assert end is not None
    assert end.line == "agent ended: the agent service does not know job abc (restarted, or ended over an hour ago)"
    assert runs.end(Job(Stage.DOUBT, "HTTP 401"), BEAD, NOW, HALF_HOUR, UTC) is None
    assert not runs.at_work(Job(Stage.DOUBT), NOW, HALF_HOUR)


def test_no_run_seems_to_hang_before_a_timeout_that_its_runner_keeps() -> None:
    for timed in (True, False):
        job = Job(Stage.RUNNING, started_at=NOW - 9 * HALF_HOUR, timed=timed)
        assert runs.at_work(job, NOW, HALF_HOUR) is timed
        assert (runs.end(job, BEAD, NOW, HALF_HOUR, UTC) is None) is timed


def test_an_agent_gets_fifteen_seconds_for_its_own_last_write() -> None:
    job = Job(Stage.COMPLETED, finished_at=NOW - timedelta(seconds=14))
    assert runs.end(job, BEAD, NOW, HALF_HOUR, UTC) is None
    assert runs.end(job, BEAD, NOW + timedelta(seconds=1), HALF_HOUR, UTC) is not None


def test_a_bead_that_somebody_took_over_is_left_to_the_threshold() -> None:
    job = runs.parse(document("failed", exit_code=1))
    assert runs.end(job, replace(BEAD, updated_at=NOW + MINUTE), NOW, HALF_HOUR, UTC) is None


def test_a_usage_limit_counts_no_run_and_the_fifth_in_a_row_blocks() -> None:
    assert runs.reopened(BEAD) == {marks.JOB: None, marks.RUNS: None, marks.LIMITS: "1"}
    ran_before = replace(BEAD, metadata={**(BEAD.metadata or {}), marks.RUNS: 2})
    assert runs.reopened(ran_before)[marks.RUNS] == "1"
    claim = marks.claim_value("abcdef", NOW)
    claimed = replace(BEAD, metadata={**(BEAD.metadata or {}), marks.CLAIM: claim})
    assert runs.reopened(claimed)[marks.REOPENED] == claim
    job = runs.parse(document("failed", exit_code=1, output=result(LIMIT, is_error=True)))
    tired = replace(BEAD, metadata={**(BEAD.metadata or {}), marks.LIMITS: 4})
    end = runs.end(job, tired, NOW, HALF_HOUR, UTC)
    assert end is not None
    assert (end.status, end.line) == ("blocked", "agent ended: usage limit, resets 2026-11-25T09:00Z; 5 in a row")


USAGE = Hold(NOW, 0, "usage limit")


def claimed(minutes: float, **fields: object) -> Bead:
    return replace(BEAD, metadata={marks.CLAIM: marks.claim_value("abcdef", NOW + minutes * MINUTE)}, **fields)


@pytest.mark.parametrize(
    ("hold", "beads", "minutes", "allows"),
    [
        (None, [], 0, "all"),
        (USAGE, [], 1, "one"),
        (replace(USAGE, bead_id="t-1"), [claimed(1)], 1.5, "none"),
        (replace(USAGE, bead_id="t-1"), [claimed(1)], 2, "over"),
        (replace(USAGE, bead_id="t-1"), [], 2, "over"),
        (replace(USAGE, bead_id="t-1"), [claimed(-1)], 2, "one"),
        (replace(USAGE, bead_id="t-1"), [claimed(1, status="open")], 2, "one"),
        (replace(USAGE, bead_id="t-1"), [claimed(1, status="blocked")], 2, "one"),
    ],
)
def test_after_a_usage_limit_one_bead_goes_first(
    hold: Hold | None, beads: list[Bead], minutes: float, allows: str
) -> None:
    assert backoff.probe(hold, beads, NOW + minutes * MINUTE) == allows


@pytest.mark.parametrize(
    ("cost", "known"), [(0.25, 0.25), (0, 0.0), (-1, None), (10**400, None), (True, None), ("1", None)]
)
def test_a_cost_is_a_sum_of_money_or_nothing(cost: object, known: float | None) -> None:
    answer = document("completed", exit_code=0, output=result("done", total_cost_usd=cost))
    assert runs.parse(answer).cost == known


def test_a_job_that_ended_at_the_end_of_time() -> None:
    job = runs.parse(document("failed", exit_code=1, finished_at="9999-12-31T23:59:59+00:00"))
    found = runs.end(job, BEAD, NOW, HALF_HOUR, UTC)
    assert found is not None
    assert found.kind == "failed"


@pytest.mark.parametrize(
    ("words", "after", "line"),
    [
        ("resets 9am (UTC)", 10 * MINUTE, "resets 2026-11-25T09:00Z"),
        ("resets 9am (UTC)", 180 * MINUTE, "no reset time, next try 2026-11-25T11:29Z"),  # not tomorrow's
        ("resets 9am (UTC)", -180 * MINUTE, "resets 2026-11-25T09:00Z"),  # the service's clock is ahead
        ("resets in 2h", 60 * MINUTE, "resets 2026-11-25T09:59Z"),
        ("resets in 2h", 180 * MINUTE, "no reset time, next try 2026-11-25T11:29Z"),
    ],
)
def test_a_limit_that_is_read_late_resets_when_it_said(words: str, after: timedelta, line: str) -> None:
    job = runs.parse(document("failed", exit_code=1, output=result(f"You've hit your limit · {words}", is_error=True)))
    assert job.finished_at
    found = runs.end(job, BEAD, job.finished_at + after, HALF_HOUR, UTC)
    assert found is not None
    assert found.line == f"agent ended: usage limit, {line}"
