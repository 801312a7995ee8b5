"""The catalog as every worker holds it: read from its compacted topic, and known to be caught up when it matters."""

import asyncio
from collections.abc import Iterable, Mapping
from zoneinfo import ZoneInfoNotFoundError

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from controller.codec import read
from controller.errors import UnreadableMessage
from controller.inputs import CatalogEntry
from controller.listing import Listed, listed
from controller.periods import zone
from controller.topics import CATALOG
from controller.wire import from_milliseconds, market_of
from streams.dead_letters import Rejected
from streams.kafka import stop_client
from streams.parts import Parts
from streams.reading import begin, read_up_to, reader


class Catalog:
    """Entries by unit, and the time zone of each market. Reads without a group: every worker needs all of it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._consumer: AIOKafkaConsumer | None = None
        self._partitions: list[TopicPartition] = []
        self._lock = asyncio.Lock()
        self._entries: dict[str, CatalogEntry] = {}
        self._known: dict[str, CatalogEntry] = {}
        self._last: dict[str, CatalogEntry] = {}
        self._zones: dict[str, str] = {}
        self._listings: dict[str, Listed] = {}

    @property
    def entries(self) -> Mapping[str, CatalogEntry]:
        """Units on sale."""
        return self._entries

    @property
    def last(self) -> Mapping[str, CatalogEntry]:
        """The last entry of every unit that ever was, delisted where it was removed."""
        return self._last

    @property
    def known(self) -> Mapping[str, CatalogEntry]:
        """The last entry of every unit that ever was: a delisted unit's last sales still have to be counted."""
        return self._known

    @property
    def listings(self) -> Mapping[str, Listed]:
        """Unit -> since when it is listed, as far as the topic shows: compaction forgets first records.

        By the brokers' clocks; under a clock of ticks by ours, and what was read before it began was always known.
        """
        return self._listings

    @property
    def time_zones(self) -> Mapping[str, str]:
        """Market -> time zone."""
        return self._zones

    async def start(self) -> None:
        """Connect and read what is there."""
        self._consumer = reader(self._parts.connection, self._parts.settings)
        await self._consumer.start()
        topic = self._parts.topic(CATALOG)
        self._partitions = [TopicPartition(topic, number) for number in range(self._parts.settings.partitions)]
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
                for records in batches.values():
                    for record in records:
                        await self._apply(record)

    async def meet(self, rejected: Iterable[Rejected]) -> bool:
        """Catch up if a record was set aside because its unit is not known: perhaps its entry is on its way. Returns
        whether they are to be judged anew."""
        if all(judged.code != "unknown-unit" for judged in rejected):
            return False
        await self.catch_up()
        return True

    async def _apply(self, record: ConsumerRecord) -> None:
        key = (record.key or b"").decode(errors="replace")
        if record.value is None:
            gone = self._entries.pop(key, None)
            if gone is not None:
                self._listed(gone.unit, record, delisted=True)
                self._last[gone.unit] = gone.model_copy(update={"delisted": True})
            return
        try:
            entry = read(CatalogEntry, record.value)
        except UnreadableMessage as error:
            await self._reject(Rejected(record, "unreadable", str(error)))
            return
        if entry.unit != key:
            # Compaction keeps the last record of a key: under another one, an entry would outlive what replaces it.
            said = f"this entry is of {entry.unit}, and its key is {key!r}"
            await self._reject(Rejected(record, "key", said))
            return
        try:
            zone(entry.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            said = f"{entry.unit}: there is no time zone {entry.time_zone!r}"
            await self._reject(Rejected(record, "time-zone", said))
            return
        market = market_of(entry.unit)
        if self._zones.setdefault(market, entry.time_zone) != entry.time_zone:
            reason = f"{market} has time zone {self._zones[market]}, this entry says {entry.time_zone}"
            await self._reject(Rejected(record, "time-zone", reason))
            return
        self._entries[entry.unit] = self._known[entry.unit] = self._last[entry.unit] = entry
        self._listed(entry.unit, record, delisted=entry.delisted)

    def _listed(self, unit: str, record: ConsumerRecord, *, delisted: bool) -> None:
        wall = self._parts.settings.clock == "wall"
        at = from_milliseconds(record.timestamp) if wall else self._parts.clock.now()
        self._listings[unit] = listed(self._listings.get(unit), at, delisted=delisted)

    async def _reject(self, rejected: Rejected) -> None:
        await self._parts.reject([rejected], self._parts.clock.now())
