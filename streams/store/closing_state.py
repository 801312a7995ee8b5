"""The part of the store that closings need: which units were listed, what groups sold, what was named as unsold.

A port of its own beside `streams.store.Store`, with the same two adapters and the same rules: every method may be
repeated, raises CannotReach where the store does not answer and StoreRefuses where it cannot write. What is written
raises Fenced unless the shard is the caller's.
"""

import json
from collections.abc import Mapping
from typing import Protocol

from controller.events import MissingReason
from controller.silence import EventCounts, Listing, Unsold

#: (market, ordinal of a local day)
Place = tuple[str, int]
#: market -> local day (ordinal) -> its sale events by partition
Counts = Mapping[str, Mapping[int, EventCounts]]
REASONS: tuple[MissingReason, ...] = ("closed", "feed_silent")


class ClosingStore(Protocol):
    """By shard: the state of its markets' closings."""

    async def listings(self, shard: int) -> dict[str, Listing]:
        """Unit -> the local days on which it was listed."""
        ...

    async def put_listings(self, shard: int, epoch: int, listings: Mapping[str, Listing]) -> None:
        """Write those that have changed."""
        ...

    async def counts(self, shard: int) -> dict[str, dict[int, dict[int, int]]]:
        """Sale events of closed days: what silent feeds are judged by."""
        ...

    async def put_counts(self, shard: int, epoch: int, counts: Counts) -> None:
        """Replace those of some markets."""
        ...

    async def unsold(self, shard: int) -> dict[Place, Unsold]:
        """The listed units without a sale, of closed days that may still change."""
        ...

    async def put_unsold(self, shard: int, epoch: int, days: Mapping[Place, Unsold | None]) -> None:
        """Replace those of some days; None removes a day that takes no more sales."""
        ...


def listing_text(listing: Listing) -> str:
    return f"{listing.first} {'-' if listing.last is None else listing.last}"


def listing_of(text: str) -> Listing:
    first, last = text.split()
    return Listing(int(first), None if last == "-" else int(last))


def counts_text(days: Mapping[int, EventCounts]) -> str:
    return json.dumps({day: dict(counts) for day, counts in days.items()})


def counts_of(text: str) -> dict[int, dict[int, int]]:
    return {
        int(day): {int(partition): int(events) for partition, events in counts.items()}
        for day, counts in json.loads(text).items()
    }


def place_text(place: Place) -> str:
    return f"{place[0]}:{place[1]}"


def place_of(text: str) -> Place:
    market, _, day = text.rpartition(":")
    return market, int(day)


def unsold_text(market: str, found: Unsold) -> str:
    """Without the market before each unit: there are many."""
    skip = len(market) + 1
    missing = {why: [unit[skip:] for unit in units] for why, units in found.missing.items()}
    return json.dumps([[unit[skip:] for unit in found.zeros], missing, dict(found.counts)], separators=(",", ":"))


def unsold_of(market: str, text: str) -> Unsold:
    zeros, missing, counts = json.loads(text)
    return Unsold(
        tuple(f"{market}/{product}" for product in zeros),
        {why: tuple(f"{market}/{product}" for product in missing[why]) for why in REASONS if why in missing},
        {int(partition): int(events) for partition, events in counts.items()},
    )
