"""Which stream each line is written to, and what is left for a pod's status."""

import errno
import io
import json
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from beads_dispatch.adapters import log
from beads_dispatch.adapters.clock import SYSTEM
from beads_dispatch.adapters.log import Log


def test_what_is_worth_an_alert_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Log("x", SYSTEM.now).info("blocked", "no progress", bead="t-1", level="warning")
    Log("x", SYSTEM.now).error("given_up", "bad", bead="t-1", level="warning")
    assert capsys.readouterr() == ("x: t-1: no progress\n", "x: t-1: bad\n")


def test_a_line_of_json_has_the_same_fields_and_those_that_its_event_knows(capsys: pytest.CaptureFixture[str]) -> None:
    Log("x", SYSTEM.now, as_json=True).error("unclear", 'a "b"\nc', bead="t-1")
    Log("x", SYSTEM.now, as_json=True).info("idle", "nothing to do")
    Log("x", SYSTEM.now, as_json=True).info("dispatched", "job=1", bead="t-1", job="1", http_status=200, seconds=None)
    out, err = capsys.readouterr()
    said = [json.loads(line) for line in (err + out).splitlines()]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time")) for line in said)
    assert said == [
        {"level": "error", "logger": "x", "event": "unclear", "bead": "t-1", "message": 'a "b" c'},
        {"level": "info", "logger": "x", "event": "idle", "bead": None, "message": "nothing to do"},
        {
            "level": "info", "logger": "x", "event": "dispatched", "bead": "t-1",
            "job": "1", "http_status": 200, "message": "job=1",
        },
    ]  # fmt: skip


def test_a_watcher_repeats_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = Log("x", SYSTEM.now, repeats=False)
    for bead in ("a", "a", "b", "a"):
        quiet.info("busy", "waits", bead=bead)
    quiet.error("unclear", "again", bead="a")
    quiet.error("unclear", "again", bead="a")
    quiet.info("busy", "waits", bead="a")
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"x: {bead}: waits" for bead in ("a", "b", "a", "a")]
    assert err.splitlines() == ["x: a: again"] * 2


def test_a_line_on_a_terminal_begins_with_the_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    written = io.StringIO()
    monkeypatch.setattr(written, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", written)
    for as_json in (False, True):
        Log("x", lambda: datetime(2026, 11, 23, 22, 14, 5, tzinfo=UTC), as_json).info("idle", "nothing to do")
    monkeypatch.undo()
    time.tzset()
    text, as_json = written.getvalue().splitlines()
    assert text == "07:14:05 x: nothing to do"
    assert json.loads(as_json)["time"] == "2026-11-23T22:14:05.000Z"


def test_a_termination_message_is_left_only_where_there_is_a_place_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = tmp_path / "termination-log"
    monkeypatch.setattr(log, "TERMINATION_MESSAGE", str(message))
    log.leave_termination_message("on a laptop")
    assert not message.exists()
    message.write_text("an older and longer one")
    log.leave_termination_message("the last")
    assert message.read_text() == "the last"


def test_a_line_is_written_in_one_piece_because_other_threads_write_too() -> None:
    pieces: list[str] = []
    stream = io.StringIO()
    stream.write = pieces.append  # type: ignore[assignment]
    log.put("a line", stream)
    assert pieces == ["a line\n"]


def test_after_a_full_disk_the_next_line_is_written() -> None:
    written: list[str] = []

    def write(text: str) -> int:
        if not written:
            written.append("lost")
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(text)
        return len(text)

    stream = io.StringIO()
    stream.write = write  # type: ignore[method-assign]
    assert log.put("a line", stream) is False
    assert log.put("another", stream) is True
    assert written == ["lost", "another\n"]


def test_an_id_with_a_line_break_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    Log("x", SYSTEM.now).info("idle", "well", bead="t-1\nx: all is well\x1b[2J")
    assert capsys.readouterr().out == "x: t-1 x: all is well [2J: well\n"
    Log("x", SYSTEM.now, as_json=True).info("idle", "well", bead="t-1\n2")
    assert json.loads(capsys.readouterr().out)["bead"] == "t-1\n2"


def test_it_remembers_its_last_failure() -> None:
    one = Log("x", SYSTEM.now)
    one.error("failed", "the first")
    one.error("failed", "the last", bead="t-1")
    one.info("idle", "well")
    assert one.failure == "x: t-1: the last"


def test_where_stdout_is_for_the_answer_every_line_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Log("x", SYSTEM.now, answers=True).info("waiting", "waiting for BeadBoard")
    assert capsys.readouterr() == ("", "x: waiting for BeadBoard\n")
