"""Listing: on which local days the catalog listed a unit for the whole day. Pure."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from controller.time.periods import day_start, local_day

#: of what was read before a clock of ticks began: it was always known
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
ONE_DAY = timedelta(days=1)


class Listed(NamedTuple):
    """Since when the catalog lists a unit, as far as its topic still shows."""

    since: datetime
    #: when it was delisted; None while it is listed
    until: datetime | None = None
    #: it was delisted before ``since``
    again: bool = False


def listed(known: Listed | None, at: datetime, *, delisted: bool) -> Listed:
    """What is known of a unit after one more record of it, which came at an instant."""
    if known is None:
        return Listed(at, at if delisted else None)
    if delisted:
        return known if known.until is not None else known._replace(until=at)
    return known if known.until is None else Listed(at, again=True)


class WholeDays(NamedTuple):
    """The whole days of a unit's listing, as ordinals."""

    first: int
    #: None while it is listed
    last: int | None = None

    def __contains__(self, day: object) -> bool:
        return isinstance(day, int) and self.first <= day and (self.last is None or day <= self.last)


def whole_days(found: Listed, time_zone: str) -> WholeDays:
    """The local days that lie within a listing."""
    day = local_day(found.since, time_zone)
    whole = found.since <= day_start(day, time_zone)
    last = None if found.until is None else (local_day(found.until, time_zone) - ONE_DAY).toordinal()
    return WholeDays(day.toordinal() + (not whole), last)


def merged(held: WholeDays | None, found: Listed, time_zone: str) -> WholeDays:
    """What is kept of a unit's listing, with what the catalog's topic shows now.

    Compaction forgets the first record of a unit, and so what is kept is the older word on its first day.
    """
    new = whole_days(found, time_zone)
    if held is None:
        return new
    if found.until is not None:
        if held.last is not None and not (found.again and new.first > held.last):
            return held  # delisted once is delisted: later records that say so again move nothing
        return WholeDays(new.first if found.again else held.first, new.last)
    if held.last is not None:
        # The day on which it was delisted is no whole day, whatever the topic has forgotten.
        return WholeDays(max(new.first, held.last + 2))
    return new if found.again and new.first > held.first else held


def spelled(days: WholeDays) -> str:
    """As the store keeps it."""
    return str(days.first) if days.last is None else f"{days.first} {days.last}"


def read_whole_days(text: str) -> WholeDays:
    """What `spelled` wrote; raises ValueError."""
    first, *last = (int(part) for part in text.split(" "))
    return WholeDays(first, last[0] if last else None)
