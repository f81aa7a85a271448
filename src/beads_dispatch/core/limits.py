"""Usage limits: whether an agent's last words name one, and when it resets.

The wordings drift (Claude Code changed them at least four times in 2025 and 2026), so this reads them loosely.
"""

import re
from datetime import UTC, datetime, timedelta, tzinfo

UNREADABLE = timedelta(minutes=30)  # the wait where no reset time can be read, or where it has just passed
MARGIN = timedelta(minutes=2)  # clocks differ
JUST_PASSED = timedelta(hours=1)
LONGEST = timedelta(days=8)
MOST_CHARACTERS = 2000

_LIMIT = re.compile(
    r"usage.?limit|limit reached|(?:hit|reached) your (?:[\w-]+ ){0,3}limit|out of (?:extra )?usage"
    r"|usage exceeded|rate_limit_error",
    re.IGNORECASE,
)
_NO_LIMIT = re.compile(r"not your usage limit", re.IGNORECASE)
_UNIX = re.compile(r"\|(\d{10})\b|resets?_?at\W{1,4}(\d{10})\b", re.IGNORECASE)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SPAN = re.compile(r"(\d{1,4})\s*(s|m|h|d)(?:ec(?:ond)?|in(?:ute)?|(?:ou)?rs?|ays?)?s?\b", re.IGNORECASE)
_IN = re.compile(rf"\bin\s+((?:{_SPAN.pattern}[\s,]*(?:and\s+)?)+)", re.IGNORECASE)
_AT = re.compile(r"(?:\bresets?\b|\btry again\b)(?: (?:at|on))?[\s:]+([^\n|]{1,80})", re.IGNORECASE)
_ZONE = re.compile(r"\(([\w+-]+(?:/[\w+-]+)*)\)|\b(UTC|GMT(?:[+-]\d{1,2})?)\b")
_PHRASE = re.compile(
    r"(?:(?P<day>(?:mon|tue|wed|thu|fri|sat|sun)\w*)[\s,]*)?"
    r"(?P<date>\d{4}-\d\d-\d\d|(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)\w*\.?\s+\d{1,2}(?:st|nd|rd|th)?"
    r"(?:,?\s+\d{4})?)?[\s,]*(?:at\s+)?"
    r"(?P<time>\d{1,2}(?::\d\d){1,2}(?:\s*[ap]\.?m\b)?|\d{1,2}\s*[ap]\.?m\b)?",
    re.IGNORECASE,
)


def is_usage_limit(text: str) -> bool:
    """Whether the last words of a run that ended with an error name a usage limit."""
    start = text[:MOST_CHARACTERS]
    return bool(_LIMIT.search(start)) and not _NO_LIMIT.search(start)


def hold_until(reset: datetime | None, now: datetime) -> datetime:
    """Until when the queue waits, UTC: two minutes after the reset, or 30 minutes where none could be read."""
    return reset + MARGIN if reset else now + UNREADABLE


def reset_at(text: str, now: datetime, zone: tzinfo) -> datetime | None:
    """When the limit resets, UTC. None: no time can be read, or it has just passed, or is more than 8 days away.

    `zone`: the one of a time that names none: this machine's.
    """
    try:
        reset = _reset(text[:MOST_CHARACTERS], now, zone)
    except (ValueError, OverflowError, ArithmeticError, LookupError, TypeError):  # dateutil raises them all
        reset = None
    if reset is None or reset <= now or reset + MARGIN > now + LONGEST:
        return None
    return reset.astimezone(UTC)


def _reset(text: str, now: datetime, zone: tzinfo) -> datetime | None:
    if unix := _UNIX.search(text):
        return datetime.fromtimestamp(int(unix[1] or unix[2]), UTC)
    if span := _IN.search(text):
        return now + sum((_span(one) for one in _SPAN.finditer(span[1])), timedelta())
    if found := _AT.search(text):
        return _absolute(found[1], now, zone)
    return None


def _span(one: "re.Match[str]") -> timedelta:
    return timedelta(**{_UNITS[one[2].lower()]: int(one[1])})


def _absolute(phrase: str, now: datetime, zone: tzinfo) -> datetime | None:
    from dateutil import parser, tz

    named = _ZONE.search(phrase)
    where = _zone(named[1] or named[2]) if named else zone
    found = _PHRASE.match(phrase.strip())
    if where is None or not found or not found[0].strip():
        return None
    today = now.astimezone(where).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    wall = parser.parse(found[0].replace(" at ", " "), default=today)
    return _next(tz.resolve_imaginary(wall.replace(tzinfo=where, fold=1)), found, now)


def _zone(name: str) -> tzinfo | None:
    from dateutil import tz

    if name.upper().startswith("GMT") and name[3:]:  # people write GMT+2 for two hours east; POSIX reads it west
        return tz.tzoffset(name, int(name[3:]) * 3600)
    return tz.gettz(name)


def _next(time: datetime, found: "re.Match[str]", now: datetime) -> datetime | None:
    """The coming one. A time that passed within the last hour is not tomorrow's: the service was late."""
    passed = now - time
    if passed <= timedelta(0):
        return time
    if passed <= JUST_PASSED:
        return None
    if found["date"]:
        return time.replace(year=time.year + 1) if passed > timedelta(days=180) else None
    return time + timedelta(days=7 if found["day"] else 1)
