"""The catalog, record by record: the last entry of every unit, and one time zone for each market. Pure.

The zone of a market is what its latest entry says, of whichever unit: latest by the broker's timestamp, then partition,
then offset, so that the order of reading cannot matter, nor compaction, which keeps the latest entry of every unit. A
wrong zone is mended by the next entry. Days that are closed and decisions that are made keep theirs: an experiment has
the zones of its registration, and a closed day takes only revisions.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from controller.definition.error_messages import shown
from controller.definition.field_types import market_of, milliseconds
from controller.errors import UnreadableMessage
from controller.messages.codec import read
from controller.messages.inputs import CatalogEntry
from controller.outcomes.listing import Listed, listed
from streams.kafka.dead_letters import Incoming, Rejected, unreadable

#: (timestamp, partition, offset)
Place = tuple[int, int, int]


class Listing(Incoming, Protocol):
    """A record of the catalog, with its timestamp in milliseconds."""

    @property
    def timestamp(self) -> int: ...


@dataclass(frozen=True, slots=True)
class ZoneChange:
    """A market has another zone from now on, for all that is not decided or closed."""

    market: str
    before: str
    after: str


class Entries:
    """What the records say so far; `settle` after each batch of them."""

    def __init__(self) -> None:
        #: units on sale
        self.on_sale: dict[str, CatalogEntry] = {}
        #: the last entry of every unit that ever was
        self.known: dict[str, CatalogEntry] = {}
        #: the same, delisted where it was removed
        self.last: dict[str, CatalogEntry] = {}
        self.zones: dict[str, str] = {}
        #: since when each unit is listed, as far as the topic shows: compaction forgets first records
        self.listings: dict[str, Listed] = {}
        self._said: dict[str, tuple[Place, str]] = {}
        self._units: dict[str, set[str]] = {}
        self._unsettled: set[str] = set()

    def take(self, record: Listing, now: datetime, at: datetime) -> Rejected | None:
        """Take a record in; why it is not used, where it is not.

        ``now``: a later timestamp is not meant. ``at``: since when the record holds.
        """
        if record.value is None:
            gone = self.on_sale.pop((record.key or b"").decode(errors="replace"), None)
            if gone is not None:
                self.listings[gone.unit] = listed(self.listings.get(gone.unit), at, delisted=True)
                self.last[gone.unit] = gone.model_copy(update={"delisted": True})
            return None
        try:
            entry = read(CatalogEntry, record.value)
        except UnreadableMessage as error:
            return unreadable(record, error)
        unit = entry.unit
        if record.key != unit.encode():
            key = "none" if record.key is None else shown(record.key)
            return Rejected(record, "key", f"the key is {key}, the unit {unit}: write the unit as the record's key")
        market = market_of(unit)
        self.on_sale[unit] = self.known[unit] = self.last[unit] = entry
        self.listings[unit] = listed(self.listings.get(unit), at, delisted=entry.delisted)
        self._units.setdefault(market, set()).add(unit)
        stamp = record.timestamp if 0 <= record.timestamp <= milliseconds(now) else 0
        place, held = (stamp, record.partition, record.offset), self._said.get(market)
        if held is None or held[0] < place:
            self._said[market] = place, entry.time_zone
        if self.zones.get(market) != entry.time_zone:
            self._unsettled.add(market)
        return None

    def settle(self) -> list[ZoneChange]:
        """Give each market that was spoken of its zone, and its units their market's. O(units of such markets)."""
        changes: list[ZoneChange] = []
        for market in sorted(self._unsettled):
            before, after = self.zones.get(market), self._said[market][1]
            self.zones[market] = after
            if before is not None and before != after:
                changes.append(ZoneChange(market, before, after))
            for entries in (self.on_sale, self.known, self.last):
                _unify(entries, self._units[market], after)
        self._unsettled.clear()
        return changes


def _unify(entries: dict[str, CatalogEntry], units: Iterable[str], zone: str) -> None:
    for unit in units:
        entry = entries.get(unit)
        if entry is not None and entry.time_zone != zone:
            entries[unit] = entry.model_copy(update={"time_zone": zone})
