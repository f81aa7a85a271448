"""Faults at every point of a tick and a sweep: the list of points, and how to make one happen."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pymysql
from conftest import Board, Place, Reply, bd_deadline, is_running, tool, wait_for

BD, HTTP = ("before", "during", "after"), ("asked", "answered")

ACCEPTED: Reply = (200, {"job_id": "j"})
UNCLEAR: Reply = (502, {"error": "fetch failed"})
# Answers after which an agent may have started.
MAY_HAVE_STARTED = (ACCEPTED, UNCLEAR)


@dataclass(frozen=True)
class Flow:
    """One path through a tick or a sweep: its calls of bd and its requests, in order, for each of bd's modes."""

    name: str
    on_server: str
    embedded: str = ""
    reply: Reply = ACCEPTED
    command: str = "tick"


ASK = "ready /health /status"
FLOWS = (
    Flow("accepted", f"{ASK} update /post update", f"list {ASK} show update /post show update show"),
    Flow("unclear", f"{ASK} update /post update", reply=UNCLEAR),
    Flow("busy", f"{ASK} update /post update", f"list {ASK} show update /post show update", (409, {})),
    Flow("not-started", f"{ASK} update /post update", reply=(502, {"error": "Invalid token"})),
    Flow("at-fault", f"{ASK} update /post update", reply=(400, {"error": "bad"})),
    Flow("unhealthy", "ready /health update"),
    Flow("needs-notice", "update", "list update"),
    Flow("sweep", "show update", "list show update", command="sweep"),
)

SIGNALS = ("KILL", "TERM", "KILL-with-bd")
DOLT_FAULTS = ("dolt-restarts", "dolt-freezes", "lock-cut")


@dataclass(frozen=True)
class Point:
    flow: Flow
    mode: str
    step: int
    phase: str
    fault: str

    @property
    def name(self) -> str:
        steps = (self.flow.on_server if self.mode == "server" else self.flow.embedded).split()
        return f"{self.mode}-{self.flow.name}-{self.step}{steps[self.step]}-{self.phase}-{self.fault}"


def every_point() -> list[Point]:
    return [
        Point(flow, mode, step, phase, fault)
        for mode in ("server", "embedded")
        for flow in FLOWS
        for step, word in enumerate((flow.on_server if mode == "server" else flow.embedded).split())
        for phase in (HTTP if word.startswith("/") else BD)
        for fault in (*SIGNALS, *(DOLT_FAULTS if mode == "server" else ()))
        if fault != "KILL-with-bd" or phase == "during"
    ]


def sample(count: int, seed: int = 20261124) -> list[Point]:
    """Return so many of all points. Each is as unlike those before it as can be, so that a few show every fault."""
    left, chosen, seen = every_point(), list[Point](), Counter[object]()
    random.Random(seed).shuffle(left)
    for _ in range(count):
        point = min(left, key=lambda one: sum(seen[part] for part in parts(one)))
        left.remove(point)
        chosen.append(point)
        seen.update(parts(point))
    return chosen


def parts(point: Point) -> tuple[object, ...]:
    flow = point.flow.name
    return flow, point.fault, point.mode, (flow, point.mode), (point.phase, point.fault)


# A bd that reports before, during and after each call, and waits each time: the fault may strike there.
WRAPPER = """#!{python} -IS
import os, socket, subprocess, sys
if sys.argv[1] in ("where", "dolt", "version"):  # where the database is, and whose: asked before anything is done
    os.execv("{bd}", ["bd", *sys.argv[1:]])
def at(phase):
    with socket.create_connection(("127.0.0.1", {port})) as one:
        one.sendall(f"{{phase}} {{os.getpid()}}\\n".encode())
        one.makefile().readline()
at("before")
bd = subprocess.Popen(["{bd}", *sys.argv[1:]])
at("during")
code = bd.wait()
at("after")
sys.exit(code)
"""

# Deadlines so short that a freeze outlasts them all.
HASTY = f"{bd_deadline(15)}\nfrom beads_dispatch.adapters import dolt; dolt.ANSWER_SECONDS = 10"
FROZEN_SECONDS = 30.0


@dataclass
class Fault:
    """Counts the phases that pass, and strikes once, at its point."""

    point: Point
    place: Place
    process: "subprocess.Popen[str] | None" = None
    groups: list[int] = field(default_factory=list)  # of the calls of bd
    step: int = -1
    struck: bool = False
    ends: list[Callable[[], None]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    mine: threading.local = field(default_factory=threading.local)

    def passing(self, phase: str, bd_group: int = 0) -> None:
        with self.lock:
            if phase in ("before", "asked"):
                self.step += 1
                # The client has its answer before "answered" passes here, and may have begun the next step by then.
                self.mine.step = self.step
            self.groups.append(bd_group)
            if self.struck or (self.mine.step, phase) != (self.point.step, self.point.phase):
                return
            self.struck = True
            self.strike(bd_group)  # under the lock, so other phases and the end of the run wait for it

    def strike(self, bd_group: int) -> None:
        assert self.process
        match self.point.fault:
            case "KILL":
                self.process.kill()
            case "TERM":
                self.process.terminate()
            case "KILL-with-bd":  # as when a container is killed while bd works
                time.sleep(random.Random(self.point.name).uniform(0, 0.2))
                self.process.kill()
                with suppress(ProcessLookupError):
                    os.killpg(bd_group, signal.SIGKILL)
            case "lock-cut":
                cut(self.place)
            case "dolt-restarts":
                assert self.place.server
                self.place.server.stop()
                self.place.server.start()
            case "dolt-freezes":
                self.freeze()

    def freeze(self) -> None:
        assert self.place.server
        assert self.place.server.process
        dolt = self.place.server.process
        dolt.send_signal(signal.SIGSTOP)
        thaw = threading.Timer(FROZEN_SECONDS, dolt.send_signal, (signal.SIGCONT,))
        thaw.start()
        self.ends.append(thaw.join)

    def serve(self) -> int:
        """The port that the wrapped bd reports to. It gets its answer once the fault has struck."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.ends.append(listener.close)

        def loop() -> None:
            while True:
                try:
                    one, _ = listener.accept()
                except OSError:
                    return
                with one, suppress(OSError):
                    phase, group = one.makefile().readline().split()
                    self.passing(phase, int(group))
                    one.sendall(b"go on\n")

        threading.Thread(target=loop, daemon=True).start()
        return int(listener.getsockname()[1])

    def end(self) -> None:
        with self.lock:
            for one in self.ends:
                one()

    def wait_for_orphans(self) -> None:
        """Waits for the calls of bd that a killed tick has left running."""
        wait_for(lambda: not any(group and is_running(group) for group in self.groups))


def cut(place: Place) -> None:
    """Kills every connection to the workspace's database, including the one that holds the lock."""
    assert place.server
    connection = pymysql.connect(host="127.0.0.1", port=place.server.port, user="root", autocommit=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", (place.database,))
        for (one,) in cursor.fetchall():
            with suppress(pymysql.Error):  # it has ended by itself
                cursor.execute(f"KILL {int(one)}")
    connection.close()


def run(point: Point, place: Place, board: Board, environ: dict[str, str]) -> tuple[Fault, str]:
    """Runs the flow with its fault. Returns the fault, and the process's stderr."""
    fault = Fault(point, place)
    wrapper = WRAPPER.format(python=sys.executable, port=fault.serve(), bd=tool("bd"))
    path = place.wrap_bd(wrapper)
    board.passing = fault.passing
    with fault.lock:  # nothing passes before the process is known
        hasty = place.changed(HASTY) if point.fault == "dolt-freezes" else place
        fault.process = hasty.start(point.flow.command, **environ, PATH=path)
    try:
        _, err = fault.process.communicate(timeout=240)
    finally:
        fault.process.kill()
        fault.end()
        board.passing = lambda phase: None
    return fault, err
