"""What every queue does, on a Dolt server, on an embedded bd, and in memory."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import memory
import pytest
from conftest import Place

from beads_dispatch import workspace
from beads_dispatch.bd import Bd
from beads_dispatch.queue import Queue, open_queue


@dataclass
class World:
    """A database: another queue on it, a new bead, and a bead that somebody closes."""

    open: Callable[[], Queue]
    create: Callable[[], str]
    close: Callable[[str], object]
    now: Callable[[], datetime]


def in_place(place: Place) -> World:
    where = workspace.find(place.environ, place.folder)
    bd = Bd(where, "tester", place.environ)
    return World(
        open=lambda: open_queue(where, bd, "agent"),
        create=place.create,
        close=lambda bead: place.bd("close", bead, "--actor=agent"),
        now=lambda: datetime.now(UTC),
    )


def in_memory() -> World:
    database = memory.Database()

    def create() -> str:
        database.put(f"m-{len(database.beads)}")
        return f"m-{len(database.beads) - 1}"

    return World(
        open=lambda: memory.MemoryQueue(database),
        create=create,
        close=lambda bead: database.set(bead, status="closed"),
        now=lambda: database.now,
    )


@pytest.fixture(params=["on_server", "embedded", "memory"])
def world(request: pytest.FixtureRequest) -> World:
    return in_memory() if request.param == "memory" else in_place(request.getfixturevalue(request.param))


def test_the_pulse_changes_with_every_write_and_with_no_read(world: World) -> None:
    queue, pulses = world.open(), []
    pulses.append(queue.pulse())
    bead = world.create()
    pulses.append(queue.pulse())
    queue.read()
    queue.look(bead)
    assert queue.pulse() == pulses[-1]
    world.close(bead)
    pulses.append(queue.pulse())
    assert len(set(pulses)) == 3
    queue.close()


def test_what_is_closed_is_not_read_but_can_be_looked_at(world: World) -> None:
    one, other, queue = world.create(), world.create(), world.open()
    assert {bead.id for bead in queue.read().beads} == {one, other}
    world.close(one)
    assert [bead.id for bead in queue.read().beads] == [other]
    _, bead = queue.look(one)
    assert bead is not None
    assert bead.status == "closed"
    assert queue.look("no-such")[1] is None
    queue.close()


def test_a_lock_is_one_queues_until_it_is_closed(world: World) -> None:
    bead, first, second = world.create(), world.open(), world.open()
    assert first.lock("dispatcher")
    assert not second.lock("dispatcher")
    assert second.lock("reaper")
    assert first.look(bead)[0]
    first.close()
    third = world.open()
    assert third.lock("dispatcher")
    second.close()
    third.close()


def test_it_knows_the_time(world: World) -> None:
    queue = world.open()
    queue.read()
    assert abs(queue.now() - world.now()) < timedelta(seconds=5)
    queue.close()
