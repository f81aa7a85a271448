"""The watcher as a process, on the real bd and a real Dolt."""

import html
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import pytest
from conftest import COMMAND, PATIENCE, WAITS, Board, DoltServer, Place, make_place, wait_for

TIME = re.compile(r"^\d\d:\d\d:\d\d (?=beads-)")  # of a watcher whose agents run here


@dataclass
class Watcher:
    """The process, and the lines that it has written so far, but for those about what is slow."""

    process: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)
    readers: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        for stream in (self.process.stdout, self.process.stderr):
            reader = threading.Thread(target=self._read, args=(stream,), daemon=True)
            reader.start()
            self.readers.append(reader)

    def _read(self, stream: Iterable[str]) -> None:
        lines = (TIME.sub("", line) for line in stream)
        self.lines.extend(line for line in lines if not WAITS.match(line))

    def wait_for(self, what: str) -> str:
        return wait_for(lambda: next((line for line in self.lines if re.search(what, line)), ""), context=self.lines)

    def port(self) -> int:
        """Where it serves, under `--listen 127.0.0.1:0`."""
        return int(self.wait_for("/healthz, /readyz and /metrics on ").rpartition(":")[2])

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Its exit status, once all that it wrote has been read."""
        status = self.process.wait(PATIENCE)
        for reader in self.readers:
            reader.join(PATIENCE)
        return status


@contextmanager
def ended(watcher: Watcher) -> Iterator[Watcher]:
    """A watcher that has begun; it ends with the test, and without a traceback."""
    try:
        watcher.wait_for("for beads assigned to ")
        yield watcher
    finally:
        try:
            watcher.end()
        finally:
            watcher.process.kill()  # one that hangs must not outlive its test
        assert not [line for line in watcher.lines if "Traceback" in line], watcher.lines


@contextmanager
def watching(place: Place, board: Board, *words: str, **environ: str) -> Iterator[Watcher]:
    services = {"BEADBOARD_URL": board.url, "AGENT_SERVICE_URL": board.url}
    with ended(Watcher(place.start("watch", *words, **services, **environ))) as watcher:
        yield watcher


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metrics(port: int) -> dict[str, float]:
    """Each sample by its name and labels, without `assignee`, which all have."""
    lines = [line.rpartition(" ") for line in get(port, "/metrics")[1].splitlines() if line[:1] != "#"]
    return {re.sub(r'assignee="agent",?', "", name).replace("{}", ""): float(value) for name, _, value in lines}


def served(port: int, name: str) -> float:
    return metrics(port)[f"beads_dispatch_{name}"]


@pytest.mark.parametrize("mode", ["on_server", pytest.param("embedded", marks=pytest.mark.slow)])
def test_an_assigned_bead_is_dispatched_and_one_without_criteria_gets_a_notice(
    request: pytest.FixtureRequest, board: Board, mode: str
) -> None:
    place: Place = request.getfixturevalue(mode)
    with watching(place, board) as watcher:
        bead, bare = place.create(), place.create("bare", acceptance=None)
        watcher.wait_for(f"beads-dispatcher: {bead}: dispatched: job=")
        watcher.wait_for(f"beads-dispatcher: {bare}: not dispatched: no acceptance criteria")
        assert watcher.end() == 0
    assert board.sent == [bead]
    assert place.show(bead)["status"] == "in_progress"
    assert place.notes(bare) == ["not dispatched: no acceptance criteria"]


def test_it_blocks_a_stalled_bead(on_server: Place, board: Board) -> None:
    bead = on_server.create()
    on_server.bd("update", bead, "--status=in_progress")
    on_server.age(bead, 31.5)
    with watching(on_server, board) as watcher:
        watcher.wait_for(f"beads-reaper: {bead}: reaper: no progress for 3[1-4]m — blocking")
    assert on_server.show(bead)["status"] == "blocked"


@pytest.mark.slow
def test_it_survives_an_outage_of_dolt_and_reports_it_once(
    tmp_path: Path, own_server: DoltServer, board: Board
) -> None:
    place = make_place(tmp_path / "watched", own_server)
    with watching(place, board, "--listen", "127.0.0.1:0") as watcher:
        port = watcher.port()
        wait_for(lambda: get(port, "/readyz")[0] == 200)
        own_server.stop()
        wait_for(lambda: get(port, "/readyz")[0] == 503)
        time.sleep(3)
        assert get(port, "/healthz") == (200, "the loop is running\n")
        own_server.start()
        watcher.wait_for("the database answers again")
        bead = place.create()
        watcher.wait_for(f"{bead}: dispatched")
        assert watcher.end() == 0
    reported = [line for line in watcher.lines if "asking until it answers" in line]
    assert len(reported) == len(set(reported)) >= 1  # each reason once
    assert board.sent == [bead]


@pytest.mark.slow
def test_it_finds_dolt_again_on_another_port(tmp_path: Path, own_server: DoltServer, board: Board) -> None:
    """As after each start of a server that bd manages: it writes the port beside metadata.json."""
    place = make_place(tmp_path / "watched", own_server)
    port_file = place.folder / ".beads" / "dolt-server.port"
    port_file.write_text(str(own_server.port))
    with watching(place, board) as watcher:
        own_server.stop()
        watcher.wait_for("asking until it answers")
        own_server.move()
        own_server.start()
        port_file.write_text(str(own_server.port))
        watcher.wait_for("the database answers again")
        bead = place.create()
        watcher.wait_for(f"{bead}: dispatched")


@pytest.mark.slow
def test_an_unreadable_bead_is_reported_once_and_slows_nothing(on_server: Place, board: Board) -> None:
    odd = on_server.create("odd")
    on_server.sql("ALTER TABLE issues MODIFY priority VARCHAR(20)")
    on_server.sql("UPDATE issues SET priority = 'high' WHERE id = %s", odd)
    with watching(on_server, board) as watcher:
        watcher.wait_for(f"left alone: bead {odd}: priority is 'high'")
        time.sleep(6)
    assert len([line for line in watcher.lines if "left alone" in line]) == 1


@pytest.mark.slow
def test_the_metrics_that_it_serves(on_server: Place, board: Board) -> None:
    bare, bead = on_server.create("bare", acceptance=None), on_server.create()
    waits = on_server.create("waits")
    on_server.bd("dep", "add", waits, bare)
    with watching(on_server, board, "--listen", "127.0.0.1:0") as watcher:
        port = watcher.port()
        watcher.wait_for(f"{bead}: dispatched")
        # All of this stays true: no bead becomes stale, and the agent service does not say how its jobs are.
        expected = {
            'beads_dispatch_beads{reason="no acceptance criteria",state="open"}': 1.0,
            'beads_dispatch_beads{reason="not ready",state="open"}': 1.0,
            'beads_dispatch_beads{reason="dispatched",state="in_progress"}': 1.0,
            "beads_dispatch_oldest_eligible_age_seconds": 0.0,
            'beads_dispatch_dispatches_total{outcome="accepted"}': 1.0,
            'beads_dispatch_dispatches_total{outcome="unclear"}': 0.0,
            "beads_dispatch_assign_to_accepted_seconds_count": 1.0,
            'beads_dispatch_sweeps_total{result="ok"}': 0.0,
            'beads_dispatch_sweeps_total{result="failed"}': 0.0,
            "beads_dispatch_blocked_total": 0.0,
            'beads_dispatch_hold_seconds{kind="service"}': 0.0,
        }
        wait_for(lambda: expected.items() <= metrics(port).items(), context=expected)
        wait_for(lambda: served(port, "seconds_since_good_look") < 3)
        assert served(port, f'build_info{{version="{version("beads-dispatch")}"}}') == 1
        assert get(port, "/nowhere")[0] == 404
        request = urllib.request.Request(f"http://127.0.0.1:{port}/readyz", method="HEAD")
        with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
            assert (reply.status, reply.read(), reply.headers["Server"]) == (200, b"", "beads-dispatch")
            assert reply.headers["Content-Length"] == str(len("the database answers\n"))
        board.dispatch = lambda task: (502, {"error": "Invalid token"})
        on_server.create("held")
        assert 60 < wait_for(lambda: served(port, 'hold_seconds{kind="service"}')) <= 120


def text_of(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<style>.*</style>|<[^>]*>", " ", page, flags=re.DOTALL)).split())


def test_its_page_says_what_status_and_explain_print(on_server: Place) -> None:
    bare = on_server.create("<script>alert('bare')</script>", acceptance=None)
    works = on_server.create("works")
    command = 'echo "<b>working</b> on $BEAD_ID"; sleep 300'
    with ended(Watcher(on_server.start("watch", "--command", command, "--listen", "0"))) as watcher:
        watcher.wait_for(f"{works}: dispatched: job=")
        watcher.wait_for(f"{bare}: not dispatched")
        log = wait_for(
            lambda: next(filter(re.compile("&lt;b&gt;working").search, [get(watcher.port(), f"/beads/{works}")[1]]), "")
        )
        code, page = get(watcher.port(), "/")
        assert (code, "<script" in page) == (200, False)
        lines = on_server.run("status").stdout.splitlines()
        shown = [*lines[:3], *(line for line in lines if line.startswith(bare))]
        told = on_server.run("explain", bare).stdout.splitlines()
        for line in shown:
            assert " ".join(re.sub(r"\b\d+[smh]\b", "", line).split()) in re.sub(r"\b\d+[smh] ", "", text_of(page))
        story = text_of(get(watcher.port(), f"/beads/{bare}")[1])
        assert [line for line in told if " ".join(re.sub(r"^(Why|Next):", r"\1", line).split()) not in story] == []
        assert f"<b>working</b> on {works}" in text_of(log)
        assert get(watcher.port(), "/beads/t-none")[0] == 404
        other = urllib.request.Request(f"http://127.0.0.1:{watcher.port()}/", headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="421"):
            urllib.request.urlopen(other, timeout=PATIENCE)


@pytest.mark.slow
def test_with_the_json_log_format_every_line_is_json(on_server: Place, board: Board) -> None:
    board.dispatch = lambda task: (400, {"error": "bad"})
    bead, old = on_server.create(), on_server.create("old")
    on_server.bd("update", bead, "--set-metadata=beads_dispatch.attempts=4")
    on_server.bd("update", old, "--status=in_progress")
    on_server.age(old, 31.5)
    with watching(on_server, board, LOG_FORMAT="json") as watcher:
        watcher.wait_for("given_up")
        watcher.wait_for('"blocked"')
    lines = [json.loads(line) for line in watcher.lines]
    always, known = {"time", "level", "logger", "event", "bead", "message"}, {"tick", "job", "http_status", "seconds"}
    assert all(always <= set(line) <= always | known for line in lines)
    of = {line["event"]: line for line in lines}
    assert (of["given_up"]["http_status"], of["given_up"]["tick"]) == (400, of["claimed"]["tick"])
    assert of["blocked"]["seconds"] >= 31.5 * 60
    warnings = {(line["event"], line["bead"]) for line in lines if line["level"] == "warning"}
    assert warnings == {("given_up", bead), ("blocked", old)}


@pytest.mark.parametrize(
    ("words", "environ", "code", "message"),
    [
        ((), {"BEADBOARD_URL": ""}, 2, "nothing says where agents run: use --agent claude"),
        ((), {"PATH": "/nowhere"}, 2, "bd is not on PATH"),
        (("--listen", ":8080"), {}, 2, "':8080' is neither PORT nor HOST:PORT"),
        (("--listen", "127.0.0.1:http"), {}, 2, "'http' is not a whole number"),
        (("--listen", "127.0.0.1:{taken}"), {}, 1, "cannot listen on 127.0.0.1:{taken}: "),
        (("--listen", "no.such.name.invalid:0"), {}, 1, "cannot listen on no.such.name.invalid:0: "),
    ],
)
def test_settings_with_which_it_does_not_start(
    embedded: Place, words: tuple[str, ...], environ: dict[str, str], code: int, message: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        services = {"BEADBOARD_URL": "http://127.0.0.1:1", **environ}
        done = embedded.run("watch", *(word.replace("{taken}", port) for word in words), **services)
    assert done.returncode == code
    assert message.replace("{taken}", port) in done.stderr
    assert len(done.stderr.splitlines()) == (2 if "usage" in done.stderr else 1)


COUNTED = """
import os, sys
def hook(event, args):
    if event in ("socket.connect", "subprocess.Popen", "os.fork", "os.posix_spawn"):
        print("AUDIT", event, args[1] if event == "socket.connect" else "", file=sys.stderr, flush=True)
    elif event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        print("AUDIT", event, args[0], file=sys.stderr, flush=True)
sys.addaudithook(hook)
from beads_dispatch.commands.cli import main
sys.exit(main())
"""


def test_an_idle_watcher_costs_one_connection(on_server: Place, board: Board) -> None:
    on_server.create("bare", acceptance=None)
    services = {"BEADBOARD_URL": board.url, "AGENT_SERVICE_URL": board.url, "BEADS_METADATA": str(on_server.metadata)}
    assert on_server.run("tick", **services).returncode == 0
    process = subprocess.Popen(
        [sys.executable, "-B", "-c", COUNTED, "watch"], env={**on_server.environ, **services},
        cwd=on_server.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    watcher = Watcher(process)
    watcher.wait_for("AUDIT socket.connect")
    time.sleep(6)
    assert watcher.end() == 0
    assert on_server.server
    audited = [line for line in watcher.lines if line.startswith("AUDIT")]
    connected = f"AUDIT socket.connect ('127.0.0.1', {on_server.server.port})\n"
    began, rest = audited[: audited.index(connected)], audited[audited.index(connected) :]
    assert rest == [connected]
    assert sum("subprocess.Popen" in line for line in began) == 1  # `bd version`, once for each process
    assert board.asked == []


@pytest.mark.slow
def test_beside_ticks_and_another_watcher_no_bead_is_sent_twice(on_server: Place, board: Board) -> None:
    services = {"BEADBOARD_URL": board.url, "AGENT_SERVICE_URL": board.url, "BEADS_DISPATCH_PER_TICK": "5"}
    with watching(on_server, board, BEADS_DISPATCH_PER_TICK="5"), watching(on_server, board):
        beads = on_server.create_many(12)
        until = time.monotonic() + 300
        while len(board.sent) < len(beads):
            assert time.monotonic() < until, board.sent
            for one in [on_server.start("tick", **services) for _ in range(4)]:
                _, err = one.communicate(timeout=PATIENCE)
                assert (one.returncode, err) == (0, "")
        time.sleep(2)
    assert sorted(board.sent) == sorted(beads)
    states = on_server.sql("SELECT status, notes FROM issues")
    assert {row["status"] for row in states} == {"in_progress"}
    assert all(row["notes"].count("dispatched: job=") == 1 for row in states)


def test_sigterm_lets_the_current_step_end(on_server: Place, board: Board) -> None:
    def slow(task: str) -> tuple[int, object]:
        watcher.process.send_signal(signal.SIGTERM)
        time.sleep(2)
        return 200, {"job_id": "late"}

    board.dispatch = slow
    with watching(on_server, board) as watcher:
        bead = on_server.create()  # not earlier: `slow` needs to know the watcher
        assert watcher.wait() == 0
    assert on_server.notes(bead)[-1] == "dispatched: job=late"


def test_help_names_its_option(embedded: Place) -> None:
    done = subprocess.run([*COMMAND, "watch", "--help"], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "--listen PORT" in done.stdout
