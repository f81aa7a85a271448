"""The exact text of every note, and that it is recognised again."""

from datetime import UTC, datetime, timedelta

import pytest

from beads_dispatch.core import notes
from beads_dispatch.core.text import one_line

NOW = datetime(2026, 11, 23, 22, 14, 5, tzinfo=UTC)
CLAIM = notes.claimed(NOW, "3f9a1c")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (CLAIM, "auto-dispatcher claimed at 2026-11-23T22:14:05Z (tick 3f9a1c)"),
        (notes.dispatched("abc"), "dispatched: job=abc"),
        (notes.failed(502, "Queue\nfull"), "dispatch failed HTTP 502: Queue full"),
        (notes.failed(None, "refused"), "dispatch failed: refused"),
        (notes.failed(400, "no", notes.attempt(2, 5)), "dispatch failed HTTP 400: no (attempt 2 of 5)"),
        (notes.unclear(502, ""), "dispatch unclear HTTP 502: (empty body)"),
        (notes.returned("agent busy"), "returned: agent busy"),
        (notes.not_dispatched("no acceptance criteria"), "not dispatched: no acceptance criteria"),
        (
            notes.blocked(timedelta(minutes=31, seconds=59), timedelta(minutes=30), sent=False),
            "reaper: no progress for 31m — blocking (threshold 30m, no dispatch recorded)",
        ),
        (
            notes.blocked(timedelta(minutes=31), timedelta(minutes=0.5), sent=True),
            "reaper: no progress for 31m — blocking (threshold 0.5m)",
        ),
        (
            notes.too_large_to_block(timedelta(minutes=31, seconds=59)),
            "reaper: too large to be blocked (no progress for 31m, and bd cannot write it): shorten its texts",
        ),
        (notes.ended("failed (exit 1)", "It\nbroke"), "agent ended: failed (exit 1): It broke"),
        (notes.open_again("agent ended: x", notes.attempt(1, 3)), "agent ended: x (open again, attempt 1 of 3)"),
    ],
)
def test_text(line: str, text: str) -> None:
    assert line == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb\x00c", "a [31mb c"),
        ("x" * 300, "x" * 199 + "…"),
        ("  two\r\n lines\u2028", "two lines"),
        ("😀", "😀"),
    ],
)
def test_one_line(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_a_line_that_may_be_left_out_fits_below_the_limit() -> None:
    assert notes.fits("x" * (notes.FULL_BYTES - 2), "y")
    assert not notes.fits("x" * (notes.FULL_BYTES - 2), "ü")


def test_a_notice_counts_only_until_the_next_claim_or_outcome() -> None:
    line = notes.not_dispatched("no acceptance criteria")
    assert notes.has_line(f"a person's\n{line}\nmore", line)
    assert not notes.has_line("", line)
    assert not notes.has_line(f"{line}\n{CLAIM}", line)
    assert not notes.has_line(f"{line}\nreturned: agent busy", line)


def test_the_newest_claim_counts() -> None:
    assert notes.newest_claim("") is None
    newest = notes.newest_claim(f"{CLAIM}\n{notes.claimed(NOW, 'aaaaaa')}\nx")
    assert newest == ("aaaaaa", NOW)
    assert notes.newest_claim(f"quoted: {CLAIM}") is None
    assert notes.newest_claim("auto-dispatcher claimed at 2026-11-23T22:14:05Z") == ("", NOW)


def test_a_short_line_that_undoes_a_claim_refers_to_the_long_one() -> None:
    failure = notes.failed(502, "Invalid token")
    lines = f"{CLAIM}\n{failure}\n{CLAIM}\n{notes.AS_BEFORE}"
    assert notes.last_outcome(lines) == failure
    assert not notes.possibly_dispatched(lines)


@pytest.mark.parametrize(
    ("line", "possibly"),
    [
        ("agent ended: failed (exit 1) after 2s: boom", True),
        ("agent ended: failed (exit 1) after 2s: boom (attempt 3 of 3)", True),
        ("agent ended: failed (exit 1) after 2s: boom (open again, attempt 1 of 3)", False),
        ("agent ended: cannot work: no login (open again)", False),
        (notes.ENDED_AS_BEFORE, False),
        ("agent ended: usage limit, resets 2026-11-25T09:00Z", False),  # of an earlier version
    ],
)
def test_an_end_after_which_the_bead_is_open_again_undoes_its_dispatch(line: str, possibly: bool) -> None:
    text = f"{CLAIM}\ndispatched: job=1\n{line}"
    assert notes.possibly_dispatched(text) is possibly
