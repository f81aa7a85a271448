"""Which marks an end leaves."""

from datetime import UTC, datetime

from beads_dispatch.core import marks
from beads_dispatch.core.bead import Bead

AT = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)


def test_a_claim_without_a_time_is_none() -> None:
    assert marks.claim(Bead("b", "in_progress", 2, AT, metadata={marks.CLAIM: "tabb033 yesterday"})) is None


def test_a_blocked_bead_keeps_the_record_that_an_agent_had_it_whatever_becomes_of_its_notes() -> None:
    bears = {marks.CLAIM: marks.claim_value("abb033", AT), marks.JOB: '"1"', marks.RUNS: 1}
    blocked = {
        name: value
        for name, value in bears.items()
        if name not in marks.ended(Bead("b", "open", 2, AT, metadata=bears))
    }
    assert blocked == {marks.CLAIM: bears[marks.CLAIM]}
    assert marks.possibly_dispatched(Bead("b", "deferred", 2, AT, notes="half of it", metadata=blocked))
