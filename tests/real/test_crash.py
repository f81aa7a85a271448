"""A tick or a sweep is killed or stopped, or Dolt fails, at every point.

After each, ticks and sweeps run until nothing is left to do: no bead was sent twice, and each has a stated reason.
`make crash` visits every point, `make stress` a sample.
"""

import json
import re
import time
from collections.abc import Callable

import crash
import pytest
from conftest import Board, DoltServer, Place, Reply, make_place
from crash import Point

from beads_dispatch.core import notes

Places = Callable[[str], Place]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "point" in metafunc.fixturenames:
        count = metafunc.config.getoption("points")
        points = crash.sample(count) if count else crash.every_point()
        metafunc.parametrize("point", points, ids=[point.name for point in points])


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory, dolt_server: DoltServer) -> Places:
    """One workspace for each mode. Each point has its own assignee, and so its own queue."""
    made: dict[str, Place] = {}

    def place(mode: str) -> Place:
        if mode not in made:
            one = made[mode] = make_place(tmp_path_factory.mktemp(mode), dolt_server if mode == "server" else None)
            if one.server:
                one.environ["BEADS_METADATA"] = str(one.metadata)
        return made[mode]

    return place


@pytest.mark.stress
def test_never_twice_never_silent(point: Point, places: Places, board: Board) -> None:
    place, answers = places(point.mode), list[Reply]()

    def answer(reply: Reply) -> Callable[[str], Reply]:
        return lambda task: answers.append(reply) or reply  # type: ignore[func-returns-value]

    environ = {"BEADBOARD_URL": board.url, "AGENT_SERVICE_URL": board.url, "BEADS_ASSIGNEE": point.name}
    environ["BEADS_REAPER_THRESHOLD_MINUTES"] = "0.000001"
    bead = prepare(point, place)
    board.dispatch = answer(point.flow.reply)
    board.health = (503, "down") if point.flow.name == "unhealthy" else board.health
    fault, err = crash.run(point, place, board, environ)
    assert fault.struck, err
    assert "Traceback" not in err
    if point.fault == "TERM":
        ended_properly(point, place, fault, bead)
    board.dispatch, board.health = answer(crash.ACCEPTED), (200, {"busy": False})
    settle(point, place, fault, environ)
    started = [reply in crash.MAY_HAVE_STARTED for reply in answers]
    assert sum(started) <= 1
    assert not any(started[:-1])
    has_a_reason(place, environ)


def prepare(point: Point, place: Place) -> str:
    criteria = [] if point.flow.name == "needs-notice" else ["--acceptance=it works"]
    bead = str(place.bd("create", point.name, f"--assignee={point.name}", *criteria)["id"])
    if point.flow.command == "sweep":
        place.bd("update", bead, "--status=in_progress")
        time.sleep(1.1)  # `updated_at` is in whole seconds: from now on the bead is older than the threshold
    return bead


def ended_properly(point: Point, place: Place, fault: crash.Fault, bead: str) -> None:
    """SIGTERM: before the POST the claim is rolled back, after it the result is recorded."""
    assert fault.process
    assert fault.process.returncode in (0, 1)
    shown = place.show(bead)
    if point.flow.command == "tick" and shown["status"] == "in_progress":
        assert notes.dispatch_recorded(shown["notes"])


def settle(point: Point, place: Place, fault: crash.Fault, environ: dict[str, str]) -> None:
    """Runs ticks, then sweeps, until nothing is left to do. All holds and back-offs have ended."""
    until_quiet(place, environ, "tick", lambda: forget(point, place))
    fault.wait_for_orphans()
    until_quiet(place, environ, "tick", lambda: forget(point, place))
    until_quiet(place, environ, "sweep", lambda: time.sleep(1.1))  # `updated_at` is in whole seconds


def until_quiet(place: Place, environ: dict[str, str], command: str, before: Callable[[], None]) -> None:
    for _ in range(12):
        before()
        done = place.run(command, **environ)
        assert "Traceback" not in done.stderr
        if re.search(
            "nothing to do|nothing to dispatch" if command == "tick" else "nothing to do: 0 in p", done.stdout
        ):
            return
    raise AssertionError(f"not quiet: {done.stdout}{done.stderr}")


def forget(point: Point, place: Place) -> None:
    """Time passes: every hold and back-off ends."""
    assert place.run("resume", BEADS_ASSIGNEE=point.name).returncode == 0
    for bead in place.bd("list", f"--assignee={point.name}", "--status=open"):
        place.bd("update", bead["id"], "--unset-metadata=beads_dispatch.retry_after")


def has_a_reason(place: Place, environ: dict[str, str]) -> None:
    rows = json.loads(place.run("status", "--json", **environ).stdout)
    assert len(rows) == 1
    state, reason = rows[0]["state"], rows[0]["reason"]
    if state == "blocked":
        assert reason.startswith("reaper: no progress for")
    else:
        assert (state, reason) == ("open", "no acceptance criteria")
        # Twice at most: the bd of a killed tick may write after the next tick has read.
        assert place.notes(rows[0]["id"]) in (["not dispatched: no acceptance criteria"] * times for times in (1, 2))
