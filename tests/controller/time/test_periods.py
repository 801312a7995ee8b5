"""Local days against an oracle: walk through time minute by minute and see when `zoneinfo` shows a new date."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.time.periods import day_start, local_day, period, period_at, zone
from tests.controller.builders import instants

ZONES = (
    "UTC", "America/Chicago", "America/New_York", "Europe/Berlin", "Europe/London", "America/Santiago", "Africa/Cairo",
    "Asia/Beirut", "America/Havana", "Australia/Lord_Howe", "Pacific/Chatham", "Pacific/Apia", "Asia/Kolkata",
    "Asia/Kathmandu", "Africa/Casablanca",
)  # fmt: skip
MINUTE = timedelta(minutes=1)


def walked(time_zone: str, first: datetime, last: datetime) -> list[tuple[date, datetime]]:
    """(date, its first minute) of every local date that begins in (first, last], by looking at every minute."""
    clock, found, now = ZoneInfo(time_zone), [], first
    today = now.astimezone(clock).date()
    while now <= last:
        day = now.astimezone(clock).date()
        if day != today:
            found.append((day, now))
            today = day
        now += MINUTE
    return found


def boundaries(time_zone: str, first: datetime, last: datetime) -> list[tuple[date, datetime]]:
    """The same as :func:`walked`, as the schedule would ask for it."""
    found, now = [], period_at(first, time_zone).end
    while now <= last:
        found.append((local_day(now, time_zone), now))
        now = period_at(now, time_zone).end
    return found


def agree(time_zone: str, first: datetime, last: datetime) -> None:
    ours = boundaries(time_zone, first, last)
    assert ours == walked(time_zone, first, last)
    assert all(a < b for (_, a), (_, b) in pairwise(ours)), "unique and increasing"
    assert all(day_start(day, time_zone) == instant for day, instant in ours)


#: nights on which somebody's midnight is missing, doubled or a day away
ODD_NIGHTS = (
    ("America/Santiago", date(2025, 9, 7)),
    ("America/Santiago", date(2025, 4, 6)),
    ("Africa/Cairo", date(2025, 4, 25)),
    ("Africa/Cairo", date(2025, 10, 31)),
    ("Asia/Beirut", date(2025, 3, 30)),
    ("America/Havana", date(2025, 3, 9)),
    ("America/Havana", date(2025, 11, 2)),
    ("Australia/Lord_Howe", date(2025, 4, 6)),
    ("Pacific/Chatham", date(2025, 9, 28)),
    ("Pacific/Apia", date(2011, 12, 31)),
    ("America/Chicago", date(2026, 3, 8)),
    ("America/Chicago", date(2026, 11, 1)),
    # Toronto's clocks went from 23:30 to 00:30: the day began within the jump
    ("America/Toronto", date(1919, 3, 31)),
)


@pytest.mark.parametrize(("time_zone", "day"), ODD_NIGHTS)
def test_odd_nights_agree_minute_by_minute(time_zone: str, day: date) -> None:
    around = datetime(day.year, day.month, day.day, tzinfo=UTC)
    agree(time_zone, around - timedelta(days=3), around + timedelta(days=3))


@pytest.mark.slow
@pytest.mark.parametrize("time_zone", ZONES)
def test_two_years_agree_minute_by_minute(time_zone: str) -> None:
    agree(time_zone, datetime(2025, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


@pytest.mark.slow
def test_apia_agrees_over_the_years_around_its_missing_friday() -> None:
    agree("Pacific/Apia", datetime(2011, 1, 1, tzinfo=UTC), datetime(2013, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("time_zone", ZONES)
def test_two_years_of_boundaries_are_new_dates_with_the_old_date_a_second_before(time_zone: str) -> None:
    day, seen = date(2025, 1, 1), set()
    while day < date(2027, 1, 1):
        start = day_start(day, time_zone)
        assert start not in seen
        seen.add(start)
        clock = ZoneInfo(time_zone)
        assert start.astimezone(clock).date() == day
        assert (start - timedelta(seconds=1)).astimezone(clock).date() == day - timedelta(days=1)
        assert 22 <= period(day, time_zone).hours <= 26
        day += timedelta(days=1)


def test_a_date_that_a_zone_skipped_is_an_empty_period() -> None:
    missing = period(date(2011, 12, 30), "Pacific/Apia")
    assert not missing.exists
    assert missing.hours == 0
    assert period(date(2011, 12, 31), "Pacific/Apia").start == missing.end


@pytest.mark.parametrize(
    ("time_zone", "day", "hours"),
    [
        ("America/Chicago", date(2026, 3, 8), 23.0),
        ("America/Chicago", date(2026, 11, 1), 25.0),
        ("Australia/Lord_Howe", date(2025, 4, 6), 24.5),
        ("Asia/Kolkata", date(2026, 3, 8), 24.0),
    ],
)
def test_days_are_as_long_as_their_clocks_say(time_zone: str, day: date, hours: float) -> None:
    assert period(day, time_zone).hours == hours


@settings(max_examples=200)
@given(
    st.sampled_from(ZONES),
    instants(2008, 2035),
)
def test_every_instant_is_in_exactly_the_period_that_is_named_after_its_date(time_zone: str, instant: datetime) -> None:
    found = period_at(instant, time_zone)
    assert found.start <= instant < found.end
    assert found.day == local_day(instant, time_zone)
    assert period_at(found.start, time_zone) == found
    assert period_at(found.end, time_zone).start == found.end


@pytest.mark.parametrize("name", ["Mars/Olympus", "../etc/passwd", ""])
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises((KeyError, ValueError)):
        zone(name)
