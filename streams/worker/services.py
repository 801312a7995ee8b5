"""What the services of a worker share. Built once, by the composition root."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aiokafka import AIOKafkaProducer

from controller.messages.codec import Record
from controller.messages.topics import ASSIGNMENT_LOG, DEAD_LETTER, PANEL, SALE_CORRECTION, TOPICS
from streams.kafka.dead_letters import Rejected, dead_letter
from streams.kafka.partitioning import partition_of as partition_of
from streams.kafka.partitioning import partition_of_passing as partition_of_passing
from streams.kafka.publishing import publish
from streams.runtime.clock import Clock
from streams.runtime.settings import Settings
from streams.store import Store
from streams.worker.heartbeat import Pulse
from streams.worker.metrics import Metrics

#: topics whose keys do not come again: a unit-day, a sale
PASSING = frozenset({PANEL, SALE_CORRECTION})
#: topics that go out compressed: long, and read by us
PACKED = frozenset({ASSIGNMENT_LOG})


@dataclass(frozen=True, slots=True)
class Parts:
    """The settings, the ports and the producers of a worker: each topic is written to by one of them."""

    settings: Settings
    clock: Clock
    store: Store
    producer: AIOKafkaProducer
    metrics: Metrics
    log: Any
    #: name of this worker: in ownership records, logs and static group membership
    name: str
    #: keyword arguments of every aiokafka client
    connection: dict[str, Any] = field(default_factory=dict)
    #: whether the duties go on
    pulse: Pulse = field(default_factory=Pulse)
    #: writes the topics that are `PACKED`; None where the other one does
    packing: AIOKafkaProducer | None = None

    def topic(self, name: str) -> str:
        return self.settings.prefixed(name)

    def shard_of(self, market: str) -> int:
        """The shard that decides for a market: the tick partition of its name."""
        return partition_of(market.encode(), self.settings.partitions)

    async def publish(self, topic: str, records: Iterable[Record]) -> int | None:
        """Send records to a topic and return once all are acknowledged by all replicas in sync.

        Returns the latest stamp of the brokers, see `streams.kafka.publishing.publish`.
        """
        partitions = self.settings.partitions
        home = partition_of_passing if topic in PASSING else partition_of
        by_partition: dict[int, list[Record]] = {}
        for record in records:
            if record.key is None:
                raise AssertionError("only ticks and ownership have no key: they are written to a partition by number")
            by_partition.setdefault(home(record.key, partitions), []).append(record)
        return await self.publish_at(topic, by_partition)

    async def publish_at(self, topic: str, by_partition: Mapping[int, Sequence[Record]]) -> int | None:
        """The same of records whose partitions are known."""
        producer = self.packing if topic in PACKED and self.packing is not None else self.producer
        return await publish(producer, self.topic(topic), by_partition)

    async def flush(self) -> None:
        """Return once all that was handed to the producers is acknowledged, or has failed."""
        for producer in (self.producer, self.packing):
            if producer is not None:
                await producer.flush()

    async def reject(self, rejected: Iterable[Rejected], at: datetime) -> None:
        """Write dead letters; returns once they are safe. That of a record without a key lies in the partition of the
        record's number."""
        partitions = self.settings.partitions
        by_partition: dict[int, list[Record]] = {}
        for letter in rejected:
            written = dead_letter(letter, at)
            key, number = written.key, letter.record.partition % partitions
            home = number if key is None else partition_of_passing(key, partitions)
            by_partition.setdefault(home, []).append(written)
            short = letter.record.topic.removeprefix(self.topic(""))
            self.metrics.dead_letters.labels(short if short in TOPICS else "other", letter.code).inc()
            self.log.warning(
                "dead letter",
                code=letter.code,
                reason=letter.reason,
                topic=letter.record.topic,
                partition=letter.record.partition,
                offset=letter.record.offset,
            )
        if by_partition:
            await self.publish_at(DEAD_LETTER, by_partition)
