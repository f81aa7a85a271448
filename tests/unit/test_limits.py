"""Usage limits: every wording that people reported, and the reset times in them."""

from datetime import UTC, datetime, timedelta

import pytest
from dateutil import tz
from hypothesis import given, settings
from hypothesis import strategies as st

from beads_dispatch.core import limits

NOW = datetime(2026, 11, 25, 8, 0, tzinfo=UTC)
SOFIA = tz.gettz("Europe/Sofia")


def test_only_the_first_2000_characters_count() -> None:
    assert limits.reset_at("retry-after: 60".rjust(2000), NOW, UTC) == NOW + timedelta(minutes=1)
    assert limits.reset_at("retry-after: 60".rjust(2001), NOW, UTC) == NOW + timedelta(seconds=6)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "now", "reset"),
    [
        ("usage limit reached|1764061200", NOW, at("2025-11-25T09:00")),  # a year ago: see below
        ("usage limit reached|1795597200", NOW, at("2026-11-25T09:00")),
        ('{"type":"usage_limit_reached","resets_at":1795597200}', NOW, at("2026-11-25T09:00")),
        ("resets 3pm (Europe/Sofia)", NOW, at("2026-11-25T13:00")),
        ("resets 3pm", NOW, at("2026-11-25T13:00")),
        ("Your limit will reset at 1 PM (Asia/Dubai).", NOW, at("2026-11-25T09:00")),
        ("resets 1:30am (Asia/Dhaka)", NOW, at("2026-11-25T19:30")),
        ("resets 2:30am (UTC)", at("2026-11-25T23:00"), at("2026-11-26T02:30")),
        ("resets 12am (UTC)", at("2026-11-25T23:59"), at("2026-11-26T00:00")),
        ("resets 12am (UTC)", at("2026-12-31T22:00"), at("2027-01-01T00:00")),
        ("resets Jan 2, 8am (Europe/Berlin)", at("2026-12-31T22:00"), at("2027-01-02T07:00")),
        ("resets Nov 27 at 4pm (America/Recife)", NOW, at("2026-11-27T19:00")),
        ("resets Nov 29", NOW, at("2026-11-28T22:00")),
        ("resets Mon 12:00am (UTC)", NOW, at("2026-11-30T00:00")),
        ("resets Wed 3am (UTC)", NOW, at("2026-12-02T03:00")),
        ("resets 17:20 (UTC)", NOW, at("2026-11-25T17:20")),
        ("Your limit will reset at 2026-11-26 20:30:24", NOW, at("2026-11-26T18:30:24")),
        ("Access resets at 11:00 AM GMT+2.", NOW, at("2026-11-25T09:00")),
        ("resets in 2h", NOW, at("2026-11-25T10:00")),
        ("Try again in 4 days 20 hours 9 minutes.", NOW, at("2026-11-30T04:09")),
        ("try again in 3 hours 2 minutes.", NOW, at("2026-11-25T11:02")),
        ("try again at Nov 26th, 2026 1:36 PM.", NOW, at("2026-11-26T11:36")),
        ("Your limit will reset at 2026-11-26T20:30:24Z", NOW, at("2026-11-26T20:30:24")),
        ("resets at 2026-11-26 20:30:24.123 +0530", NOW, at("2026-11-26T15:00:24.123")),
        ("resets at 2026-11-26T20:30 (Asia/Dubai)", NOW, at("2026-11-26T16:30")),
        ("usage limit reached|1795597200000", NOW, at("2026-11-25T09:00")),
        ("Resets tomorrow at 9am", NOW, at("2026-11-26T07:00")),
        ("resets today at 11pm (UTC)", NOW, at("2026-11-25T23:00")),
        ("resets today at 3am (UTC)", NOW, None),
        ("resets tomorrow", NOW, at("2026-11-25T22:00")),
        ("resets 3:30 PM UTC+5:30", NOW, at("2026-11-25T10:00")),
        ("resets in about 2 hours", NOW, at("2026-11-25T10:00")),
        ("resets in 1 week", NOW, at("2026-12-02T08:00")),
        ("or try again in 2 days 17 hours 14 minutes.", NOW, at("2026-11-28T01:14")),
        ("Your quota will reset after 3h20m9s", NOW, at("2026-11-25T11:20:09")),
        ("Please try again in 6ms.", NOW, None),
        ("the limit of a 5 hour window: resets 3pm (UTC)", NOW, at("2026-11-25T15:00")),
        ("or try again at 2:57 PM.", NOW, at("2026-11-25T12:57")),
        ("try again at Nov 27th, 2026 9:05 PM", NOW, at("2026-11-27T19:05")),
        ("You will regain access on 2026-12-01 at 00:00 UTC.", NOW, at("2026-12-01T00:00")),
        (
            "You've hit your monthly spend limit · your session limit resets 2:40pm (Asia/Jakarta)",
            at("2026-11-25T07:00"),
            at("2026-11-25T07:40"),
        ),
        # z.ai names no zone, and means Beijing's
        (
            "[1308][Usage limit reached for 5 hour. Your limit will reset at 2026-11-25 17:29:33]",
            NOW,
            at("2026-11-25T09:29:33"),
        ),
        ('{"code":"1308","message":"Your limit will reset at 2026-11-25 17:29:33"}', NOW, at("2026-11-25T09:29:33")),
        ("Limit reached.\nTry again at 3pm (UTC).", NOW, at("2026-11-25T15:00")),
        ('{"type":"usage_limit_reached","resets_in_seconds":3600}', NOW, at("2026-11-25T09:00")),
        ("retry-after: 3600", NOW, at("2026-11-25T09:00")),
        ("Retry after 60 minutes", NOW, at("2026-11-25T09:00")),
        # both changes of the clock: 3:30 does not exist in the spring, and comes twice in the autumn
        ("resets 3:30am (Europe/Sofia)", at("2026-03-28T23:00"), at("2026-03-29T01:30")),
        ("resets 3:30am (Europe/Sofia)", at("2026-10-24T22:00"), at("2026-10-25T01:30")),
        # passed within the last hour: the service was late, it is not tomorrow's
        ("resets 7:30am (UTC)", NOW, None),
        ("resets 8am (UTC)", NOW, None),
        ("resets 6:30am (UTC)", NOW, at("2026-11-26T06:30")),
        # the zone as people write it; what is no known zone is not taken for ours
        ("resets 3pm America/New_York", NOW, at("2026-11-25T20:00")),
        ("resets 3pm (america/new_york)", NOW, at("2026-11-25T20:00")),
        ("resets 3pm, ASIA/TOKYO.", at("2026-11-25T05:00"), at("2026-11-25T06:00")),
        ("resets 3pm America/Port-au-Prince", NOW, at("2026-11-25T20:00")),
        ("resets 3pm CET", NOW, at("2026-11-25T14:00")),
        ("resets 3pm Pacific Time", NOW, None),  # no IANA name: not taken for this machine's zone
        ("resets 3pm PST", NOW, None),
        ("resets 3:30 p.m. (UTC)", NOW, at("2026-11-25T15:30")),
        ("resets 3pm (GMT -5)", NOW, at("2026-11-25T20:00")),
        ("resets 3pm (utc - 5)", NOW, at("2026-11-25T20:00")),
        ("resets 3pm UTC−5", NOW, at("2026-11-25T20:00")),
        ("resets 3pm UTC–03:30", NOW, at("2026-11-25T18:30")),
        ("resets 3pm -05:00", NOW, at("2026-11-25T20:00")),
        ("resets at 15:00Z", NOW, at("2026-11-25T15:00")),
        ("resets 3pm Nowhere Time", NOW, None),
        ("resets 3pm Central European Time", NOW, None),
        ("resets 3pm (local time)", NOW, None),
        ("resets 3pm localtime", NOW, None),
        ("resets 3pm Mars/Olympus", NOW, None),
        ("resets 3pm BST", NOW, None),  # London or Dhaka
        ("resets 3pm UTC+5.5", NOW, None),
        ("resets 3pm UTC - 5.5", NOW, None),
        ("resets 3pm +2", NOW, None),
        ("resets 3pm or when your plan changes", NOW, None),
        ("resets Nov 27 (3pm UTC)", NOW, None),
        ("resets at 2026-11-26 20:30 XYZ", NOW, None),
        # words that are no longer of the time
        ("resets 3pm · /upgrade to increase your usage limit", NOW, at("2026-11-25T13:00")),
        ("resets 3pm → upgrade", NOW, at("2026-11-25T13:00")),
        ("resets 3pm /upgrade", NOW, at("2026-11-25T13:00")),
        ("resets at 3pm. Please wait.", NOW, at("2026-11-25T13:00")),
        ("resets 3pm - see claude.ai/settings", NOW, at("2026-11-25T13:00")),
        ("resets Nov 29: wait", NOW, at("2026-11-28T22:00")),
        ("You've hit your org's monthly limit · resets Dec 1 at 12am (UTC)", NOW, at("2026-12-01T00:00")),
        # unreadable, or too far away
        ("resets at dawn", NOW, None),
        ("resets 3pm XYZ", NOW, None),
        ("resets 11/30, 3pm", NOW, None),  # in America a day of this month, elsewhere none
        ("resets 3pm (Mars/Olympus)", NOW, None),
        ("resets Jan 15, 8am (UTC)", NOW, None),
        ("in 99 days", NOW, None),
        ("429 rate_limit_error", NOW, None),
        ("resets 7am (UTC)", NOW, None),  # an hour ago: just passed
        ("resets 6:59am (UTC)", NOW, at("2026-11-26T06:59")),
        ("resets Jan 4, 8am (UTC)", at("2026-12-29T08:00"), at("2027-01-04T08:00")),
        ("resets UTC 3pm", NOW, None),  # a zone without a time before it
        ("retry-after: 691080", NOW, NOW + timedelta(days=8, minutes=-2)),
        ("retry-after: 691081", NOW, None),
    ],
)
def test_when_a_limit_resets(text: str, now: datetime, reset: datetime | None) -> None:
    expected = None if reset is not None and reset <= now else reset
    assert SOFIA is not None
    assert limits.reset_at(text, now, SOFIA) == expected


WORDS = st.sampled_from(
    ["resets", "reset at", "try again in", "try again at", " ", "3pm", "25:99", "12:60am", "Feb 30", "Mon", "(UTC)",
     "(Europe/Sofia)", "GMT+99", "PST", "tomorrow", "noon", "retry-after: 9", "T20:30Z", "UTC-1:99", "31 Feb",
     "Pacific Time", "(GMT -5)", "UTC−5", "america/new_york", "localtime", "(", "limit", "your ", "hit ",
     "|9999999999", "in 9999 days", "resetsAt: 9999999999", "2026-13-45", "0001-01-01"]
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(WORDS | st.text(max_size=8), max_size=8).map("".join), st.datetimes(timezones=st.just(UTC)))
def test_no_text_raises_and_no_hold_is_longer_than_eight_days(text: str, now: datetime) -> None:
    if datetime(1971, 1, 1, tzinfo=UTC) < now < datetime(9990, 1, 1, tzinfo=UTC):
        reset = limits.reset_at(text, now, UTC)
        assert reset is None or now < reset < now + timedelta(days=8)
