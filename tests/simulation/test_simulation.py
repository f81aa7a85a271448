"""Never twice, whatever the order; and the simulation finds the faults that a test puts in."""

from collections.abc import Callable

import pytest

from beads_dispatch import claims, dispatcher
from beads_dispatch.adapters.queue import ServerQueue
from beads_dispatch.core import marks, notes
from beads_dispatch.core.outcomes import Answer, Outcome
from simulation.world import FAULTS, STARTED_NOTHING, run, shrink

SCHEDULES = 1500
Patch = pytest.MonkeyPatch


def test_no_bead_is_posted_twice() -> None:
    happened, posts = set[str](), 0
    for seed in range(SCHEDULES):
        world, broken = run(seed)
        if broken:
            small, broken = shrink(seed)
            pytest.fail("\n".join([f"{broken} (make simulate SEED={seed})", *small.story]))
        happened |= world.happened
        posts += world.posts
    assert happened == {*FAULTS, *(text for _, text in STARTED_NOTHING)}
    assert posts > SCHEDULES


def _skip_the_lock_and_the_last_look(patch: Patch) -> None:
    patch.setattr(ServerQueue, "lock", lambda self, job: True)
    patch.setattr(claims, "fetch", lambda cycle, bead: cycle.outside.queue.fetch(bead.id)[1])
    patch.setattr(claims, "verify", lambda cycle, claimed: True)


def _skip_still_locked(patch: Patch) -> None:
    patch.setattr(claims, "fetch", lambda cycle, bead: cycle.outside.queue.fetch(bead.id)[1])
    patch.setattr(claims, "verify", lambda cycle, claimed: True)


def _roll_back_an_unclear_answer(patch: Patch) -> None:
    understood = dispatcher.understand

    def rolled_back(reply: object) -> Answer:
        answer = understood(reply)  # type: ignore[arg-type]
        unclear = answer.outcome is Outcome.UNCLEAR
        return Answer(Outcome.NOT_STARTED, answer.status, answer.text) if unclear else answer

    patch.setattr(dispatcher, "understand", rolled_back)


def _take_the_notes_for_the_only_record(patch: Patch) -> None:
    from beads_dispatch.core import claim

    patch.setattr(claim, "possibly_dispatched", lambda bead: notes.possibly_dispatched(bead.notes))


def _forget_the_claim_of_a_blocked_bead(patch: Patch) -> None:
    """What the first run of this simulation found in the production code."""
    patch.setattr(marks, "ended", lambda bead: marks.removed(bead, *marks.ALL))


@pytest.mark.parametrize(
    ("fault", "within"),
    [
        (_skip_the_lock_and_the_last_look, 50),
        (_skip_still_locked, 1500),
        (_roll_back_an_unclear_answer, 50),
        (_take_the_notes_for_the_only_record, 200),
        (_forget_the_claim_of_a_blocked_bead, 800),
    ],
)
def test_a_deliberate_fault_is_found(fault: Callable[[Patch], None], within: int, monkeypatch: Patch) -> None:
    fault(monkeypatch)
    found = next((seed for seed in range(within) if run(seed)[1]), None)
    assert found is not None
    print(f"{fault.__name__} is found by schedule {found}")
