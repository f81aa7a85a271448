"""Odd beads, odd input, full disks, wrong clocks and several writers at once."""

import json
import os
import random
import re
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path

import pymysql
import pytest
from conftest import COMMAND, PATIENCE, Board, Place
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beads_dispatch.adapters import location
from beads_dispatch.adapters.bd.process import BdProcess
from beads_dispatch.adapters.bd.verbs import Bd
from beads_dispatch.adapters.dolt import Dolt


def services(board: Board, **more: str) -> dict[str, str]:
    return {"BEADBOARD_URL": board.url, "AGENT_SERVICE_URL": board.url, **more}


# --- odd beads


ODD_MARKS = (
    '{"beads_dispatch.retry_after": "9999-12-31T23:59:59Z", "beads_dispatch.attempts": -1}',
    '{"beads_dispatch.claim": "soon", "beads_dispatch.job": {"a": []}, "beads_dispatch.runs": "many"}',
    '{"beads_dispatch.failed_at": [1], "beads_dispatch.runs": 1e99, "beads_dispatch.limits": null}',
)


def test_invalid_marks_are_ignored(on_server: Place, board: Board) -> None:
    beads = [on_server.create("odd", f"--metadata={metadata}") for metadata in ODD_MARKS]
    done = on_server.run("tick", **services(board, BEADS_DISPATCH_PER_TICK="3"))
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(board.sent) == sorted(beads)


def test_a_bead_whose_metadata_is_no_object_is_not_dispatched(on_server: Place, board: Board) -> None:
    odd = [on_server.create("odd", f"--metadata={metadata}", "-p", "0") for metadata in ("[1]", '"text"')]
    good = on_server.create("good")
    for _ in range(2):
        assert on_server.run("tick", **services(board)).returncode == 0
    assert board.sent == [good]
    for bead in odd:
        assert on_server.notes(bead) == ["not dispatched: its metadata is not a JSON object"]


@pytest.mark.slow
def test_beads_that_bd_can_no_longer_write(on_server: Place, board: Board) -> None:
    """35 KB of description and 33 KB of notes: bd 1.0 fails on every update; only a comment fits."""
    words = f"--description={'d' * 35_000}"
    head, stuck = on_server.create("head", words, "-p", "0"), on_server.create("stuck", words)
    on_server.bd("update", stuck, "--status=in_progress")
    for bead in (head, stuck):
        on_server.bd("update", bead, f"--append-notes={'n' * 33_000}")
    on_server.age(stuck, 31)
    small = on_server.create("small", "-p", "4")
    for _ in range(2):
        assert on_server.run("tick", **services(board)).returncode == 0
    assert board.sent == [small]
    on_server.run("sweep")
    again = on_server.run("sweep")
    assert (again.returncode, again.stderr) == (0, ""), "our own comment counts as progress"
    (comment,) = on_server.show(head)["comments"]
    assert comment["text"].startswith("not dispatched: too large")
    (comment,) = on_server.show(stuck)["comments"]
    assert re.match("reaper: too large to be blocked .no progress for 3[1-4]m", comment["text"])


@pytest.mark.parametrize("size", [45_000, 60_500])
def test_notes_near_the_end_of_their_column(on_server: Place, board: Board, size: int) -> None:
    """Optional lines are left out. A block and its line are still written."""
    bead = on_server.create()
    on_server.bd("update", bead, "--status=in_progress", f"--append-notes={'n' * size}")
    on_server.age(bead, 31.5)
    assert on_server.run("sweep").returncode == 0
    shown = on_server.show(bead)
    assert (shown["status"], shown["notes"].split("\n")[-1][:22]) == ("blocked", "reaper: no progress fo")


TEXTS = [
    "\x1b[31mred\x1b[0m\a",
    "🐝" * 50,
    "a\nb\tc",
    "'; DROP TABLE issues; --",
    "$(touch gone)`touch gone`",
    "x" * 10_000,
]


def test_any_title_and_any_body_is_only_text(on_server: Place, board: Board) -> None:
    bodies = {on_server.create(text[:450], acceptance=text): text for text in TEXTS}
    board.dispatch = lambda task: (400, bodies[task])
    each = services(board, BEADS_DISPATCH_PER_TICK=str(len(TEXTS)))
    outputs = [on_server.run("tick", "--dry-run", **each), on_server.run("tick", **each), on_server.run("status")]
    for done in outputs:
        assert "Traceback" not in done.stderr
        assert not re.search(r"[^\S\n ]|[\x00-\x09\x0b-\x1f]", done.stdout + done.stderr)
    assert sorted(board.sent) == sorted(bodies)
    for bead in bodies:
        line = on_server.notes(bead)[-1]
        assert line.startswith("dispatch failed HTTP 400: ")
        assert line.endswith("(attempt 1 of 5)")
        assert len(line) < 260
    assert not (on_server.folder / "gone").exists()


def test_an_id_that_looks_like_an_option(on_server: Place, board: Board) -> None:
    on_server.create()
    assert on_server.server
    connection = pymysql.connect(
        host="127.0.0.1", port=on_server.server.port, user="root", database=on_server.database, autocommit=True
    )
    with connection.cursor() as cursor:
        cursor.execute("SET FOREIGN_KEY_CHECKS = 0")
        cursor.execute("UPDATE issues SET id = '--help'")
    connection.close()
    done = on_server.run("tick", **services(board))
    assert (done.returncode, done.stderr) == (0, "")
    assert board.sent == ["--help"]
    assert on_server.sql("SELECT status FROM issues") == [{"status": "in_progress"}]


@pytest.mark.parametrize("assignee", ['"; DROP TABLE issues; --', "-x", "o'neil ü🐝 % \\"])
def test_an_assignee_is_only_a_name(on_server: Place, board: Board, assignee: str) -> None:
    bead = str(on_server.bd("create", "a bead", f"--assignee={assignee}", "--acceptance=it works")["id"])
    on_server.create("another's")
    done = on_server.run("tick", **services(board, BEADS_ASSIGNEE=assignee))
    assert (done.returncode, done.stderr) == (0, "")
    assert board.sent == [bead]
    assert on_server.run("status", BEADS_ASSIGNEE=assignee).stdout.splitlines()[-1].split()[0] == bead


@pytest.mark.slow
def test_no_text_becomes_code(on_server: Place) -> None:
    where = location.find(on_server.environ, on_server.folder)
    assert where.server
    bd, dolt, bead_id = (
        Bd(BdProcess(where), "tester", time.sleep),
        Dolt(where.server),
        on_server.create(),
    )
    text = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=60)

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(text | st.sampled_from(["' OR 1=1 --", '"; rm -rf x', "$(id)", "%s", "\\", "--status=closed", "-x"]))
    def check(said: str) -> None:
        assert dolt.assigned(said) == []
        assert dolt.fetch(said, said) == (False, None)
        on_server.sql("UPDATE issues SET notes = ''")
        after = bd.update(bd.show(bead_id), note=said, marks={"beads_dispatch.x": said.replace("=", "")})
        assert (after.status, after.notes.strip()) == ("open", said.strip())

    check()
    assert on_server.sql("SELECT COUNT(*) AS n FROM issues") == [{"n": 1}]
    dolt.close()


# --- odd settings


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        (None, "cannot be read"),
        ("", "is not valid JSON"),
        ('{"dolt_mode": "server", "dolt_server_po', "is not valid JSON"),
        ("[]", "must be a JSON object"),
        ('{"dolt_mode": "cloud"}', "dolt_mode is 'cloud'"),
        ('{"dolt_mode": "embedded"}', "dolt_mode must be server"),
        ('{"dolt_mode": "server"}', "dolt_server_port is missing"),
        ('{"dolt_mode": "server", "dolt_server_port": "x"}', "dolt_server_port is x"),
    ],
)
def test_a_metadata_file_that_is_wrong(tmp_path: Path, embedded: Place, metadata: str | None, said: str) -> None:
    file = tmp_path / "metadata.json"
    if metadata is not None:
        file.write_text(metadata)
    for command in ("tick", "sweep"):
        done = embedded.run(command, BEADS_METADATA=str(file), BEADBOARD_URL="http://127.0.0.1:1")
        assert done.returncode == 2
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_no_secret_is_shown_and_no_file_is_readable_by_others(on_server: Place, board: Board) -> None:
    secret, bead, seen = "hunter2", on_server.create(), on_server.folder / "seen"
    on_server.sql("CREATE USER IF NOT EXISTS keeper IDENTIFIED BY 'hunter2'")
    on_server.sql("GRANT ALL PRIVILEGES ON *.* TO keeper")
    path = on_server.wrap_bd(f'{{ echo "$@"; stat -c %a "$BEADS_DIR"; }} >>{seen}; exec "{on_server.real_bd}" "$@"')
    mounted = services(board, PATH=path, BEADS_METADATA=str(on_server.metadata), BEADS_DOLT_SERVER_USER="keeper")
    runs = [
        on_server.run("tick", **services(board, BEADS_DOLT_PASSWORD=secret)),  # root has none
        on_server.run("tick", BEADBOARD_URL=f"http://me:{secret}@127.0.0.1:1"),
        on_server.run("tick", **mounted, BEADS_DOLT_PASSWORD=secret),
    ]
    assert [done.returncode for done in runs] == [1, 2, 0]
    assert board.sent == [bead]
    assert secret not in "".join(done.stdout + done.stderr for done in runs) + seen.read_text()
    assert set(seen.read_text().splitlines()[1::2]) == {"700"}


# --- odd surroundings


@pytest.mark.slow
def test_a_full_disk_loses_nothing(embedded: Place, board: Board) -> None:
    bead = embedded.create()
    full = subprocess.run(
        ["sh", "-c", f'ulimit -f 0; exec "{sys.executable}" -B -m beads_dispatch tick'],
        env={**embedded.environ, **services(board)}, cwd=embedded.folder,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert full.returncode == 1
    assert len(full.stderr.splitlines()) == 1
    assert board.sent == []
    assert embedded.run("tick", **services(board)).returncode == 0
    assert board.sent == [bead]


@pytest.mark.parametrize("where", ["nobody reads", pytest.param("/dev/full", marks=pytest.mark.slow)])
def test_a_line_that_cannot_be_printed_costs_no_note(on_server: Place, board: Board, where: str) -> None:
    """Also where it is the line between the POST and its note."""
    bead = on_server.create()
    if where == "nobody reads":
        reader, out = os.pipe()
        os.close(reader)
    else:
        out = os.open(where, os.O_WRONLY)
    done = subprocess.run(
        [*COMMAND, "tick"], env={**on_server.environ, **services(board)}, cwd=on_server.folder,
        stdout=out, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    os.close(out)
    assert (done.returncode, done.stderr) == (0, "")
    assert board.sent == [bead]
    assert on_server.notes(bead)[-1] == f"dispatched: job=job-{bead}"


@pytest.mark.parametrize("command", ["status", "status --json", "explain {bead}"])
def test_an_answer_that_is_lost_is_a_failure(on_server: Place, command: str) -> None:
    words = command.format(bead=on_server.create()).split()
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, *words], env=on_server.environ, cwd=on_server.folder, stdout=full, stderr=subprocess.PIPE,
            text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1, "beads-dispatch: the answer cannot be written to stdout: is the disk full?",
    )  # fmt: skip


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_a_closed_standard_stream_costs_no_note(on_server: Place, board: Board, closed: str) -> None:
    bead = on_server.create()
    environ = {**on_server.environ, **services(board)}
    command = f"{shlex.join(COMMAND)} tick {closed}"
    subprocess.run(command, shell=True, env=environ, cwd=on_server.folder, timeout=PATIENCE, check=True)
    assert board.sent == [bead]
    assert on_server.notes(bead)[-1] == f"dispatched: job=job-{bead}"


OTHERS = {
    "PYTHONIOENCODING": "ascii",
    "ALL_PROXY": "socks5://127.0.0.1:1",
    "HTTP_PROXY": "http://no.such.proxy.invalid:1",
    "NO_PROXY": "",
    "SSL_CERT_FILE": "/nowhere",
}


def test_other_environment_variables_do_not_matter(on_server: Place, board: Board) -> None:
    bead, old = on_server.create(), on_server.create("old")
    on_server.bd("update", old, "--status=in_progress")
    on_server.age(old, 31.5)
    for command in ("tick", "sweep"):
        done = on_server.run(command, **services(board, **OTHERS))
        assert (done.returncode, done.stderr) == (0, "")
    assert board.sent == [bead]
    assert on_server.show(old)["status"] == "blocked"


CLOCK = """
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from beads_dispatch.commands import wiring
wiring.SYSTEM = replace(wiring.SYSTEM, now=lambda: datetime.now(UTC) + timedelta(hours={hours}))
"""


@pytest.mark.parametrize("hours", [1, pytest.param(-1, marks=pytest.mark.slow)])
def test_a_clock_that_is_an_hour_off(place: Place, board: Board, hours: int) -> None:
    bead = place.create()
    board.dispatch = lambda task: (502, {"error": "Invalid token"})
    assert place.changed(CLOCK.format(hours=hours)).run("tick", **services(board)).returncode == 1
    board.dispatch = lambda task: (200, {"job_id": "j"})
    assert place.run("tick", **services(board)).returncode == 0
    # A server's clock counts, so the hold is in force. Without one it is out of range, or over, and is ignored.
    assert board.sent == ([bead] if place.server else [bead, bead])
    place.run("resume")
    place.bd("update", bead, "--unset-metadata=beads_dispatch.retry_after")
    for off in (hours, 0, hours):
        place.changed(CLOCK.format(hours=off)).run("tick", **services(board))
    assert board.sent == [bead, bead]


def test_a_tick_whose_bd_is_slow_ends_before_its_claim(on_server: Place, board: Board) -> None:
    bead = on_server.create()
    slow = on_server.wrap_bd(f'sleep 1; exec "{on_server.real_bd}" "$@"')
    hasty = "from beads_dispatch.jobs import dispatcher; dispatcher.CLAIM_SECONDS = 0.5"
    done = on_server.changed(hasty).run("tick", **services(board, PATH=slow))
    assert (done.returncode, done.stderr) == (0, "")
    assert "out of time: the rest is left to the next tick" in done.stdout
    assert board.asked == []
    assert on_server.show(bead)["status"] == "open"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_ticks_a_sweep_an_agent_and_a_person_on_one_bead(on_server: Place, board: Board, seed: int) -> None:
    bead, draw, opened = on_server.create(), random.Random(seed), 0
    person = [
        ("update", bead, "--status=open"),
        ("assign", bead, "somebody"),
        ("assign", bead, "agent"),
        ("close", bead),
        ("update", bead, "--notes=mine"),
        ("update", bead, '--metadata={"mine": 1}'),
    ]
    for _ in range(10):
        words = draw.choice(person)
        opened += "--status=open" in words
        agent = draw.choice([("note", bead, "at work"), ("close", bead)])
        threads = [threading.Thread(target=tolerant, args=(on_server, *said)) for said in (words, agent)]
        runs = [on_server.start(command, **services(board)) for command in ("tick", "tick", "sweep")]
        for thread in threads:
            time.sleep(draw.uniform(0, 0.4))
            thread.start()
        for one in runs:
            _, err = one.communicate(timeout=120)
            assert "Traceback" not in err
        for thread in threads:
            thread.join()
    assert len(board.sent) <= 1 + opened
    on_server.bd("update", bead, "--append-notes=done", "--metadata={}")
    on_server.bd("assign", bead, "agent")
    rows = json.loads(on_server.run("status", "--json").stdout)
    assert all(row["reason"] for row in rows)
    assert [row["id"] for row in rows] == ([] if on_server.show(bead)["status"] == "closed" else [bead])


def tolerant(place: Place, *words: str) -> None:
    """Another client's call of bd. It may fail, where it loses against ours."""
    subprocess.run(
        [place.real_bd, *words, "--actor=agent"], env=place.environ, cwd=place.folder,
        capture_output=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
