"""Inputs that the store has lost, or holds older than they were, are counted again from their topic.

Closed unit-days come from the panel, where each row says up to which offset it counts; everything else, and the ids of
all days that may still change, from the sale topic. Where to begin stands in the closings. What was set aside once
stays so: a letter may have been sent again since, and a correction been added up by hand.
"""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from aiokafka import AIOKafkaConsumer, TopicPartition

from controller.codec import ce_type, read
from controller.errors import CannotReach
from controller.events import CE_TYPES, PeriodClosed, SaleCorrection, UnitDay
from controller.outcomes import UnitDayTotal
from controller.topics import DEAD_LETTER, MAX_RECORD_BYTES, PANEL, SALE, SALE_CORRECTION
from controller.wire import market_of, milliseconds
from streams.catalog import Catalog
from streams.dead_letters import Rejected
from streams.folding import IDS_PER_CALL, Arrived, Counted, Rules, correction_records, judge
from streams.kafka import stop_client
from streams.parts import Parts, partition_of
from streams.store import Fenced
from streams.store.restoring import CountedDay

#: rows of days that may still change were published in so many days more than a day may be revised
SLACK = timedelta(days=7)


@dataclass(slots=True)
class Published:
    """What panel, dead letters and corrections say of the sale topic."""

    #: (unit, day ordinal) -> the row with the highest revision
    rows: dict[tuple[str, int], UnitDay] = field(default_factory=dict)
    #: market -> its last closed day (ordinal)
    closed: dict[str, int] = field(default_factory=dict)
    #: sale partition -> from where days that may still change can be counted again
    starts: dict[int, int] = field(default_factory=dict)
    #: (market, sale partition) -> what the market's closed days sold before this offset is in rows, or was set aside
    vouched: dict[tuple[str, int], int] = field(default_factory=dict)
    #: partition and offset of sales that were rejected, or kept as corrections
    set_aside: set[tuple[int, int]] = field(default_factory=set)

    def take_panel(self, record: Arrived) -> None:
        kind = ce_type(record.headers)
        if kind == CE_TYPES[UnitDay]:
            row = read(UnitDay, record.value or b"")
            unit_day = (row.unit, row.day.toordinal())
            held = self.rows.get(unit_day)
            if held is None or (row.revision, row.offset or 0) >= (held.revision, held.offset or 0):
                self.rows[unit_day] = row
        elif kind == CE_TYPES[PeriodClosed]:
            closing = read(PeriodClosed, record.value or b"")
            day = closing.day.toordinal()
            self.closed[closing.market] = max(day, self.closed.get(closing.market, day))
            for partition, offset in closing.offsets.items():
                place = (closing.market, int(partition))
                self.vouched[place] = max(offset, self.vouched.get(place, 0))
            for partition, offset in closing.recount.items():
                # Days only ever stop changing: the latest word is the highest.
                self.starts[int(partition)] = max(offset, self.starts.get(int(partition), 0))

    def take_dead_letter(self, record: Arrived, topic: str) -> None:
        told = dict(record.headers)
        if told.get("ce_origintopic") == topic.encode() and "ce_originoffset" in told:
            self.set_aside.add((int(told["ce_originpartition"]), int(told["ce_originoffset"])))

    def take_correction(self, record: Arrived) -> None:
        kept = read(SaleCorrection, record.value or b"")
        self.set_aside.add((kept.partition, kept.offset))

    def dealt_with(self, sale: SaleCorrection) -> bool:
        """Whether a sale of a day that is sealed by now is in what was published.

        If not, a store that is lost counted it after the last row of its day, or never: it comes too late now.
        """
        row = self.rows.get((sale.sale.unit, sale.day.toordinal()))
        counted = row is not None and (row.offset is None or sale.offset < row.offset)
        return counted or sale.offset < self.vouched.get((market_of(sale.sale.unit), sale.partition), 0)


@dataclass(slots=True)
class Recounted:
    """The unit-days of one partition, as they grow."""

    base: Mapping[tuple[str, int], UnitDay]
    added: dict[tuple[str, int], UnitDayTotal] = field(default_factory=dict)
    firsts: dict[tuple[str, int], int] = field(default_factory=dict)

    def take(self, counted: Counted, offset: int) -> None:
        """A sale that no other repeats."""
        place = (counted.sale.unit, counted.day)
        self.firsts.setdefault((market_of(counted.sale.unit), counted.day), offset)
        row = self.base.get(place)
        if row is not None and (row.offset is None or offset < row.offset):
            return
        self.added.setdefault(place, UnitDayTotal()).add(counted.sale)

    def days(self) -> list[CountedDay]:
        """Each unit-day: its last row, and what came after that."""
        return [self._day(unit, day) for unit, day in sorted(self.base.keys() | self.added.keys())]

    def _day(self, unit: str, day: int) -> CountedDay:
        row, more = self.base.get((unit, day)), self.added.get((unit, day), UnitDayTotal())
        found = CountedDay(
            market_of(unit), day, unit, more.quantity, more.revenue_minor, more.cost_minor, more.costed, more.events,
            published=-1, revision=0,
        )  # fmt: skip
        if row is None:
            return found
        # A day of which one cost is unknown has none: which of them were known does not matter any more.
        costed = 0 if row.cost_minor is None else row.events
        return replace(
            found,
            quantity=found.quantity + row.quantity,
            revenue_minor=found.revenue_minor + row.revenue_minor,
            cost_minor=found.cost_minor + (row.cost_minor or 0),
            costed=found.costed + costed,
            events=found.events + row.events,
            published=row.events,
            revision=row.revision + 1,
        )


class Recount:
    """Counts inputs again for one worker."""

    def __init__(self, parts: Parts, catalog: Catalog) -> None:
        self._parts = parts
        self._catalog = catalog
        #: what was read for another partition, and where its topics ended then
        self._published: tuple[Published, dict[TopicPartition, int]] | None = None

    async def mend(self, topic: str, partition: int, committed: int | None) -> None:
        """Make an input what its topic says, if the store lost it or holds less than what was ``committed``."""
        restoring = self._parts.store.restoring
        damage = await restoring.input_damage(topic, partition)
        position = await self._parts.store.position(topic, partition)
        if damage is not None:
            why = "damaged"
            self._parts.log.error("damaged", topic=topic, partition=partition, error=str(damage))
        elif not await restoring.has_input(topic, partition):
            why = "lost"
        elif committed is not None and position < committed:
            why = "older"
        else:
            return
        began = asyncio.get_running_loop().time()
        token = uuid.uuid4().hex
        await restoring.begin_input(topic, partition, token)
        records = 0
        try:
            if topic == "sale":
                records = await self._sales(partition, token)
            else:
                await restoring.finish_input(topic, partition, token, 0)
        except Fenced as error:
            # Both thought it theirs, for the length of a rebalance: the next turn asks the group, and looks again.
            raise CannotReach(f"{topic}, partition {partition}: another worker counts it again") from error
        if records or committed:
            seconds = asyncio.get_running_loop().time() - began
            self._parts.metrics.rebuilds.labels(topic, why).inc()
            self._parts.log.warning(
                "recounted", topic=topic, partition=partition, why=why, records=records, seconds=round(seconds, 2)
            )

    async def _sales(self, partition: int, token: str) -> int:
        """Count a partition of the sale topic again; returns how many records that took."""
        parts, restoring = self._parts, self._parts.store.restoring
        consumer = AIOKafkaConsumer(
            **parts.connection,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=parts.settings.fetch_wait_ms,
            max_partition_fetch_bytes=MAX_RECORD_BYTES,
        )
        await consumer.start()
        try:
            published = await self._read_published(consumer)
            if not published.closed:
                # Nothing is published yet: everything is counted as if for the first time.
                await restoring.finish_input("sale", partition, token, 0)
                return 0
            return await self._count(consumer, published, partition, token)
        finally:
            await stop_client(consumer)

    async def _count(self, consumer: AIOKafkaConsumer, published: Published, partition: int, token: str) -> int:
        parts, restoring, settings = self._parts, self._parts.store.restoring, self._parts.settings
        sealed = {market: day - settings.revision_days for market, day in published.closed.items()}
        rules = Rules(
            catalog=self._catalog.known,
            partitions=settings.partitions,
            sealed=sealed,
            closed=published.closed,
            deduplicate=settings.deduplicate,
            future_ms=settings.future_seconds * 1000 if settings.clock == "wall" else None,
        )
        base = {
            (unit, day): row
            for (unit, day), row in published.rows.items()
            if partition_of(unit.encode(), settings.partitions) == partition and day > sealed.get(market_of(unit), -1)
        }
        found, place = Recounted(base), TopicPartition(parts.topic(SALE), partition)
        consumer.assign([place])
        beginning = (await consumer.beginning_offsets([place]))[place]
        end = (await consumer.end_offsets([place]))[place]
        start = published.starts.get(partition, 0)
        if beginning > start:
            # Rows of the panel stand for what is closed; sales of open days that Kafka deleted are gone.
            parts.log.error("records are gone", partition=partition, start=start, end=beginning)
            parts.metrics.events.labels("sale", "gone").inc(beginning - start)
            start = beginning
        consumer.seek(place, start)
        records = 0
        while await consumer.position(place) < end:
            polled: Sequence[Arrived] = (await consumer.getmany(place, timeout_ms=1000, max_records=IDS_PER_CALL)).get(
                place, ()
            )
            fresh = [r for r in polled if r.offset < end and (partition, r.offset) not in published.set_aside]
            await self._take(found, fresh, rules, published, partition, token)
            records += len(polled)
            parts.pulse.beat("sale")
        for unit, day in base:
            found.firsts.setdefault((market_of(unit), day), start)
        await restoring.put_days(partition, token, found.days())
        await restoring.finish_input("sale", partition, token, end, found.firsts, sealed)
        return records

    async def _take(
        self,
        found: Recounted,
        records: Sequence[Arrived],
        rules: Rules,
        published: Published,
        partition: int,
        token: str,
    ) -> None:
        judged = [(record, judge(record, rules)) for record in records]
        now = self._parts.clock.now()
        await self._parts.reject([j for _, j in judged if isinstance(j, Rejected)], now)
        corrections = [j for _, j in judged if isinstance(j, SaleCorrection) and not published.dealt_with(j)]
        await self._parts.publish(SALE_CORRECTION, correction_records(corrections))
        counted = [(record.offset, j) for record, j in judged if isinstance(j, Counted)]
        if rules.deduplicate:
            counted = _first_of_each(counted)
            ids = [(j.day, j.id) for _, j in counted if j.id is not None]
            known = await self._parts.store.restoring.put_ids(partition, token, ids)
            counted = [pair for place, pair in enumerate(counted) if place not in known]
        for offset, j in counted:
            found.take(j, offset)

    # --- what was published -------------------------------------------------------------------------------------------

    async def _read_published(self, consumer: AIOKafkaConsumer) -> Published:
        partitions = range(self._parts.settings.partitions)
        places = [
            TopicPartition(self._parts.topic(t), p) for t in (PANEL, DEAD_LETTER, SALE_CORRECTION) for p in partitions
        ]
        ends = await consumer.end_offsets(places)
        if self._published is None or self._published[1] != ends:
            found = await self._read_since(consumer, self._recently())
            if any(market not in found.closed for market in self._catalog.time_zones):
                # Away for longer than a day may change, or a market that has never closed: from the beginning.
                found = await self._read_since(consumer, None)
            for record in await self._read(consumer, DEAD_LETTER, None):
                found.take_dead_letter(record, self._parts.topic(SALE))
            self._published = found, ends
        return self._published[0]

    def _recently(self) -> int | None:
        """Before this instant (ms) nothing was published of days that may still change; None: who knows."""
        if self._parts.settings.clock != "wall":
            return None
        return milliseconds(self._parts.clock.now() - timedelta(days=self._parts.settings.revision_days) - SLACK)

    async def _read_since(self, consumer: AIOKafkaConsumer, since_ms: int | None) -> Published:
        found = Published()
        for record in await self._read(consumer, PANEL, since_ms):
            found.take_panel(record)
        for record in await self._read(consumer, SALE_CORRECTION, since_ms):
            found.take_correction(record)
        return found

    async def _read(self, consumer: AIOKafkaConsumer, topic: str, since_ms: int | None) -> list[Arrived]:
        places = [TopicPartition(self._parts.topic(topic), p) for p in range(self._parts.settings.partitions)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        await consumer.seek_to_beginning(*places)
        if since_ms is not None:
            for place, found in (await consumer.offsets_for_times(dict.fromkeys(places, since_ms))).items():
                consumer.seek(place, ends[place] if found is None else found.offset)
        records: list[Arrived] = []
        while behind := [p for p in places if await consumer.position(p) < ends[p]]:
            for batch in (await consumer.getmany(*behind, timeout_ms=1000)).values():
                records += batch
            self._parts.pulse.beat("sale")
        return records


def _first_of_each(counted: Sequence[tuple[int, Counted]]) -> list[tuple[int, Counted]]:
    """Without those that repeat an id of the same batch."""
    first: dict[bytes | None, tuple[int, Counted]] = {}
    for pair in counted:
        first.setdefault(pair[1].id, pair)
    return list(first.values())
