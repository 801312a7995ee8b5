"""The catalog as every worker holds it: read from its compacted topic, and known to be caught up when it matters."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from aiokafka import AIOKafkaConsumer, TopicPartition

from controller.definition.field_types import LATEST, from_milliseconds, milliseconds
from controller.messages.inputs import CatalogEntry
from controller.messages.topics import CATALOG
from controller.outcomes.listing import Listed
from streams.control.catalog_entries import Entries, Listing
from streams.kafka.connection import stop_client
from streams.kafka.dead_letters import Rejected
from streams.kafka.reading import begin, partitions_of, read_up_to, reader
from streams.worker.last_line import Spared
from streams.worker.services import Parts


class Catalog:
    """Entries by unit, and the time zone of each market. Reads without a group: every worker needs all of it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._consumer: AIOKafkaConsumer | None = None
        self._partitions: list[TopicPartition] = []
        self._lock = asyncio.Lock()
        self._listed = Entries()
        self._spared = Spared(parts)

    @property
    def entries(self) -> Mapping[str, CatalogEntry]:
        """Units on sale."""
        return self._listed.on_sale

    @property
    def last(self) -> Mapping[str, CatalogEntry]:
        """The last entry of every unit that ever was, delisted where it was removed."""
        return self._listed.last

    @property
    def known(self) -> Mapping[str, CatalogEntry]:
        """The last entry of every unit that ever was: a delisted unit's last sales still have to be counted."""
        return self._listed.known

    @property
    def listings(self) -> Mapping[str, Listed]:
        """Unit -> since when it is listed, as far as the topic shows: compaction forgets first records.

        By the brokers' clocks; under a clock of ticks by ours, and what was read before it began was always known.
        """
        return self._listed.listings

    @property
    def time_zones(self) -> Mapping[str, str]:
        """Market -> time zone."""
        return self._listed.zones

    async def start(self) -> None:
        """Connect and read what is there."""
        self._consumer = reader(self._parts.connection, self._parts.settings)
        await self._consumer.start()
        self._partitions = partitions_of(self._parts.topic(CATALOG), self._parts.settings)
        await begin(self._consumer, self._partitions)
        await self.catch_up()

    async def stop(self) -> None:
        if self._consumer is not None:
            await stop_client(self._consumer)

    async def catch_up(self) -> None:
        """Read every entry that was published before this call."""
        consumer = self._consumer
        if consumer is None:
            raise AssertionError("the catalog is read before it was started")
        async with self._lock:
            async for batches in read_up_to(consumer, await consumer.end_offsets(self._partitions)):
                await self._take(record for records in batches.values() for record in records)

    async def meet(self, rejected: Iterable[Rejected]) -> bool:
        """Catch up if a record was set aside because its unit is not known: perhaps its entry is on its way. Returns
        whether they are to be judged anew."""
        if all(judged.code != "unknown-unit" for judged in rejected):
            return False
        await self.catch_up()
        return True

    def _since(self, record: Listing, now: datetime) -> datetime:
        """Since when a record holds: the broker's stamp, or, where a history is replayed, when it is read."""
        if self._parts.settings.clock != "wall":
            return now
        return from_milliseconds(min(max(record.timestamp, 0), milliseconds(now)))

    async def _take(self, records: Iterable[Listing]) -> None:
        parts, now = self._parts, self._parts.clock.now()
        # Under a clock of ticks, records are stamped ahead of it.
        latest = now if parts.settings.clock == "wall" else LATEST
        rejected: list[Rejected] = []

        async def take(some: Sequence[Listing]) -> None:
            for record in some:
                found = self._listed.take(record, latest, self._since(record, now))
                rejected.extend([] if found is None else [found])

        async def read_on(_: Listing) -> None:
            """The consumer has passed it."""

        for record in records:
            await self._spared.each([record], take, list, read_on)
        for change in self._listed.settle():
            parts.log.warning(
                "time zone changed",
                market=change.market,
                before=change.before,
                after=change.after,
                why="its latest catalog entry says so; experiments keep the zone of their registration",
            )
        await parts.reject(rejected, now)
