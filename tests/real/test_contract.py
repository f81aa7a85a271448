"""The simulation's stand-ins and the real parts give the same answers: bd, the queue on Dolt, and the two services."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Place, wait_for

sys.path.append(str(Path(__file__).parents[1]))

from real.test_bd import make_bd
from real.test_standin import serving
from simulation.bd import SimulatedBd
from simulation.board import Board, Http
from simulation.dolt import SimulatedDolt
from simulation.plan import Plan
from simulation.schedule import still
from simulation.world import Actor, World

from beads_dispatch.adapters import http, location
from beads_dispatch.adapters.agent_service import AgentService
from beads_dispatch.adapters.bd.verbs import Bd
from beads_dispatch.adapters.beadboard import BeadBoard
from beads_dispatch.adapters.clock import SYSTEM
from beads_dispatch.adapters.queue import Queue, ServerQueue, open_queue
from beads_dispatch.core.beadboard_answers import understand
from beads_dispatch.core.errors import BdFailed, NotAsExpected
from beads_dispatch.core.holds import SERVICE, Hold
from beads_dispatch.core.runner import Outcome, Stage


@dataclass
class Parts:
    """`other`: another client's `bd update` of the bead, by its words."""

    bd: Bd
    bead_id: str
    other: Callable[..., object]
    guards: bool
    queue: Callable[[], Queue]


def _simulated(version: str) -> Parts:
    world = still(Plan(0, frozenset(), bd=version))
    client, person = Actor(world, "client", "client"), Actor(world, "person", "person")
    process: Any = SimulatedBd(client)

    def queue() -> Queue:
        dolt: Any = SimulatedDolt(Actor(world, "client", "another client"))
        return ServerQueue(dolt, "agent", world.now)

    return Parts(
        Bd(process, "tester", world.sleep),
        "s-0",
        lambda *words: SimulatedBd(person).json("update", *words, "--", "s-0"),
        guards=not version.startswith("1.0."),
        queue=queue,
    )


def _real(place: Place) -> Parts:
    bd, bead_id = make_bd(place), place.create()
    where = location.find(place.environ, place.folder)
    return Parts(
        bd,
        bead_id,
        lambda *words: place.bd("update", bead_id, *words),
        guards=not str(place.bd("version")["version"]).startswith("1.0."),
        queue=lambda: open_queue(where, bd, "agent", SYSTEM.now),
    )


@pytest.fixture(params=["simulated 1.0.2", "simulated 1.3.0", "server", "embedded"])
def parts(request: pytest.FixtureRequest) -> Parts:
    if request.param.startswith("simulated"):
        return _simulated(request.param.split()[1])
    name = "on_server" if request.param == "server" else request.param
    return _real(request.getfixturevalue(name))


def test_one_write_sets_status_note_and_marks_and_answers_with_the_bead(parts: Parts) -> None:
    before = parts.bd.show(parts.bead_id)
    assert (before.status, before.assignee, before.acceptance_criteria) == ("open", "agent", "it works")
    marks = {"beads_dispatch.runs": "2", "beads_dispatch.job": '"1234567890e5"', "beads_dispatch.claim": "tabcdef 2026"}
    after = parts.bd.update(before, status="in_progress", note="first", marks=marks)
    assert (after.status, after.notes) == ("in_progress", "first")
    assert [after.mark(name) for name in ("runs", "job", "claim")] == [2, '"1234567890e5"', "tabcdef 2026"]
    again = parts.bd.update(after, note="second", marks={"beads_dispatch.job": None})
    assert (again.status, again.notes, again.mark("job"), again.mark("runs")) == (
        "in_progress", "first\nsecond", None, 2,
    )  # fmt: skip
    assert parts.bd.show(parts.bead_id) == again


def test_another_client_replaces_the_notes_and_merges_metadata(parts: Parts) -> None:
    parts.bd.update(parts.bd.show(parts.bead_id), note="ours", marks={"beads_dispatch.runs": "1"})
    parts.other("--notes=theirs")
    parts.other('--metadata={"seen": 1}')
    bead = parts.bd.show(parts.bead_id)
    assert (bead.notes, bead.metadata) == ("theirs", {"beads_dispatch.runs": 1, "seen": 1})


def test_a_note_leaves_a_closed_bead_closed_and_a_status_opens_it_only_without_guards(parts: Parts) -> None:
    known = parts.bd.show(parts.bead_id)
    parts.other("--status=closed")
    assert parts.bd.update(known, note="late").status == "closed"
    if parts.guards:
        with pytest.raises(NotAsExpected):
            parts.bd.update(known, status="in_progress")
    assert parts.bd.show(parts.bead_id).status == "closed"
    if not parts.guards:
        assert parts.bd.update(known, status="in_progress").status == "in_progress"


def test_ready_lists_open_beads_of_the_assignee_only(parts: Parts) -> None:
    assert parts.bead_id in parts.bd.ready("agent")
    assert parts.bd.ready("agent")[parts.bead_id] == parts.bd.show(parts.bead_id)
    for word in ("--status=blocked", "--status=open", "--assignee=somebody"):
        parts.other(word)
        assert (parts.bead_id in parts.bd.ready("agent")) is (word == "--status=open")


def test_a_bead_that_does_not_exist(parts: Parts) -> None:
    with pytest.raises(BdFailed):
        parts.bd.show("s-nowhere")


def test_the_queue_has_one_lock_a_fingerprint_and_holds(parts: Parts) -> None:
    with ExitStack() as stack:
        first, second = (stack.enter_context(closing(parts.queue())) for _ in range(2))
        assert (first.lock("dispatcher"), second.lock("dispatcher"), second.lock("reaper")) == (True, False, True)
        before, hold = first.fingerprint(), Hold(first.now().replace(microsecond=0), 1, "why", parts.bead_id)
        first.set_hold(SERVICE, hold)
        assert first.fingerprint() != before
        assert second.holds() == {SERVICE: hold}
        locked, bead = first.fetch(parts.bead_id)
        assert (locked, first.locked(), second.locked(), bead and bead.status) == (True, True, True, "open")
        assert parts.bead_id in first.snapshot().ids
        parts.other("--status=closed")
        assert parts.bead_id not in first.snapshot().ids
        first.set_hold(SERVICE, None)
        assert second.holds() == {}
        first.close()
        wait_for(lambda: parts.queue().lock("dispatcher"))


@dataclass
class Services:
    """`good`, `blank`: a bead with and without criteria. `wait`: until the agent has ended."""

    board: BeadBoard
    agents: AgentService
    good: str
    blank: str


def _simulated_services() -> Services:
    world = still(Plan(0, frozenset(), beads=2, per_tick=1))
    world.rows["s-1"]["acceptance_criteria"] = " "
    world.service.places = 1
    actor = Actor(world, "client", "client")
    answer = _advancing(world, Http(actor, Board(world)))
    clock = actor.clock()
    board = BeadBoard("http://board", answer, clock, lambda: False, lambda _: None)
    return Services(
        board, AgentService("http://service", lambda: "x", answer, lambda _: None, clock.monotonic), "s-0", "s-1"
    )


def _advancing(world: World, http_: Http) -> Any:
    """Time passes between two questions, so that the agent gets on."""

    def ask(asked: Any) -> Any:
        reply = http_(asked)
        world.run(world.seconds + 1)
        return reply

    return ask


@pytest.fixture(params=["simulated", "the stand-in"])
def services(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Services]:
    if request.param == "simulated":
        yield _simulated_services()
        return
    place: Place = request.getfixturevalue("embedded")
    good, blank = place.create(), place.create(acceptance=None)
    end = tmp_path / "end"
    with serving(place, f"while [ ! -e {end} ]; do sleep 0.1; done") as (url, _):
        board = BeadBoard(url, http.request, SYSTEM, lambda: False, lambda _: None)
        yield Services(
            board, AgentService(url, lambda: "", http.request, lambda _: None, SYSTEM.monotonic), good, blank
        )


def test_what_the_services_answer(services: Services) -> None:
    board, agents = services.board, services.agents
    assert (board.busy(), agents.room().free, agents.idle()) == (False, True, True)
    for bead_id, outcome, text in (
        ("s-nowhere", Outcome.NOT_STARTED, "Bead s-nowhere not found."),
        (services.blank, Outcome.BEAD_AT_FAULT, f"Bead {services.blank} is missing acceptance criteria."),
    ):
        answer = understand(board.dispatch(bead_id))
        assert (answer.outcome, answer.status, answer.text) == (outcome, 400, text)
    accepted = understand(board.dispatch(services.good))
    assert (accepted.outcome, accepted.status) == (Outcome.ACCEPTED, 200)
    job = agents.job(accepted.job)
    assert job.stage is Stage.RUNNING
    assert job.started_at
    assert not job.finished_at
    assert agents.job(f"{accepted.job}0").stage is Stage.UNKNOWN
    assert agents.idle() is False
