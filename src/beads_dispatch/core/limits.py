"""Usage limits: whether an agent's last words name one, and when it resets.

The wordings drift (Claude Code changed them at least four times in 2025 and 2026), so this reads them loosely.
"""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache

UNREADABLE = timedelta(minutes=30)  # the wait where no reset time can be read, or where it has just passed
MARGIN = timedelta(minutes=2)  # clocks differ
JUST_PASSED = timedelta(hours=1)
LONGEST = timedelta(days=8)
MOST_CHARACTERS = 2000

_DAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)\w*|today|tonight|tomorrow)"
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)\w*\.?"
_RESETS = rf"\bresets?\b:?\s+(?:(?:at|on|in|about)\s+)*(?:\d|{_DAY}|{_MONTH}\s+\d|noon\b|midnight\b)"
_WHOSE = r"(?:[\w'’-]+ ){0,4}"  # `org's monthly `
_LIMIT = re.compile(
    r"usage.?limit|rate_limit_(?:error|exceeded)|insufficient_quota"
    rf"|\blimits?\b.{{0,60}}?{_RESETS}|\blimit (?:will )?resets?\b"
    r"|\blimit (?:has been |was |is )?(?:reached|hit)\b|\b(?:session|hour|daily|weekly|monthly|rate) limit exceeded"
    rf"|(?:hit|reached|exceed(?:ed|s)?|used (?:100 ?%|all) of) your {_WHOSE}(?:limit|quota|budget)"
    rf"|\byou(?:['’]ve| have)? (?:hit|reached|exceeded) the {_WHOSE}limit"
    r"|out of (?:extra )?usage|usage exceeded|quota exceeded"
    r"|\b429\b\W{1,3}too many requests|\bapi error\W{1,3}(?:request rejected \()?429\b",
    re.IGNORECASE | re.DOTALL,
)
_NO_LIMIT = re.compile(r"not your usage limit", re.IGNORECASE)
_THING = (
    r"(?:context|turn|token|length|size|recursion|depth|iteration|step|retr(?:y|ie)|attempt|subagent"
    r"|tool(?:[ -](?:call|use))?|file|line"
    r"|character|byte|page|image|input|output|stack|heap|thread|process|connection|queue|descriptor)s?"
)
_OF_A_THING = re.compile(  # `context window limit`, `limit of 20 open files`; a limit that resets at a time is of usage
    rf"\b(?:(?:{_THING}|context[ -]window|time(?:out)?|(?:memory|disk|cpu|storage)(?:[ -]usage)?)[ -])+"
    rf"(?:limits?|quota|budget)\b(?!.{{0,60}}?{_RESETS})"
    rf"|\blimits? (?:of|on|for) (?:[\w,-]+ ){{0,3}}{_THING}\b(?!.{{0,60}}?{_RESETS})",
    re.IGNORECASE | re.DOTALL,
)
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
_DAY_OF_MONTH = r"\d{1,2}(?:st|nd|rd|th)?"
_DATE = rf"(?:\d{{4}}-\d\d-\d\d|(?:{_MONTH}\s+{_DAY_OF_MONTH}|{_DAY_OF_MONTH}\s+{_MONTH})(?:,?\s+\d{{4}})?)(?!\w|:\d)"
_AM = r"\s*[ap](?:m\b|\.m\b\.?)"
_TIME = rf"(?:\d{{1,2}}(?::\d\d){{1,2}}(?:{_AM})?|\d{{1,2}}{_AM}|noon\b|midnight\b)"
_PHRASE = re.compile(rf"(?:(?P<day>{_DAY})[\s,]*)?(?P<date>{_DATE})?[\s,]*(?:at\s+)?(?P<time>{_TIME})?", re.IGNORECASE)
_TIME_FIRST = re.compile(rf"^({_TIME})[\s,]+(?:on\s+)?({_DAY}|{_DATE})", re.IGNORECASE)  # `3pm on Nov 27`
_WORDS = {"noon": "12pm", "midnight": "12am"}
_RELATIVE = ("today", "tonight", "tomorrow")
_DASHES = dict.fromkeys(map(ord, "‐‑–−"), "-")
_END = re.compile(r"[.:;!?](?:\s|$)|[·∙•→—\"]|\s-\s(?!\d)|\s/")  # of what belongs to the time: `3pm · /upgrade`
_OFFSET = re.compile(r"(?:UTC|GMT|(?=[+-]\d\d:?\d\d))\s*([+-])\s*(\d\d?)(?::?([0-5]\d))?(?![\w:]|\.\d)", re.IGNORECASE)
_AMERICAN = {"P": "America/Los_Angeles", "M": "America/Denver", "C": "America/Chicago", "E": "America/New_York"}
_US = (
    r"(?:[PMCE][SD]?T(?:/[PMCE][SD]T)?|(?:Pacific|Mountain|Central|Eastern)(?:\s+(?:Standard|Daylight))?\s+Time)"
    r"(?![\w/+-])"
)
_IN_AMERICA = re.compile(_US, re.IGNORECASE)
_NAME = re.compile(r"[a-z]\w*(?:[/+-]\w+)*\b(?!\s*[+-]\s*\d)", re.IGNORECASE)
_LATER = re.compile(rf"\b(?:UTC|GMT|{_US}).*|(?<=\()\w+/\w.*", re.IGNORECASE)  # `3pm · UTC`


def is_usage_limit(text: str) -> bool:
    """Whether the last words of a run that ended with an error name a usage limit.

    Limits of other things (`context limit`, `limit of 20 turns`) are taken out first. What is left counts if it says
    that a limit was hit, or when one resets.
    """
    start = _OF_A_THING.sub("", text[:MOST_CHARACTERS])
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

    phrase = phrase.translate(_DASHES)
    if iso := _ISO.match(phrase):
        return _whole(iso, _zone(phrase[iso.end() :], zone))
    phrase = _TIME_FIRST.sub(r"\2 \1", phrase)
    found = _PHRASE.match(phrase)
    where = _zone(phrase[found.end() :], zone) if found and found[0].strip() else None
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

    day, clock = (found["day"] or "").lower(), (found["time"] or "").lower().replace(".", "")
    weekday = "" if day in _RELATIVE else day
    text = " ".join(filter(None, (weekday, found["date"], _WORDS.get(clock, clock))))
    start = today + timedelta(days=day == "tomorrow")
    return parser.parse(text, default=start) if text else start


def _zone(rest: str, zone: tzinfo) -> tzinfo | None:
    """The zone named in the rest of a phrase, after its time. `zone` where nothing follows the time.

    None where words follow that name no known zone: ours could be hours too early.
    """
    words = _END.split(rest, maxsplit=1)[0].lstrip(" ,.:([")
    if re.search(r"\w", words):
        return _named(words)
    later = _LATER.search(rest)
    return _named(later[0]) if later else zone


def _named(words: str) -> tzinfo | None:
    """The zone at the start of these words: an offset from UTC, an American name, or an IANA name in any case."""
    from zoneinfo import ZoneInfo

    if offset := _OFFSET.match(words):  # people write GMT+2 for two hours east; POSIX reads it west
        east = timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0))
        return timezone(east if offset[1] == "+" else -east)
    if american := _IN_AMERICA.match(words):
        return ZoneInfo(_AMERICAN[american[0][0].upper()])
    name = _NAME.match(words)
    key = _iana().get(name[0].lower()) if name else None
    return ZoneInfo(key) if key else None


@cache
def _iana() -> dict[str, str]:
    """The IANA names by their lower case, and Z. (`localtime`, which some systems list, is the machine's own.)"""
    from zoneinfo import available_timezones

    return {"z": "UTC"} | {key.lower(): key for key in available_timezones() if key != "localtime"}


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
