"""What a dispatch leaves in a bead's metadata and beside the queue, and what follows from each answer."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from beads_dispatch.core import claim, eligibility, holds, marks, notes
from beads_dispatch.core.bead import Bead, parse
from beads_dispatch.core.consequence import consequence
from beads_dispatch.core.holds import Hold
from beads_dispatch.core.runner import Answer, Outcome
from beads_dispatch.core.text import utc

NOW = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CLAIM = notes.claimed(NOW, "abcdef")
SECOND = notes.claimed(NOW, "fedcba")
OURS = marks.claim_value("abcdef", NOW)
REOPENED = {marks.REOPENED: utc(NOW)}
CLAIM_MARK = {marks.CLAIM: OURS}


def bead(**fields: object) -> Bead:
    known = {"id": "t-1", "status": "open", "priority": 2, "updated_at": NOW, "acceptance_criteria": "it works"}
    return Bead(**{**known, "assignee": "agent", **fields})  # type: ignore[arg-type]


def applied(one: Bead, change: marks.Change) -> Bead:
    """The bead after bd has written the change: a number comes back as a number."""
    known = {**(one.metadata or {}), **change}
    read = {key: int(value) if str(value).isdigit() else value for key, value in known.items() if value is not None}
    return replace(one, metadata=read)


@pytest.mark.parametrize(
    ("kind", "hold", "stays"),
    [
        (holds.SERVICE, Hold(NOW + MINUTE, 3, "down"), Hold(NOW, 1, "down")),
        (holds.SERVICE, Hold(NOW - MINUTE, 1, "down"), Hold(NOW - MINUTE, 1, "down")),
        (holds.SERVICE, Hold(NOW + MINUTE, 0, "by hand"), None),
        (holds.USAGE, Hold(NOW + MINUTE, 2, "usage limit"), Hold(NOW, 2, "usage limit")),
        (holds.AGENT, Hold(NOW + MINUTE, 2, "x", set_at=NOW), Hold(NOW, 2, "x", set_at=NOW)),
    ],
)
def test_what_stays_of_a_hold_that_a_person_ends(kind: str, hold: Hold, stays: Hold | None) -> None:
    assert holds.resumed(kind, hold, NOW) == stays


def test_a_claim_counts_a_run_and_a_release_takes_it_back() -> None:
    before = bead(metadata={"other": 1, marks.RUNS: 2, marks.JOB: '"old"', marks.ATTEMPTS: 1})
    claimed = applied(before, marks.claimed(before, "abcdef", NOW))
    assert marks.claim(claimed) == ("abcdef", NOW)
    assert (marks.runs(claimed), marks.job(claimed), marks.attempts(claimed)) == (3, "", 1)
    released = applied(claimed, marks.opened(claimed, marks.runs(before), "returned"))
    assert (marks.claim(released), marks.runs(released), released.metadata) == (
        None, 2,
        {"other": 1, marks.RUNS: 2, marks.ATTEMPTS: 1, marks.REOPENED: OURS, marks.OUTCOME: "returned"},
    )  # fmt: skip


def test_the_first_claim_leaves_no_count_when_it_is_released() -> None:
    claimed = applied(bead(), marks.claimed(bead(), "abcdef", NOW))
    assert applied(claimed, marks.opened(claimed, 0, "returned")).metadata == {
        marks.REOPENED: OURS,
        marks.OUTCOME: "returned",
    }


def test_a_job_id_that_looks_like_a_number_stays_a_text() -> None:
    assert marks.job_value("1234567890e5") == '"1234567890e5"'
    assert marks.job(bead(metadata={marks.JOB: '"1234567890e5"'})) == "1234567890e5"
    assert marks.job(bead(metadata={marks.JOB: 47})) == "47"


@pytest.mark.parametrize(
    ("metadata", "lines", "possibly"),
    [
        ({}, [], False),
        (CLAIM_MARK, [], True),
        (CLAIM_MARK, ["returned: half of it"], True),
        ({marks.CLAIM: "nonsense"}, [], True),
        ({marks.JOB: '"1"'}, ["half of it"], True),
        ({}, [CLAIM, "dispatched: job=1"], True),
        ({}, ["auto-dispatcher claimed at 2026-11-23T22:00:00Z"], True),
        ({}, [CLAIM, "returned: agent busy"], False),
        ({}, [CLAIM, notes.failed(502, "x"), CLAIM, notes.AS_BEFORE], False),
    ],
)
def test_mark_or_notes_say_that_an_agent_may_have_it(metadata: object, lines: list[str], possibly: bool) -> None:
    assert marks.possibly_dispatched(bead(metadata=metadata, notes="\n".join(lines))) is possibly


JOB_MARK = {marks.JOB: '"j"'}


@pytest.mark.parametrize(
    ("metadata", "lines", "lost"),
    [
        (CLAIM_MARK | JOB_MARK, [CLAIM, "dispatched: job=j"], (None, {})),
        (CLAIM_MARK | JOB_MARK, [CLAIM, "a word of the agent"], ("dispatched: job=j", {})),
        (CLAIM_MARK | JOB_MARK, ["half of it"], ("dispatched: job=j", {})),
        ({}, [CLAIM, "dispatched: job=j"], (None, CLAIM_MARK | JOB_MARK | {marks.RUNS: "1"})),
        (CLAIM_MARK, [CLAIM], (None, {})),
    ],
)
def test_the_lost_half_of_a_record(metadata: dict[str, object], lines: list[str], lost: object) -> None:
    one = bead(status="in_progress", metadata=metadata, notes="\n".join(lines))
    assert claim.lost_record(one, NOW + MINUTE) == lost
    assert claim.lost_record(replace(one, status="closed"), NOW + MINUTE) == (None, {})
    assert claim.lost_record(one, NOW + 11 * MINUTE) == (None, {})


@pytest.mark.parametrize(("count", "waits"), [(0, None), (1, None), (2, 2), (3, 4), (4, 8)])
def test_runs_in_a_row_are_spaced_out(count: int, waits: int | None) -> None:
    one = bead(metadata={**CLAIM_MARK, marks.RUNS: count})
    reason = eligibility.ineligible_reason(one, NOW)
    assert reason == (
        eligibility.Reason(f"run {count + 1} in a row waits until {utc(NOW + waits * MINUTE)}") if waits else None
    )
    assert eligibility.ineligible_reason(one, NOW + 8 * MINUTE) is None


def test_a_bead_that_a_late_write_of_ours_has_opened_is_blocked_and_not_dispatched_again() -> None:
    waits = bead(metadata=REOPENED)  # as it is between the end of its deferral and its claim
    assert eligibility.eligible([waits], NOW) == [waits]
    claimed = applied(waits, marks.claimed(waits, "abcdef", NOW))
    assert marks.REOPENED not in (claimed.metadata or {})
    late = applied(claimed, REOPENED)
    for one in (late, bead(metadata=REOPENED, notes=f"{CLAIM}\ndispatched: job=1")):
        assert eligibility.eligible([one], NOW + 60 * MINUTE) == []
        assert eligibility.not_again([one, bead(), bead(acceptance_criteria="")], NOW) == [
            (one, eligibility.OPENED_LATE)
        ]
    assert eligibility.eligible([applied(late, marks.blocked(late, "opened late"))], NOW + 60 * MINUTE)


@pytest.mark.parametrize(
    ("job", "text", "sent"),
    [
        ("", f"{CLAIM}\ndispatch failed: refused", False),
        ("", f"{CLAIM}", False),  # the other line is lost
        ("1", f"{CLAIM}\ndispatched: job=1\ndispatch failed: refused", True),
        ("1", "", True),
        ("", f"{CLAIM}\ndispatch failed: refused\ndispatch unclear: fetch failed", True),
        ("", f"{CLAIM}\ndispatched: job=1\n{CLAIM}\nreturned: agent busy", False),
        ("", f"{CLAIM}\n{SECOND}\ndispatch failed: refused", True),  # the second one was killed at its POST
        ("", f"{SECOND}\ndispatch failed: down\n{CLAIM}\ndispatch failed: refused", False),
        ("", f"{SECOND}\ndispatch failed: down\ndispatch failed: refused", False),  # the first one's claim is lost
    ],
)
def test_a_release_that_lands_on_the_next_ones_dispatch_sends_nothing_again(job: str, text: str, sent: bool) -> None:
    first = applied(bead(), marks.claimed(bead(), "abcdef", NOW))
    release = marks.opened(first, 0, "returned")
    second = applied(applied(first, marks.claimed(first, "fedcba", NOW)), {marks.JOB: f'"{job}"'} if job else {})
    one = replace(applied(second, release), notes=text)
    assert (eligibility.not_again([one], NOW + 60 * MINUTE) == [(one, eligibility.OPENED_LATE)]) is sent


def test_a_bead_is_blocked_instead_of_a_sixth_run() -> None:
    one = bead(metadata={**CLAIM_MARK, marks.RUNS: 5})
    assert eligibility.eligible([one], NOW + 60 * MINUTE) == []
    assert eligibility.not_again([one, bead()], NOW) == [(one, eligibility.RUNS_USED_UP)]
    blocked = applied(one, marks.blocked(one, "runs used up")).metadata
    left = {key: value for key, value in (blocked or {}).items() if value is not None}
    assert left == {**CLAIM_MARK, marks.OUTCOME: "runs used up"}


def test_a_bead_that_failed_comes_behind_all_that_have_not() -> None:
    failed = bead(id="t-p0", priority=0, metadata={marks.FAILED_AT: utc(NOW - MINUTE)})
    earlier = bead(id="t-p1", priority=1, metadata={marks.FAILED_AT: utc(NOW - 2 * MINUTE)})
    beads = [failed, earlier, bead(id="t-b", priority=4), bead(id="t-a", priority=3)]
    assert [one.id for one in eligibility.eligible(beads, NOW)] == ["t-a", "t-b", "t-p1", "t-p0"]


def test_a_hold_comes_back_as_it_was_written() -> None:
    hold = Hold(NOW + MINUTE, 3, "dispatch failed HTTP 502: „x“", "t-1")
    assert holds.read_hold("service", holds.write_hold(hold), NOW) == hold


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("service", ""),
        ("service", "[1]"),
        ("service", '{"until": "soon"}'),
        ("service", '{"until": "2026-11-23T23:00:01Z", "step": 1}'),
        ("usage", '{"until": "2026-12-01T22:00:01Z", "step": 1}'),
        ("another", '{"until": "2026-11-23T22:01:00Z"}'),
        ("service", "[" * 100_000),
    ],
)
def test_a_hold_that_cannot_be_right_is_none(kind: str, text: str) -> None:
    assert holds.read_hold(kind, text, NOW) is None


def test_the_hold_that_ends_last_is_in_force() -> None:
    service, usage = Hold(NOW + MINUTE, 1, "a"), Hold(NOW + 2 * MINUTE, 0, "b")
    assert holds.in_force({"service": service, "usage": usage}, NOW) == usage
    assert holds.in_force({"service": service}, NOW + MINUTE) is None


ANSWERS = {
    "ok": Answer(Outcome.ACCEPTED, 200, "", "j"),
    "busy": Answer(Outcome.BUSY, 502, "Queue full"),
    "refused": Answer(Outcome.NOT_STARTED, 400, "Bead t-1 not found."),
    "bad": Answer(Outcome.BEAD_AT_FAULT, 400, "bad"),
    "lost": Answer(Outcome.UNCLEAR, 502, "fetch failed"),
}
FIRST, SECOND, BUSY = Hold(NOW - MINUTE, 1, "x"), Hold(NOW, 2, "x"), Hold(NOW, 1, "returned: agent busy")


@pytest.mark.parametrize(
    ("answer", "last", "attempts", "status", "charged", "minutes"),
    [
        ("ok", None, 0, None, None, None),
        ("ok", SECOND, 3, None, None, None),
        ("busy", None, 0, "open", None, 2),
        ("busy", SECOND, 0, "open", None, 2),
        ("busy", BUSY, 0, "open", None, 4),
        ("refused", BUSY, 0, "open", None, 4),
        ("lost", None, 0, None, None, 2),
        ("lost", SECOND, 0, None, None, 8),
        ("refused", None, 0, "open", "1", 2),
        ("refused", FIRST, 1, "open", None, 4),
        ("refused", None, 3, "open", "4", 2),
        ("refused", None, 4, "blocked", None, None),
        ("refused", FIRST, 4, "open", None, 4),
        ("bad", None, 0, "open", "1", None),
        ("bad", SECOND, 3, "open", "4", None),
        ("bad", None, 4, "blocked", None, None),
    ],
)
def test_what_follows_from_an_answer(
    answer: str, last: Hold | None, attempts: int, status: str | None, charged: str | None, minutes: int | None
) -> None:
    one = bead(metadata={marks.ATTEMPTS: attempts} if attempts else {})
    what = consequence(ANSWERS[answer], one, last, NOW)
    assert what.status == status
    assert what.marks.get(marks.ATTEMPTS) == charged
    assert ((what.hold.until - NOW) // MINUTE if what.hold else None) == minutes
    assert (what.marks.get(marks.FAILED_AT) is not None) == (answer in ("refused", "bad") and status == "open")


def test_an_agent_that_takes_the_marks_away_does_not_start_the_count_anew() -> None:
    lines = [CLAIM, "dispatched: job=a", CLAIM, "dispatched: job=b", CLAIM, "dispatched: job=j"]
    one = bead(status="in_progress", metadata={"mine": 1}, notes="\n".join(lines))
    assert claim.lost_record(one, NOW)[1][marks.RUNS] == "3"
    assert marks.claimed(replace(one, status="open"), "abcdef", NOW)[marks.RUNS] == "4"
    assert marks.runs(replace(one, metadata={"beads_dispatch.runs": 0})) == 0  # a person says so
    blocked = replace(one, notes="\n".join(["dispatched: job=x", "reaper: no progress for 31m", *lines]))
    assert claim.lost_record(blocked, NOW)[1][marks.RUNS] == "3"


SENT = f"{CLAIM}\ndispatched: job=abc"


@pytest.mark.parametrize(
    ("after", "job"),
    [
        ("", "abc"),
        ("half of it", "abc"),
        ("agent ended: failed (exit 1) after 5s: no", ""),
        ("reaper: no progress for 31m — blocking (threshold 30m)", ""),
        ("dispatch failed HTTP 400: bad (attempt 5 of 5)", ""),
        ("returned: agent busy", ""),
    ],
)
def test_the_last_job_is_in_the_notes_where_a_client_took_its_mark_away(after: str, job: str) -> None:
    assert marks.last_job(bead(notes=f"{SENT}\n{after}")) == job
    assert marks.last_job(bead(notes=f"{SENT}\n{after}", metadata={marks.JOB: '"other"'})) == "other"


def test_a_bead_whose_run_has_ended_and_that_a_person_works_on_gets_no_job_back() -> None:
    taken_over = bead(status="in_progress", notes=f"{SENT}\nagent ended: failed (exit 1) after 5s", metadata=CLAIM_MARK)
    assert claim.lost_record(taken_over, NOW) == (None, {})


def test_a_bead_that_was_given_up_starts_its_count_of_runs_anew() -> None:
    assert marks.runs(bead(notes=f"{SENT}\n{SENT}\ndispatch failed HTTP 400: bad (attempt 5 of 5)\n{SENT}")) == 1


def test_metadata_that_is_nested_too_deep_is_no_object() -> None:
    known = {"id": "t-1", "status": "open", "priority": 2, "updated_at": NOW}
    assert parse({**known, "metadata": '{"a":' * 2000 + "1" + "}" * 2000}).metadata is None
