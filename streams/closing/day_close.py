"""Closing: once the watermark passes a market's day, its unit-days become panel rows; a late sale revises one."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from controller.errors import CannotReach
from controller.messages.codec import Record, encode
from controller.messages.events import PeriodClosed, UnitDay
from controller.messages.topics import PANEL
from controller.outcomes.unit_days import last_closed_day
from controller.time.periods import period
from streams.closing.unsold_units import DayUnsold, Unsold
from streams.closing.watermark import Watermark, Watermarks
from streams.control.catalog import Catalog
from streams.store import DirtyCell
from streams.store.restore_port import Damaged
from streams.worker.last_line import Place, Suspended, alone, concerns_all, unforeseen
from streams.worker.services import Parts

#: a market that is behind by more days is closed in several rounds, so that it holds up no other of its shard
DAYS_A_ROUND = 400


@dataclass(slots=True)
class Closings:
    """What is published of days beside their rows."""

    #: the last day (ordinal) of each market that is closed with them
    last_days: Mapping[str, int]
    records: list[Record] = field(default_factory=list)
    unsold: list[Record] = field(default_factory=list)
    #: market -> (last closed day, closings published)
    closed: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: days that are closed for the first time
    first: list[tuple[str, date, DayUnsold]] = field(default_factory=list)


class Closing:
    """Publishes the panel rows of one shard's markets."""

    def __init__(
        self,
        parts: Parts,
        catalog: Catalog,
        shard: int,
        epoch: int,
        suspended: Suspended | None = None,
        watermarks: Watermarks | None = None,
    ) -> None:
        """``watermarks``: those that all shards of a worker share."""
        self._watermarks = watermarks or Watermarks(parts)
        self._suspended = suspended or Suspended(shard, epoch)
        self._parts = parts
        self._catalog = catalog
        self._shard = shard
        self._epoch = epoch
        #: market -> (last closed day, closings published)
        self._closed: dict[str, tuple[int, int]] = {}
        self._seen: datetime | None = None
        self._unsold = Unsold(parts, catalog, shard, epoch)

    async def run(self) -> None:
        """Close until cancelled."""
        await self.begin()
        while True:
            watermark = await self._watermarks.latest()
            if watermark is not None and watermark.at != self._seen:
                try:
                    if self._new(self._last(watermark)):
                        # What is listed, and what is closed, is asked of the catalog as it is by now.
                        await self._catalog.catch_up()
                    await self.close_each(watermark)
                    self._seen = watermark.at
                except Damaged as damage:
                    if damage.input is None:
                        raise
                    # Whoever reads the input counts it again; until then there is no watermark.
                    self._parts.log.warning("damaged", shard=self._shard, error=str(damage))
                    await self._parts.store.restoring.forget_input(*damage.input)
                    self._watermarks.forget()
            await asyncio.sleep(self._watermarks.wait)

    async def begin(self) -> None:
        """Read what is closed by now, whichever worker closed it."""
        self._closed = await self._parts.store.closed_through(self._shard)
        self._unsold.forget()

    async def close_each(self, watermark: Watermark) -> None:
        """Close all markets; where that fails as nobody foresaw, each alone, and set aside those that fail alone.

        No day of theirs is closed any more by this owner; their sales stay counted in the store.
        """
        try:
            await self.close(watermark)
        except Exception as error:
            if not unforeseen(error):
                raise
            await self.begin()
            places = [Place(market) for market in sorted(self._catalog.time_zones) if self._mine(market)]
            faults = await alone(places, lambda place: self._close_alone(watermark, place))
            if concerns_all(faults, places) or not places:
                raise
            await self._suspended.add(self._parts, "closing", faults)

    async def _close_alone(self, watermark: Watermark, place: Place) -> None:
        try:
            await self.close(watermark, place.market)
        except BaseException:
            # What was noted of it by half is read again.
            await self.begin()
            raise

    async def close(self, watermark: Watermark, market: str | None = None) -> None:
        """Publish what the watermark has passed: rows, the closings that vouch for them, revisions of late sales.

        ``market``: of this one alone; without it, of all of the shard's.
        """
        parts = self._parts
        parts.metrics.watermark.set(watermark.at.timestamp())
        last = self._last(watermark, market)
        # Before the rows: what is folded in between is then counted again, which their own offsets put right.
        recount = {str(p): offset for p, offset in enumerate(await parts.store.recount_from())}
        await self._shut(last)
        cells = [self._as_published(cell) for cell in await parts.store.dirty(last)]
        closings = await self._closings(last, cells, watermark, recount)
        await self._still_there(watermark)
        # 1. what is found of unsold units is kept, 2. they are published, 3. the rows, 4. the closings that vouch for
        # both, 5. the marks, 6. what is closed: a crash in between repeats records of the same revision, and never
        # takes what is published already for a late sale. Unsold units come before the rows: where a row is out that
        # made zeros of a silent feed, these are out as well.
        await self._unsold.keep()
        await parts.publish(PANEL, closings.unsold)
        await parts.publish(PANEL, [self._row(cell, watermark) for cell in cells])
        await parts.publish(PANEL, closings.records)
        await parts.store.cleaned(cells)
        await parts.store.set_closed(self._shard, self._epoch, closings.closed)
        new = self._new(closings.last_days)
        self._closed |= closings.closed
        if new:
            await self._unsold.let_go({m: day - parts.settings.revision_days for m, day in new.items()})
        self._count(cells, closings)

    def _mine(self, market: str) -> bool:
        return self._parts.shard_of(market) == self._shard and market not in self._suspended.markets("closing")

    def _last(self, watermark: Watermark, alone: str | None = None) -> dict[str, int]:
        """The last day (ordinal) of each market of the shard that a watermark has passed."""
        return {
            market: last_closed_day(watermark.at, time_zone).toordinal()
            for market, time_zone in self._catalog.time_zones.items()
            if self._mine(market) and alone in (None, market)
        }

    def _new(self, last: Mapping[str, int]) -> dict[str, int]:
        """Those markets whose last day is not closed yet."""
        return {market: day for market, day in last.items() if day > self._closed.get(market, (-1, 0))[0]}

    def _as_published(self, cell: DirtyCell) -> DirtyCell:
        closed = cell.market in self._closed and cell.day <= self._closed[cell.market][0]
        return cell.after_closing() if closed else cell

    def _count(self, cells: Sequence[DirtyCell], closings: Closings) -> None:
        metrics = self._parts.metrics
        for cell in cells:
            metrics.unit_days.labels("revision" if cell.revision else "first").inc()
        for market, day, found in closings.first:
            metrics.unsold.labels("zero").inc(found.zeros or 0)
            for why, count in found.missing.items():
                metrics.unsold.labels(why).inc(count)
            if found.sold_while_closed:
                metrics.sold_while_closed.inc(len(found.sold_while_closed))
                self._parts.log.warning(
                    "sold while closed", market=market, day=str(day), units=len(found.sold_while_closed),
                    first=found.sold_while_closed[0], way_out="correct closed_weekdays or closed_on in the catalog",
                )  # fmt: skip

    async def _shut(self, last: Mapping[str, int]) -> None:
        """Before a closing is published, the day that it seals takes no more sales.

        Whoever reads the closing, a count that begins anew above all, may then rely on it: what such a day has sold is
        in the rows that come before the closing, or was set aside.
        """
        new = self._new(last)
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
    ) -> Closings:
        """A closing for each newly closed day, and for each closed day that sales have come late to."""
        touched: dict[str, dict[int, list[DirtyCell]]] = {}
        for cell in cells:
            touched.setdefault(cell.market, {}).setdefault(cell.day, []).append(cell)
        found = Closings(last_days=last)
        for market, last_day in sorted(last.items()):
            days = touched.get(market, {})
            # A market's first closing is that of its first sale, or of this day if it has sold nothing yet.
            through, times = self._closed.get(market, (min(days, default=last_day) - 1, 0))
            if last_day < through:
                continue
            last_day = min(last_day, through + DAYS_A_ROUND)
            days = {day: changed for day, changed in days.items() if day <= last_day}
            for day in sorted({*range(through + 1, last_day + 1), *days}):
                late = day <= through
                times += late
                changed = days.get(day, ())
                # What has changed need not be all of a day: some may have been published by an earlier owner that
                # ended before its closing. What has come since these were read is in no row yet.
                stored = await self._parts.store.unit_days(market, day)
                vouched = {stands.unit: stands.published for stands in stored if stands.published >= 0}
                vouched |= {cell.unit: cell.events for cell in changed}
                local, revision = date.fromordinal(day), times if late else 0
                if late:
                    unsold = await self._unsold.revised(market, day, vouched, revision)
                else:
                    unsold = await self._unsold.closed(market, day, vouched)
                    found.first.append((market, local, unsold))
                found.unsold += unsold.records(market, local, vouched, watermark.at)
                closing = PeriodClosed(
                    market=market,
                    day=local,
                    watermark=watermark.at,
                    offsets={str(p): offset for p, offset in watermark.offsets.items()},
                    unit_days=len(vouched),
                    events=sum(vouched.values()),
                    revised=sum(1 for cell in changed if cell.revision),
                    revision=revision,
                    recount=recount,
                    zeros=unsold.zeros,
                    missing=dict(unsold.missing),
                    partition_events={str(partition): events for partition, events in unsold.events.items()},
                    sold_while_closed=len(unsold.sold_while_closed),
                )
                found.records.append(encode(closing, f"{market}/{closing.day}/{closing.revision}", watermark.at))
            if last_day > through or days:
                found.closed[market] = (max(through, last_day), times)
        return found
