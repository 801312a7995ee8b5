"""What the panel says of unit-days without a sale: read again where the store was lost, or came back older."""

from dataclasses import dataclass, field

from controller.events import MissingReason, PeriodClosed, UnsoldUnits
from controller.silence import DAYS_KEPT, EventCounts, Listing, Unsold
from controller.wire import market_of
from streams.store.closing_state import ClosingStore, Place

#: of a unit: the revision of the record that named it last, and the reason; None for a zero
Named = tuple[int, MissingReason | None]


@dataclass(slots=True)
class PublishedUnsold:
    """Unsold units and sale events of closed days, as far as records were taken in; their order does not matter."""

    #: (market, day) -> unit -> what the record of the highest revision says
    named: dict[Place, dict[str, Named]] = field(default_factory=dict)
    #: (market, day) -> revision of the closing, and its sale events by partition
    counts: dict[Place, tuple[int, EventCounts]] = field(default_factory=dict)
    #: unit and day (ordinal) of rows: a unit with one was listed
    rows: set[tuple[str, int]] = field(default_factory=set)

    def take(self, message: UnsoldUnits) -> None:
        """Take in one part of a market's day."""
        units = self.named.setdefault((message.market, message.day.toordinal()), {})
        said: list[tuple[str, MissingReason | None]] = [(product, None) for product in message.zeros]
        said += [(product, why) for why, products in message.missing.items() for product in products]
        for product, why in said:
            unit = f"{message.market}/{product}"
            held = units.get(unit)
            if held is None or held[0] < message.revision:
                units[unit] = message.revision, why

    def close(self, closing: PeriodClosed) -> None:
        """Take in a closing; one that was written before zeros were says nothing."""
        if closing.zeros is None:
            return
        place = closing.market, closing.day.toordinal()
        held = self.counts.get(place)
        if held is None or held[0] <= closing.revision:
            counts = {int(partition): events for partition, events in closing.partition_events.items()}
            self.counts[place] = closing.revision, counts
            self.named.setdefault(place, {})

    def merge(self, other: "PublishedUnsold") -> None:
        """Take in what another one has taken in."""
        for place, units in other.named.items():
            mine = self.named.setdefault(place, {})
            for unit, said in units.items():
                if unit not in mine or mine[unit][0] < said[0]:
                    mine[unit] = said
        for place, found in other.counts.items():
            if place not in self.counts or self.counts[place][0] <= found[0]:
                self.counts[place] = found


async def restore_unsold(
    store: ClosingStore, shard: int, epoch: int, found: PublishedUnsold, markets: frozenset[str]
) -> None:
    """Write back what the panel says of some markets over what the store holds. Raises Fenced."""
    listings, first = await store.listings(shard), dict[str, int]()
    sold: dict[Place, set[str]] = {}
    for unit, day in found.rows:
        if market_of(unit) in markets:
            sold.setdefault((market_of(unit), day), set()).add(unit)
    for place, units in found.named.items():
        for unit in units if place[0] in markets else ():
            first[unit] = min(place[1], first.get(unit, place[1]))
    for (_, day), units_sold in sold.items():
        for unit in units_sold:
            # A day of its first sale need not be one for the whole of which it was listed.
            first[unit] = min(day + 1, first.get(unit, day + 1))
    anew = {
        unit: Listing(day, held.last if held else None)
        for unit, day in first.items()
        if (held := listings.get(unit)) is None or day < held.first
    }
    await store.put_listings(shard, epoch, anew)
    counts = {market: days for market, days in (await store.counts(shard)).items() if market in markets}
    for (market, day), (_, of_day) in found.counts.items():
        if market in markets:
            counts.setdefault(market, {})[day] = dict(of_day)
    for market, days in counts.items():
        counts[market] = {day: of_day for day, of_day in days.items() if day >= max(days) - DAYS_KEPT}
    await store.put_counts(shard, epoch, counts)
    stored = await store.unsold(shard)
    await store.put_unsold(
        shard,
        epoch,
        {
            place: _unsold(units, sold.get(place, set()), counts_of_day)
            for place, (_, counts_of_day) in found.counts.items()
            if place[0] in markets and ((units := found.named.get(place, {})) or place not in stored)
        },
    )


def _unsold(units: dict[str, Named], sold: set[str], counts: EventCounts) -> Unsold:
    zeros = tuple(sorted(unit for unit, (_, why) in units.items() if why is None and unit not in sold))
    reasons: dict[MissingReason, list[str]] = {}
    for unit, (_, why) in sorted(units.items()):
        if why is not None and unit not in sold:
            reasons.setdefault(why, []).append(unit)
    return Unsold(zeros, {why: tuple(found) for why, found in sorted(reasons.items())}, counts)
