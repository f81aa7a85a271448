"""Whose fault it was: what follows for the bead and for the queue, row by row, and what may start after a hold."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from beads_dispatch.core import faults, holds, marks, outcomes
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.faults import Recent
from beads_dispatch.core.holds import AGENT, SERVICE, USAGE, Hold
from beads_dispatch.core.outcomes import Outcome
from beads_dispatch.core.runs import End, Fault
from beads_dispatch.core.text import utc

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)


def ran(bead_id: str = "t-1", minutes: float = 1, **metadata: object) -> Bead:
    """A bead in progress whose run was claimed so many minutes ago."""
    known = {marks.CLAIM: marks.claim_value("abcdef", NOW - minutes * MINUTE), marks.JOB: '"7"', marks.RUNS: 1}
    return Bead(bead_id, "in_progress", 2, NOW, assignee="agent", metadata={**known, **metadata})


def end(outcome: Outcome, fault: Fault, **fields: object) -> End:
    return End(outcome, fault, f"agent ended: {outcome.word}", **fields)  # type: ignore[arg-type]


FAILED = end(outcomes.FAILED, Fault.UNKNOWN)
COMPLETED = end(outcomes.COMPLETED, Fault.BEAD)
TIMED_OUT = end(outcomes.TIMED_OUT, Fault.BEAD, may_live=True)
LOGIN = end(outcomes.CANNOT_WORK, Fault.AGENT)
UNPASSED = end(outcomes.CHECK_FAILED, Fault.CHECK)
PASSED = end(outcomes.CHECKED, Fault.NOBODY)
LIMIT = end(outcomes.USAGE_LIMIT, Fault.AGENT, sure=True)
LIMIT_IN_WORDS = end(outcomes.USAGE_LIMIT, Fault.AGENT)
HELD = Hold(NOW + MINUTE, 1, "agent ended: x", "t-9", NOW - 5 * MINUTE, NOW - 5 * MINUTE)
OLDER = {marks.FAILURES: f"f2 {utc(NOW - 30 * MINUTE)}"}
CLOSED = Recent(closed_at=NOW - 10 * MINUTE)


@pytest.mark.parametrize(
    ("what", "bead", "known", "status", "said", "kind"),
    [
        # the bead's fault
        (COMPLETED, ran(), Recent(), "blocked", "", ""),
        (COMPLETED, ran(), Recent(unclosed=frozenset({"t-2"})), "blocked", "", ""),
        (COMPLETED, ran(), Recent(unclosed=frozenset({"t-1", "t-2"})), "blocked", "", ""),
        (COMPLETED, ran(), Recent(unclosed=frozenset({"t-2", "t-3"})), "open", "(open again)", AGENT),
        (TIMED_OUT, ran(), Recent(unclosed=frozenset({"t-2", "t-3"})), "blocked", "", AGENT),
        # the agent's
        (LOGIN, ran(), Recent(), "open", "(open again)", AGENT),
        (LOGIN, ran(**OLDER), Recent(), "open", "(open again)", AGENT),
        (LOGIN, ran(**OLDER), CLOSED, "blocked", "(attempt 3 of 3)", ""),
        (LOGIN, ran(**OLDER), replace(CLOSED, holds={AGENT: HELD}), "open", "(open again)", AGENT),
        (LIMIT, ran(), Recent(), "open", "(open again)", USAGE),
        (LIMIT, ran(**OLDER), CLOSED, "open", "(open again)", USAGE),
        (LIMIT_IN_WORDS, ran(**OLDER), CLOSED, "blocked", "(attempt 3 of 3)", ""),
        # nobody can tell
        (FAILED, ran(), Recent(), "open", "(open again, attempt 1 of 3)", ""),
        (FAILED, ran(**OLDER), Recent(), "blocked", "(attempt 3 of 3)", ""),
        (FAILED, ran(**OLDER), Recent(quick=frozenset({"t-1"})), "blocked", "(attempt 3 of 3)", ""),
        (FAILED, ran(**OLDER), Recent(quick=frozenset({"t-2"})), "open", "(open again)", AGENT),
        (FAILED, ran(**OLDER), Recent(unclosed=frozenset({"t-2", "t-3"})), "open", "(open again)", AGENT),
        (FAILED, ran(**OLDER), Recent(holds={AGENT: HELD}), "open", "(open again)", AGENT),
        # a lone bead that goes first each time cannot show whose fault it was: it is given up
        (FAILED, ran(**OLDER), Recent(holds={AGENT: replace(HELD, bead_id="t-1")}), "blocked", "(attempt 3 of 3)", ""),
        (end(outcomes.NO_JOB, Fault.UNKNOWN, may_live=True), ran(), Recent(), "blocked", "", ""),
        # its work was checked
        (PASSED, ran(), Recent(holds={AGENT: HELD}), "closed", "", ""),
        (UNPASSED, ran(), Recent(), "open", "(open again)", ""),
        (UNPASSED, ran(), Recent(unpassed=frozenset({"t-1"})), "open", "(open again)", ""),
        (UNPASSED, ran(), Recent(unpassed=frozenset({"t-2"})), "open", "(open again)", AGENT),
        (UNPASSED, ran(**{marks.RUNS: 5}), Recent(), "blocked", "(run 5 of 5)", ""),
        (COMPLETED, ran(), Recent(unpassed=frozenset({"t-2", "t-3"})), "blocked", "", ""),
    ],
)  # fmt: skip
def test_what_follows_from_an_end(what: End, bead: Bead, known: Recent, status: str, said: str, kind: str) -> None:
    verdict, _ = faults.judge(what, bead, 2.0, known, NOW)
    assert (verdict.status, verdict.kind) == (status, kind)
    assert verdict.line == f"{what.line} {said}".strip()
    assert verdict.marks[marks.OUTCOME] == what.outcome.word
    assert bool(verdict.hold) is bool(kind)


@pytest.mark.parametrize(("runs", "waits"), [(1, None), (2, 2), (3, 4), (4, 8)])
def test_a_run_that_does_not_pass_counts_and_the_third_one_waits(runs: int, waits: int | None) -> None:
    verdict, known = faults.judge(UNPASSED, ran(**{marks.RUNS: runs}), 2.0, Recent(), NOW)
    assert verdict.marks[marks.RUNS] == str(runs)
    assert verdict.marks.get(marks.RETRY_AFTER) == (utc(NOW + waits * MINUTE) if waits else None)
    assert (known.unpassed, known.unclosed) == ({"t-1"}, {"t-1"})
    assert faults.recent([ran(**{marks.ENDED: verdict.marks[marks.ENDED]})], {}, None).unpassed == {"t-1"}
    _, after = faults.judge(PASSED, ran("t-2"), 2.0, known, NOW)
    assert (after.unpassed, after.unclosed) == (frozenset(), frozenset())


@pytest.mark.parametrize(("seconds", "counts"), [(2.0, None), (60.0, None), (61.0, "1"), (None, None)])
def test_a_run_of_more_than_a_minute_counts_whoevers_fault(seconds: float | None, counts: str | None) -> None:
    verdict, _ = faults.judge(LOGIN, ran(), seconds, Recent(), NOW)
    assert verdict.marks[marks.RUNS] == counts


def test_ends_that_are_found_at_once_are_judged_together() -> None:
    ends = [(ran("t-1"), FAILED), (ran("t-2"), FAILED), (ran("t-3"), FAILED)]
    known = faults.together(Recent(), ends)
    found = []
    for bead, what in ends:
        verdict, known = faults.judge(what, bead, 1.0, known, NOW)
        found.append((verdict.status, verdict.kind, marks.FAILURES in verdict.marks))
    assert found == [("open", AGENT, True), ("open", "", True), ("open", "", True)]  # one step for all of them
    assert known.holds[AGENT].step == 1


def test_the_hold_doubles_to_twenty_minutes_and_that_of_a_limit_to_four_hours() -> None:
    for what, kind, minutes in ((LOGIN, AGENT, (2, 4, 8, 16, 20, 20)), (LIMIT, USAGE, (30, 60, 120, 240, 240, 240))):
        known, waits = Recent(), []
        for _ in minutes:
            verdict, _ = faults.judge(what, ran(minutes=0), 1.0, known, NOW)
            assert verdict.hold
            waits.append((verdict.hold.until - NOW) // MINUTE)
            known = Recent(holds={kind: replace(verdict.hold, set_at=NOW - MINUTE)})
        assert tuple(waits) == minutes


def test_a_limit_that_resets_at_a_known_time_holds_until_then() -> None:
    until = NOW + 95 * MINUTE
    verdict, known = faults.judge(replace(LIMIT, reset=until), ran(), 1.0, Recent(), NOW)
    assert verdict.hold
    assert verdict.hold.until == until
    later, _ = faults.judge(replace(LIMIT, reset=until + MINUTE), ran("t-2"), 1.0, known, NOW)
    assert later.hold == replace(verdict.hold, until=until + MINUTE)  # the limit turns out to last longer


def test_the_end_of_a_run_that_began_before_the_hold_changes_nothing() -> None:
    verdict, _ = faults.judge(LOGIN, ran(minutes=10), 1.0, Recent(holds={AGENT: HELD}), NOW)
    assert (verdict.status, verdict.hold) == ("open", None)


def test_the_same_words_are_noted_once() -> None:
    again = replace(ran(), notes="agent ended: cannot work (open again)")
    verdict, _ = faults.judge(LOGIN, again, 1.0, Recent(), NOW)
    assert verdict.line == "agent ended: as before (open again)"


def test_what_the_marks_say_of_the_last_runs() -> None:
    def ended(word: str, minutes: int) -> dict[str, object]:
        return {marks.ENDED: f"{word} {utc(NOW - minutes * MINUTE)}"}

    beads = [ran("a", **ended("quick", 1)), ran("b", **ended("unclosed", 2)), ran("c", **ended("agent", 3)), ran("d")]
    known = faults.recent(beads, {SERVICE: HELD, USAGE: HELD}, None)
    assert (known.quick, known.unclosed) == ({"a"}, {"a", "b"})
    assert set(known.holds) == {USAGE}
    assert faults.recent(beads, {}, NOW - 90 * SECOND).unclosed == {"a"}


# --- what a tick may start after a hold ---
OVER = replace(HELD, until=NOW - MINUTE, set_at=NOW - 3 * MINUTE)
WAITS = Bead("t-5", "open", 2, NOW - 60 * MINUTE, assignee="agent")


@pytest.mark.parametrize(
    ("hold", "beads", "most"),
    [
        (HELD, [WAITS], 0),
        (HELD, [replace(WAITS, updated_at=NOW - MINUTE)], 1),  # a person has assigned it since: it tries the repair
        (replace(HELD, step=2, set_at=NOW - 30 * SECOND), [replace(WAITS, updated_at=NOW - MINUTE)], 0),
        (replace(HELD, step=2, set_at=NOW - MINUTE), [replace(WAITS, updated_at=NOW - MINUTE)], 1),
        (OVER, [WAITS], 1),
        (OVER, [WAITS, ran("t-6", 0.5)], 0),  # nothing starts beside one that is younger than a minute
        (OVER, [WAITS, ran("t-6", 2)], 0),  # it has ended, or nobody has asked yet
        (OVER, [WAITS, ran("t-6", 10)], 1),  # from before the hold: it shows nothing
        (replace(OVER, proven=True), [WAITS, ran("t-6", 0.5)], 0),
        (replace(OVER, proven=True), [WAITS, ran("t-6", 2)], 1),
    ],
)
def test_what_a_hold_lets_a_tick_start(hold: Hold, beads: list[Bead], most: int) -> None:
    allows = holds.allowance({AGENT: hold}, beads, NOW)
    assert allows.most == most
    assert allows.why


def test_a_bead_that_was_tried_since_the_hold_began_is_not_fresh_again() -> None:
    tried = replace(WAITS, updated_at=NOW - MINUTE, metadata={marks.ENDED: f"agent {utc(NOW - MINUTE)}"})
    assert holds.allowance({AGENT: HELD}, [tried], NOW).most == 0
    assert holds.allowance({AGENT: HELD}, [tried, replace(WAITS, updated_at=NOW)], NOW).only == {"t-5"}


def test_without_a_hold_of_runs_nothing_is_limited() -> None:
    assert holds.allowance({SERVICE: HELD}, [WAITS], NOW) == holds.NO_LIMIT
    assert holds.allowance({USAGE: OVER, AGENT: HELD}, [WAITS], NOW).most == 0


@pytest.mark.parametrize(
    ("beads", "alive", "closed", "stays"),
    [
        ([ran("t-6", 2)], {"t-6"}, [], replace(OVER, proven=True)),
        ([ran("t-6", 2)], set(), [], OVER),
        ([ran("t-6", 0.5)], {"t-6"}, [], OVER),
        ([], set(), [NOW - 2 * MINUTE], None),
        ([], set(), [NOW - 10 * MINUTE], OVER),  # a run from before the hold
    ],
)
def test_what_stays_of_a_hold(beads: list[Bead], alive: set[str], closed: list[datetime], stays: Hold | None) -> None:
    assert holds.after_runs(OVER, beads, alive, closed, NOW) == stays


def test_a_first_bead_that_was_closed_by_hand_makes_way_and_one_that_asks_shows_that_the_agent_works() -> None:
    first = replace(OVER, first="t-6")
    assert holds.after_runs(first, [], set(), [], NOW) == OVER
    asks = replace(ran("t-6"), status="blocked", metadata={marks.JOB: '"7"', marks.OUTCOME: "dispatched"})
    assert holds.after_runs(first, [asks], set(), [], NOW) is None


@pytest.mark.parametrize(("took", "seconds"), [(0.0, 60), (2.0, 60), (60.0, 90), (183.0, 213), (3600.0, 300)])
def test_a_run_must_live_longer_than_the_one_that_failed_last(took: float, seconds: int) -> None:
    verdict, _ = faults.judge(LOGIN, ran(), took, Recent(), NOW)
    assert verdict.hold
    assert verdict.hold.proof == timedelta(seconds=seconds)
    assert holds.read_hold(AGENT, holds.write_hold(verdict.hold), NOW + SECOND) == verdict.hold
