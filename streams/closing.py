"""Closing: once the watermark passes a market's day, its unit-days become panel rows; a late sale revises one."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from controller.codec import Record, encode
from controller.errors import CannotReach
from controller.events import PeriodClosed, UnitDay
from controller.outcomes import last_closed_day
from controller.periods import period
from controller.topics import PANEL
from streams.catalog import Catalog
from streams.parts import Parts
from streams.store import DirtyCell
from streams.store.restoring import Damaged
from streams.unsold_days import DayOfMarket, UnsoldDays, records_of


@dataclass(frozen=True, slots=True)
class Watermark:
    """Sales published before ``at`` are all counted; ``offsets`` says up to where, by sale partition."""

    at: datetime
    offsets: Mapping[int, int]
    #: by sale partition: which count of it this was read from
    counts: Mapping[int, str]


class Closing:
    """Publishes the panel rows of one shard's markets."""

    def __init__(self, parts: Parts, catalog: Catalog, shard: int, epoch: int) -> None:
        self._parts = parts
        self._catalog = catalog
        self._shard = shard
        self._epoch = epoch
        #: market -> (last closed day, closings published)
        self._closed: dict[str, tuple[int, int]] = {}
        self._unsold = UnsoldDays(parts, catalog, shard, epoch)
        self._seen: datetime | None = None

    async def run(self) -> None:
        """Close until cancelled."""
        settings = self._parts.settings
        wait = 2 * settings.poll_seconds if settings.clock == "ticks" else settings.reconcile_seconds
        self._closed = await self._parts.store.closed_through(self._shard)
        await self._unsold.load()
        while True:
            watermark = await self._watermark()
            if watermark is not None and watermark.at != self._seen:
                try:
                    await self.close(watermark)
                    self._seen = watermark.at
                except Damaged as damage:
                    if damage.input is None:
                        raise
                    # Whoever reads the input counts it again; until then there is no watermark.
                    self._parts.log.warning("damaged", shard=self._shard, error=str(damage))
                    await self._parts.store.restoring.forget_input(*damage.input)
            await asyncio.sleep(wait)

    async def _watermark(self) -> Watermark | None:
        inputs = await self._parts.store.caught_up()
        at = [found.at for found in inputs if found.at is not None]
        if len(at) < len(inputs):
            return None
        lateness = timedelta(seconds=self._parts.settings.lateness_seconds)
        return Watermark(
            min(at) - lateness,
            {p: found.position for p, found in enumerate(inputs)},
            {p: found.counting for p, found in enumerate(inputs)},
        )

    async def close(self, watermark: Watermark) -> None:
        """Publish what the watermark has passed: rows, the closings that vouch for them, revisions of late sales."""
        parts = self._parts
        parts.metrics.watermark.set(watermark.at.timestamp())
        last = {
            market: last_closed_day(watermark.at, time_zone).toordinal()
            for market, time_zone in self._catalog.time_zones.items()
            if parts.shard_of(market) == self._shard
        }
        # Before the rows: what is folded in between is then counted again, which their own offsets put right.
        recount = {str(p): offset for p, offset in enumerate(await parts.store.recount_from())}
        await self._shut(last)
        await self._list(last)
        cells = [_published(cell, self._closed.get(cell.market)) for cell in await parts.store.dirty(last)]
        unsold, closings, closed = await self._closings(last, cells, watermark, recount)
        await self._still_there(watermark)
        # 1. the rows, 2. the units without a sale, 3. the closings that vouch for both, 4. the marks, 5. what later
        # days are judged by, 6. what is closed: a crash in between repeats records of the same revision, and never
        # takes what is published already for a late sale.
        await parts.publish(PANEL, [self._row(cell, watermark) for cell in cells])
        await parts.publish(PANEL, unsold)
        await parts.publish(PANEL, closings)
        await parts.store.cleaned(cells)
        self._unsold.seal({m: day - parts.settings.revision_days for m, (day, _) in closed.items()})
        await self._unsold.keep()
        await parts.store.set_closed(self._shard, self._epoch, closed)
        self._closed |= closed
        for cell in cells:
            parts.metrics.unit_days.labels("revision" if cell.revision else "first").inc()

    async def _list(self, last: Mapping[str, int]) -> None:
        """Before a day closes, every catalog entry that was published by now is known."""
        if any(day > self._closed.get(market, (-1, 0))[0] for market, day in last.items()):
            await self._catalog.catch_up()
            self._unsold.follow({market: self._catalog.time_zones[market] for market in last})

    async def _shut(self, last: Mapping[str, int]) -> None:
        """Before a closing is published, the day that it seals takes no more sales.

        Whoever reads the closing, a count that begins anew above all, may then rely on it: what such a day has sold is
        in the rows that come before the closing, or was set aside.
        """
        new = {market: day for market, day in last.items() if day > self._closed.get(market, (-1, 0))[0]}
        if new:
            await self._parts.store.shut({m: day - self._parts.settings.revision_days for m, day in new.items()})

    async def _still_there(self, watermark: Watermark) -> None:
        """What was read after the watermark must be of the same count, and no older.

        A store may come back with less in between; and while an input is counted again its days are there by half.
        """
        for partition, found in enumerate(await self._parts.store.caught_up()):
            if found.position < watermark.offsets[partition] or found.counting != watermark.counts[partition]:
                raise CannotReach(
                    f"the store has come back older: sale partition {partition} was folded up to "
                    f"{watermark.offsets[partition]}, and is up to {found.position} or counted anew; no day is closed "
                    "until that is mended"
                )

    def _row(self, cell: DirtyCell, watermark: Watermark) -> Record:
        day = date.fromordinal(cell.day)
        local = period(day, self._catalog.time_zones[cell.market])
        row = UnitDay(
            unit=cell.unit,
            day=day,
            starts_at=local.start,
            ends_at=local.end,
            quantity=cell.quantity,
            revenue_minor=cell.revenue_minor,
            cost_minor=cell.cost_minor if cell.costed == cell.events else None,
            currency=self._catalog.known[cell.unit].currency,
            events=cell.events,
            revision=cell.revision,
            offset=cell.offset,
            late=cell.late,
        )
        return encode(row, f"{cell.unit}/{day}/{cell.revision}", watermark.at)

    async def _closings(
        self, last: Mapping[str, int], cells: Sequence[DirtyCell], watermark: Watermark, recount: dict[str, int]
    ) -> tuple[list[Record], list[Record], dict[str, tuple[int, int]]]:
        """The unsold units and a closing of each newly closed day, and of each that sales have come late to."""
        touched: dict[str, dict[int, list[DirtyCell]]] = {}
        for cell in cells:
            touched.setdefault(cell.market, {}).setdefault(cell.day, []).append(cell)
        unsold: list[Record] = []
        records: list[Record] = []
        closed: dict[str, tuple[int, int]] = {}
        for market, last_day in sorted(last.items()):
            days = touched.get(market, {})
            # A market's first closing is that of its first sale, or of this day if it has sold nothing yet.
            through, times = self._closed.get(market, (min(days, default=last_day) - 1, 0))
            if last_day < through:
                continue
            for day in sorted({*range(through + 1, last_day + 1), *days}):
                late = day <= through
                times += late
                changed = days.get(day, ())
                # What has changed need not be all of a day: some may have been published by whoever was here before,
                # and did not live to vouch for them. What has come since these were read is in no row yet.
                stored = await self._parts.store.unit_days(market, day)
                vouched = {stands.unit: stands.published for stands in stored if stands.published >= 0}
                vouched |= {cell.unit: cell.events for cell in changed}
                found = self._unsold.closed(market, day, vouched, late=late)
                closing = PeriodClosed(
                    market=market,
                    day=date.fromordinal(day),
                    watermark=watermark.at,
                    offsets={str(p): offset for p, offset in watermark.offsets.items()},
                    unit_days=len(vouched),
                    events=sum(vouched.values()),
                    revised=sum(1 for cell in changed if cell.revision),
                    revision=times if late else 0,
                    recount=recount,
                    **({} if found is None else _of_unsold(found)),
                )
                if found is not None and found.changed:
                    unsold += [
                        encode(part, f"{market}/{closing.day}/unsold/{part.part}/{part.revision}", watermark.at)
                        for part in records_of(market, day, found.unsold, closing.revision)
                    ]
                if found is not None:
                    self._report(closing)
                records.append(encode(closing, f"{market}/{closing.day}/{closing.revision}", watermark.at))
            if last_day > through or days:
                closed[market] = (max(through, last_day), times)
        return unsold, records, closed

    def _report(self, closing: PeriodClosed) -> None:
        """Count what a first closing names as unsold, and warn of sales on days that the catalog calls closed."""
        if closing.sold_while_closed:
            self._parts.metrics.sold_while_closed.inc(closing.sold_while_closed)
            self._parts.log.warning(
                "sold while closed", market=closing.market, day=str(closing.day), units=closing.sold_while_closed
            )
        if closing.revision:
            return
        self._parts.metrics.unit_days.labels("zero").inc(closing.zeros or 0)
        for why, number in closing.missing.items():
            self._parts.metrics.unit_days.labels(why).inc(number)


def _published(cell: DirtyCell, closed: tuple[int, int] | None) -> DirtyCell:
    """A unit-day as its next row has it: what came after its day had been closed is late, and makes a revision."""
    if cell.published >= 0:
        return replace(cell, late=cell.late + cell.events - cell.published)
    if closed is not None and cell.day <= closed[0]:
        return replace(cell, late=cell.events, revision=max(cell.revision, 1))
    return cell


def _of_unsold(found: DayOfMarket) -> dict[str, Any]:
    """What a closing says of units without a sale."""
    return {
        "zeros": len(found.unsold.zeros),
        "missing": {why: len(units) for why, units in found.unsold.missing.items()},
        "partition_events": {str(partition): events for partition, events in found.unsold.counts.items()},
        "sold_while_closed": found.sold_while_closed,
    }
