"""The invariants hold in every schedule; and the simulation finds the faults that a test puts in."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from beads_dispatch import claims, dispatcher, housekeeping, persistence
from beads_dispatch.adapters.queue import ServerQueue
from beads_dispatch.core import backoff, claim, eligibility, marks, notes
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.outcomes import Answer, Outcome
from beads_dispatch.cycle import Cycle
from simulation.schedule import run, shrink
from simulation.services import ENDS, STARTED_NOTHING
from simulation.world import FAULTS

SCHEDULES = 2000
Patch = pytest.MonkeyPatch


def test_the_invariants_hold_and_every_fault_happens() -> None:
    happened = Counter[str]()
    for seed in range(SCHEDULES):
        world, broken = run(seed)
        if broken:
            small, broken = shrink(seed)
            pytest.fail("\n".join([f"{broken} (make simulate SEED={seed})", *small.story]))
        happened += world.happened
    answers = {f"answer {status} {text}" for status, text in STARTED_NOTHING}
    ends = {f"end {how}" for how, _ in ENDS}
    assert {*FAULTS, *answers, *ends, "end usage limit"} - {"meddling"} <= set(happened)
    assert happened["steps"] > 40 * SCHEDULES


def _skip_the_lock_and_the_last_look(patch: Patch) -> None:
    patch.setattr(ServerQueue, "lock", lambda self, job: True)
    _skip_still_locked(patch)


def _skip_still_locked(patch: Patch) -> None:
    for module in (claims, housekeeping):
        patch.setattr(module, "fetch", lambda cycle, bead: cycle.outside.queue.fetch(bead.id)[1])
    patch.setattr(claims, "verify", lambda cycle, claimed: True)


def _roll_back_an_unclear_answer(patch: Patch) -> None:
    understood = dispatcher.understand

    def rolled_back(reply: object) -> Answer:
        answer = understood(reply)  # type: ignore[arg-type]
        unclear = answer.outcome is Outcome.UNCLEAR
        return Answer(Outcome.NOT_STARTED, answer.status, answer.text) if unclear else answer

    patch.setattr(dispatcher, "understand", rolled_back)


def _skip_the_read_before_a_write(patch: Patch) -> None:
    """A release that trusts what it knew."""
    patch.setattr(claims, "read", lambda cycle, known, left: replace(known, status="in_progress"))
    patch.setattr(claims, "_ours", lambda cycle, bead, claimed: bead is not None)


def _post_before_the_claim(patch: Patch) -> None:
    make = claims.make

    def posted_first(cycle: Cycle, chosen: Bead) -> object:
        cycle.outside.board.dispatch(chosen.id)
        return make(cycle, chosen)

    patch.setattr(claims, "make", posted_first)


def _ignore_the_claim_mark(patch: Patch) -> None:
    patch.setattr(claim, "possibly_dispatched", lambda bead: notes.possibly_dispatched(bead.notes))


def _take_the_mark_for_the_only_record(patch: Patch) -> None:
    patch.setattr(claim, "possibly_dispatched", lambda bead: bead.mark("claim") is not None)


def _write_a_status_after_an_acceptance(patch: Patch) -> None:
    consequence = dispatcher.consequence

    def with_status(*words: object) -> object:
        what = consequence(*words)  # type: ignore[arg-type]
        return replace(what, status="open") if what.event == "dispatched" else what

    patch.setattr(dispatcher, "consequence", with_status)


def _never_retry_after_the_post(patch: Patch) -> None:
    patch.setattr(persistence, "WRITE_SECONDS", 0.0)
    patch.setattr("beads_dispatch.housekeeping.claim.lost_records", lambda beads, now: [])


def _hold_for_ever(patch: Patch) -> None:
    patch.setattr(backoff, "in_force", lambda holds, now: next(iter(holds.values()), None))


def _let_the_failed_bead_go_first_again(patch: Patch) -> None:
    patch.setattr(eligibility, "dispatch_order", lambda beads, now: eligibility.in_order(beads))


def _count_no_runs(patch: Patch) -> None:
    patch.setattr(marks, "runs", lambda bead: 0)
    patch.setattr(backoff.marks, "runs", lambda bead: 0)


def _forget_the_claim_of_a_blocked_bead(patch: Patch) -> None:
    """What the first run of this simulation found in the production code."""
    patch.setattr(marks, "ended", lambda bead: marks.removed(bead, *marks.ALL))


FAULTS_PUT_IN: list[tuple[Callable[[Patch], None], int]] = [
    (_skip_the_lock_and_the_last_look, 100),
    (_skip_still_locked, 1500),
    (_roll_back_an_unclear_answer, 100),
    (_skip_the_read_before_a_write, 1000),
    (_post_before_the_claim, 50),
    (_ignore_the_claim_mark, 2000),
    (_take_the_mark_for_the_only_record, 2000),
    (_write_a_status_after_an_acceptance, 50),
    (_never_retry_after_the_post, 2000),
    (_hold_for_ever, 200),
    (_let_the_failed_bead_go_first_again, 2000),
    (_count_no_runs, 2000),
    (_forget_the_claim_of_a_blocked_bead, 2000),
]


@pytest.mark.parametrize(("fault", "within"), FAULTS_PUT_IN)
def test_a_deliberate_fault_is_found(fault: Callable[[Patch], None], within: int, monkeypatch: Patch) -> None:
    fault(monkeypatch)
    found = next((seed for seed in range(within) if run(seed)[1]), None)
    assert found is not None
    print(f"{fault.__name__} is found by schedule {found}: {run(found)[1]}")
