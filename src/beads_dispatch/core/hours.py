"""When runs may start: the hours of BEADS_DISPATCH_HOURS, and the days that BEADS_DISPATCH_PER_DAY counts by.

Both are in local time. When the clock is put forward, a skipped time counts as that much later. When it is put back, a
time that comes twice counts the first time.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from beads_dispatch.core.holds import Hold

EXAMPLE = "Mon-Fri 19:00-07:00, Sat-Sun"
DAY = 24 * 60  # minutes

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = r"(mon(?:day)?|tue(?:s(?:day)?)?|wed(?:nesday)?|thu(?:rs?(?:day)?)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?)"
_DAY_RANGE = re.compile(rf"{_DAY}(?:-{_DAY})?", re.IGNORECASE)
_TIME = r"(\d{1,2}:\d\d|\d{1,2}(?::\d\d)?[ap]m)"
_TIME_RANGE = re.compile(rf"{_TIME}-{_TIME}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Span:
    """Hours of one day of the week. `weekday`: 0 is Monday. `start`, `end`: minutes after its midnight.

    `end` is after `start`: past midnight it is more than a day's minutes.
    """

    weekday: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Hours:
    """When runs may start. `text`: as it was set."""

    text: str
    spans: tuple[Span, ...]


def parse(text: str) -> Hours:
    """Return the hours in a text such as `Mon-Fri 19:00-07:00, Sat-Sun`. Raise ValueError if it names none.

    Each part names days, times or both. Days alone mean all day, and times alone mean every day.
    """
    spans = [span for part in text.split(",") for span in _part(part)]
    return Hours(" ".join(text.split()), tuple(spans))


def _part(text: str) -> Iterator[Span]:
    words = re.sub(r"\s*[-–]\s*", "-", text.strip()).split()
    days = [found for word in words if (found := _DAY_RANGE.fullmatch(word))]
    times = [found for word in words if (found := _TIME_RANGE.fullmatch(word))]
    if not words or len(days) + len(times) < len(words):
        raise ValueError(f"{text.strip()[:40]!r} is no part of hours such as '{EXAMPLE}'")
    weekdays = {day for found in days for day in _weekdays(found[1], found[2] or found[1])} or set(range(7))
    for start, end in [(_minutes(found[1]), _minutes(found[2])) for found in times] or [(0, DAY)]:
        if start >= DAY or start == end:
            raise ValueError(f"{text.strip()[:40]!r} names no hours; a whole day is 00:00-24:00")
        yield from (Span(day, start, end if end > start else end + DAY) for day in sorted(weekdays))


def _weekdays(first: str, last: str) -> Iterator[int]:
    start, end = (_DAYS.index(day[:3].lower()) for day in (first, last))
    return ((start + step) % 7 for step in range((end - start) % 7 + 1))


def _minutes(text: str) -> int:
    clock, half = re.fullmatch(r"([\d:]+)([ap]m)?", text.lower()).groups()  # type: ignore[union-attr]
    hour, minute = (int(part) for part in f"{clock}:0".split(":")[:2])
    if minute > 59 or (not 1 <= hour <= 12 if half else hour * 60 + minute > DAY):
        raise ValueError(f"{text!r} is no time of day, such as 19:00 or 7pm")
    if half:
        hour = hour % 12 + 12 * (half == "pm")
    return hour * 60 + minute


def opens_at(hours: Hours, now: datetime, zone: tzinfo) -> datetime | None:
    """Return when runs may start again, UTC. None: they may now."""
    today = now.astimezone(zone).date()
    opens = []
    for day in (today + timedelta(days=offset) for offset in range(-2, 9)):
        for span in hours.spans:
            if span.weekday == day.weekday():
                start, end = _at(day, span.start, zone), _at(day, span.end, zone)
                if start <= now < end:
                    return None
                if start > now and start < end:
                    opens.append(start)
    return min(opens)


def closed(hours: Hours | None, now: datetime, zone: tzinfo) -> Hold | None:
    """Return the hold outside of the hours; None within them, or if there are none."""
    if hours is None or (until := opens_at(hours, now, zone)) is None:
        return None
    return Hold(until, 0, f"outside of its hours ({hours.text})")


def used_up(per_day: int | None, started: int, now: datetime, zone: tzinfo) -> Hold | None:
    """Return the hold of a day whose runs are used up. `started`: since `day_start`, without those given back."""
    if per_day is None or started < per_day:
        return None
    runs = "run of this day is" if per_day == 1 else f"{per_day} runs of this day are"
    return Hold(next_midnight(now, zone), 0, f"the {runs} used up")


def day_start(now: datetime, zone: tzinfo) -> datetime:
    """Return when the local day of `now` began, UTC."""
    return _at(now.astimezone(zone).date(), 0, zone)


def next_midnight(now: datetime, zone: tzinfo) -> datetime:
    """Return when the local day of `now` ends, UTC."""
    return _at(now.astimezone(zone).date() + timedelta(days=1), 0, zone)


def _at(day: date, minutes: int, zone: tzinfo) -> datetime:
    """Return the instant, UTC, at which a clock there shows so many minutes after a day's midnight."""
    wall = datetime.combine(day, time()) + timedelta(minutes=minutes)
    instant = wall.replace(tzinfo=zone).astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) != wall:  # the clock skips it, and zones differ in what follows
        before = (wall - timedelta(days=1)).replace(tzinfo=zone).utcoffset() or timedelta()
        instant = (wall - before).replace(tzinfo=UTC)
    return instant
