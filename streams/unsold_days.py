"""Unit-days without a sale, market by market: which of them are zeros, and which are missing, and why.

Holds what the store keeps of it for one shard. `controller.silence` has the rules.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from controller.events import UnsoldUnits
from controller.inputs import CatalogEntry
from controller.outcomes import first_whole_day, last_whole_day
from controller.periods import period
from controller.silence import DAYS_KEPT, EventCounts, Listing, Unsold, revised, unsold
from controller.wire import market_of
from streams.catalog import Catalog
from streams.parts import Parts, partition_of
from streams.store.closing_state import Place

#: products that one record names
PRODUCTS_A_RECORD = 4000


@dataclass(frozen=True, slots=True)
class DayOfMarket:
    """What is known of a closed day besides its rows."""

    unsold: Unsold
    #: units with a sale although their catalog entry says that they could not be bought
    sold_while_closed: int
    #: whether its unsold units are to be published, at first or because some became zeros
    changed: bool


@dataclass(slots=True)
class UnsoldDays:
    """The state of one shard's closings, changed in memory and written back with `keep`."""

    parts: Parts
    catalog: Catalog
    shard: int
    epoch: int
    listings: dict[str, Listing] = field(default_factory=dict)
    #: market -> day -> sale events by partition
    counts: dict[str, dict[int, dict[int, int]]] = field(default_factory=dict)
    #: as it is stored; what is not yet stands in ``_changed``, so that a closing that fails is made again alike
    days: dict[Place, Unsold] = field(default_factory=dict)
    _listed_anew: dict[str, Listing] = field(default_factory=dict)
    _changed: dict[Place, Unsold | None] = field(default_factory=dict)
    #: market -> its listed units
    _units: dict[str, list[str]] = field(default_factory=dict)

    async def load(self) -> None:
        """Read what the store holds."""
        store = self.parts.store.closing
        self.listings = await store.listings(self.shard)
        self.counts = await store.counts(self.shard)
        self.days = await store.unsold(self.shard)
        self._index()

    def _index(self) -> None:
        self._units = {}
        for unit in sorted(self.listings):
            self._units.setdefault(market_of(unit), []).append(unit)

    def follow(self, zones: Mapping[str, str]) -> None:
        """Take in what the catalog lists by now; ``zones``: this shard's markets and their time zones."""
        for unit, span in self.catalog.spans.items():
            zone = zones.get(market_of(unit))
            if zone is None:
                continue
            first = first_whole_day(span.since, zone).toordinal()
            last = None if span.until is None else last_whole_day(span.until, zone).toordinal()
            held = self.listings.get(unit)
            found = _followed(held, first, last)
            if found != held:
                self.listings[unit] = self._listed_anew[unit] = found
        if self._listed_anew:
            self._index()

    def closed(self, market: str, day: int, sold: Mapping[str, int], *, late: bool) -> DayOfMarket | None:
        """A market's day that closes, or that sales have come late to.

        ``sold``: unit -> sale events, of the units that have a row. None for a day that was closed before unsold units
        were named.
        """
        entries, homes = self.catalog.known, self._homes(market, sold)
        events: dict[int, int] = {}
        for unit, number in sold.items():
            events[homes[unit]] = events.get(homes[unit], 0) + number
        history = {d: counts for d, counts in self.counts.get(market, {}).items() if d < day}
        local = date.fromordinal(day)
        contradicting = sum(1 for unit in sold if _is_closed(entries, unit, local))
        if late:
            before = self.days.get((market, day))
            if before is None:
                return None
            found = revised(day, before, events, sold, homes, history)
            changed = found.missing != before.missing
        else:
            listed = [u for u in self._units.get(market, ()) if u not in sold and self.listings[u].covers(day)]
            if not period(local, self.catalog.time_zones[market]).exists:
                listed = []
            closed = {unit for unit in listed if _is_closed(entries, unit, local)}
            found, changed = unsold(day, listed, events, closed, homes, history), bool(listed)
        self._changed[market, day] = found
        kept = self.counts.setdefault(market, {})
        kept[day] = dict(found.counts)
        for old in [d for d in kept if d < max(kept) - DAYS_KEPT]:
            del kept[old]
        return DayOfMarket(found, contradicting, changed)

    def seal(self, last: Mapping[str, int]) -> None:
        """Forget the days that take no more sales: market -> the last of them (ordinal)."""
        for market, day in self.days:
            if day <= last.get(market, -1):
                self._changed[market, day] = None

    async def keep(self) -> None:
        """Write what has changed since the last time; raises Fenced."""
        store = self.parts.store.closing
        if self._listed_anew:
            await store.put_listings(self.shard, self.epoch, self._listed_anew)
        markets = {market for market, _ in self._changed}
        if markets:
            counts: dict[str, Mapping[int, EventCounts]] = {m: self.counts[m] for m in markets if m in self.counts}
            await store.put_counts(self.shard, self.epoch, counts)
            await store.put_unsold(self.shard, self.epoch, self._changed)
        for place, found in self._changed.items():
            if found is None:
                self.days.pop(place, None)
            else:
                self.days[place] = found
        self._listed_anew, self._changed = {}, {}

    def _homes(self, market: str, sold: Iterable[str]) -> dict[str, int]:
        partitions = self.parts.settings.partitions
        return {unit: partition_of(unit.encode(), partitions) for unit in {*self._units.get(market, ()), *sold}}


def records_of(market: str, day: int, found: Unsold, revision: int) -> Iterator[UnsoldUnits]:
    """The unsold units of a market's day as they are published, so many products a record."""
    reasons, skip = found.reason_of(), len(market) + 1
    units = sorted([*found.zeros, *reasons])
    for part, start in enumerate(range(0, len(units), PRODUCTS_A_RECORD)):
        some: Sequence[str] = units[start : start + PRODUCTS_A_RECORD]
        missing = {
            why: tuple(unit[skip:] for unit in some if reasons.get(unit) == why)
            for why in sorted({reasons[unit] for unit in some if unit in reasons})
        }
        yield UnsoldUnits(
            market=market,
            day=date.fromordinal(day),
            part=part,
            zeros=tuple(unit[skip:] for unit in some if unit not in reasons),
            missing=missing,
            revision=revision,
        )


def _followed(held: Listing | None, first: int, last: int | None) -> Listing:
    """A unit's listing once the catalog says that it is listed from one day to another."""
    if held is None:
        return Listing(first, last)
    if last is not None:
        return Listing(min(held.first, first), last) if held.last is None else held
    if held.last is None:
        return Listing(min(held.first, first))
    # Listed again: what was published of the days in between stands.
    return Listing(first) if first > held.last else Listing(held.first)


def _is_closed(entries: Mapping[str, CatalogEntry], unit: str, day: date) -> bool:
    entry = entries.get(unit)
    return entry is not None and entry.closed(day)
