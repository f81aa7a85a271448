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
    r"usage.?limit|limit reached|limit (?:will )?resets?\b"
    r"|(?:hit|reached|exceeded) your (?:[\w-]+ ){0,3}(?:limit|quota)|out of (?:extra )?usage|usage exceeded"
    r"|quota exceeded|insufficient_quota|rate_limit_error",
    re.IGNORECASE,
)
_NO_LIMIT = re.compile(r"not your usage limit", re.IGNORECASE)
_UNIX = re.compile(r"(?:\||resets?_?at\W{1,4})(\d{10})(?:\d{3})?\b", re.IGNORECASE)  # seconds or milliseconds
_SECONDS = re.compile(
    r"(?:retry.?after|resets?_(?:in|after)_seconds)\W{1,4}(\d{1,6})(?:\.\d+)?\b(?!\s*(?:m|h|d|w))", re.IGNORECASE
)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPAN = re.compile(r"(\d{1,4})\s*(s|m|h|d|w)(?:ec(?:ond)?|in(?:ute)?|(?:ou)?rs?|ays?|eeks?)?s?\b", re.IGNORECASE)
_IN = re.compile(
    rf"\b(?:in|retry.after)\W{{1,4}}(?:about |around |approximately )?((?:{_SPAN.pattern}[\s,]*(?:and\s+)?)+)",
    re.IGNORECASE,
)
_AT = re.compile(r"(?:\bresets?\b|\btry again\b)(?: (?:at|on))?[\s:]+([^\n|]{1,80})", re.IGNORECASE)
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?)\s?(Z|[+-]\d\d:?\d\d)?(?![\d:])")
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)\w*\.?"
_DAY_OF_MONTH = r"\d{1,2}(?:st|nd|rd|th)?"
_PHRASE = re.compile(
    r"(?:(?P<day>(?:mon|tue|wed|thu|fri|sat|sun)\w*|today|tonight|tomorrow)[\s,]*)?"
    rf"(?P<date>\d{{4}}-\d\d-\d\d|(?:{_MONTH}\s+{_DAY_OF_MONTH}|{_DAY_OF_MONTH}\s+{_MONTH})(?:,?\s+\d{{4}})?)?"
    r"[\s,]*(?:at\s+)?"
    r"(?P<time>\d{1,2}(?::\d\d){1,2}(?:\s*[ap]\.?m\b)?|\d{1,2}\s*[ap]\.?m\b|noon\b|midnight\b)?",
    re.IGNORECASE,
)
_WORDS = {"noon": "12pm", "midnight": "12am"}
_RELATIVE = ("today", "tonight", "tomorrow")
_NAMED = re.compile(r"\(([\w+-]+(?:/[\w+-]+)*)\)|\b((?:UTC|GMT)(?:[+-]\d{1,2}(?::?\d\d)?)?)(?![\w+-])")
_SHORT = re.compile(r"\s{0,2}([A-Z]{2,5})\b")  # `9:00 AM PST`
_OFFSET = re.compile(r"(?:UTC|GMT)([+-])(\d{1,2}):?(\d\d)?")
_AMERICAN = {"P": "PST8PDT", "M": "MST7MDT", "C": "CST6CDT", "E": "EST5EDT"}


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
        return datetime.fromtimestamp(int(unix[1]), UTC)
    if seconds := _SECONDS.search(text):
        return now + timedelta(seconds=int(seconds[1]))
    if span := _IN.search(text):
        return now + sum((_span(one) for one in _SPAN.finditer(span[1])), timedelta())
    if found := _AT.search(text):
        return _absolute(found[1].strip(), now, zone)
    return None


def _span(one: "re.Match[str]") -> timedelta:
    return timedelta(**{_UNITS[one[2].lower()]: int(one[1])})


def _absolute(phrase: str, now: datetime, zone: tzinfo) -> datetime | None:
    from dateutil import tz

    if iso := _ISO.match(phrase):
        return _whole(iso, _zone(phrase, iso.end(), zone))
    found = _PHRASE.match(phrase)
    where = _zone(phrase, found.end(), zone) if found and found[0].strip() else None
    if found is None or where is None:
        return None
    wall = _wall(found, now.astimezone(where).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None))
    return _next(tz.resolve_imaginary(wall.replace(tzinfo=where, fold=1)), found, now)


def _whole(iso: "re.Match[str]", where: tzinfo | None) -> datetime | None:
    from dateutil.parser import isoparse

    time = isoparse(f"{iso[1]}T{iso[2]}{iso[3] or ''}")
    return time if time.tzinfo else time.replace(tzinfo=where) if where else None


def _wall(found: "re.Match[str]", today: datetime) -> datetime:
    """What the clock on the wall will show. `tomorrow` moves the day, and `today` and `tonight` nothing."""
    from dateutil import parser

    day, clock = (found["day"] or "").lower(), (found["time"] or "").lower()
    weekday = "" if day in _RELATIVE else day
    text = " ".join(filter(None, (weekday, found["date"], _WORDS.get(clock, clock))))
    start = today + timedelta(days=day == "tomorrow")
    return parser.parse(text, default=start) if text else start


def _zone(phrase: str, end: int, zone: tzinfo) -> tzinfo | None:
    """The zone that the phrase names, `zone` where it names none, None where nobody knows it."""
    from dateutil import tz

    named = _NAMED.search(phrase) or _SHORT.match(phrase, end)
    if named is None:
        return zone
    name = next(filter(None, named.groups()))
    if offset := _OFFSET.fullmatch(name):  # people write GMT+2 for two hours east; POSIX reads it west
        east = timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0))
        return tz.tzoffset(name, east if offset[1] == "+" else -east)
    return tz.gettz(_AMERICAN[name[0]] if re.fullmatch("[PMCE][SD]?T", name) else name)


def _next(time: datetime, found: "re.Match[str]", now: datetime) -> datetime | None:
    """The coming one. A time that passed within the last hour is not tomorrow's: the service was late."""
    passed = now - time
    if passed <= timedelta(0):
        return time
    if passed <= JUST_PASSED:
        return None
    if found["date"]:
        return time.replace(year=time.year + 1) if passed > timedelta(days=180) else None
    day = (found["day"] or "").lower()
    return None if day in _RELATIVE else time + timedelta(days=7 if day else 1)
