"""An agent that cannot work holds the queue and uses up no beads; a bad bead holds up no other."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from conftest import PATIENCE, Board, Place, wait_for
from test_run_ends import ago, job, services
from test_watch_command import watching as watching_here
from test_watcher import Watcher
from test_watcher import watching as watching_services

LONG = 4 * PATIENCE  # for many runs one after the other
# What each bead is worked on with: it closes its bead, or does what `broken` says, a shell's words.
AGENT = """#!/bin/sh
[ -e broken ] && . ./broken
until bd close "$BEAD_ID"; do sleep 1; done
"""


def result(text: str, **fields: object) -> dict[str, object]:
    return {"type": "result", "subtype": "success", "is_error": True, "result": text, **fields}


def says(what: object, code: int = 1, stream: int = 1) -> str:
    """A shell's words for an agent that ends so. `what`: a text, or a document that becomes JSON."""
    text = what if isinstance(what, str) else json.dumps(what)
    return f"cat >&{stream} <<'END'\n{text}\nEND\nexit {code}\n"


LOGIN = result("Invalid API key · Please run /login")
OVERLOADED = result('API Error: 529 {"type":"error","error":{"type":"overloaded_error"}}', api_error_status=529)
CODEX = "You've hit your usage limit. Upgrade to Pro (https://example.org) or try again in 2 hours 14 minutes."
BREAKS = {
    "an expired login": (says(LOGIN), "cannot work (login)"),
    "the same in an array, with exit 0": (says([{"type": "system"}, LOGIN], 0), "cannot work (login)"),
    "529": (says(OVERLOADED), "cannot work"),
    "a limit in an array": (says([result("You've hit your limit · resets in 2h")]), "usage limit, resets"),
    "Codex's limit in plain words": (says(f"ERROR: {CODEX}", stream=2), "usage limit, resets"),
    "Codex's limit as an event": (
        says({"type": "turn.failed", "error": {"message": CODEX}}),
        "usage limit, resets",
    ),
    "a program that dies at once": ("kill -9 $$", "failed (exit"),
    "a failure that nobody knows": (says("Unexpected state 7", stream=2), "failed (exit 1)"),
}


def make_agent(place: Place, broken: str = "") -> None:
    agent = place.folder / "agent"
    agent.write_text(AGENT)
    agent.chmod(0o755)
    if broken:
        (place.folder / "broken").write_text(broken)


def started(watcher: Watcher) -> list[str]:
    """The beads of the runs so far."""
    return [line.split(": ")[1] for line in watcher.lines if ": dispatched: job=" in line]


def beads(place: Place) -> dict[str, str]:
    """Every bead's status."""
    return {row["id"]: row["status"] for row in place.bd("list", "--all", "-n", "0")}


def retry_now(place: Place) -> None:
    """Nobody waits for the end of a back-off."""
    for row in place.bd("list", "--status=open", "-n", "0"):
        if "beads_dispatch.retry_after" in row.get("metadata", {}):
            place.bd("update", row["id"], "--unset-metadata=beads_dispatch.retry_after")


def all_done(place: Place) -> None:
    wait_for(lambda: set(beads(place).values()) == {"closed"}, LONG)


@contextmanager
def held(place: Place, command: str, *words: str, **environ: str) -> Iterator[Watcher]:
    """A watcher whose agent has shown that it cannot work."""
    with watching_here(place, command, *words, **environ) as watcher:
        watcher.wait_for("beads-reaper: .*: nothing is dispatched until ")
        yield watcher


EACH = [
    pytest.param("on_server", name, marks=[] if name == "an expired login" else pytest.mark.slow) for name in BREAKS
]


@pytest.mark.parametrize(
    ("mode", "breaks"), [*EACH, pytest.param("embedded", "an expired login", marks=pytest.mark.slow)]
)
def test_a_broken_agent_blocks_no_bead_and_all_are_done_once_it_is_repaired(
    request: pytest.FixtureRequest, mode: str, breaks: str
) -> None:
    place: Place = request.getfixturevalue(mode)
    words, reason = BREAKS[breaks]
    place.create_many(4)
    make_agent(place, words)
    with held(place, "./agent") as watcher:
        wait_for(lambda: set(beads(place).values()) == {"open"})
        assert 1 <= len(started(watcher)) <= 2
        queue = place.run("status").stdout.splitlines()[1]
        assert queue.startswith("queue: held until ")
        assert f": agent ended: {reason}" in queue
        (place.folder / "broken").unlink()
        before = len(started(watcher))
        assert place.run("resume").returncode == 0
        retry_now(place)
        all_done(place)
        assert len(started(watcher)) == before + 4
    assert place.run("status").stdout.splitlines()[1] == "queue: open"


@pytest.mark.slow
def test_a_mistyped_command_blocks_no_bead_and_all_are_done_once_there_is_one(on_server: Place) -> None:
    on_server.create_many(4)
    with held(on_server, "./agnet -p x") as watcher:
        wait_for(lambda: set(beads(on_server).values()) == {"open"})
        assert 1 <= len(started(watcher)) <= 2
        make_agent(on_server)
        (on_server.folder / "agent").rename(on_server.folder / "agnet")
        on_server.run("resume")
        all_done(on_server)


@pytest.mark.slow
def test_ten_places_and_an_expired_login_cost_ten_runs_at_most(on_server: Place) -> None:
    on_server.create_many(14)
    make_agent(on_server, BREAKS["an expired login"][0])
    with held(on_server, "./agent", "--jobs=10", BEADS_DISPATCH_PER_TICK="10") as watcher:
        assert len(started(watcher)) <= 10
        wait_for(lambda: set(beads(on_server).values()) == {"open"})
        (on_server.folder / "broken").unlink()
        before = len(started(watcher))
        on_server.run("resume")
        all_done(on_server)
        assert len(started(watcher)) == before + 14
    notes = [row["notes"] for row in on_server.sql("SELECT notes FROM issues")]
    assert max(text.count("agent ended: ") for text in notes) == 1


@pytest.mark.slow
def test_an_agent_that_exits_0_and_closes_nothing_blocks_at_most_three_beads(on_server: Place) -> None:
    on_server.create_many(6)
    make_agent(on_server, "exit 0")
    at_once = on_server.changed(
        "from datetime import timedelta\nfrom beads_dispatch.core import runs\nruns.PATIENCE = timedelta(0)"
    )
    with held(at_once, "./agent") as watcher:
        wait_for(lambda: "in_progress" not in beads(on_server).values())
        assert len(started(watcher)) <= 4
        assert list(beads(on_server).values()).count("blocked") <= 3
        (on_server.folder / "broken").unlink()
        for bead, status in beads(on_server).items():
            if status == "blocked":
                on_server.bd("update", bead, "--status=open")
        on_server.run("resume")
        all_done(on_server)


@pytest.mark.slow
@pytest.mark.parametrize("words", ["a failure that nobody knows", "an expired login"])
def test_one_bad_bead_among_good_ones_is_blocked_at_its_third_attempt(on_server: Place, words: str) -> None:
    """If its words sound like a broken agent, the queue is held first; here a person resumes it each time.

    It is known to be the bead's fault only because the agent has closed other beads in between.
    """
    bad = on_server.create("bad", "-p", "0")
    make_agent(on_server, f'if [ "$BEAD_ID" = {bad} ]; then\n{BREAKS[words][0]}fi')
    with watching_here(on_server, "./agent") as watcher:

        def resumed_until(done: Callable[[], bool]) -> None:
            def tried() -> bool:
                on_server.run("resume")
                retry_now(on_server)
                return done()

            wait_for(tried, LONG)

        for attempt in range(1, 7):
            resumed_until(lambda at_least=attempt: started(watcher).count(bad) >= at_least)
            good = on_server.create()
            resumed_until(lambda good=good: beads(on_server)[good] == "closed")
            if beads(on_server)[bad] == "blocked":
                break
        assert on_server.notes(bad)[-1].endswith("(attempt 3 of 3)")


# --- against an agent service ---
# In the future, so that on a slow machine nobody seems to have written long after it.
LOGGED_OUT = job("failed", exit_code=1, output=[json.dumps(LOGIN) + "\n"], finished_at=ago(-3600))


def test_ticks_alone_learn_how_runs_ended_before_they_start_more(on_server: Place, board: Board) -> None:
    """Between two sweeps of a CronJob five ticks would use up five beads."""
    on_server.create_many(4)
    board.job = LOGGED_OUT
    for _ in range(3):
        assert on_server.run("tick", **services(board)).returncode == 0
    assert len(board.sent) == 1
    assert set(beads(on_server).values()) == {"open"}


def test_a_bead_that_is_assigned_during_the_hold_goes_at_once_and_once(on_server: Place, board: Board) -> None:
    first = on_server.create()
    board.job = LOGGED_OUT
    for command in ("tick", "sweep", "tick"):
        on_server.run(command, **services(board))
    assert board.sent == [first]
    tried = created_next_second(on_server)
    for command in ("tick", "tick", "sweep", "tick"):
        on_server.run(command, **services(board))
    assert board.sent == [first, tried]


def created_next_second(place: Place) -> str:
    """A bead that is created later than the hold was, which is stored in whole seconds."""
    question = "SELECT UTC_TIMESTAMP() AS server_now"
    began = place.sql(question)[0]["server_now"]
    wait_for(lambda: place.sql(question)[0]["server_now"] > began)
    return place.create("to try the repair")


@pytest.mark.slow
def test_without_the_token_a_run_that_ends_before_the_first_look_is_noticed(on_server: Place, board: Board) -> None:
    hasty = on_server.changed("from beads_dispatch.jobs import following\nfollowing.QUIET_SECONDS = 1.0")
    bead = on_server.create()
    with watching_services(hasty, board) as watcher:  # its health shows no job, and it knows none without the token
        watcher.wait_for(f"beads-reaper: {bead}: agent ended: the agent service has no job left, bead not closed ")
        doubts = [line for line in watcher.lines if "does not say how jobs are" in line]
    assert len(doubts) <= 1
    assert on_server.notes(bead)[-1].endswith("(without its token we cannot see why; set API_BEARER_TOKEN)")
    assert on_server.show(bead)["status"] == "blocked"
