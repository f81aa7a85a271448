"""Messages to a person, against a real receiver: what they say, and that a failing one changes nothing else."""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import PATIENCE, Board, Place, held_port
from test_run_ends import job, result

from beads_dispatch.adapters import notify

SECRET = "hunter2"  # a part of every URL; it must be in no output


@dataclass
class Receiver:
    """Takes what Apprise POSTs under `json://`."""

    port: int = 0
    messages: list[str] = field(default_factory=list)
    answer: Callable[[], int] = lambda: 200

    def take(self, path: str, body: bytes) -> int:
        assert path == f"/{SECRET}"
        known = json.loads(body)
        assert known["title"] == "beads-dispatch"
        self.messages += known["message"].splitlines()
        return self.answer()

    @property
    def url(self) -> str:
        """Apprise itself would wait for 4 s."""
        return f"json://127.0.0.1:{self.port}/{SECRET}?rto={PATIENCE:g}&cto={PATIENCE:g}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    import threading

    one = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(one.take(self.path, body))
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    one.port = server.server_port
    yield one
    server.shutdown()
    server.server_close()


# Apprise may take longer than its 5 s to load on a busy machine.
PATIENT = f"from beads_dispatch.adapters import notify; notify.send.__defaults__ = ({PATIENCE},)"
PATIENT += f"; notify.CHECK_SECONDS = {PATIENCE}"


def run(place: Place, command: str, board: Board, urls: str, change: str = PATIENT) -> tuple[int, str]:
    """Its exit status and all that it wrote."""
    services = {"BEADBOARD_URL": board.url, "AGENT_SERVICE_URL": board.url}
    done = place.changed(change).run(command, **services, BEADS_NOTIFY_URLS=urls)
    assert SECRET not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def stalled(place: Place, title: str = "a bead") -> str:
    bead = place.create(title)
    place.bd("update", bead, "--status=in_progress")
    place.age(bead, 31.5)
    return bead


def test_a_blocked_bead_and_one_whose_run_ended(on_server: Place, board: Board, receiver: Receiver) -> None:
    sent = on_server.create("sent")
    assert run(on_server, "tick", board, receiver.url)[0] == 0
    assert receiver.messages == []
    bead = stalled(on_server, "a  bead\twith " + "x" * 200)
    board.jobs[f"job-{sent}"] = job("failed", exit_code=1, output=[], stderr="boom.\n")
    code, out = run(on_server, "sweep", board, receiver.url)
    assert (code, "sent to BEADS_NOTIFY_URLS: 2 notice(s)" in out) == (0, True)
    look = "Look: beads-dispatch explain"
    assert sorted(receiver.messages) == sorted([
        f'{bead} blocked: "a bead with {"x" * 67}…": {on_server.notes(bead)[-1]}. {look} {bead}',
        f'{sent} blocked: "sent": agent ended: failed (exit 1) after 3m 40s: boom. {look} {sent}',
    ])  # fmt: skip
    assert run(on_server, "sweep", board, receiver.url)[0] == 0
    assert len(receiver.messages) == 2


def test_a_question_is_one_message_with_its_words(on_server: Place, board: Board, receiver: Receiver) -> None:
    bead = on_server.create("sent")
    assert run(on_server, "tick", board, receiver.url)[0] == 0
    on_server.bd("update", bead, "--status=blocked", "--append-notes=which port?")
    for _ in range(2):
        assert run(on_server, "sweep", board, receiver.url)[0] == 0
    assert receiver.messages == [f'{bead} asks: "sent": which port?. Look: beads-dispatch explain {bead}']
    assert "1 need you" in on_server.run("status").stdout
    assert f"bd update {bead} -s open --append-notes 'your answer'" in on_server.run("explain", bead).stdout


def test_no_module_of_the_project_is_imported(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("apprise", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    assert notify.send(receiver.url, "a message", os.environ, 60) == ""
    assert receiver.messages == ["a message"]


def test_an_unclear_bead_and_one_that_is_given_up(on_server: Place, board: Board, receiver: Receiver) -> None:
    bead = on_server.create()
    on_server.bd("update", bead, "--set-metadata=beads_dispatch.attempts=4")
    board.dispatch = lambda task: (400, {"error": "bad"})
    assert run(on_server, "tick", board, receiver.url)[0] == 1
    other = on_server.create()
    board.dispatch = lambda task: (502, {"error": "fetch failed"})
    assert run(on_server, "tick", board, receiver.url)[0] == 1
    assert [message.partition(". Look")[0] for message in receiver.messages] == [
        f'{bead} given up: "a bead": dispatch failed HTTP 400: bad (attempt 5 of 5)',
        f'{other} unclear: "a bead": dispatch unclear HTTP 502: fetch failed',
    ]


def test_a_usage_limit_is_reported_once(on_server: Place, board: Board, receiver: Receiver) -> None:
    beads = [on_server.create(title) for title in ("one", "two")]
    for _ in beads:
        run(on_server, "tick", board, receiver.url)
    board.job = job("failed", exit_code=1, output=result("You've hit your limit · resets in 2h", is_error=True))
    assert run(on_server, "sweep", board, receiver.url)[0] == 0
    (message,) = receiver.messages
    assert message.split(" ")[0] in beads
    assert re.search(
        r"could not be worked on, nothing is dispatched until 20.*: agent ended: usage limit, res", message
    )


def test_a_bead_that_is_out_of_runs(on_server: Place, board: Board, receiver: Receiver) -> None:
    bead = on_server.create()
    on_server.bd("update", bead, "--set-metadata=beads_dispatch.runs=5")
    assert run(on_server, "tick", board, receiver.url)[0] == 0
    assert receiver.messages[0].startswith(f'{bead} blocked: "a bead": not dispatched: 5 runs, and it is open again; ')


def test_many_notices_are_one_short_message(on_server: Place, board: Board, receiver: Receiver) -> None:
    beads = on_server.create_many(22)
    on_server.sql("UPDATE issues SET metadata = '{\"beads_dispatch.runs\": 5}'")
    run(on_server, "tick", board, receiver.url)
    assert {message.split(" ")[0] for message in receiver.messages[:-1]} < beads
    assert receiver.messages[20:] == ["and 2 more. Look: beads-dispatch status"]


FAULTS: dict[str, str] = {
    "refused": "at least one service did not take it",
    "500": "at least one service did not take it",
    "silent": "not done within 5 s",
    "no such service": "at least one of the URLs is none that Apprise knows",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_message_changes_neither_record_nor_exit_status(
    on_server: Place, board: Board, receiver: Receiver, fault: str
) -> None:
    bead = stalled(on_server)
    with closing(held_port()) as holder:
        urls = {
            "refused": f"json://127.0.0.1:{holder.getsockname()[1]}/{SECRET}",
            "no such service": f"nowhere://user:{SECRET}@host",
        }.get(fault, receiver.url)
        if fault == "500":
            receiver.answer = lambda: 500
        if fault == "silent":  # Apprise itself would wait for longer than this test does
            holder.listen()
            urls = f"json://127.0.0.1:{holder.getsockname()[1]}/{SECRET}?rto=600"
        code, out = run(on_server, "sweep", board, urls, "" if fault == "silent" else PATIENT)
    assert code == 0
    assert on_server.show(bead)["status"] == "blocked"
    assert f"a message to BEADS_NOTIFY_URLS: {FAULTS[fault]}\n" in out


def test_the_lock_is_free_while_a_message_is_sent(on_server: Place, board: Board, receiver: Receiver) -> None:
    stalled(on_server)
    others: list[str] = []

    def answer() -> int:
        with suppress(AssertionError):
            others.append(on_server.run("sweep", BEADBOARD_URL=board.url).stdout)
        return 200

    receiver.answer = answer
    assert run(on_server, "sweep", board, receiver.url)[0] == 0
    assert "another sweep is running" not in others[0]
    assert "nothing to do" in others[0]


def test_a_watcher_checks_the_urls_at_its_start_and_sends_from_its_own_process(
    on_server: Place, board: Board, receiver: Receiver
) -> None:
    code, out = run(on_server, "watch", board, f"nowhere://user:{SECRET}@host")
    assert code == 2
    assert out == f"beads-watcher: BEADS_NOTIFY_URLS: {FAULTS['no such service']}\n"
    from test_watcher import watching

    with watching(on_server.changed(PATIENT), board, BEADS_NOTIFY_URLS=receiver.url) as watcher:
        bead = stalled(on_server)
        watcher.wait_for("sent to BEADS_NOTIFY_URLS: 1 notice")
    assert receiver.messages[0].startswith(f'{bead} blocked: "a bead": ')
    assert not [line for line in watcher.lines if SECRET in line]
