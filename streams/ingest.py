"""Sales and rival prices: read in batches, folded in memory, applied with their offset in one call each.

The position that counts is the one in the store, beside what was folded: on assignment the consumer seeks to it. What
Kafka holds as committed offset serves lag dashboards only.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from controller.codec import read
from controller.errors import UnreadableMessage
from controller.events import CatalogEntry, CompetitorPrice, Sale
from controller.outcomes import UnitDayTotal
from controller.periods import local_day
from controller.topics import COMPETITOR_PRICE, MAX_INPUT_BYTES, SALE
from controller.wire import market_of, milliseconds
from streams.backoff import Backoff
from streams.catalog import Catalog
from streams.dead_letters import Incoming, Rejected
from streams.kafka import stop_client
from streams.parts import Parts
from streams.store import Cell, RivalPrice

#: unit-days in one atomic call: keeps a script to a few milliseconds
CELLS_PER_CALL = 1000
RECORDS_PER_FETCH = 10_000


@dataclass(slots=True)
class SaleBatch:
    """Sales of one partition, folded but not yet applied. ``end`` is the offset after the last of them."""

    start: int
    end: int
    totals: dict[tuple[str, int], UnitDayTotal] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)

    @property
    def counted(self) -> int:
        """Sales that were folded."""
        return sum(total.events for total in self.totals.values())

    def cells(self) -> list[Cell]:
        return [
            Cell(market_of(unit), day, unit, t.quantity, t.revenue_minor, t.cost_minor, t.costed, t.events)
            for (unit, day), t in self.totals.items()
        ]


def fold(records: Sequence[Incoming], start: int, catalog: Mapping[str, CatalogEntry]) -> tuple[SaleBatch, int]:
    """Fold records until the batch is full; returns it with the number of records used. Pure but for the batch.

    Records before ``start`` are passed over: they are counted already.
    """
    batch = SaleBatch(start, start)
    for used, record in enumerate(records):
        if len(batch.totals) >= CELLS_PER_CALL:
            return batch, used
        if record.offset < start:
            continue
        batch.end = record.offset + 1
        try:
            sale = read(Sale, record.value or b"")
        except UnreadableMessage as error:
            batch.rejected.append(Rejected(record, "unreadable", str(error)))
            continue
        entry = catalog.get(sale.unit)
        if entry is None:
            batch.rejected.append(Rejected(record, "unknown-unit", f"{sale.unit} is not in the catalog"))
            continue
        if sale.currency != entry.currency:
            reason = f"{sale.unit} is priced in {entry.currency}, this sale is in {sale.currency}"
            batch.rejected.append(Rejected(record, "currency", reason))
            continue
        cell = (sale.unit, local_day(sale.occurred_at, entry.time_zone).toordinal())
        total = batch.totals.get(cell)
        if total is None:
            total = batch.totals[cell] = UnitDayTotal()
        total.add(sale)
    return batch, len(records)


class Ingest(ConsumerRebalanceListener):  # type: ignore[misc]
    """Reads one input topic and applies it to the store, partition by partition."""

    def __init__(self, parts: Parts, catalog: Catalog, topic: str) -> None:
        self._parts = parts
        self._catalog = catalog
        self._short = {SALE: "sale", COMPETITOR_PRICE: "competitor-price"}[topic]
        self._topic = parts.topic(topic)
        self._apply = {SALE: self._apply_sales, COMPETITOR_PRICE: self._apply_prices}[topic]
        self._positions: dict[int, int] = {}
        #: partition -> (instant, end offset at that instant), until the position has passed it
        self._target: dict[int, tuple[datetime, int]] = {}
        self._told: dict[int, datetime] = {}
        #: partition -> (position, offset of the next record), a gap that was read again
        self._gaps: dict[int, tuple[int, int]] = {}
        self._consumer = AIOKafkaConsumer(
            **parts.connection,
            group_id=parts.topic(f"flipside.{self._short}"),
            client_id=f"{parts.name}-{self._short}",
            group_instance_id=parts.settings.worker_id or None,
            enable_auto_commit=False,
            fetch_max_wait_ms=parts.settings.fetch_wait_ms,
            auto_offset_reset="earliest",
            session_timeout_ms=parts.settings.session_timeout_ms,
            heartbeat_interval_ms=parts.settings.session_timeout_ms // 3,
            max_partition_fetch_bytes=2 * MAX_INPUT_BYTES,
        )

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        for partition in revoked:
            self._positions.pop(partition.partition, None)
            self._target.pop(partition.partition, None)

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """The loop seeks: what fails there is tried again, which nobody would do here."""
        for partition in assigned:
            self._positions.pop(partition.partition, None)

    async def _seek_assigned(self) -> None:
        for partition in self._consumer.assignment():
            if partition.partition not in self._positions:
                await self._seek(partition)

    async def _seek(self, partition: TopicPartition) -> None:
        position = await self._parts.store.position(self._short, partition.partition)
        beginning = (await self._consumer.beginning_offsets([partition]))[partition]
        if beginning > position:
            # Retention or a lost store: what lies between can no longer be counted, and saying so beats silence.
            self._parts.log.error("records are gone", partition=partition.partition, start=position, end=beginning)
            self._parts.metrics.events.labels(self._short, "gone").inc(beginning - position)
        self._consumer.seek(partition, max(position, beginning))
        self._positions[partition.partition] = position
        self._parts.log.info("input assigned", topic=self._topic, partition=partition.partition, position=position)

    async def run(self, stop: asyncio.Event) -> None:
        """Fold until asked to stop; a batch is either applied whole or not at all."""
        self._consumer.subscribe([self._topic], listener=self)
        await self._consumer.start()
        try:
            settings = self._parts.settings
            wait = settings.poll_seconds if settings.clock == "ticks" else settings.reconcile_seconds
            backoff = Backoff(self._parts, self._short)
            while not stop.is_set():
                async with backoff:
                    await self._seek_assigned()
                    polled = await self._consumer.getmany(timeout_ms=int(wait * 1000), max_records=RECORDS_PER_FETCH)
                    for partition, records in polled.items():
                        await self._apply_whole(partition, records)
                    if self._short == "sale":
                        await self._follow_clock()
        finally:
            await stop_client(self._consumer)

    async def _apply_whole(self, partition: TopicPartition, records: Sequence[Incoming]) -> None:
        try:
            if partition.partition in self._positions:
                await self._apply(partition, records)
        except BaseException:
            # What was fetched but not applied is fetched again from the store's position.
            self._positions.pop(partition.partition, None)
            raise

    async def _follows(self, partition: TopicPartition, records: Sequence[Incoming]) -> bool:
        """Whether these records go on where the store stands; if not, the consumer is sent back there.

        A rebalance runs beside the loop that folds: what was polled before it may lie behind the position that it has
        set, or ahead of it. Behind is passed over by `fold`. Ahead is read again, and a gap that is still there is the
        log's own (transactions and compaction leave such).
        """
        number = partition.partition
        position = self._positions.get(number)
        if position is None:
            return False
        following = next((record.offset for record in records if record.offset >= position), position)
        if following == position or self._gaps.get(number) == (position, following):
            return True
        self._gaps[number] = (position, following)
        await self._seek(partition)
        return False

    async def _apply_sales(self, partition: TopicPartition, records: Sequence[Incoming]) -> None:
        if any((r.key or b"").decode(errors="replace") not in self._catalog.known for r in records):
            # Perhaps the entry is on its way: the catalog is caught up before a sale is called unknown.
            await self._catalog.catch_up()
        while records and await self._follows(partition, records):
            batch, used = fold(records, self._positions[partition.partition], self._catalog.known)
            records = records[used:]
            if batch.end == batch.start:
                continue
            await self._parts.reject(batch.rejected, self._parts.clock.now())
            applied = await self._parts.store.fold_sales(partition.partition, batch.start, batch.end, batch.cells())
            self._count(batch.counted, applied)
            if not applied:
                await self._seek(partition)
                return
            self._advance(partition, batch.end)

    def _advance(self, partition: TopicPartition, end: int) -> None:
        """What was applied is applied; whether the partition is still ours is for the rebalance to say."""
        if partition.partition in self._positions:
            self._positions[partition.partition] = end

    async def _apply_prices(self, partition: TopicPartition, records: Sequence[Incoming]) -> None:
        if not await self._follows(partition, records):
            return
        start = self._positions[partition.partition]
        records = [record for record in records if record.offset >= start]
        if not records:
            return
        latest: dict[tuple[str, str], RivalPrice] = {}
        rejected = []
        for record in records:
            try:
                event = read(CompetitorPrice, record.value or b"")
            except UnreadableMessage as error:
                rejected.append(Rejected(record, "unreadable", str(error)))
                continue
            price = RivalPrice(event.unit, event.competitor, milliseconds(event.observed_at), event.price_minor)
            held = latest.get((event.unit, event.competitor))
            if held is None or price.observed_ms >= held.observed_ms:
                latest[event.unit, event.competitor] = price
        await self._parts.reject(rejected, self._parts.clock.now())
        end = records[-1].offset + 1
        applied = await self._parts.store.fold_rival_prices(partition.partition, start, end, list(latest.values()))
        self._count(len(records) - len(rejected), applied)
        if applied:
            self._advance(partition, end)
        else:
            await self._seek(partition)

    def _count(self, events: int, applied: bool) -> None:
        outcome = "counted" if applied else "refused"
        self._parts.metrics.events.labels(self._short, outcome).inc(events)
        if not applied:
            self._parts.log.warning("batch refused: the store is elsewhere", topic=self._topic, events=events)

    async def _follow_clock(self) -> None:
        """Tell the store up to which instant each partition is folded.

        Once everything that lay in the partition when the clock showed T is folded, nothing published before T is
        missing: an idle partition so follows the clock, and a busy one cannot run ahead of its own backlog.
        """
        now = self._parts.clock.now()
        due = [p for p in self._positions if p not in self._target and self._told.get(p, _NEVER) < now]
        if due:
            ends = await self._consumer.end_offsets([TopicPartition(self._topic, p) for p in due])
            self._target.update({tp.partition: (now, end) for tp, end in ends.items()})
        for partition, (at, end) in list(self._target.items()):
            if self._positions.get(partition, -1) >= end:
                await self._parts.store.mark_caught_up(partition, at)
                self._told[partition] = at
                del self._target[partition]


_NEVER = datetime.fromisoformat("0001-01-01T00:00:00+00:00")
