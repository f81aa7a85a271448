"""The table of `status`: what is cut, what is not, and times as a person reads them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beads_dispatch.commands import paint, table
from beads_dispatch.commands.paint import Paint
from beads_dispatch.commands.table import Look
from beads_dispatch.core import times
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.reasons import Standing

NOW = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
LOOK = Look(NOW, UTC)
LONG = "dispatch unclear HTTP 502: fetch failed, and more than fits on a line of eighty columns"
ROWS = [
    (
        Bead("demo-ycm", "in_progress", 0, NOW - timedelta(minutes=4), "Write a haiku about queues"),
        Standing("dispatched", "dispatched: job=1"),
    ),
    (Bead("demo-wcw", "open", 2, NOW - timedelta(days=5), "日本語のタイトル 🌙 " * 5), Standing("x", LONG)),
    (Bead("t", "blocked", 4, NOW, ""), Standing("eligible", "11th in line", 11)),
]


def test_whole_where_nothing_has_to_be_cut() -> None:
    heading, first, second, third = table.render(ROWS[:1] + ROWS[2:] + ROWS[1:2], LOOK).splitlines()
    assert heading.split() == list(table.HEADING)
    assert first.split("  ")[:3] == ["demo-ycm", "0", "in_progress"]
    assert second.endswith("11th in line")
    assert third.endswith(f"{ROWS[1][0].title.strip()}  {LONG}")
    starts = [first.index("dispatched"), second.index("11th"), heading.index("WHY")]
    assert {*starts} == {table.columns(third[: third.index(LONG)])}


def test_an_id_with_a_line_break_stays_in_its_row() -> None:
    odd = Bead("t-1\nx", "open", 2, NOW, "")
    assert table.render([(odd, ROWS[2][1])], LOOK).splitlines()[1].startswith("t-1 x  2")


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = table.render(ROWS, replace(LOOK, width=width)).splitlines()
    assert len(lines) == 4
    assert all(table.columns(line) <= width for line in lines)
    assert all("WHY" in lines[0] and len(line) > 40 for line in lines)


def test_at_eighty_columns_the_title_gives_way_to_the_reason() -> None:
    lines = table.render(ROWS, replace(LOOK, width=80)).splitlines()
    assert lines[1] == "demo-ycm  0  in_progress  4m   Write a hai…  dispatched: job=1"
    assert lines[2] == "demo-wcw  2  open         5d   日本語のタ…   dispatch unclear HTTP 502: fetch f…"
    assert lines[3] == "t         4  blocked      0s                 11th in line"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine
@given(st.text(), st.integers(1, 30))
def test_a_cut_text_fits(text: str, width: int) -> None:
    assert table.columns(table.cut(text, width)) <= width
    assert table.columns(text) > width or table.cut(text, width) == text


def test_the_head_is_wrapped_at_the_terminals_width() -> None:
    assert table.head("queue", "open", replace(LOOK, width=80)) == "queue: open"
    lines = table.head("queue", f"held until 2026-11-24T03:54:00Z: {LONG}", replace(LOOK, width=60)).splitlines()
    assert lines[0].startswith("queue: held until Nov 24 03:54 (in 5h 54m): dispatch")
    assert lines[1].startswith("       ")


def test_colour_on_a_terminal_only() -> None:
    coloured = table.render(ROWS, replace(LOOK, width=80, paint=Paint(True)))
    assert "\x1b[32min_progress\x1b[0m" in coloured
    assert "\x1b" not in table.render(ROWS, LOOK)
    for environ, terminal, on in (
        ({}, True, True), ({}, False, False), ({"NO_COLOR": "1"}, True, False), ({"NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, True, False),
    ):  # fmt: skip
        assert paint.for_terminal(environ, terminal=terminal).on is on


@pytest.mark.parametrize(
    ("seconds", "span", "age"),
    [
        (-3, "0s", "0s"), (0.9, "0s", "0s"), (59, "59s", "59s"), (60, "1m", "1m"), (108, "1m 48s", "1m"),
        (3600, "1h", "1h"), (3660, "1h 1m", "1h"), (3601, "1h", "1h"), (90000, "1d 1h", "1d"), (86400 * 9, "9d", "9d"),
    ],
)  # fmt: skip
def test_durations(seconds: float, span: str, age: str) -> None:
    assert (times.span(seconds), times.age(seconds)) == (span, age)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("until 2026-11-23T22:01:48Z; x", "until 22:01 (in 1m 48s); x"),
        ("resets 2026-11-23T21:00Z", "resets 21:00 (1h ago)"),
        ("deferred until 2026-11-25T03:54:00Z", "deferred until Nov 25 03:54 (in 1d 5h)"),
        ("at 2026-99-23T22:01:48Z", "at 2026-99-23T22:01:48Z"),
        ("no time", "no time"),
    ],
)
def test_timestamps_become_relative(text: str, shown: str) -> None:
    assert times.relative(text, NOW, UTC) == shown


def test_the_end_of_time_has_no_clock_time() -> None:
    east = timezone(timedelta(hours=9))
    assert times.relative("deferred until 9999-12-31T23:59:59Z", NOW, east).startswith("deferred until 9999-12-31 (in ")


def test_clock_times_are_the_terminals_own() -> None:
    east = timezone(timedelta(hours=3))
    assert times.relative("2026-11-23T22:01:00Z", NOW, east) == "01:01 (in 1m)"
    assert times.relative("2026-11-23T20:01:00Z", NOW, east) == "Nov 23 23:01 (1h 59m ago)"


def test_ordinals() -> None:
    assert [times.ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 102, 111)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th",
    ]  # fmt: skip
