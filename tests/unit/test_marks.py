"""Which marks an end leaves."""

from datetime import UTC, datetime

from beads_dispatch.core import marks
from beads_dispatch.core.bead import Bead

AT = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)


def test_a_claim_without_a_time_is_none() -> None:
    assert marks.claim(Bead("b", "in_progress", 2, AT, metadata={marks.CLAIM: "tabb033 yesterday"})) is None


def test_a_blocked_bead_keeps_the_record_that_an_agent_had_it_whatever_becomes_of_its_notes() -> None:
    bears = {marks.CLAIM: marks.claim_value("abb033", AT), marks.JOB: '"1"', marks.RUNS: 1}
    change = marks.blocked(Bead("b", "open", 2, AT, metadata=bears), "failed")
    known = {**bears, **change}
    blocked = {name: value for name, value in known.items() if value is not None}
    assert blocked == {marks.CLAIM: bears[marks.CLAIM], marks.OUTCOME: "failed"}
    assert marks.possibly_dispatched(Bead("b", "deferred", 2, AT, notes="half of it", metadata=blocked))


def test_what_is_counted_of_its_runs_comes_back() -> None:
    bears = {marks.FAILURES: "f2 2026-11-23T21:00:00Z", marks.ENDED: "quick 2026-11-23T21:30:00Z"}
    one = Bead("b", "open", 2, AT, metadata=bears)
    assert marks.failures(one) == (2, datetime(2026, 11, 23, 21, 0, tzinfo=UTC))
    assert marks.ended(one) == ("quick", datetime(2026, 11, 23, 21, 30, tzinfo=UTC))
    odd = Bead("b", "open", 2, AT, metadata={marks.FAILURES: 3, marks.ENDED: ["x"]})
    assert (marks.failures(odd), marks.ended(odd)) == ((0, None), None)
