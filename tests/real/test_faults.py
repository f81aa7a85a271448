"""What becomes of a bead for each fault on the wire: docs/faults.md, compared with real ticks.

All rows run once, side by side, because they mostly wait for deadlines. `make faults` writes the page.
"""

import json
import os
import queue
import re
import socket
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import wire
from conftest import DoltServer, Place, make_place
from wire import Act, Wire, reply

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
THREADS = 12  # most of them wait
LONGEST_RUN = 900.0
LARGE = 50_000_000
STATUS, HEALTH, DISPATCH = "GET /api/agent-status", "GET /health", "POST /api/agent-dispatch"
ENDPOINTS = (STATUS, HEALTH, DISPATCH)

WELL: dict[str, dict[str, object]] = {
    STATUS: {"busy": False},
    HEALTH: {"status": "ok", "busy": False, "active": 0, "queued": 0, "capacity": 10},
    DISPATCH: {"job_id": "4f1d2c3b5a69"},
}
A_NUMBER: dict[str, dict[str, object]] = {
    STATUS: {"busy": 0},
    HEALTH: {"status": "ok", "busy": 0},
    DISPATCH: {"job_id": 47},
}
WITHOUT: dict[str, dict[str, object]] = {STATUS: {}, HEALTH: {"status": "ok"}, DISPATCH: {}}
BUSY: dict[str, Act] = {
    STATUS: reply(200, {"busy": True}),
    HEALTH: reply(200, {"status": "ok", "busy": True, "active": 10, "queued": 0, "capacity": 10}),
    DISPATCH: reply(502, {"error": "Queue full"}),
}

# In the tick's process our names resolve while a file of that name exists, so that one can stop resolving.
NAMES = """
import os, socket
real = socket.getaddrinfo
def getaddrinfo(host, *rest, **more):
    name = host.decode() if isinstance(host, bytes) else host
    known = name and os.path.exists(os.path.join(os.path.dirname(__file__), name))
    return real("127.0.0.1" if known else host, *rest, **more)
socket.getaddrinfo = getaddrinfo
"""
# Only the deadline that a row is about is the real one: a busy machine may reach another by itself.
LONG = """
from beads_dispatch.jobs import dispatcher
from beads_dispatch.adapters import agent_service, beadboard
dispatcher.CLAIM_SECONDS = 600
"""
DEADLINE = {HEALTH: "agent_service.ASK_SECONDS", STATUS: "beadboard.ASK_SECONDS", DISPATCH: "beadboard.POST_SECONDS"}
NAME = {STATUS: "beadboard.invalid", HEALTH: "agent.invalid", DISPATCH: "beadboard.invalid"}


@dataclass
class World:
    """BeadBoard, the agent service, and where a redirect points: all healthy until a fault is put in."""

    folder: Path
    board: Wire = field(default_factory=Wire)
    agent: Wire = field(default_factory=Wire)
    elsewhere: Wire = field(default_factory=Wire)
    environ: dict[str, str] = field(default_factory=dict)
    swallowed: bool = False  # whether a body of 50 MB was read to its end

    def __post_init__(self) -> None:
        self.folder.mkdir()
        for one in (self.board, self.agent, self.elsewhere):
            one.acts.update({what: reply(200, body) for what, body in WELL.items()})
            one.listen()
        # A resolver that does not answer must not take longer than the tick's own deadlines.
        self.environ = {
            "BEADBOARD_URL": self.board.url,
            "AGENT_SERVICE_URL": self.agent.url,
            "PYTHONPATH": str(self.folder),
            "RES_OPTIONS": "timeout:1 attempts:1",
            "NO_PROXY": "*",
        }

    def wait_long(self, endpoints: Collection[str]) -> None:
        """Gives these endpoints' answers two minutes."""
        lines = [f"{DEADLINE[one]} = 120" for one in endpoints]
        (self.folder / "sitecustomize.py").write_text("\n".join([NAMES, LONG, *lines]))

    def serving(self, endpoint: str) -> Wire:
        return self.agent if endpoint == HEALTH else self.board

    def before(self, endpoint: str, change: Callable[[], None]) -> None:
        """Runs `change` before the tick connects: for a dispatch, right before the status is answered."""
        if endpoint == DISPATCH:
            self.board.acts[STATUS] = wire.after(change, self.board.acts[STATUS])
        else:
            change()

    def name(self, endpoint: str) -> None:
        """Gives the service a name that resolves only while its file exists."""
        variable = "AGENT_SERVICE_URL" if endpoint == HEALTH else "BEADBOARD_URL"
        self.environ[variable] = f"http://{NAME[endpoint]}:{self.serving(endpoint).port}"
        (self.folder / NAME[endpoint]).touch()

    def close(self) -> None:
        for one in (self.board, self.agent, self.elsewhere):
            one.close()


Fault = Callable[[World, str], None]


def refused(world: World, endpoint: str) -> None:
    world.before(endpoint, world.serving(endpoint).refuse)


def no_such_name(world: World, endpoint: str) -> None:
    world.name(endpoint)
    world.before(endpoint, (world.folder / NAME[endpoint]).unlink)


def connect_hangs(world: World, endpoint: str) -> None:
    world.before(endpoint, world.serving(endpoint).hang)


def asleep(world: World, endpoint: str) -> None:
    """Refused for 20 s, a waiting page for 10 s, then well."""
    page = reply(200, "<html>Waking up…</html>", "text/html")

    def begin() -> None:  # when the health is asked for, which comes first: the tick may take its time to start
        world.board.acts[STATUS] = page
        world.board.refuse()
        threading.Timer(20, world.board.listen).start()
        threading.Timer(30, world.board.acts.update, ({STATUS: reply(200, WELL[STATUS])},)).start()

    world.agent.acts[HEALTH] = wire.after(begin, reply(200, WELL[HEALTH]))


def answers(act: Callable[[World, str], Act]) -> Fault:
    """The fault of an answer that is `act`."""

    def put_in(world: World, endpoint: str) -> None:
        world.serving(endpoint).acts[endpoint] = act(world, endpoint)

    return put_in


def replies(status: int, body: object, kind: str = "application/json") -> Fault:
    return answers(lambda world, endpoint: reply(status, body, kind))


def well(endpoint: str) -> bytes:
    return json.dumps(WELL[endpoint]).encode()


def moved(world: World, endpoint: str) -> Act:
    """A redirect to a healthy service: a tick that follows it would get a good answer."""
    target = world.elsewhere.url + endpoint.split()[1]
    return reply(308, endpoint.split()[1], "text/plain", f"Location: {target}\r\n")


def large(world: World, endpoint: str) -> Act:
    """A valid answer of 50 MB."""
    start = well(endpoint)[:-1] + b', "x": "'

    def act(connection: socket.socket) -> None:
        connection.sendall(wire.head(200, len(start) + LARGE) + start)
        for _ in range(LARGE // 50_000):
            connection.sendall(b"x" * 50_000)
        world.swallowed = True

    return act


# What a tick waits for, in seconds: the long rows are slow, and start first.
WAKING, ASK, POST = 45, 10, 60


@dataclass(frozen=True)
class Case:
    endpoint: str
    fault: str
    put_in: Fault = field(compare=False)
    seconds: int = 0

    @property
    def id(self) -> str:
        return re.sub(r"\W+", "-", f"{self.endpoint.split('/')[-1]} {self.fault}").strip("-")


def cases_of(endpoint: str) -> list[Case]:
    """The faults, in the order of the page. An answer that BeadBoard may give while it wakes up takes 45 s."""
    waking = WAKING if endpoint == STATUS else 0
    silent = POST if endpoint == DISPATCH else ASK
    field_name = "the job id" if endpoint == DISPATCH else "`busy`"
    rows: list[tuple[str, Fault, int]] = [
        ("none", answers(lambda world, asked: reply(200, WELL[asked])), 0),
        ("busy", answers(lambda world, asked: BUSY[asked]), 0),
        ("refused", refused, waking),
        ("no such name (DNS)", no_such_name, waking),
        ("connecting hangs", connect_hangs, waking or ASK),
        ("no headers come", answers(lambda world, asked: wire.wait_for_the_client), silent),
        ("the body stops half way", answers(lambda world, asked: wire.hang_in_body(well(asked))), silent),
        ("the body is cut off", answers(lambda world, asked: wire.cut_off(well(asked))), 0),
        ("reset once it was sent", answers(lambda world, asked: wire.reset), 0),
        ("200, truncated JSON", answers(lambda world, asked: reply(200, well(asked)[:-3])), waking),
        ("502, HTML", replies(502, "<html><h1>502 Bad Gateway</h1></html>\n", "text/html"), waking),
        ("500, empty", replies(500, b"", ""), waking),
        ("308 to a place where all is well", answers(moved), waking),
        ("200, a body of 50 MB", answers(large), waking),
        ("200, not UTF-8", answers(lambda world, asked: reply(200, well(asked).decode().encode("utf-16-le"))), waking),
        ("502, `error` an array", replies(502, {"error": [{"msg": "Field required"}]}), 0),
        ('502, `error` is `""`', replies(502, {"error": ""}), 0),
        (f"200, {field_name} a number", answers(lambda world, asked: reply(200, A_NUMBER[asked])), 0),
        (f"200 without {field_name}", answers(lambda world, asked: reply(200, WITHOUT[asked])), 0),
    ]
    if endpoint == STATUS:
        rows.append(("refused for 20 s, a waiting page for 10 s, then well", asleep, 30))
    return [Case(endpoint, fault, put_in, seconds) for fault, put_in, seconds in rows]


CASES = [case for endpoint in ENDPOINTS for case in cases_of(endpoint)]
# bd 1.3 is tried with one row of each kind: not delivered, not started, and two that are unclear.
QUICK = ("refused", "308 to a place where all is well", "reset once it was sent", "the body is cut off")
QUICK_CASES = [case for case in CASES if case.endpoint == DISPATCH and case.fault in QUICK]


@dataclass(frozen=True)
class Outcome:
    """What a tick left behind."""

    bead: str
    shown: dict[str, object]
    exit: int
    stderr: str
    asked: dict[str, int]
    followed: int  # requests to where a redirect points
    swallowed: bool
    held: bool

    @property
    def status(self) -> str:
        return str(self.shown["status"])

    @property
    def notes(self) -> list[str]:
        return [line for line in str(self.shown.get("notes") or "").split("\n") if line]


def run(case: Case, place: Place, world: World, assignee: str) -> Outcome:
    """One tick with this fault. Each has its own assignee, and so its own queue and hold."""
    bead = place.create("a bead", f"--assignee={assignee}")
    world.wait_long(set(ENDPOINTS) - ({case.endpoint} if case.seconds else set()))
    case.put_in(world, case.endpoint)
    done = place.run("tick", **world.environ, BEADS_ASSIGNEE=assignee)
    seen = [*world.board.seen, *world.agent.seen]
    asked = {what: seen.count(what) for what in ENDPOINTS}
    shown, followed = place.show(bead), len(world.elsewhere.seen)
    held = place.hold(assignee).get("until", "") > time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return Outcome(bead, shown, done.returncode, done.stderr, asked, followed, world.swallowed, held)


def run_all(cases: list[Case], folder: Path, server: DoltServer) -> dict[Case, Outcome]:
    """Runs the cases side by side, the long ones first. A thread takes a free workspace, or makes one."""
    free: queue.SimpleQueue[Place] = queue.SimpleQueue()

    def one(case: Case) -> Outcome:
        number = CASES.index(case)
        try:
            place = free.get_nowait()
        except queue.Empty:
            place = make_place(folder / f"place{number}", server)
        world = World(folder / f"world{number}")
        try:
            return run(case, place, world, f"agent-{number}")
        finally:
            world.close()
            free.put(place)

    in_order = sorted(cases, key=lambda case: -case.seconds)
    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(in_order, pool.map(one, in_order, timeout=LONGEST_RUN), strict=True))


# The page.

INTRO = """\
# Faults on the wire

What becomes of a bead when a service does not answer as it should: one tick for each fault.
A bead is sent at most once, whatever comes back. It stays `in_progress` only if an agent may have it.
Otherwise it is `open`, and a note on it says why: fix the service that the note names.

- "the queue waits": nothing is dispatched for 2 minutes, longer each time the service fails again.
- A service that does not answer before the claim is asked again at the next tick. The outage is noted once.
- "many": while BeadBoard may be waking up, its status is asked again every second, for 45 seconds at most.
- Redirects are never followed.

This page is written by `make faults` from ticks on a real bd, a real Dolt and real sockets;
`tests/real/test_faults.py` fails if it is no longer true.
"""
HEADINGS = {
    STATUS: "`GET /api/agent-status` (BeadBoard, before the bead is claimed)",
    HEALTH: "`GET /health` (the agent service, before the bead is claimed)",
    DISPATCH: "`POST /api/agent-dispatch` (BeadBoard, once the bead is claimed)",
}
COLUMNS = ("fault", "the bead is then", "its last note", "requests that arrived", "exit", "on stderr")
SHORT = {STATUS: "status", HEALTH: "health", DISPATCH: "dispatch"}


def plain(text: str, bead: str) -> str:
    """The text without the parts that differ from run to run."""
    text = text.replace(bead, "<id>")
    text = re.sub(r"http://[\w.]+:\d+", "<url>", text)
    text = re.sub("Name or service not known|Temporary failure in name resolution", "<the resolver's error>", text)
    text = re.sub(r"\(tick [0-9a-f]{6}\)", "(tick <token>)", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "<time>", text)
    return re.sub(r"x{9,}", "<many x>", text)


def code(text: str) -> str:
    fenced = f"`` {text} ``" if "`" in text else f"`{text}`"
    return fenced.replace("|", "\\|")


def times(count: int) -> str:
    """Where the status is asked again, the count depends on how fast the machine is."""
    return str(count) if count < 2 else "many"


def row(case: Case, outcome: Outcome) -> str:
    note = plain(outcome.notes[-1], outcome.bead) if outcome.notes else ""
    stderr = plain(outcome.stderr.strip(), outcome.bead)
    arrived = ", ".join(f"{times(outcome.asked[what])} {SHORT[what]}" for what in ENDPOINTS if outcome.asked[what])
    cells = (
        case.fault,
        f"{outcome.status}{'; the queue waits' if outcome.held else ''}",
        code(note) if note else "none",
        arrived or "none",
        str(outcome.exit),
        code(stderr) if stderr else "nothing",
    )
    return f"| {' | '.join(cells)} |"


def page(row_of: Callable[[Case], str]) -> str:
    """The whole page, its rows from `row_of`."""
    parts = [INTRO]
    for endpoint in ENDPOINTS:
        lines = [row_of(case) for case in CASES if case.endpoint == endpoint]
        table = "\n".join([f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *lines])
        parts.append(f"## {HEADINGS[endpoint]}\n\n{table}\n")
    return "\n".join(parts)


def row_on_page(case: Case) -> str:
    """The row of this endpoint's table that is about this fault."""
    table = PAGE.read_text().partition(f"## {HEADINGS[case.endpoint]}\n")[2].partition("\n## ")[0]
    found = [line for line in table.splitlines() if line.startswith(f"| {case.fault} | ")]
    assert len(found) == 1, f"{len(found)} rows for {case.fault!r}: run `make faults`"
    return found[0]


def wrong(case: Case, outcome: Outcome) -> list[str]:
    """What is not as it must be in this row, whatever the page says."""
    sent, kept = outcome.asked[DISPATCH], outcome.status == "in_progress"
    must = {
        "a bead is sent at most once": sent <= 1 and outcome.asked[HEALTH] <= 1,
        "no redirect is followed": outcome.followed == 0,
        "no body is read without end": not outcome.swallowed,
        "nothing is sent while a service is at fault": sent == 0 or case.endpoint == DISPATCH or case.fault in ACCEPTED,
        "a bead is in progress only if an agent may have it": kept
        == (sent == 1 and case.fault not in PROVES_THAT_NOTHING_STARTED),
    }
    if case.fault in ACCEPTED:
        must["accepted"] = (outcome.exit, outcome.stderr, outcome.held) == (0, "", False)
        must["the note says so"] = outcome.notes[-1].startswith("dispatched: job=")
    elif case.fault == "busy":
        must["busy is no failure"] = (outcome.exit, outcome.stderr) == (0, "")
        must["the note says so"] = outcome.notes[1:] == (["returned: agent busy"] if case.endpoint == DISPATCH else [])
    else:
        # Asking again has no side effect, so only a failed dispatch holds the queue.
        must["it is a failure"] = (outcome.exit, outcome.held) == (1, case.endpoint == DISPATCH)
        must["in one line"] = len(outcome.stderr.splitlines()) == 1
        note = "dispatch unclear" if kept else "dispatch failed"
        must["the note says why"] = bool(outcome.notes) and outcome.notes[-1].startswith(note)
        must["once"] = len(outcome.notes) == (2 if case.endpoint == DISPATCH else 1)
    return [what for what, holds in must.items() if not holds]


ACCEPTED = ("none", "200, the job id a number", "refused for 20 s, a waiting page for 10 s, then well")
PROVES_THAT_NOTHING_STARTED = ("busy", "308 to a place where all is well")


def compare(outcomes: dict[Case, Outcome]) -> None:
    """Fails with everything that is not as it must be, or not as the page says."""
    odd = [
        f"{case.id}: not true: {what}: {outcome}" for case, outcome in outcomes.items() for what in wrong(case, outcome)
    ]
    rows = [(row(case, outcome), row_on_page(case)) for case, outcome in outcomes.items()]
    odd += [f"is   {found}\npage {said}" for found, said in rows if found != said]
    assert not odd, "\n".join(odd)


@pytest.mark.slow
def test_each_fault_is_as_the_page_says(tmp_path: Path, dolt_server: DoltServer) -> None:
    outcomes = run_all(CASES, tmp_path, dolt_server)
    if "WRITE_FAULTS" in os.environ:  # make faults
        PAGE.write_text(page(lambda case: row(case, outcomes[case])))
    compare(outcomes)


def test_one_fault_of_each_kind_is_as_the_page_says(tmp_path: Path, dolt_server: DoltServer) -> None:
    compare(run_all(QUICK_CASES, tmp_path, dolt_server))


def test_the_page_is_whole() -> None:
    assert page(row_on_page) == PAGE.read_text()
