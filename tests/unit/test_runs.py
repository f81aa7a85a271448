"""How a run ends: what each answer of the agent service means for its bead."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from beads_dispatch.core import marks, outcomes, runs
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.runner import Job, Stage
from beads_dispatch.core.runs import Fault

NOW = datetime(2026, 11, 25, 8, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HALF_HOUR = 30 * MINUTE
BEAD = Bead("t-1", "in_progress", 2, NOW - 5 * MINUTE, assignee="agent", metadata={marks.JOB: '"abc"', marks.RUNS: 1})
RAN = {"started_at": "2026-11-25T07:55:00.123456+00:00", "finished_at": "2026-11-25T07:59:00.123456+00:00"}
QUICK = {"started_at": "2026-11-25T07:58:58+00:00", "finished_at": "2026-11-25T07:59:00+00:00"}
LOGIN = "Invalid API key · Please run /login"
OVER_BUDGET = {"subtype": "error_max_budget_usd", "errors": ["Reached maximum budget ($5)"]}
LIMIT = "You've hit your limit · resets 9am (UTC)"


def document(status: str, **fields: object) -> dict[str, object]:
    known = RAN if status not in ("queued", "running") else {"started_at": RAN["started_at"]}
    return {"status": status, "prompt": "x", "agent": "y", **known, **fields}


def result(text: str | None, **fields: object) -> list[str]:
    import json

    return ["a line\n", json.dumps({"type": "result", "result": text, **fields}) + "\n"]


@pytest.mark.parametrize(
    ("answer", "outcome", "fault", "line"),
    [
        (document("queued"), None, None, ""),
        (document("running"), None, None, ""),
        (
            document("running", started_at="2026-11-25T05:00:00+00:00"),
            "stuck", Fault.BEAD, "agent ended: still running after 180m, limit 120m (4 × threshold)",
        ),
        (
            document("completed", exit_code=0, output=result("I need a key")),
            "completed", Fault.BEAD, "agent ended: completed after 4m, bead not closed: I need a key",
        ),
        (
            document("completed", exit_code=0, output=["words\n"]),
            "completed", Fault.BEAD, "agent ended: completed after 4m, bead not closed: words",
        ),
        (
            document("failed", exit_code=1, output=result("It broke", is_error=True)),
            "failed", Fault.BEAD, "agent ended: failed (exit 1) after 4m: It broke",
        ),
        (
            document("failed", exit_code=1, stderr="It broke", **QUICK),
            "failed", Fault.UNKNOWN, "agent ended: failed (exit 1) after 2s: It broke",
        ),
        (
            document("failed", exit_code=127, output=[], stderr="warning\n/bin/sh: 1: claudee: not found\n", **QUICK),
            "cannot run", Fault.AGENT, "agent ended: failed (exit 127) after 2s: claudee: not found",
        ),
        (
            document("failed", exit_code=126, **QUICK),
            "cannot run", Fault.AGENT, "agent ended: failed (exit 126) after 2s",
        ),
        # later, a shell's exit status can be the last command's of a script that worked
        (document("failed", exit_code=127), "failed", Fault.BEAD, "agent ended: failed (exit 127) after 4m"),
        (document("failed", exit_code=-9), "killed", Fault.BEAD, "agent ended: failed (exit -9) after 4m"),
        (
            document("failed", exit_code=137, **QUICK),
            "killed", Fault.UNKNOWN, "agent ended: failed (exit 137) after 2s",
        ),
        (
            document("timeout"),
            "timed out", Fault.BEAD, "agent ended: timed out after 4m; its process may still be working",
        ),
        (
            document("error", error="Separator is found, but chunk is longer than limit"),
            "lost", Fault.BEAD,
            "agent ended: error: Separator is found, but chunk is longer than limit; its process may still be working",
        ),
        (
            document("failed", exit_code=1, output=result(LIMIT, is_error=True)),
            "usage limit", Fault.AGENT, "agent ended: usage limit, resets 2026-11-25T09:00Z",
        ),
        (
            document("completed", exit_code=0, output=result("429 rate_limit_error", is_error=True)),
            "usage limit", Fault.AGENT, "agent ended: usage limit, no reset time known",
        ),
        (
            document("completed", exit_code=0, output=result(f"I read: {LIMIT}", is_error=False)),
            "completed", Fault.BEAD, f"agent ended: completed after 4m, bead not closed: I read: {LIMIT}",
        ),
        (
            document("failed", exit_code=1, output=[LIMIT], **QUICK),
            "usage limit", Fault.AGENT, "agent ended: usage limit, resets 2026-11-25T09:00Z",
        ),
        (
            document("failed", exit_code=1, output=[LIMIT]),
            "failed", Fault.BEAD, f"agent ended: failed (exit 1) after 4m: {LIMIT}",
        ),
        (
            document("failed", exit_code=1, output=["I read in the bead:\n", "\n", LIMIT, "\n", "So I stopped.\n"]),
            "failed", Fault.BEAD, f"agent ended: failed (exit 1) after 4m: I read in the bead: {LIMIT} So I stopped.",
        ),
        (
            document("failed", exit_code=1, output=result(LOGIN, is_error=True)),
            "cannot work", Fault.AGENT, f"agent ended: cannot work (login) after 4m: {LOGIN}",
        ),
        (
            document("failed", exit_code=1, output=result(None, total_cost_usd=5, **OVER_BUDGET)),
            "budget used up", Fault.BEAD, "agent ended: budget used up after 4m, $5.00: Reached maximum budget ($5)",
        ),
        (
            document("error", error="[Errno 2] No such file or directory: 'claude'"),
            "cannot run", Fault.AGENT, "agent ended: cannot run: [Errno 2] No such file or directory: 'claude'",
        ),
        (document("dancing"), None, None, ""),
        ({}, None, None, ""),
    ],
)  # fmt: skip
def test_what_the_end_of_a_job_means(
    answer: dict[str, object], outcome: str | None, fault: Fault | None, line: str
) -> None:
    end = runs.end(runs.parse(answer), BEAD, NOW, HALF_HOUR, UTC)
    assert (end.outcome.word if end else None) == outcome
    assert (end.fault if end else None) == fault
    assert (end.line if end else "") == line


def test_a_job_that_never_ran_and_is_removed_is_still_the_agents_fault() -> None:
    line = "agent ended: cannot run: not running after 10m: ErrImagePull"
    removed = replace(BEAD, metadata={**(BEAD.metadata or {}), "beads_dispatch.removing": line})
    gone = Job(Stage.UNKNOWN, "there is no Job x-1 (deleted, or never created)")
    end = runs.end(gone, removed, NOW, HALF_HOUR, UTC)
    assert end == runs.End(outcomes.CANNOT_RUN, Fault.AGENT, line, sure=True)
    without = runs.end(gone, BEAD, NOW, HALF_HOUR, UTC)
    assert without
    assert without.outcome is outcomes.NO_JOB


@pytest.mark.parametrize(
    ("job", "may_live"),
    [
        (Job(Stage.TIMEOUT), True),
        (Job(Stage.TIMEOUT, gone=True), False),
        (Job(Stage.ERROR, "x"), True),
        (Job(Stage.UNKNOWN), True),
        (Job(Stage.FAILED, exit_code=1), False),
        (Job(Stage.FAILED, "ErrImagePull", cannot_run=True), False),
    ],
)
def test_a_run_that_may_still_live_says_so(job: Job, may_live: bool) -> None:
    end = runs.end(job, BEAD, NOW, HALF_HOUR, UTC)
    assert end is not None
    assert end.may_live is may_live


def test_a_job_that_could_not_be_started_at_all_is_the_agents_fault() -> None:
    end = runs.end(Job(Stage.FAILED, "ErrImagePull", cannot_run=True), BEAD, NOW, HALF_HOUR, UTC)
    assert end is not None
    assert (end.outcome.word, end.fault, end.line) == (
        "cannot run",
        Fault.AGENT,
        "agent ended: cannot run: ErrImagePull",
    )


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
    assert found.outcome.word == "failed"


@pytest.mark.parametrize(
    ("words", "after", "line"),
    [
        ("resets 9am (UTC)", 10 * MINUTE, "resets 2026-11-25T09:00Z"),
        ("resets 9am (UTC)", 180 * MINUTE, "no reset time known"),  # not tomorrow's
        ("resets 9am (UTC)", -180 * MINUTE, "resets 2026-11-25T09:00Z"),  # the service's clock is ahead
        ("resets in 2h", 60 * MINUTE, "resets 2026-11-25T09:59Z"),
        ("resets in 2h", 180 * MINUTE, "no reset time known"),
    ],
)
def test_a_limit_that_is_read_late_resets_when_it_said(words: str, after: timedelta, line: str) -> None:
    job = runs.parse(document("failed", exit_code=1, output=result(f"You've hit your limit · {words}", is_error=True)))
    assert job.finished_at
    found = runs.end(job, BEAD, job.finished_at + after, HALF_HOUR, UTC)
    assert found is not None
    assert found.line == f"agent ended: usage limit, {line}"


def test_what_a_check_says_of_a_run_that_has_ended_well() -> None:
    done = Job(Stage.COMPLETED, "3 failed", 0, NOW - MINUTE, NOW, check="make test", check_failed="exit 2")
    failed = runs.end(done, BEAD, NOW, HALF_HOUR, UTC)
    assert failed
    assert (failed.fault, failed.line) == (Fault.CHECK, "agent ended: check failed (make test, exit 2): 3 failed")
    passed = runs.end(replace(done, words="I did it", check_failed=""), BEAD, NOW, HALF_HOUR, UTC)
    assert passed
    assert (passed.outcome.word, passed.line) == ("checked", "checked: make test: I did it")
