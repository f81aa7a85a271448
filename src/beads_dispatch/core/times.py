"""Times and durations as a person reads them."""

import re
from datetime import datetime, tzinfo

from beads_dispatch.core.bead import read_time

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_STAMP = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d)?Z")


def age(seconds: float) -> str:
    """Return a duration in its largest unit: `12s`, `4m`, `3h`, `5d`."""
    return span(seconds).split()[0]


def span(seconds: float) -> str:
    """Return a duration in its two largest units: `12s`, `1m 48s`, `2h`, `3d 4h`."""
    left = max(0, int(seconds))
    for (unit, size), (lower, part) in zip(_UNITS, (*_UNITS[1:], ("", 1)), strict=True):
        if left >= size:
            rest = left % size // part
            return f"{left // size}{unit}" + (f" {rest}{lower}" if rest and lower else "")
    return "0s"


def clock_time(time: datetime, now: datetime, zone: tzinfo) -> str:
    """Return a time in this zone: `03:54`, or `Nov 26 03:54` on another day."""
    try:
        here = time.astimezone(zone)
    except OverflowError:  # somebody deferred a bead until the year 9999
        return f"{time:%Y-%m-%d}"
    return f"{here:%H:%M}" if here.date() == now.astimezone(zone).date() else f"{here:%b} {here.day} {here:%H:%M}"


def relative(text: str, now: datetime, zone: tzinfo) -> str:
    """Return the text with each UTC timestamp replaced by a local time and its distance: `03:54 (in 1m 48s)`."""

    def shown(stamp: "re.Match[str]") -> str:
        time = read_time(stamp[0])
        if time is None:
            return stamp[0]
        seconds = (time - now).total_seconds()
        distance = f"in {span(seconds)}" if seconds > 0 else f"{span(-seconds)} ago"
        return f"{clock_time(time, now, zone)} ({distance})"

    return _STAMP.sub(shown, text)


def ordinal(number: int) -> str:
    """Return `1st`, `2nd`, `11th` and so on."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"
