"""Never twice, never silent, whatever the order; and the simulation finds the faults that a test puts in."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from simulation import coverage, deliberate
from simulation.plan import draw
from simulation.schedule import run
from simulation.shrink import shrink
from simulation.story import story

SCHEDULES, PARTS = 2100, 7
QUICKLY = 50  # a fault that is found within so many schedules is for the everyday loop too
RARE = 8  # of the 78 things to be visited, so many may be too rare for 300 schedules
Patch = pytest.MonkeyPatch


def _run(seeds: range) -> Counter[str]:
    counts = Counter[str]()
    for seed in seeds:
        result = run(seed)
        if result.broken:
            small = shrink(draw(seed))
            pytest.fail("\n".join([f"make simulate SEED={seed}", *story(small)]))
        counts.update(result.world.counts)
    return counts


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, PARTS))])
def test_every_invariant_holds_and_every_branch_is_visited(part: int) -> None:
    counts = _run(range(part * SCHEDULES // PARTS, (part + 1) * SCHEDULES // PARTS))
    assert counts["POSTs"] > SCHEDULES / PARTS
    missing = coverage.wanted() - counts.keys()
    assert len(missing) <= RARE, missing


def test_the_same_seed_is_the_same_schedule() -> None:
    assert list(story(run(7))) == list(story(run(7)))


@pytest.mark.slow
def test_what_the_ledger_makes_up_for_is_found_without_it(monkeypatch: Patch) -> None:
    def broken(seed: int) -> bool:
        plan = draw(seed)
        return bool(run(replace(plan, faults=plan.faults - deliberate.TAKES_BACK)).broken)

    deliberate.forget_the_claim_of_a_blocked_bead(monkeypatch)
    found = next((seed for seed in range(1900, 5000) if broken(seed)), None)  # 1943 when this was written
    assert found is not None
    monkeypatch.undo()
    deliberate.lose_the_ledger(monkeypatch)
    assert not broken(found), "it is the fault that was found, and not that the ledger is lost"


@pytest.mark.parametrize(
    ("runner", "fault", "seeds"),
    [
        pytest.param(runner, *row, id=row[0].__name__, marks=[pytest.mark.slow] if len(row[1]) > QUICKLY else [])
        for runner, rows in (("", deliberate.FAULTS), ("jobs", deliberate.FAULTS_OF_JOBS))
        for row in rows
    ],
)
def test_a_deliberate_fault_is_found(
    runner: str, fault: Callable[[Patch], None], seeds: range, monkeypatch: Patch
) -> None:
    fault(monkeypatch)
    fitting = (seed for seed in seeds if runner in ("", draw(seed).runner))
    found = next((seed for seed in fitting if run(seed).broken), None)
    assert found is not None
    print(f"{fault.__name__} is found by schedule {found}")


def test_a_broken_schedule_is_shrunk(monkeypatch: Patch) -> None:
    deliberate.roll_back_an_unclear_answer(monkeypatch)
    seed = next(seed for seed in range(50) if run(seed).broken)
    before, after = run(seed), shrink(draw(seed))
    assert after.broken
    assert len(after.plan.faults) < len(before.plan.faults)
    assert (after.plan.minutes, after.plan.dispatchers) <= (before.plan.minutes, before.plan.dispatchers)
