"""The shortest schedule that still breaks: a plan with as few actors, minutes, faults and strikes as will do."""

from collections.abc import Iterator
from dataclasses import replace

from simulation.plan import Plan
from simulation.schedule import Result, run

MOST_RUNS = 400


def shrink(plan: Plan) -> Result:
    """Tries one simplification after the other, and keeps each that still breaks."""
    first = best = run(plan)
    runs = 0
    simpler = True
    while simpler and runs < MOST_RUNS:
        simpler = False
        for other in _simpler(best):
            runs += 1
            result = run(other)
            if result.rule == first.rule:
                best, simpler = result, True
                break
            if runs >= MOST_RUNS:
                break
    return best


def _simpler(result: Result) -> Iterator[Plan]:
    """The largest steps first."""
    plan = result.plan
    for fault in sorted(plan.faults):
        yield replace(plan, faults=plan.faults - {fault})
    for name in ("watchers", "reapers", "dispatchers", "beads", "per_tick"):
        least = 0 if name in ("watchers", "reapers") or plan.watchers else 1
        if (number := getattr(plan, name)) > least:
            yield replace(plan, **{name: number - 1})
    if plan.troublemaker:
        yield replace(plan, troublemaker="")
    if plan.minutes > 5:
        yield replace(plan, minutes=plan.minutes // 2)
    for actor, struck in sorted(result.world.strikes.items()):
        for fault, count in sorted(struck.items()):
            for number in range(1, count + 1):
                if (actor, fault, number) not in plan.spared:
                    yield replace(plan, spared=plan.spared | {(actor, fault, number)})
