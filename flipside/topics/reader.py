"""Reading topics from their beginning: how the replay and the commands see what the system said."""

from collections.abc import Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import TopicAuthorizationFailedError

from controller.definition.field_types import Message
from controller.errors import FlipsideError
from controller.messages.codec import decode, void
from streams.kafka.connection import connection, stop_client
from streams.kafka.reading import partitions_of, reader
from streams.runtime.settings import Settings


class Reader:
    """Reads topics from their beginning, without a group, and keeps the messages."""

    def __init__(self, settings: Settings, topics: Sequence[str]) -> None:
        self._consumer = reader(connection(settings), settings)
        self._partitions = [place for topic in topics for place in partitions_of(settings.prefixed(topic), settings)]
        self.messages: list[Message] = []
        #: records of other kinds, such as dead letters
        self.others: list[object] = []

    async def start(self) -> None:
        """Raises aiokafka's TopicAuthorizationFailedError for topics that this user may not read."""
        await self._consumer.start()
        self._consumer.assign(self._partitions)
        # Asked for offsets of such a topic, aiokafka (0.14) asks again and again, and ends with a timeout.
        client = self._consumer._client
        await client.force_metadata_update()
        refused = client.cluster.unauthorized_topics & {partition.topic for partition in self._partitions}
        if refused:
            await self.stop()
            raise TopicAuthorizationFailedError(refused)

    async def start_at_end(self) -> None:
        """Read only what comes from now on: nothing that is there already is fetched."""
        await self._consumer.start()
        ends = await self.ends()
        # Without a pause in between: the client begins to fetch in the background once partitions are assigned.
        self._consumer.assign(self._partitions)
        for partition, end in ends.items():
            self._consumer.seek(partition, end)

    async def missing(self) -> list[str]:
        """Of the topics that are to be read, those that the brokers do not have."""
        there = await self._consumer.topics()
        return sorted({partition.topic for partition in self._partitions} - set(there))

    async def stop(self) -> None:
        await stop_client(self._consumer)

    async def records(self, wait_ms: int = 10) -> list[Any]:
        """New records as they came, not kept."""
        return [r for batch in (await self._consumer.getmany(timeout_ms=wait_ms)).values() for r in batch]

    async def poll(self, wait_ms: int = 10) -> list[Message]:
        """New messages, also kept; what came too late to count is passed over."""
        new = []
        for record in await self.records(wait_ms):
            if void(record):
                continue
            try:
                new.append(decode(record.headers, record.value or b""))
            except FlipsideError:
                self.others.append(record)
        self.messages += new
        return new

    async def drain(self) -> None:
        """Read everything that is there now."""
        ends = await self.ends()
        while not await self.reached(ends):
            await self.poll(100)

    async def ends(self) -> dict[TopicPartition, int]:
        """Where each partition ends now."""
        found: dict[TopicPartition, int] = await self._consumer.end_offsets(self._partitions)
        return found

    async def reached(self, ends: dict[TopicPartition, int]) -> bool:
        """Whether everything before these ends was read."""
        return all([await self._consumer.position(p) >= end for p, end in ends.items()])
