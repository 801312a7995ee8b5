"""Unsold units of one shard's markets: which listed units sold nothing on a day, and which are unknown instead.

What is found of a day is kept in the store before it is published, so that a closing repeated after a crash
publishes the same; and until the day is sealed, because a late sale may show that a feed was alive after all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from controller.definition.field_types import product_of
from controller.messages.codec import Record, encode
from controller.messages.events import MissingReason
from controller.outcomes.listing import Listed, WholeDays, merged, read_whole_days, spelled
from controller.outcomes.silent_feeds import HISTORY_DAYS, silent_partitions
from controller.outcomes.unsold_units import Part, counts, living, message, packed, parts_of, revived, unpacked
from streams.control.catalog import Catalog
from streams.store import NoteKind
from streams.worker.services import Parts, partition_of


@dataclass(frozen=True, slots=True)
class DayUnsold:
    """What a closing says of a day beyond its rows; nothing at all of a day that was closed before zeros were."""

    zeros: int | None = None
    missing: Mapping[MissingReason, int] = field(default_factory=dict)
    #: of partitions whose feed lived
    events: Mapping[int, int] = field(default_factory=dict)
    sold_while_closed: tuple[str, ...] = ()
    #: parts that the closing vouches for
    parts: tuple[tuple[int, Part], ...] = ()

    def records(self, market: str, day: date, rows: Mapping[str, int], at: datetime) -> list[Record]:
        """Its parts as records; ``rows``: events by unit of the day."""
        sold = {product_of(unit) for unit in rows}
        return [
            encode(message(market, day, number, part, sold), f"{market}/{day}/unsold/{number}/{part.revision}", at)
            for number, part in self.parts
        ]


@dataclass(slots=True)
class MarketNotes:
    """What the store holds of a market, in memory, and what it does not hold yet."""

    listing: dict[str, WholeDays]
    #: local day -> events of the partitions that lived
    history: dict[date, dict[int, int]]
    #: catalog's word on each product that is in the listing already
    merged: dict[str, Listed] = field(default_factory=dict)
    changes: dict[NoteKind, dict[str, str | None]] = field(default_factory=dict)

    def change(self, kind: NoteKind, field: str, text: str | None) -> None:
        self.changes.setdefault(kind, {})[field] = text


class Unsold:
    """Finds and keeps the unsold units of one shard's markets."""

    def __init__(self, parts: Parts, catalog: Catalog, shard: int, epoch: int) -> None:
        self._parts = parts
        self._catalog = catalog
        self._shard = shard
        self._epoch = epoch
        self._markets: dict[str, MarketNotes] = {}

    def forget(self) -> None:
        """What is in memory may not be what the store holds: read it again."""
        self._markets.clear()

    async def closed(self, market: str, day: int, rows: Mapping[str, int]) -> DayUnsold:
        """A day (ordinal) that is closed for the first time; ``rows``: events by unit of its rows."""
        notes = await self._of(market)
        kept = await self._kept(market, day)
        if kept is not None:  # by an owner that closed it, and ended before it could mark that in the store
            return self._revised(notes, market, day, rows, kept, 0)
        self._follow_catalog(notes, market)
        home = self._home(market)
        listed = sorted(product for product, whole in notes.listing.items() if day in whole)
        sold, events = self._sold(rows)
        local = date.fromordinal(day)
        known = self._catalog.known
        shut = {
            product
            for product in listed
            if (entry := known.get(f"{market}/{product}")) is not None and entry.closed(local)
        }
        partitions = {home(product) for product in listed}
        silent = silent_partitions(notes.history, local, events, partitions)
        parts = parts_of(listed, sold, shut, silent, home)
        return self._found(notes, market, day, rows, parts, tuple(enumerate(parts)))

    async def revised(self, market: str, day: int, rows: Mapping[str, int], revision: int) -> DayUnsold:
        """A day that was closed before, and that sales have come late to."""
        notes, kept = await self._of(market), await self._kept(market, day)
        if kept is None:
            return DayUnsold()
        return self._revised(notes, market, day, rows, kept, revision)

    async def keep(self) -> None:
        """Make the store hold what was found. Raises Fenced."""
        for market, notes in self._markets.items():
            if notes.changes:
                await self._parts.store.note(self._shard, self._epoch, market, notes.changes)
                notes.changes = {}

    async def let_go(self, last: Mapping[str, int]) -> None:
        """Drop what is kept of days that are sealed now: those up to the given one (ordinal) of each market."""
        for market, day in last.items():
            notes = await self._of(market)
            kept = await self._parts.store.notes(self._shard, "unsold", market)
            for past in kept:
                if int(past) <= day:
                    notes.change("unsold", past, None)
        await self.keep()

    # --- one day ------------------------------------------------------------------------------------------------------

    def _revised(
        self, notes: MarketNotes, market: str, day: int, rows: Mapping[str, int], kept: tuple[Part, ...], revision: int
    ) -> DayUnsold:
        """Parts that were revised go out with every closing of the day: one before may not have got that far."""
        home = self._home(market)
        sold, events = self._sold(rows)
        partitions = {home(product) for part in kept for product in part.missing.get("feed_silent", ())}
        silent = silent_partitions(notes.history, date.fromordinal(day), events, partitions) if partitions else ()
        parts = revived(kept, sold, silent, home, revision)
        out = tuple((n, part) for n, part in enumerate(parts) if part.revision or not revision)
        return self._found(notes, market, day, rows, parts, out)

    def _found(
        self,
        notes: MarketNotes,
        market: str,
        day: int,
        rows: Mapping[str, int],
        parts: tuple[Part, ...],
        out: tuple[tuple[int, Part], ...],
    ) -> DayUnsold:
        local = date.fromordinal(day)
        sold, events = self._sold(rows)
        lived = living(parts, events, self._home(market))
        notes.change("unsold", str(day), packed(parts))
        notes.history[local] = lived
        notes.change("history", str(day), spelled_events(lived))
        for past in [past for past in notes.history if past.toordinal() <= day - HISTORY_DAYS]:
            del notes.history[past]
            notes.change("history", str(past.toordinal()), None)
        known = self._catalog.known
        despite = sorted(unit for unit in rows if unit in known and known[unit].closed(local))
        zeros, missing = counts(parts, sold)
        return DayUnsold(zeros, missing, lived, tuple(despite), out)

    def _sold(self, rows: Mapping[str, int]) -> tuple[set[str], dict[int, int]]:
        """Products with a row, and events by partition."""
        partitions = self._parts.settings.partitions
        events: dict[int, int] = {}
        for unit, count in rows.items():
            home = partition_of(unit.encode(), partitions)
            events[home] = events.get(home, 0) + count
        return {product_of(unit) for unit in rows}, events

    def _home(self, market: str) -> Callable[[str], int]:
        """Product -> its partition of the sale topic."""
        partitions, prefix = self._parts.settings.partitions, f"{market}/"
        return lambda product: partition_of((prefix + product).encode(), partitions)

    # --- what is kept -------------------------------------------------------------------------------------------------

    async def _kept(self, market: str, day: int) -> tuple[Part, ...] | None:
        pending = self._markets[market].changes.get("unsold", {}).get(str(day))
        text = pending or (await self._parts.store.notes(self._shard, "unsold", market)).get(str(day))
        return None if text is None else unpacked(text)

    async def _of(self, market: str) -> MarketNotes:
        found = self._markets.get(market)
        if found is None:
            store, shard = self._parts.store, self._shard
            listing = await store.notes(shard, "listing", market)
            history = await store.notes(shard, "history", market)
            found = self._markets[market] = MarketNotes(
                {product: read_whole_days(text) for product, text in listing.items()},
                {date.fromordinal(int(day)): read_events(text) for day, text in history.items()},
            )
        return found

    def _follow_catalog(self, notes: MarketNotes, market: str) -> None:
        """Take in what the catalog shows of a market's units by now."""
        time_zone, prefix = self._catalog.time_zones[market], f"{market}/"
        for unit, found in self._catalog.listings.items():
            if not unit.startswith(prefix):
                continue
            product = unit[len(prefix) :]
            if notes.merged.get(product) is found:
                continue
            held = notes.listing.get(product)
            whole = merged(held, found, time_zone)
            notes.merged[product] = found
            if whole != held:
                notes.listing[product] = whole
                notes.change("listing", product, spelled(whole))


def spelled_events(events: Mapping[int, int]) -> str:
    """Events by partition, as the store keeps them."""
    return " ".join(f"{partition}:{count}" for partition, count in events.items())


def read_events(text: str) -> dict[int, int]:
    """What `spelled_events` wrote; raises ValueError."""
    pairs = (pair.split(":") for pair in text.split())
    return {int(partition): int(count) for partition, count in pairs}
