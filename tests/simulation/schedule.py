"""One schedule: the world that a plan makes, run until all is settled; and the shortest one that still breaks."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from beads_dispatch.adapters import queue
from beads_dispatch.core import bead as beads
from simulation import agents, people, processes
from simulation.board import Board
from simulation.cluster import Cluster
from simulation.dolt import SimulatedDolt
from simulation.invariants import Invariants
from simulation.plan import Plan, draw
from simulation.rows import Row, once
from simulation.service import Service
from simulation.world import BEGIN, Broken, World

_read_text = cache(beads._read_text)
SETTLES = 9 * 3600.0  # simulated seconds: once all is healthy, a usage limit may still hold for 4 h


@dataclass(frozen=True)
class Result:
    """`broken`, `rule`: what does not hold, in a sentence and in a word, or nothing."""

    plan: Plan
    world: World
    broken: str = ""
    rule: str = ""


def run(plan: Plan | int) -> Result:
    """Runs the schedule of a plan, or of a seed."""
    chosen = draw(plan) if isinstance(plan, int) else plan
    world = _world(chosen)
    try:
        with _simulated():
            _run(world)
    except Broken as error:
        return Result(chosen, world, str(error), error.rule)
    finally:
        world.end()
    return Result(chosen, world)


def _run(world: World) -> None:
    world.invariants.watch_reasons()
    world.run(world.plan.minutes * 60)
    world.heal()
    world.spawn(0, lambda: people.put_right(world))
    left = ["?"]
    while left and world.seconds < world.healed_at + SETTLES:
        world.run(world.seconds + 60)
        left = world.invariants.unsettled()
    if left:
        raise Broken("settles", f"{SETTLES / 3600:g} h after all is healthy: {'; '.join(left)}")
    world.counts["minutes to settle"] += int((world.seconds - world.healed_at) / 60)


def outage(what: str, hours: float, repaired_after: float = math.inf, **changes: Any) -> World:
    """A world in which one thing fails for so long, and nothing else does. `repaired_after`: the agent, seconds."""
    world = _world(Plan(0, frozenset(), outage=what, **changes))
    world.most_steps = 10_000_000
    if what in world.away:
        world.lose(what, hours * 3600)
    world.broken_until = min(world.broken_until, repaired_after)
    try:
        with _simulated():
            world.run(hours * 3600)
    finally:
        world.end()
    return world


def still(plan: Plan) -> World:
    """A world with its beads and services, in which nobody acts yet."""
    world = World(plan)
    runner = Cluster if plan.runner == "jobs" else Service
    world.invariants, world.service = Invariants(world), runner(world, lambda job: agents.run(world, job))
    for number in range(plan.beads):
        bead = f"s-{number}"
        world.rows[bead], world.versions[bead] = _row(bead, 0 if number == 0 else number % 4), 0
        world.history[bead] = [world.rows[bead]]
    return world


def _world(plan: Plan) -> World:
    world = still(plan)
    board = Board(world)
    world.tick_by_hand = lambda: processes.tick_by_hand(world, board)
    for count, name, start in (
        (plan.dispatchers, "tick", processes.dispatcher_every),
        (plan.reapers, "sweep", processes.reaper_every),
        (plan.watchers, "watch", processes.watcher_always),
    ):
        for number in range(count):
            who = f"{name} {'ABC'[number]}"
            world.spawn(number * 1.7, lambda start=start, who=who: start(world, who, board))
    world.spawn(0, lambda: people.live(world))
    return world


def _row(bead: str, priority: int) -> Row:
    texts = {"title": bead, "acceptance_criteria": "it works", "notes": "", "assignee": "agent", "issue_type": "task"}
    known: dict[str, Any] = {"created_at": BEGIN, "updated_at": BEGIN, "metadata": {}, "labels": []}
    return Row({**texts, **known, "id": bead, "status": "open", "priority": priority})


@contextmanager
def _simulated() -> Iterator[None]:
    """A queue whose connection is lost opens another one. What is read again is the same, and costs no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue, "Dolt", SimulatedDolt)
        patch.setattr(beads, "parse", once(beads.parse))
        patch.setattr(beads, "_read_text", _read_text)
        yield
