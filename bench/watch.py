"""`make bench`: what the watcher costs while it waits, how fast it reacts, and whether its memory grows.

On the real bd and a real Dolt. Prints one line a measurement; the README quotes them.
"""

import argparse
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from conftest import Board, DoltServer, Place, make_place

from beads_dispatch import dispatcher, reaper, watcher
from beads_dispatch.adapters import workspace
from beads_dispatch.adapters.bd import Bd
from beads_dispatch.adapters.bd_process import BdProcess
from beads_dispatch.adapters.clock import SYSTEM
from beads_dispatch.adapters.queue import open_queue
from beads_dispatch.log import Log

# The watcher, with a line for each process that it starts, connection that it opens and file that it opens to write.
AUDITED = """
import os, sys
def hook(event, args):
    writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or event in ("socket.connect", "subprocess.Popen"):
        os.write(2, f"AUDIT {event}\\n".encode())
sys.addaudithook(hook)
from beads_dispatch.cli import main
sys.exit(main())
"""


SETTLE_SECONDS = 30  # Dolt has counted what was written; the watcher has its first snapshot


def cpu_seconds(pid: int) -> float:
    """Of all its threads, in nanoseconds as the scheduler counts them."""
    return sum(int(file.read_text().split()[0]) for file in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def cpu_an_hour(pids: list[int], minutes: float) -> list[float]:
    before = [cpu_seconds(pid) for pid in pids]
    time.sleep(60 * minutes)
    return [(cpu_seconds(pid) - was) * 60 / minutes for pid, was in zip(pids, before, strict=True)]


def rss_mib(pid: int | str) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def fill(place: Place, count: int) -> None:
    """Adds this many beads by SQL: mostly closed ones of others, and ten of the agent's that wait for a person."""
    first = place.create("template", acceptance=None)
    columns = [row["Field"] for row in place.sql("SHOW COLUMNS FROM issues") if "GENERATED" not in str(row["Extra"])]
    others = ", ".join(f"`{name}`" for name in columns if name not in ("id", "status", "assignee", "notes"))
    made = 1
    while made < count:
        step = min(made, count - made, 20_000)
        place.sql(
            f"INSERT INTO issues (id, status, assignee, notes, {others}) "
            f"SELECT CONCAT('f-', ROW_NUMBER() OVER (ORDER BY id) + {made}), 'closed', 'somebody', '', {others} "
            f"FROM issues LIMIT {step}"
        )
        made += step
    notice = "status = 'open', assignee = 'agent', notes = 'not dispatched: no acceptance criteria'"
    place.sql(f"UPDATE issues SET {notice} WHERE id = '{first}' OR id IN ('f-2','f-3','f-4','f-5')")
    place.sql("UPDATE issues SET status = 'blocked', assignee = 'agent' WHERE id IN ('f-6','f-7','f-8','f-9','f-10')")


@contextmanager
def parts() -> Iterator[tuple[Place, Board]]:
    with tempfile.TemporaryDirectory(prefix="beads-bench-") as name:
        (Path(name) / "dolt").mkdir()
        server, board = DoltServer(Path(name) / "dolt"), Board()
        server.start()
        web = board.serve()
        try:
            yield make_place(Path(name) / "place", server), board
        finally:
            web.shutdown()
            server.stop()


def start(place: Place, board: Board) -> "subprocess.Popen[str]":
    services = {"BEADBOARD_URL": board.url, "AGENT_SERVICE_URL": board.url}
    return subprocess.Popen(
        [sys.executable, "-B", "-c", AUDITED, "watch"], env={**place.environ, **services}, cwd=place.folder,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def idle(count: int, minutes: float, ready: threading.Barrier) -> float:
    """CPU seconds an hour that the watcher costs: its own, and what Dolt uses more than without it."""
    with parts() as (place, board):
        fill(place, count)
        assert place.server
        place.server.stop(signal.SIGTERM)  # it would take minutes to free the memory that these writes took
        place.server.start()
        assert place.server.process
        dolt = place.server.process.pid
        ready.wait()
        time.sleep(SETTLE_SECONDS)
        (alone,) = cpu_an_hour([dolt], minutes)
        watcher = start(place, board)
        time.sleep(SETTLE_SECONDS)
        client, server = cpu_an_hour([watcher.pid, dolt], minutes)
        rss = rss_mib(watcher.pid)
        watcher.send_signal(signal.SIGTERM)
        _, err = watcher.communicate(timeout=30)
    audited = {what: err.count(f"AUDIT {what}\n") for what in ("subprocess.Popen", "socket.connect", "open")}
    print(
        f"idle, {count} beads, {minutes:g} min, an hour: client {client:.2f} s of CPU, Dolt {server:.2f} s "
        f"(without a watcher {alone:.2f}); "
        f"RSS {rss:.1f} MiB; {audited['subprocess.Popen']} processes, {audited['socket.connect']} connections, "
        f"{audited['open']} files opened to write, {len(board.asked)} HTTP requests",
        flush=True,
    )
    return client + server - alone


def latency(beads: int, apart: float) -> None:
    """From the moment `bd assign` has returned until BeadBoard accepts."""
    with parts() as (place, board):
        watcher, accepted = start(place, board), {}

        def dispatch(task: str) -> tuple[int, object]:
            accepted[task] = time.monotonic()
            return 200, {"job_id": "j"}

        board.dispatch, waited = dispatch, []
        for number in range(beads):
            bead = str(place.bd("create", f"bead {number}", "--acceptance=it works")["id"])
            place.bd("assign", bead, "agent")
            assigned = time.monotonic()
            while bead not in accepted and time.monotonic() < assigned + 60:
                time.sleep(0.01)
            waited.append(accepted[bead] - assigned)
            time.sleep(max(0.0, apart + number % 10 / 10 - waited[-1]))  # at all moments of a second
        watcher.send_signal(signal.SIGTERM)
        watcher.communicate(timeout=30)
    assert len(board.sent) == len(set(board.sent)) == beads
    p50, p95 = statistics.median(waited), statistics.quantiles(waited, n=20)[-1]
    print(f"assign to accepted, {beads} beads: median {p50:.2f} s, p95 {p95:.2f} s, longest {max(waited):.2f} s")


def soak(changes: int) -> None:
    """Turns without a pause between them, each after a change, in this very process."""
    with parts() as (place, _):
        place.create("bare", acceptance=None)
        place.sql("UPDATE issues SET notes = 'not dispatched: no acceptance criteria'")
        where = workspace.find(place.environ, place.folder)
        bd = Bd(BdProcess(where, place.environ), "bench", time.sleep)
        other = open_queue(where, bd, "agent", SYSTEM.now)
        jobs = watcher.Jobs(
            open_queue=lambda: open_queue(where, bd, "agent", SYSTEM.now),
            tick=dispatcher.Report,
            sweep=lambda gone: reaper.Report(),
            threshold=timedelta(minutes=30),
            clock=SYSTEM,
            jitter=random.uniform,
            log=Log("bench", SYSTEM.now),
        )
        work, write, snapshots = (
            watcher._Watcher(jobs, watcher._Database(jobs, other), watcher._Sweeping(jobs)),
            Writer(place),
            0,
        )
        begun = time.monotonic()
        for number in range(changes):
            write.change(number)
            snapshot = work.snapshot
            work.turn()
            snapshots += work.snapshot is not snapshot
            if number == 1000:
                first = rss_mib("self")
            if number % max(1, changes // 10) == 0 and number:
                print(
                    f"  {number} changes, {time.monotonic() - begun:.0f} s, RSS {rss_mib('self'):.1f} MiB", flush=True
                )
        print(
            f"soak: {changes} changes, {snapshots} snapshots: "
            f"RSS {first:.1f} MiB after 1,000, {rss_mib('self'):.1f} at the end"
        )


class Writer:
    """Another client, with one connection of its own."""

    def __init__(self, place: Place) -> None:
        import pymysql

        assert place.server
        self._connection = pymysql.connect(
            host="127.0.0.1", port=place.server.port, user="root", database=place.database, autocommit=True
        )

    def change(self, number: int) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute("UPDATE issues SET title = %s", (f"title {number}",))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["idle", "latency", "soak"], help="idle, latency, soak")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--changes", type=int, default=100_000)
    args = parser.parse_args()
    threading.excepthook = lambda *_: None  # a client that the watcher has left
    if "idle" in args.what:
        with ThreadPoolExecutor() as both:  # side by side: what the machine does meanwhile, it does to both
            ready = threading.Barrier(2, timeout=300)
            small, large = both.map(lambda count: idle(count, args.minutes, ready), (100, 100_000))
        print(f"idle, from 100 to 100,000 beads: {large / small:.2f} times the CPU", flush=True)
    if "latency" in args.what:
        latency(50, 3.0)
    if "soak" in args.what:
        soak(args.changes)


if __name__ == "__main__":
    main()
