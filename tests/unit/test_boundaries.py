"""Each decision at its boundary and one step beyond it: what the mutation run (`make mutate`) had left unnoticed."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from beads_dispatch.core import (
    backoff,
    beadboard_answers,
    claim,
    eligibility,
    holds,
    marks,
    notes,
    pacing,
    runs,
    staleness,
)
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.beadboard_answers import Reply
from beads_dispatch.core.eligibility import Reason
from beads_dispatch.core.holds import Hold
from beads_dispatch.core.runner import Job, Stage
from beads_dispatch.core.text import one_line, utc

NOW = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def bead(status: str = "open", **fields: object) -> Bead:
    known = {"id": "t-1", "status": status, "priority": 2, "updated_at": NOW, "acceptance_criteria": "it works"}
    return Bead(**{**known, "assignee": "agent", **fields})  # type: ignore[arg-type]


def claimed(at: datetime) -> dict[str, object]:
    return {marks.CLAIM: marks.claim_value("abcdef", at)}


# --- holds ---
@pytest.mark.parametrize(("kind", "furthest"), holds.FURTHEST.items())
def test_a_stored_hold_counts_up_to_the_furthest_of_its_kind(kind: str, furthest: timedelta) -> None:
    text = holds.write_hold(Hold(NOW + furthest, 1, "down"))
    assert holds.read_hold(kind, text, NOW) == Hold(NOW + furthest, 1, "down")
    assert holds.read_hold(kind, text, NOW - SECOND) is None


@pytest.mark.parametrize(
    ("stored", "read"), [(0, 0), (1, 1), (1000, 1000), (1001, 0), (-1, 0), ("3", 0), (2.5, 0), (None, 0)]
)
def test_the_step_of_a_stored_hold(stored: object, read: int) -> None:
    text = json.dumps({"until": utc(NOW), "step": stored, "reason": "x"})
    hold = holds.read_hold(holds.SERVICE, text, NOW)
    assert hold is not None
    assert hold.step == read


def test_a_hold_is_stored_as_people_read_it() -> None:
    assert "→" in holds.write_hold(Hold(NOW, 1, "502 → down"))


@pytest.mark.parametrize(("last", "step", "minutes"), [(None, 1, 2), (0, 1, 2), (1, 2, 4), (2, 3, 8), (3, 3, 8)])
def test_the_hold_after_claims_that_cannot_be_written(last: int | None, step: int, minutes: int) -> None:
    before = None if last is None else Hold(NOW, last, "x")
    assert holds.claim_hold(before, NOW, "denied", "t-1") == Hold(NOW + minutes * MINUTE, step, "denied", "t-1")


@pytest.mark.parametrize(("last", "step"), [(None, 1), (Hold(NOW, 0, "x"), 1), (Hold(NOW, 2, "x"), 2)])
def test_an_outage_and_a_busy_agent_remember_the_step(last: Hold | None, step: int) -> None:
    assert holds.outage(last, NOW, "refused", "t-1") == Hold(NOW, step, "refused", "t-1")
    assert holds.busy_hold(last, NOW, "t-1") == Hold(NOW + 2 * MINUTE, step, "returned: agent busy", "t-1")


def test_a_bead_that_fails_waits_twice_as_long_each_time() -> None:
    for attempts, minutes in ((0, 2), (1, 4), (2, 8)):
        change = backoff.refused(bead(metadata={marks.ATTEMPTS: attempts}), NOW)
        assert change[marks.RETRY_AFTER] == utc(NOW + minutes * MINUTE)


# --- marks, claims and notes ---
@pytest.mark.parametrize(("stored", "read"), [(1, 1), (1000, 1000), (1001, 0), (0, 0), (-1, 0), (True, 0)])
def test_a_count_in_the_marks(stored: object, read: int) -> None:
    assert marks.attempts(bead(metadata={marks.ATTEMPTS: stored})) == read


def test_a_time_mark_counts_up_to_an_hour_ahead() -> None:
    until = NOW + marks.FURTHEST
    one = bead(metadata={marks.RETRY_AFTER: utc(until)})
    assert marks.retry_after(one, NOW) == until
    assert marks.retry_after(one, NOW - SECOND) is None


def test_a_lost_record_is_restored_for_ten_minutes() -> None:
    one = bead("in_progress", notes=f"{notes.claimed(NOW, 'abcdef')}\ndispatched: job=1")
    assert claim.lost_record(one, NOW + claim.RECORD_AGE - SECOND) != (None, {})
    assert claim.lost_record(one, NOW + claim.RECORD_AGE) == (None, {})


def test_a_job_id_takes_80_characters_at_most() -> None:
    for written in (notes.dispatched("j" * 300), marks.job_value("j" * 300).strip('"')):
        assert written.endswith("j…")
        assert len(written.removeprefix("dispatched: job=")) == 80


@pytest.mark.parametrize(("length", "shown"), [(10, "x" * 10), (11, "x" * 9 + "…")])
def test_one_line_is_cut_where_it_is_too_long(length: int, shown: str) -> None:
    assert one_line("x" * length, 10) == shown


def test_a_note_fits_below_60000_bytes() -> None:
    assert notes.fits("x" * 59_000, "short")
    assert not notes.fits("x" * 60_000, "short")


def test_the_comment_on_a_bead_that_is_too_large() -> None:
    assert notes.TOO_LARGE == "not dispatched: too large (over 48 KB; bd cannot write it safely): shorten its texts"


# --- which beads ---
def test_a_bead_of_48_KB_can_be_written() -> None:
    assert eligibility.ineligible_reason(bead(size=48 * 1024), NOW) is None
    assert eligibility.ineligible_reason(bead(size=48 * 1024 + 1), NOW) is eligibility.TOO_LARGE


def test_no_space_of_ECMAScript_is_a_criterion_and_the_next_character_is_one() -> None:
    assert eligibility.blank("\u2000\u200a")
    assert not eligibility.blank("\u200b")
    assert not eligibility.blank("\u3fff")


def test_a_person_is_asked_to_act_on_a_wisp_and_on_an_agent_bead() -> None:
    beads = [bead(ephemeral=True), bead(id="t-2", labels=frozenset({"gt:agent"}))]
    assert [why.text for _, why in eligibility.needs_notice(beads, NOW)] == ["ephemeral", "agent bead"]


def test_a_wait_between_runs_counts_up_to_an_hour_ahead() -> None:
    until = NOW + 2 * MINUTE + marks.FURTHEST  # the third run waits two minutes after the last claim
    one = bead(metadata={**claimed(until - 2 * MINUTE), marks.RUNS: 2})
    waits = Reason(f"run 3 in a row waits until {utc(until)}")
    assert eligibility.ineligible_reason(one, until - marks.FURTHEST) == waits
    assert eligibility.ineligible_reason(one, until - marks.FURTHEST - SECOND) is None


def test_a_notice_on_a_large_bead_counts_from_the_instant_of_its_last_claim_on() -> None:
    line = notes.claimed(NOW, "abcdef")
    assert eligibility.has_too_large_notice(bead(notes=line, too_large_notice_at=NOW))
    assert not eligibility.has_too_large_notice(bead(notes=line, too_large_notice_at=NOW - SECOND))


@pytest.mark.parametrize(
    ("one", "claimable"),
    [
        (bead(), True),
        (bead(acceptance_criteria=" "), False),
        (bead("in_progress"), False),
        (bead(assignee="other"), False),
    ],
)
def test_claimable(one: Bead, claimable: bool) -> None:
    assert eligibility.claimable(one, "agent", NOW) is claimable


def test_the_queue_is_looked_at_again_when_the_bead_that_went_first_has_run_a_minute() -> None:
    first = bead("in_progress", metadata=claimed(NOW))
    known = {holds.USAGE: Hold(NOW - MINUTE, 0, "usage limit", "t-1")}
    assert eligibility.next_wakeup([first], known, NOW) == NOW + holds.PROVEN
    assert eligibility.next_wakeup([first], {}, NOW) is None


def test_the_summary_counts_the_open_beads_by_reason() -> None:
    beads = [bead(acceptance_criteria=""), bead(id="t-2"), bead("blocked", id="t-3", acceptance_criteria="")]
    found = eligibility.summary(beads, beads[:2], NOW)
    assert found == "1 with no acceptance criteria, 1 waits for a dependency or its parent"
    assert eligibility.summary(beads[1:2] * 2, beads, NOW) == "2 wait for a dependency or their parent"


# --- runs ---
@pytest.mark.parametrize(
    ("job", "after", "at_work"),
    [
        (Job(Stage.RUNNING, started_at=NOW), 40 * MINUTE, True),
        (Job(Stage.RUNNING, started_at=NOW), 40 * MINUTE + SECOND, False),
        (Job(Stage.RUNNING), 999 * MINUTE, True),
        (Job(Stage.QUEUED, started_at=NOW), 999 * MINUTE, True),
        (Job(Stage.COMPLETED, started_at=NOW), MINUTE, False),
    ],
)
def test_a_job_is_a_sign_of_life_up_to_four_times_the_threshold(job: Job, after: timedelta, at_work: bool) -> None:
    assert runs.at_work(job, NOW + after, 10 * MINUTE) is at_work


@pytest.mark.parametrize(
    ("after", "concluded"), [(runs.TAKEN_OVER, True), (runs.TAKEN_OVER + SECOND, False), (-runs.TAKEN_OVER, True)]
)
def test_a_bead_that_was_changed_a_minute_after_its_end_is_somebodys(after: timedelta, concluded: bool) -> None:
    job, zone = Job(Stage.FAILED, exit_code=1, finished_at=NOW), UTC
    one = bead("in_progress", updated_at=NOW + after)
    assert (runs.end(job, one, NOW + 5 * MINUTE, 30 * MINUTE, zone) is not None) is concluded


def test_an_agent_s_own_last_write_is_waited_for() -> None:
    job, one = Job(Stage.COMPLETED, finished_at=NOW), bead("in_progress")
    assert runs.end(job, one, NOW + runs.PATIENCE - SECOND, 30 * MINUTE, UTC) is None
    assert runs.end(job, one, NOW + runs.PATIENCE, 30 * MINUTE, UTC) is not None


def test_a_lease_is_a_sign_of_life_until_its_end() -> None:
    for lease, stale in ((NOW + SECOND, False), (NOW, True)):
        one = bead("in_progress", updated_at=NOW - 31 * MINUTE, lease_expires_at=lease)
        assert staleness.stale(one, NOW, 30 * MINUTE) is stale


RESULT = '{"result": "done", "is_error": true, "total_cost_usd": %s}'


@pytest.mark.parametrize(("cost", "read"), [("0.25", 0.25), ("2", 2.0), ("true", None), ('"2"', None), ("null", None)])
def test_what_a_run_has_cost(cost: str, read: float | None) -> None:
    assert runs.parse({"status": "completed", "output": [RESULT % cost]}).cost == read


def test_a_job_without_a_result_has_no_error_of_its_own() -> None:
    assert runs.parse({"status": "failed"}) == Job(Stage.FAILED)
    assert not Job(Stage.FAILED).trouble


# --- answers and pauses ---
def test_a_reply_in_brief() -> None:
    assert beadboard_answers.brief(Reply(502, "down")) == "HTTP 502: down"
    assert beadboard_answers.brief(Reply(None, "refused")) == "refused"


def test_pauses_double_to_their_limits() -> None:
    assert [backoff.backoff(step) // MINUTE for step in (1, 2, 5, 6, 99)] == [2, 4, 32, 60, 60]
    assert [pacing.pause(times) for times in (1, 2, 7, 8, 99)] == [1, 2, 64, 120, 120]
