"""Periods: the local days of a market, half-open intervals [start, end) of UTC instants.

A local day lasts 22 to 26 hours, some start at 01:00 because their midnight does not exist, and a few dates do not
exist at all (Apia, 2011-12-30): such a period is empty and nothing can happen in it.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class Period:
    """One local day of a market, [start, end) in UTC."""

    day: date
    start: datetime
    end: datetime

    @property
    def hours(self) -> float:
        """Length in hours: what rates are divided by."""
        return (self.end - self.start).total_seconds() / 3600

    @property
    def exists(self) -> bool:
        return self.start < self.end


@lru_cache(maxsize=256)
def zone(name: str) -> ZoneInfo:
    """The time zone of this name; raises ``zoneinfo.ZoneInfoNotFoundError`` or ``ValueError`` where there is none."""
    return ZoneInfo(name)


def local_day(instant: datetime, time_zone: str) -> date:
    """The local date on which an instant falls."""
    return instant.astimezone(zone(time_zone)).date()


@lru_cache(maxsize=1 << 16)
def day_start(day: date, time_zone: str) -> datetime:
    """The first instant (UTC) whose local date is ``day`` or later.

    Bisection over whole seconds, because a wall time such as 00:00 may exist twice, once, or not at all: the local date
    never runs backwards over the instants of the zones in use, so the first instant is well defined.
    """
    low = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=30)
    high = low + timedelta(hours=60)
    guess = datetime(day.year, day.month, day.day, tzinfo=zone(time_zone)).astimezone(UTC)
    second = timedelta(seconds=1)
    if local_day(guess, time_zone) >= day > local_day(guess - second, time_zone):
        return guess
    while high - low > second:
        middle = low + (high - low) // second // 2 * second
        if local_day(middle, time_zone) >= day:
            high = middle
        else:
            low = middle
    return high


def period(day: date, time_zone: str) -> Period:
    """The local day ``day``: empty (start equals end) where the zone skipped that date."""
    return Period(day, day_start(day, time_zone), day_start(day + timedelta(days=1), time_zone))


def period_at(instant: datetime, time_zone: str) -> Period:
    """The local day that holds an instant."""
    return period(local_day(instant, time_zone), time_zone)
