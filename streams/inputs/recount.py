"""Inputs that the store has lost, or holds older than they were, are counted again from their topic.

Closed unit-days come from the panel, where each row says up to which offset it counts; everything else, and the ids of
all days that may still change, from the sale topic. Where to begin stands in the closings. What was set aside once
stays so: a letter may have been sent again since, and a correction been added up by hand.
"""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, TopicPartition

from controller.definition.field_types import market_of
from controller.errors import CannotReach
from controller.messages.events import SaleCorrection, UnitDay
from controller.messages.topics import SALE, SALE_CORRECTION
from controller.outcomes.unit_days import UnitDayTotal
from streams.closing.late_corrections import correction_records
from streams.control.catalog import Catalog
from streams.inputs.published_sales import Publications, Published
from streams.inputs.sales import IDS_PER_CALL, Arrived, Counted, Rules, judge_all
from streams.kafka.connection import stop_client
from streams.kafka.dead_letters import Rejected
from streams.kafka.reading import read_up_to, reader
from streams.store import Fenced
from streams.store.restore_port import CountedDay
from streams.worker.services import Parts

NOTHING = UnitDayTotal()
#: inputs that are counted again at a time: each of them holds its unit-days in memory
AT_ONCE = 2


@dataclass(slots=True)
class Recounted:
    """The unit-days of one partition, as they grow."""

    base: Mapping[tuple[str, int], UnitDay]
    added: dict[tuple[str, int], UnitDayTotal] = field(default_factory=dict)
    firsts: dict[tuple[str, int], int] = field(default_factory=dict)

    def take(self, counted: Counted, offset: int) -> None:
        """A sale that no other repeats."""
        place, _, quantity, price_minor, cost_minor = counted
        unit, day = place
        self.firsts.setdefault((market_of(unit), day), offset)
        row = self.base.get(place)
        if row is not None and (row.offset is None or offset < row.offset):
            return
        self.added.setdefault(place, UnitDayTotal()).add(quantity, price_minor, cost_minor)

    def days(self) -> list[CountedDay]:
        """Each unit-day: its last row, and what came after that."""
        return [self._day(unit, day) for unit, day in sorted(self.base.keys() | self.added.keys())]

    def _day(self, unit: str, day: int) -> CountedDay:
        row, more = self.base.get((unit, day)), self.added.get((unit, day), NOTHING)
        if row is None:
            return CountedDay(
                market_of(unit), day, unit, more.quantity, more.revenue_minor, more.cost_minor, more.costed,
                more.events, published=-1, revision=0,
            )  # fmt: skip
        return CountedDay(
            market_of(unit),
            day,
            unit,
            more.quantity + row.quantity,
            more.revenue_minor + row.revenue_minor,
            more.cost_minor + (row.cost_minor or 0),
            # A day of which one cost is unknown has none: which of them were known does not matter any more.
            more.costed + (0 if row.cost_minor is None else row.events),
            more.events + row.events,
            published=row.events,
            revision=row.revision + 1,
            late=row.late,
        )


class Recount:
    """Counts inputs again for one worker."""

    def __init__(self, parts: Parts, catalog: Catalog, publications: Publications | None = None) -> None:
        self._parts = parts
        self._catalog = catalog
        self._publications = publications or Publications(parts, catalog)
        self._room = asyncio.Semaphore(AT_ONCE)

    async def mend(self, topic: str, partition: int, committed: int | None) -> None:
        """Make an input what its topic says, if the store lost it or holds less than what was ``committed``."""
        restoring = self._parts.store.restoring
        damage = await restoring.input_damage(topic, partition)
        position = await self._parts.store.position(topic, partition)
        if damage is not None:
            why = "damaged"
            self._parts.log.error("damaged", topic=topic, partition=partition, error=str(damage))
        elif not await restoring.with_position(topic, [partition]):
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
        async with self._room:
            return await self._recounted(partition, token)

    async def _recounted(self, partition: int, token: str) -> int:
        parts, restoring = self._parts, self._parts.store.restoring
        consumer = reader(parts.connection, parts.settings)
        await consumer.start()
        try:
            published = await self._publications.read(consumer)
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
            past_ms=settings.past_days * 86_400_000 if settings.clock == "wall" else None,
        )
        base = published.rows(partition, settings.partitions, sealed)
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
        async for batches in read_up_to(consumer, {place: end}, IDS_PER_CALL):
            polled: Sequence[Arrived] = batches.get(place, ())
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
        judged = list(zip(records, judge_all(records, rules), strict=True))
        now = self._parts.clock.now()
        await self._parts.reject([j for _, j in judged if isinstance(j, Rejected)], now)
        corrections = [j for _, j in judged if isinstance(j, SaleCorrection) and not published.dealt_with(j)]
        await self._parts.publish(SALE_CORRECTION, correction_records(corrections))
        counted = [(record.offset, j) for record, j in judged if isinstance(j, Counted)]
        if rules.deduplicate:
            counted = _first_of_each(counted)
            ids = [(j.place[1], j.id) for _, j in counted if j.id is not None]
            known = await self._parts.store.restoring.put_ids(partition, token, ids)
            counted = [pair for place, pair in enumerate(counted) if place not in known]
        for offset, j in counted:
            found.take(j, offset)


def _first_of_each(counted: Sequence[tuple[int, Counted]]) -> list[tuple[int, Counted]]:
    """Without those that repeat an id of the same batch."""
    first: dict[bytes | None, tuple[int, Counted]] = {}
    for pair in counted:
        first.setdefault(pair[1].id, pair)
    return list(first.values())
