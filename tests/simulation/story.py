"""A schedule as a timeline that a person can read."""

from collections.abc import Iterator

from simulation.schedule import Result
from simulation.world import BEGIN


def story(result: Result) -> Iterator[str]:
    """A line for each step, and what was broken at the end."""
    plan = result.plan
    yield (
        f"seed {plan.seed}: bd {plan.bd}, {plan.beads} beads, {plan.dispatchers} dispatchers, {plan.reapers} reapers, "
        f"{plan.watchers} watchers, {plan.per_tick} a tick, {plan.minutes} minutes; "
        + ("agents are Kubernetes Jobs" if plan.runner == "jobs" else f"the agent service answers by {plan.service}")
        + (", first generation" if plan.first_generation and plan.runner != "jobs" else "")
        + (f"; s-0 is a troublemaker: {plan.troublemaker}" if plan.troublemaker else "")
    )
    yield f"faults: {', '.join(sorted(plan.faults)) or 'none'}"
    yield from (f"{_clock(result, seconds)}  {text[:240]}" for seconds, text in result.world.story)
    yield f"BROKEN: {result.broken}" if result.broken else "nothing is broken"


def _clock(result: Result, seconds: float) -> str:
    return f"{BEGIN.hour + int(seconds // 3600):02d}:{int(seconds // 60) % 60:02d}:{seconds % 60:05.2f}"
