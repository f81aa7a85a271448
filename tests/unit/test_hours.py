"""Hours and days of dispatch: what is accepted, when it opens, and the two days of a year with another length."""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from dateutil import tz
from hypothesis import given
from hypothesis import strategies as st

from beads_dispatch.core import hours
from beads_dispatch.core.holds import Hold
from beads_dispatch.core.hours import DAY, Hours, Span

BERLIN, SAO_PAULO, HAVANA = ZoneInfo("Europe/Berlin"), ZoneInfo("America/Sao_Paulo"), ZoneInfo("America/Havana")
NIGHTS = hours.parse("Mon-Fri 19:00-07:00, Sat-Sun")


def every(start: int, end: int, days: str = "0123456") -> tuple[Span, ...]:
    return tuple(Span(int(day), start, end) for day in days)


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("Mon-Fri 19:00-07:00, Sat-Sun", (*every(19 * 60, 31 * 60, "01234"), *every(0, DAY, "56"))),
        ("Sat-Sun, Mon-Fri 19:00-07:00", (*every(0, DAY, "56"), *every(19 * 60, 31 * 60, "01234"))),
        ("Mon", every(0, DAY, "0")),
        ("monday, WED, Thursday", every(0, DAY, "023")),
        ("Fri-Mon", every(0, DAY, "0456")),
        ("Mon Wed-Thu 9:00-17:30", every(9 * 60, 17 * 60 + 30, "023")),
        ("Mon 09:00-12:00 13:00-17:00", (Span(0, 540, 720), Span(0, 780, 1020))),
        ("19:00-07:00", every(19 * 60, 31 * 60)),
        ("00:00-24:00", every(0, DAY)),
        ("Sat 20:00-24:00", every(20 * 60, DAY, "5")),
        ("Sat 20:00-00:00", every(20 * 60, DAY, "5")),
        ("Tue – Thu  22:00 – 06:00", every(22 * 60, 30 * 60, "123")),
        ("7pm-7am", every(19 * 60, 31 * 60)),
        ("12am-12pm", every(0, 12 * 60)),
        ("Fri 1:30pm-9am", every(13 * 60 + 30, 33 * 60, "4")),
    ],
)
def test_hours_that_are_understood(text: str, spans: tuple[Span, ...]) -> None:
    assert hours.parse(text).spans == spans


def test_hours_are_shown_as_they_were_set() -> None:
    assert hours.parse(" Mon-Fri  19:00-07:00,\n Sat-Sun ").text == "Mon-Fri 19:00-07:00, Sat-Sun"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is no part of hours such as 'Mon-Fri 19:00-07:00, Sat-Sun'"),
        ("Mon-Fri 19:00-07:00,", "'' is no part of hours"),
        ("weekdays", "'weekdays' is no part of hours"),
        ("Mon-Fri 19-7", "'Mon-Fri 19-7' is no part of hours"),
        ("Mon-Fri 19:00", "is no part of hours"),
        ("Mon-Fri at 19:00-07:00", "is no part of hours"),
        ("1-5 19:00-07:00", "is no part of hours"),
        ("Mo-Fr", "is no part of hours"),
        ("19:00-25:00", "'25:00' is no time of day"),
        ("19:60-07:00", "'19:60' is no time of day"),
        ("24:01-07:00", "'24:01' is no time of day"),
        ("13pm-2pm", "'13pm' is no time of day"),
        ("0am-2pm", "'0am' is no time of day"),
        ("24:00-07:00", "names no hours; a whole day is 00:00-24:00"),
        ("09:00-09:00", "names no hours"),
        ("x" * 100, f"'{'x' * 40}' is no part"),
    ],
)
def test_hours_that_are_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        hours.parse(text)


def berlin(text: str, fold: int = 0) -> datetime:
    """In November 2026, if no month is named: the 23rd is a Monday."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).astimezone(UTC)


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        ("2026-11-23 18:59:59", "2026-11-23 19:00"),
        ("2026-11-23 19:00", None),
        ("2026-11-24 06:59:59", None),
        ("2026-11-24 07:00", "2026-11-24 19:00"),
        ("2026-11-27 23:00", None),  # Friday night goes over into Saturday
        ("2026-11-29 23:59:59", None),
        ("2026-11-30 00:00", "2026-11-30 19:00"),  # Sunday's hours end at midnight
    ],
)
def test_nights_and_weekends(now: str, opens: str | None) -> None:
    assert hours.opens_at(NIGHTS, berlin(now), BERLIN) == (berlin(opens) if opens else None)


@pytest.mark.parametrize(
    ("text", "now", "opens"),
    [
        # March 29: 02:00 becomes 03:00
        ("02:30-05:00", berlin("2026-03-29 01:59"), berlin("2026-03-29 03:30")),
        ("02:30-05:00", berlin("2026-03-29 03:29"), berlin("2026-03-29 03:30")),
        ("02:30-05:00", berlin("2026-03-29 03:30"), None),
        ("01:00-02:30", berlin("2026-03-29 03:29"), None),
        ("01:00-02:30", berlin("2026-03-29 03:30"), berlin("2026-03-30 01:00")),
        ("02:00-03:00", berlin("2026-03-29 01:00"), berlin("2026-03-30 02:00")),  # there is no such hour
        ("Sun 19:00-07:00", berlin("2026-03-28 20:00"), berlin("2026-03-29 19:00")),
        # October 25: 03:00 becomes 02:00
        ("02:30-05:00", berlin("2026-10-25 01:00"), berlin("2026-10-25 02:30")),
        ("02:30-05:00", berlin("2026-10-25 02:15", fold=1), None),
        ("01:00-02:30", berlin("2026-10-25 02:15", fold=1), berlin("2026-10-26 01:00")),
        ("19:00-07:00", berlin("2026-10-25 06:59"), None),
        ("19:00-07:00", berlin("2026-10-25 07:00"), berlin("2026-10-25 19:00")),
        # the year's end
        ("Fri 09:00-10:00", berlin("2026-12-31 23:00"), berlin("2027-01-01 09:00")),
        ("Thu", berlin("2026-12-31 23:59"), None),
        ("Thu", berlin("2027-01-01 00:00"), berlin("2027-01-07 00:00")),
    ],
)
def test_when_the_clock_or_the_year_changes(text: str, now: datetime, opens: datetime | None) -> None:
    assert hours.opens_at(hours.parse(text), now, BERLIN) == opens


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[tzinfo]:
    """The zone that our clock has on a machine in Berlin. It takes a skipped time for an earlier one than zoneinfo."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield tz.tzlocal()
    monkeypatch.undo()
    time.tzset()


def test_the_zone_of_the_machine(machine: tzinfo) -> None:
    opens = hours.opens_at(hours.parse("02:30-05:00"), berlin("2026-03-29 01:59"), machine)
    assert opens == berlin("2026-03-29 03:30")
    for text in ("2026-03-29 12:00", "2026-10-25 12:00", "2026-10-25 02:30"):
        now = berlin(text)
        days = (hours.day_start(now, machine), hours.next_midnight(now, machine))
        assert days == (hours.day_start(now, BERLIN), hours.next_midnight(now, BERLIN))


@pytest.mark.parametrize(
    ("now", "zone", "start", "end"),
    [
        (berlin("2026-11-25 12:00"), BERLIN, berlin("2026-11-25 00:00"), berlin("2026-11-26 00:00")),
        (berlin("2026-11-25 00:00"), BERLIN, berlin("2026-11-25 00:00"), berlin("2026-11-26 00:00")),
        (berlin("2026-03-29 12:00"), BERLIN, berlin("2026-03-29 00:00"), berlin("2026-03-30 00:00")),
        (berlin("2026-10-25 12:00"), BERLIN, berlin("2026-10-25 00:00"), berlin("2026-10-26 00:00")),
        # midnight is skipped there: the day begins at 01:00
        (datetime(2018, 11, 4, 12, tzinfo=UTC), SAO_PAULO, datetime(2018, 11, 4, 3, tzinfo=UTC),
         datetime(2018, 11, 5, 2, tzinfo=UTC)),
        # midnight comes twice there
        (datetime(2026, 11, 1, 12, tzinfo=UTC), HAVANA, datetime(2026, 11, 1, 4, tzinfo=UTC),
         datetime(2026, 11, 2, 5, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_the_local_day(now: datetime, zone: tzinfo, start: datetime, end: datetime) -> None:
    assert (hours.day_start(now, zone), hours.next_midnight(now, zone)) == (start, end)


# --- properties ---
ZONES = st.sampled_from([UTC, BERLIN, HAVANA, ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Asia/Kathmandu")])
TIMES = st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))
SPANS = st.builds(
    lambda day, start, length: Span(day, start, start + length),
    st.integers(0, 6), st.integers(0, DAY - 1), st.integers(1, DAY),
)  # fmt: skip
HOURS = st.lists(SPANS, min_size=1, max_size=4).map(lambda spans: Hours("x", tuple(spans)))


@given(HOURS, TIMES, ZONES)
def test_it_opens_when_it_says_and_not_before(known: Hours, now: datetime, zone: tzinfo) -> None:
    opens = hours.opens_at(known, now, zone)
    if opens is not None:
        assert now < opens <= now + timedelta(days=9)
        assert hours.opens_at(known, opens, zone) is None
        before = now + (opens - now) / 2
        assert hours.opens_at(known, before, zone) == opens


@given(TIMES, ZONES)
def test_a_day_has_all_of_its_instants(now: datetime, zone: tzinfo) -> None:
    start, end = hours.day_start(now, zone), hours.next_midnight(now, zone)
    assert start <= now < end
    assert timedelta(hours=22) < end - start < timedelta(hours=26)
    assert hours.day_start(end, zone) == end
    assert hours.day_start(end - timedelta(microseconds=1), zone) == start


@given(st.text("monfriMFSatsun 0123456789:-,apm–", max_size=30))
def test_any_text_is_hours_or_refused_in_one_line(text: str) -> None:
    known, refusal = Hours("", ()), ""
    try:
        known = hours.parse(text)
    except ValueError as error:
        refusal = str(error)
    assert len(refusal.splitlines()) == (0 if known.spans else 1)
    assert len(refusal) < 200
    assert all(0 <= span.weekday <= 6 and 0 <= span.start < span.end <= span.start + DAY for span in known.spans)


# --- holds ---
NOW = berlin("2026-11-24 08:00")


def test_outside_of_its_hours_the_queue_is_held_until_they_begin() -> None:
    assert hours.closed(NIGHTS, NOW, BERLIN) == Hold(
        berlin("2026-11-24 19:00"), 0, "outside of its hours (Mon-Fri 19:00-07:00, Sat-Sun)"
    )
    assert hours.closed(NIGHTS, berlin("2026-11-24 19:00"), BERLIN) is None
    assert hours.closed(None, NOW, BERLIN) is None


@pytest.mark.parametrize(
    ("per_day", "started", "held"), [(None, 999, False), (3, 2, False), (3, 3, True), (3, 4, True)]
)
def test_a_used_up_day_holds_the_queue_until_midnight(per_day: int | None, started: int, held: bool) -> None:
    hold = hours.used_up(per_day, started, NOW, BERLIN)
    assert hold == (Hold(berlin("2026-11-25 00:00"), 0, "the 3 runs of this day are used up") if held else None)
