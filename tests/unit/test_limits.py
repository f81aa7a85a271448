"""Usage limits: every wording that people reported, and the reset times in them."""

from datetime import UTC, datetime, timedelta

import pytest
from dateutil import tz
from hypothesis import given, settings
from hypothesis import strategies as st

from beads_dispatch.core import limits

NOW = datetime(2026, 11, 25, 8, 0, tzinfo=UTC)
SOFIA = tz.gettz("Europe/Sofia")


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("Claude AI usage limit reached|1749924000", True),
        ("Claude usage limit reached. Your limit will reset at 3pm (America/Bogota).", True),
        ("5-hour limit reached ∙ resets 5:30am", True),
        ("Opus weekly limit reached ∙ resets Oct 31, 9am", True),
        ("You've hit your limit · resets 1:30am (Asia/Dhaka)", True),
        ("You’ve hit your session limit · resets 11am (UTC)", True),
        ("You've hit your weekly limit · resets Mon 12:00am", True),
        ("You've reached your Fable limit.", True),
        ("You're out of extra usage · resets 11:30am (Asia/Colombo)", True),
        ('API Error: 429 {"type":"error","error":{"type":"rate_limit_error","message":"x"}}', True),
        ("You've hit your usage limit. Try again in 4 days 20 hours 9 minutes.", True),
        ("You exceeded your current quota, please check your plan and billing details.", True),
        ("Your limit resets on Monday at 9:00 AM PST", True),
        ("You've hit the limit · resets 3pm (UTC)", True),
        ("You've hit your org's monthly limit · resets Dec 1 at 12am (UTC)", True),
        ("Session limit hit. Resets at 3pm", True),
        ("You've reached the 5-hour limit. It resets at 15:00 UTC", True),
        ("You've used 100% of your weekly limit · resets 3pm", True),
        ("You have used all of your weekly limit.", True),
        ("You've hit your team's shared budget", True),
        ("You've hit your monthly spend limit · raise it at claude.ai/settings/usage", True),
        ("You’ve reached the weekly limit", True),
        ("Weekly limit exceeded", True),
        ("The limit of this plan was met\nIt resets on Monday", True),
        ("No more requests: limit used up, resets in 3 hours", True),
        ("You've hit your weekly token limit · resets 3pm", True),  # a limit of tokens that resets at a time
        ("Context limit reached. You've hit your weekly limit", True),
        ("429 Too Many Requests", True),
        ("API Error: Request rejected (429) · Rate limited", True),
        ('API Error (429 {"error":{"code":"1113"}})', True),
        ('{"code":"rate_limit_exceeded"}', True),
        ("This request would exceed your account's rate limit. Please try again later.", True),
        # a limit of something else
        ("Context limit reached · /compact or /clear to continue", False),
        ("Context window limit reached", False),
        ("Maximum turns limit reached", False),
        ("Context length limit", False),
        ("output token limit exceeded", False),
        ("file size limit", False),
        ("The file size limit was hit", False),
        ("recursion limit reached", False),
        ("Time limit reached", False),
        ("Memory usage limit reached", False),
        ("Tool-call limit reached", False),
        ("Subagent limit reached", False),
        ("disk quota exceeded", False),
        ("You've reached your output-token limit", False),
        ("You exceeded your token budget", False),
        ("You've hit your limit of 20 open files", False),
        ("spending limit of the test account is 5", False),
        ("The limit of the queue is 20; git reset was run, which resets the index", False),
        ("test 429 of 500 failed: too many requests were sent to the stub", False),
        ("API Error: Server is temporarily limiting requests (not your usage limit)", False),
        ("Credit balance is too low", False),
        ("Not logged in · Please run /login", False),
        ("I raised the limit of the queue to 20, as the bead asks", False),
        ("", False),
    ],
)
def test_what_is_a_usage_limit(text: str, limit: bool) -> None:
    assert limits.is_usage_limit(text) is limit


def test_only_the_first_2000_characters_count() -> None:
    limit = "usage limit"
    assert limits.is_usage_limit(limit.rjust(2000))
    assert not limits.is_usage_limit(limit.rjust(2001))
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
        ("resets noon", NOW, at("2026-11-25T10:00")),
        ("resets at midnight (UTC)", NOW, at("2026-11-26T00:00")),
        ("Resets 27 Nov 2026 08:00 UTC", NOW, at("2026-11-27T08:00")),
        ("resets Friday, 27th November at 8 a.m. UTC", NOW, at("2026-11-27T08:00")),
        ("resets on Monday at 9:00 AM PST", NOW, at("2026-11-30T17:00")),
        ("resets 3pm ET", NOW, at("2026-11-25T20:00")),
        ("resets 3:30 PM UTC+5:30", NOW, at("2026-11-25T10:00")),
        ("resets in about 2 hours", NOW, at("2026-11-25T10:00")),
        ("resets in 1 week", NOW, at("2026-12-02T08:00")),
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
        ("resets 3pm Pacific Time", NOW, at("2026-11-25T23:00")),
        ("resets 3pm Pacific Time", at("2026-07-01T08:00"), at("2026-07-01T22:00")),
        ("resets 3pm (Eastern Time)", NOW, at("2026-11-25T20:00")),
        ("resets 3pm (central standard time)", NOW, at("2026-11-25T21:00")),
        ("resets 3pm mountain time", NOW, at("2026-11-25T22:00")),
        ("resets 3:30 p.m. PST", NOW, at("2026-11-25T23:30")),
        ("resets 3pm (PST/PDT)", NOW, at("2026-11-25T23:00")),
        ("resets 3pm pst", NOW, at("2026-11-25T23:00")),
        ("resets 3pm PDT · /upgrade", NOW, at("2026-11-25T23:00")),
        ("resets 3pm (MST)", NOW, at("2026-11-25T22:00")),
        ("resets 3pm cdt", NOW, at("2026-11-25T21:00")),
        ("resets 3pm (est)", NOW, at("2026-11-25T20:00")),
        ("resets 3pm (GMT -5)", NOW, at("2026-11-25T20:00")),
        ("resets 3pm (utc - 5)", NOW, at("2026-11-25T20:00")),
        ("resets 3pm UTC−5", NOW, at("2026-11-25T20:00")),
        ("resets 3pm UTC–03:30", NOW, at("2026-11-25T18:30")),
        ("resets 3pm -05:00", NOW, at("2026-11-25T20:00")),
        ("resets at 15:00Z", NOW, at("2026-11-25T15:00")),
        ("resets 3pm · UTC", NOW, at("2026-11-25T15:00")),
        ("resets 3pm. All times are (Asia/Dubai)", NOW, at("2026-11-25T11:00")),
        ("resets at 2026-11-26 20:30 pst", NOW, at("2026-11-27T04:30")),
        ("resets Nov 29 Pacific Time", NOW, at("2026-11-29T08:00")),
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
        # the day after the time
        ("resets 3pm today (UTC)", NOW, at("2026-11-25T15:00")),
        ("resets at 3 p.m. tomorrow, UTC", NOW, at("2026-11-26T15:00")),
        ("resets 3pm on Nov 27 (UTC)", NOW, at("2026-11-27T15:00")),
        ("resets 15:00 Friday PST", NOW, at("2026-11-27T23:00")),
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


def test_two_minutes_are_added_and_half_an_hour_is_the_default() -> None:
    assert limits.hold_until(NOW, NOW) - NOW == timedelta(minutes=2)
    assert limits.hold_until(None, NOW) - NOW == timedelta(minutes=30)


WORDS = st.sampled_from(
    ["resets", "reset at", "try again in", "try again at", " ", "3pm", "25:99", "12:60am", "Feb 30", "Mon", "(UTC)",
     "(Europe/Sofia)", "GMT+99", "PST", "tomorrow", "noon", "retry-after: 9", "T20:30Z", "UTC-1:99", "31 Feb",
     "Pacific Time", "(GMT -5)", "UTC−5", "america/new_york", "localtime", "(", "limit", "your ", "hit ",
     "|9999999999", "in 9999 days", "resetsAt: 9999999999", "2026-13-45", "0001-01-01"]
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(WORDS | st.text(max_size=8), max_size=8).map("".join), st.datetimes(timezones=st.just(UTC)))
def test_no_text_raises_and_no_hold_is_longer_than_eight_days(text: str, now: datetime) -> None:
    limits.is_usage_limit(text)
    if datetime(1971, 1, 1, tzinfo=UTC) < now < datetime(9990, 1, 1, tzinfo=UTC):
        reset = limits.reset_at(text, now, UTC)
        assert now < limits.hold_until(reset, now) <= now + timedelta(days=8)
