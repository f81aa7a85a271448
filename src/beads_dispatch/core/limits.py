"""When a usage limit resets, read from the words that name the limit."""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache

MARGIN = timedelta(minutes=2)  # to wait after the reset: clocks differ
JUST_PASSED = timedelta(hours=1)
LONGEST = timedelta(days=8)
MOST_CHARACTERS = 2000

_UNIX = re.compile(r"(?:\||resets?_?at\W{1,4})(\d{10})(?:\d{3})?\b", re.IGNORECASE)  # seconds or milliseconds
_SECONDS = re.compile(
    r"(?:retry.?after|resets?_(?:in|after)_seconds)\W{1,4}(\d{1,6})(?:\.\d+)?\b(?!\s*[mhdw])", re.IGNORECASE
)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPAN = re.compile(r"(\d{1,4})\s*(?!ms\b)([smhdw])(?:ec(?:ond)?|in(?:ute)?|(?:ou)?r|ay|eek)?s?(?![a-z])", re.IGNORECASE)
_IN = re.compile(
    r"\b(?:again|retry|resets?|wait|available|access)\b.{0,20}?\b(?:in|after|within|for)\W{1,4}(?:about |around )?"
    rf"((?:{_SPAN.pattern}[\s,]*(?:and\s+)?)+)",
    re.IGNORECASE,
)
_AT = re.compile(
    r"\b(?:resets?|try again|retry|available again|regain access)\b(?: (?:at|on|after))*[\s:]+([^\n|]{1,80})",
    re.IGNORECASE,
)
_DAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)\w*|today|tomorrow)"
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)\w*\.?"
_DATE = rf"(?:\d{{4}}-\d\d-\d\d|{_MONTH}\s+\d{{1,2}}(?:st|nd|rd|th)?(?:,?\s+\d{{4}})?)(?:(?=T\d)|(?!\w|:\d))"
_AM = r"\s*[ap](?:m\b|\.m\b\.?)"
_TIME = rf"(?:\d{{1,2}}(?::\d\d){{1,2}}(?:\.\d+)?(?:{_AM})?|\d{{1,2}}{_AM})"
_PHRASE = re.compile(rf"(?:(?P<day>{_DAY})[\s,]*)?(?P<date>{_DATE})?[\s,T]*(?:at\s+)?(?P<time>{_TIME})?", re.IGNORECASE)
_END = re.compile(r"[.:;!?](?:\s|$)|[·∙•→—\"\]]|\s-\s(?!\d)|\s/")  # of what belongs to the time: `3pm · /upgrade`
_OFFSET = re.compile(r"(?:UTC|GMT|(?=[+-]\d\d:?\d\d))\s*([+-])\s*(\d\d?)(?::?([0-5]\d))?(?![\w:]|\.\d)", re.IGNORECASE)
_NAME = re.compile(r"[a-z]\w*(?:[/+-]\w+)*\b(?!\s*[+-]\s*\d)", re.IGNORECASE)
_BEIJING = re.compile(r"\[13\d\d\]|\"13\d\d\"")  # z.ai's codes: its times name no zone


def reset_at(text: str, now: datetime, zone: tzinfo) -> datetime | None:
    """Return when the limit resets, UTC. None: no time can be read, it has just passed, or it is over 8 days away.

    `zone`: this machine's, for a time that names none.
    """
    start = text[:MOST_CHARACTERS]
    where = timezone(timedelta(hours=8)) if _BEIJING.search(start) else zone
    try:
        reset = _reset(start, now, where)
    except (ValueError, OverflowError, ArithmeticError, LookupError, TypeError):  # dateutil raises them all
        reset = None
    if reset is None or not now < reset <= now + LONGEST - MARGIN:
        return None
    return reset.astimezone(UTC)


def _reset(text: str, now: datetime, zone: tzinfo) -> datetime | None:
    if unix := _UNIX.search(text):
        return datetime.fromtimestamp(int(unix[1]), UTC)
    if seconds := _SECONDS.search(text):
        return now + timedelta(seconds=int(seconds[1]))
    if span := _IN.search(text):
        parts = (timedelta(**{_UNITS[one[2].lower()]: int(one[1])}) for one in _SPAN.finditer(span[1]))
        return now + sum(parts, timedelta())
    found = (_absolute(one[1].strip(), now, zone) for one in _AT.finditer(text))
    return next(filter(None, found), None)


def _absolute(phrase: str, now: datetime, zone: tzinfo) -> datetime | None:
    """Return the coming time that a phrase names: `3pm (America/Bogota)`, `Aug 12th, 2026 9:05 PM`, `Mon 12:00am`."""
    from dateutil import parser, tz

    phrase = phrase.replace("−", "-").replace("–", "-")
    found = _PHRASE.match(phrase)
    where = _zone(phrase[found.end() :], zone) if found and found[0].strip() else None
    if found is None or where is None:
        return None
    day = (found["day"] or "").lower()
    today = now.astimezone(where).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    start = today + timedelta(days=day == "tomorrow")
    weekday = "" if day in ("today", "tomorrow") else day
    text = " ".join(filter(None, (weekday, found["date"], (found["time"] or "").lower().replace(".m", "m"))))
    wall = parser.parse(text, default=start) if text else start
    return _next(tz.resolve_imaginary(wall.replace(tzinfo=where, fold=1)), found, now)


def _zone(rest: str, zone: tzinfo) -> tzinfo | None:
    """Return the zone named after a time; `zone` if nothing follows; None for words that name no known zone.

    A name that we do not know is not taken for this machine's zone: that could be hours too early.
    """
    from zoneinfo import ZoneInfo

    words = _END.split(rest, maxsplit=1)[0].lstrip(" ,.:([")
    if not re.search(r"\w", words):
        return zone
    if offset := _OFFSET.match(words):  # people write GMT+2 for two hours east; POSIX reads it west
        east = timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0))
        return timezone(east if offset[1] == "+" else -east)
    name = _NAME.match(words)
    key = _iana().get(name[0].lower()) if name else None
    return ZoneInfo(key) if key else None


@cache
def _iana() -> dict[str, str]:
    """Return the IANA names by their lower case, and Z. `localtime`, which some systems list, is no zone's name."""
    from zoneinfo import available_timezones

    return {"z": "UTC"} | {key.lower(): key for key in available_timezones() if key != "localtime"}


def _next(time: datetime, found: "re.Match[str]", now: datetime) -> datetime | None:
    """Return the coming one. A time that passed within the last hour is not tomorrow's: the service was late."""
    passed = now - time
    if passed <= timedelta(0):
        return time
    if passed <= JUST_PASSED:
        return None
    if found["date"]:
        return time.replace(year=time.year + 1) if passed > timedelta(days=180) else None
    day = (found["day"] or "").lower()
    return None if day in ("today", "tomorrow") else time + timedelta(days=7 if day else 1)
