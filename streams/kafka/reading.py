"""Reading topics outside of any group: what is there now, from wherever one likes."""

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from controller.messages.topics import MAX_RECORD_BYTES
from streams.runtime.settings import Settings

#: how long one answer of a broker may take; Kafka moves the partitions of one that is gone in less
ANSWER_MS = 15_000
#: and how many answers an offset may take
ATTEMPTS = 3


def reader(connection: Mapping[str, Any], settings: Settings, answer_ms: int = ANSWER_MS) -> AIOKafkaConsumer:
    """A consumer of no group, not started; it commits nothing."""
    consumer = AIOKafkaConsumer(
        **connection,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        request_timeout_ms=answer_ms,
        fetch_max_wait_ms=settings.fetch_wait_ms,
        max_partition_fetch_bytes=MAX_RECORD_BYTES,
    )
    # aiokafka (0.14) waits for offsets as long as for an answer, and so gives up before it hangs up on a connection on
    # which nothing comes: a half-open one would be asked again and again.
    consumer._request_timeout_ms = ATTEMPTS * answer_ms
    return consumer


def partitions_of(topic: str, settings: Settings) -> list[TopicPartition]:
    """All partitions of a topic, by its whole name."""
    return [TopicPartition(topic, number) for number in range(settings.partitions)]


def seek_within(consumer: AIOKafkaConsumer, place: TopicPartition, offset: int, beginning: int, end: int) -> None:
    """Read on from ``offset``, as far as the topic still has it: from its first record where that is later.

    ``end`` is the offset behind its last record. An offset beyond it is of a topic that was made anew since.
    """
    consumer.seek(place, min(max(offset, beginning), end))


async def begin(consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]) -> None:
    """Assign these partitions, each from its first record on.

    By its offset: sent to "the beginning" of a partition that has moved to another broker, aiokafka (0.14) goes on
    asking the old one until its metadata is five minutes old.
    """
    places = list(partitions)
    consumer.assign(places)
    for place, first in (await consumer.beginning_offsets(places)).items():
        consumer.seek(place, first)


async def read_up_to(
    consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int], max_records: int | None = None
) -> AsyncIterator[dict[TopicPartition, list[ConsumerRecord]]]:
    """Batches of these partitions, assigned before, until each is read up to its end; the last may go beyond it.

    They are paused then: aiokafka would go on fetching what is not consumed, twenty times a second.
    """
    consumer.resume(*ends)
    while behind := [place for place, end in ends.items() if await consumer.position(place) < end]:
        yield await consumer.getmany(*behind, timeout_ms=1000, max_records=max_records)
    consumer.pause(*ends)
