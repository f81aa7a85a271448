"""What every queue does, on a Dolt server, on an embedded bd, and in memory."""

import os
import platform
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import memory
import pytest
from conftest import Place, wait_for

from beads_dispatch.adapters import location
from beads_dispatch.adapters.bd.process import BdProcess
from beads_dispatch.adapters.bd.verbs import Bd
from beads_dispatch.adapters.clock import SYSTEM
from beads_dispatch.adapters.queue import LastSnapshot, Queue, open_queue
from beads_dispatch.core.ledger import Entry


@dataclass
class World:
    """A database: another queue on it, a new bead, and a bead that somebody closes."""

    open: Callable[[], Queue]
    create: Callable[[], str]
    close: Callable[[str], object]
    now: Callable[[], datetime]


def in_place(place: Place) -> World:
    where, last = location.find(place.environ, place.folder), LastSnapshot()
    bd = Bd(BdProcess(where), "tester", SYSTEM.sleep)
    return World(
        open=lambda: open_queue(where, bd, "agent", SYSTEM.now, last=last),
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


def test_the_fingerprint_changes_with_every_write_and_with_no_read(world: World) -> None:
    queue, fingerprints = world.open(), []
    fingerprints.append(queue.fingerprint())
    bead = world.create()
    fingerprints.append(queue.fingerprint())
    queue.snapshot()
    queue.fetch(bead)
    assert queue.fingerprint() == fingerprints[-1]
    world.close(bead)
    fingerprints.append(queue.fingerprint())
    assert len(set(fingerprints)) == 3
    queue.close()


def test_an_embedded_bd_is_asked_for_a_snapshot_only_if_the_database_has_changed(
    embedded: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, assigned = [], Bd.assigned
    monkeypatch.setattr(Bd, "assigned", lambda bd, assignee: asked.append(assignee) or assigned(bd, assignee))
    world = in_place(embedded)
    bead, look, tick = world.create(), world.open(), world.open()
    assert look.snapshot() == tick.snapshot() == look.snapshot()
    assert len(asked) == 1
    world.close(bead)
    assert tick.snapshot().beads == look.snapshot().beads == ()
    assert len(asked) == 2


def test_a_closed_bead_is_in_no_snapshot_but_can_be_fetched(world: World) -> None:
    one, other, queue = world.create(), world.create(), world.open()
    assert {bead.id for bead in queue.snapshot().beads} == {one, other}
    world.close(one)
    assert [bead.id for bead in queue.snapshot().beads] == [other]
    _, bead = queue.fetch(one)
    assert bead is not None
    assert bead.status == "closed"
    assert queue.fetch("no-such")[1] is None
    queue.close()


def test_a_lock_belongs_to_one_queue_until_it_is_closed(world: World) -> None:
    bead, first, second = world.create(), world.open(), world.open()
    assert first.lock("dispatcher")
    assert not second.lock("dispatcher")
    assert second.lock("reaper")
    assert first.fetch(bead)[0]
    first.close()
    third = world.open()
    wait_for(lambda: third.lock("dispatcher"))  # free once the server notices that the connection is gone
    second.close()
    third.close()


def test_it_knows_the_time(world: World) -> None:
    queue, begun, tolerance = world.open(), world.now(), timedelta(seconds=5)
    queue.snapshot()
    assert begun - tolerance < queue.now() < world.now() + tolerance
    queue.close()


def test_a_watcher_on_a_server_writes_down_which_process_it_is(on_server: Place) -> None:
    """Dolt itself knows only the connection."""
    world = in_place(on_server)
    watcher, other = world.open(), world.open()
    assert watcher.lock("watcher")
    me = f"process {os.getpid()} on {platform.node()}"
    assert re.fullmatch(rf"connection \d+ of root from \S+; the watcher is {re.escape(me)}", other.holder("watcher"))
    watcher.close()
    wait_for(lambda: other.holder("watcher") == "")
    other.close()


def test_the_entry_of_a_later_start_stays_in_the_ledger(world: World) -> None:
    queue, bead = world.open(), world.create()
    first = Entry(bead, "2026-11-23T22:00:00Z", "abcdef", datetime(2026, 11, 23, 22, 1, tzinfo=UTC))
    queue.remember(first)
    queue.remember(replace(first, job="7"), over=first)
    assert queue.ledger([bead]) == {bead: replace(first, job="7")}
    later = replace(first, token="123456")
    queue.remember(later)
    queue.remember(replace(first, job="8"), over=first)
    assert queue.ledger([bead]) == {bead: later}
    queue.close()
