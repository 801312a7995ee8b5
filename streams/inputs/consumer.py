"""Sales and rival prices: read in batches, folded in memory, applied with their offset in one call each.

The position that counts is the one in the store, beside what was folded: on assignment the consumer seeks to it. What
Kafka holds as committed offset serves lag dashboards only.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from controller.messages.topics import COMPETITOR_PRICE, MAX_INPUT_BYTES, SALE, SALE_CORRECTION
from streams.closing.late_corrections import correction_records
from streams.closing.sealed_days import Seals
from streams.control.catalog import Catalog
from streams.inputs.competitor_prices import Rivals
from streams.inputs.recount import Recount
from streams.inputs.sales import Arrived, Home, Rules, SaleBatch, fitted, fold
from streams.kafka.dead_letters import Incoming
from streams.runtime.gather import all_of
from streams.store import CountedBefore, DayFull
from streams.worker.backoff import Backoff
from streams.worker.group_membership import leave, membership
from streams.worker.input_lag import Progress
from streams.worker.last_line import Spared
from streams.worker.services import Parts

RECORDS_PER_FETCH = 10_000
#: a turn that found fewer records is followed by a pause, because a turn costs as much as many of them: nobody waits
#: for a sale, and for what a rival's price leads to not much longer than its producer gathers
RECORDS_WORTH_A_TURN = 1000
GATHERING_SECONDS = {SALE: 0.05, COMPETITOR_PRICE: 0.002}
#: how often it is told how far an input is behind
REPORT_SECONDS = 0.1
#: topic, partition, and the position that Kafka was told last
AnyRecord = TypeVar("AnyRecord", bound=Incoming)
Mend = Callable[[str, int, int | None], Awaitable[None]]


class Ingest(ConsumerRebalanceListener):  # type: ignore[misc]
    """Reads one input topic and applies it to the store, partition by partition."""

    def __init__(
        self,
        parts: Parts,
        catalog: Catalog,
        topic: str,
        consumer: Callable[..., Any] = AIOKafkaConsumer,
        mend: Mend | None = None,
    ) -> None:
        """``mend``: what is asked to put an input right before it is read; `streams.inputs.recount` unless told
        otherwise."""
        self._parts = parts
        self._catalog = catalog
        self._short = {SALE: "sale", COMPETITOR_PRICE: "competitor-price"}[topic]
        self._topic = parts.topic(topic)
        self._rivals = Rivals(parts, catalog)
        self._spared = Spared(parts)
        self._gathering_seconds = GATHERING_SECONDS[topic]
        self._positions: dict[int, int] = {}
        #: partition -> (instant, end offset at that instant), until the position has passed it
        self._target: dict[int, tuple[datetime, int]] = {}
        self._told: dict[int, datetime] = {}
        self._seals = Seals(parts)
        #: what was found out about units
        self._homes: dict[str, Home] = {}
        #: partition -> (position, offset of the next record), a gap that was read again
        self._gaps: dict[int, tuple[int, int]] = {}
        self._progress = Progress(parts, self._short)
        self._mend = mend or Recount(parts, catalog).mend
        #: partition -> the position that Kafka was told
        self._committed: dict[int, int] = {}
        self._looked = 0.0
        #: tells Kafka
        self._telling: asyncio.Task[None] | None = None
        self._consumer = consumer(
            **parts.connection,
            **membership(parts, f"flipside.{self._short}"),
            client_id=f"{parts.name}-{self._short}",
            max_partition_fetch_bytes=2 * MAX_INPUT_BYTES,
        )

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        for partition in revoked:
            self._positions.pop(partition.partition, None)
            self._target.pop(partition.partition, None)
            self._seals.drop(partition.partition)
            self._progress.drop(partition.partition)
            self._rivals.forget(partition.partition)
        self._progress.reads(len(self._positions))

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """The loop seeks: what fails there is retried, which would not happen here."""
        for partition in assigned:
            self._positions.pop(partition.partition, None)

    async def _seek_assigned(self) -> None:
        # At once: while the store, or the broker, works on one that is counted again, another one is counted here.
        new = [place for place in self._consumer.assignment() if self._stored(place.partition) is None]
        await all_of(self._seek(place) for place in new)

    async def _seek(self, partition: TopicPartition) -> None:
        """Go on where the store stands; one that has lost the input, or come back older, is put right before."""
        await self._mend(self._short, partition.partition, await self._consumer.committed(partition))
        # Under a clock of ticks it would not be told again before the next one.
        self._told.pop(partition.partition, None)
        self._target.pop(partition.partition, None)
        position = await self._parts.store.position(self._short, partition.partition)
        beginning = (await self._consumer.beginning_offsets([partition]))[partition]
        if beginning > position:
            # Retention or a lost store: what lies between can no longer be counted, and saying so beats silence.
            self._parts.log.error("records are gone", partition=partition.partition, start=position, end=beginning)
            self._parts.metrics.events.labels(self._short, "gone").inc(beginning - position)
        if self._short == "sale":
            await self._seals.begin(partition.partition)
        self._consumer.seek(partition, max(position, beginning))
        if self._short == "competitor-price":
            self._rivals.begin(partition.partition, position)
        self._positions[partition.partition] = position
        self._parts.log.info("input assigned", topic=self._topic, partition=partition.partition, position=position)

    async def run(self, stop: asyncio.Event) -> None:
        """Fold until asked to stop; a batch is either applied whole or not at all."""
        self._consumer.subscribe([self._topic], listener=self)
        await self._consumer.start()
        try:
            settings = self._parts.settings
            wait = settings.poll_seconds if settings.clock == "ticks" else settings.reconcile_seconds
            gathering = min(self._gathering_seconds, wait)
            backoff, now = Backoff(self._parts, self._short), asyncio.get_running_loop().time
            followed = reported = 0.0
            while not stop.is_set():
                async with backoff:
                    await self._seek_assigned()
                    polled = await self._consumer.getmany(timeout_ms=int(wait * 1000), max_records=RECORDS_PER_FETCH)
                    # A day ends and a clock goes on whether or not sales come: once in a while is often enough.
                    follows = self._short == "sale" and now() - followed >= wait / 2
                    await self._take_whole(polled, seal=follows)
                    for partition, records in polled.items():
                        self._progress.folded(partition.partition, records[-1].timestamp)
                    if not polled or now() - reported >= REPORT_SECONDS:
                        await self._report()
                        reported = now()
                    if follows:
                        await self._follow_clock()
                        followed = now()
                    if 0 < sum(map(len, polled.values())) < RECORDS_WORTH_A_TURN:
                        await asyncio.sleep(gathering)
        finally:
            await self._rivals.stop()
            if self._telling is not None:
                self._telling.cancel()
                await asyncio.gather(self._telling, return_exceptions=True)
            await leave(self._consumer)

    async def _take_whole(self, polled: Mapping[TopicPartition, Sequence[ConsumerRecord]], *, seal: bool) -> None:
        try:
            await self._look()
            if seal or (self._seals.unsure and self._short == "sale"):
                await self._seals.follow()
            mine = [(place, records) for place, records in polled.items() if place.partition in self._positions]
            if self._short == "sale":
                # At once: while the store works on one partition, the next is folded here.
                await all_of(self._apply_sales(place, records) for place, records in mine)
                return
            for place, records in mine:
                await self._apply_prices(place, records)
            # Under a clock of ticks, who waits for a position waits for what it led to.
            await self._rivals.keep() if self._parts.settings.clock == "ticks" else self._rivals.go_on()
        except BaseException:
            # What was fetched but not applied is fetched again from the store's position: passed over twice, it would
            # look like a gap of the log's own.
            for partition in polled:
                self._positions.pop(partition.partition, None)
            raise

    def _stored(self, number: int) -> int | None:
        """The position of the store; None where it is not known (any more)."""
        folded = self._positions.get(number)
        return folded if folded is None or self._short == "sale" else self._rivals.stored(number)

    async def _report(self) -> None:
        now = self._parts.clock.now()
        self._progress.reads(len(self._positions))
        for number in list(self._positions):
            partition = TopicPartition(self._topic, number)
            reached = await self._reached(number)
            # A rebalance may have taken it away in between.
            if partition in self._consumer.assignment():
                self._progress.stands(number, reached, self._consumer.highwater(partition) or reached, now)

    async def _reached(self, number: int) -> int:
        """The offset up to which a partition is folded: past the markers of transactions, which are not counted."""
        folded = self._positions.get(number, -1)
        partition = TopicPartition(self._topic, number)
        if folded < 0 or partition not in self._consumer.assignment():
            return folded
        return max(folded, int(await self._consumer.position(partition)))

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

    async def _apply_sales(self, partition: TopicPartition, records: Sequence[Arrived]) -> None:
        async def pass_over(record: Arrived) -> None:
            start = self._positions[partition.partition]
            if await self._parts.store.fold_sales(partition.partition, start, record.offset + 1, []):
                self._advance(partition, record.offset + 1)
            else:
                await self._seek(partition)

        await self._spared.each(
            records, lambda some: self._apply_together(partition, some), partial(self._left, partition), pass_over
        )

    def _left(self, partition: TopicPartition, records: Sequence[AnyRecord]) -> Sequence[AnyRecord]:
        """Those of some records that are not folded yet."""
        position = self._positions.get(partition.partition)
        return [] if position is None else [record for record in records if record.offset >= position]

    async def _apply_together(self, partition: TopicPartition, records: Sequence[Arrived]) -> None:
        met = False
        while records and await self._follows(partition, records):
            batch, used = fold(records, self._positions[partition.partition], self._rules(partition.partition))
            if not met and (met := await self._catalog.meet(batch.rejected)):
                continue
            judged, records = records[:used], records[used:]
            if batch.end == batch.start:
                continue
            # What is set aside is safe before the position passes it; said twice, it bears the same id.
            await self._parts.reject(batch.rejected, self._parts.clock.now())
            await self._parts.publish(SALE_CORRECTION, correction_records(batch.corrections))
            batch, applied = await self._fold_once(partition.partition, batch, judged)
            self._count(len(batch.counted), applied)
            if not applied:
                await self._seek(partition)
                return
            self._parts.metrics.events.labels(self._short, "duplicate").inc(batch.doubled)
            self._parts.metrics.events.labels(self._short, "corrected").inc(len(batch.corrections))
            self._advance(partition, batch.end)

    async def _fold_once(self, partition: int, batch: SaleBatch, records: Sequence[Arrived]) -> tuple[SaleBatch, bool]:
        """Apply what was not counted before, and what its unit-day can hold.

        The store says which that is, and then takes nothing of the batch. ``records``: those that it was made of.
        """
        while True:
            try:
                applied = await self._parts.store.fold_sales(
                    partition, batch.start, batch.end, batch.cells(), batch.ids()
                )
            except CountedBefore as known:
                batch = batch.without(known.which)
            except DayFull as full:
                batch, rejected = fitted(batch, records, self._rules(partition), full.held)
                await self._parts.reject(rejected, self._parts.clock.now())
            else:
                return batch, applied

    async def _look(self) -> None:
        """Twice a second: check the store's identity, and commit the offsets for the next reader.

        Where it is empty, the position is gone with everything else: nothing would be refused, because nothing comes.
        """
        now = asyncio.get_running_loop().time()
        # A turn that finds nothing takes a second: half of that, and each of them looks.
        if now - self._looked < self._parts.settings.reconcile_seconds / 2:
            return
        self._looked = now
        mine = list(self._positions)
        there = await self._parts.store.restoring.with_position(self._short, mine) if mine else frozenset()
        for number in mine:
            position = self._positions.get(number)
            if number not in there and position is not None:
                self._parts.log.error("input lost", topic=self._topic, partition=number, position=position)
                del self._positions[number]
        told, fault = self._telling, None
        if told is not None and not told.done():
            return
        if told is not None and not told.cancelled():
            fault = told.exception()
        # Nobody waits for it: least of all what a rival's price leads to.
        self._telling = asyncio.create_task(self._tell_kafka(), name=f"{self._short}-commit")
        if fault is not None:
            raise fault

    async def _tell_kafka(self) -> None:
        moved = {p: at for p in self._positions if (at := self._stored(p)) is not None and self._committed.get(p) != at}
        if moved:
            # Between two owners there is nobody to tell; the next second is another chance.
            with contextlib.suppress(KafkaError):
                await self._consumer.commit({TopicPartition(self._topic, p): at for p, at in moved.items()})
                self._committed |= moved

    def _rules(self, partition: int) -> Rules:
        settings = self._parts.settings
        return Rules(
            catalog=self._catalog.known,
            partitions=settings.partitions,
            sealed=self._seals.of(partition),
            closed=self._seals.closed,
            deduplicate=settings.deduplicate,
            # Under a clock of ticks, the sales of a day may be sent ahead of its ticks.
            future_ms=settings.future_seconds * 1000 if settings.clock == "wall" else None,
            past_ms=settings.past_days * 86_400_000 if settings.clock == "wall" else None,
            homes=self._homes,
        )

    def _advance(self, partition: TopicPartition, end: int) -> None:
        """What was applied is applied; whether the partition is still ours is for the rebalance to say."""
        if partition.partition in self._positions:
            self._positions[partition.partition] = end

    async def _apply_prices(self, partition: TopicPartition, records: Sequence[Incoming]) -> None:
        async def pass_over(record: Incoming) -> None:
            self._rivals.pass_over(partition.partition, record.offset + 1)
            self._advance(partition, record.offset + 1)

        await self._spared.each(
            records, lambda some: self._fold_prices(partition, some), partial(self._left, partition), pass_over
        )

    async def _fold_prices(self, partition: TopicPartition, records: Sequence[Incoming]) -> None:
        if self._stored(partition.partition) is None or not await self._follows(partition, records):
            return
        start = self._positions[partition.partition]
        records = [record for record in records if record.offset >= start]
        if not records:
            return
        self._count(await self._rivals.fold(partition, records), applied=True)
        self._advance(partition, records[-1].offset + 1)

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
            if await self._reached(partition) >= end:
                position = self._positions.get(partition, -1)
                if await self._parts.store.mark_caught_up(partition, position, at):
                    self._told[partition] = at
                else:
                    # The store has come back older: the loop seeks to where it stands.
                    self._positions.pop(partition, None)
                # A rebalance may have taken the partition away while the store was told; what it was told is true.
                self._target.pop(partition, None)


_NEVER = datetime.fromisoformat("0001-01-01T00:00:00+00:00")
