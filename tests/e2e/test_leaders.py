"""A partition's leader moves to another broker: readers must find it."""

import asyncio
import time

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from confluent_kafka.admin import AdminClient

from streams.reading import begin, read_up_to, reader
from streams.settings import Settings
from tests.parts.kafka import Kafka

pytestmark = pytest.mark.broker

TOPIC = "moves"
PLACE = TopicPartition(TOPIC, 0)
#: for a leader to be elected
SECONDS = 20.0
#: half of what aiokafka waits for one answer, before it does something else
READ_SECONDS = 8.0


async def test_a_reader_begins_anew_though_the_leader_that_it_knows_came_back_as_a_follower() -> None:
    with Kafka(nodes=3) as kafka:
        settings = Settings.model_validate({"kafka": kafka.address})
        await _fill(kafka, records=3)
        consumer = reader({"bootstrap_servers": kafka.address}, settings)
        await consumer.start()
        try:
            assert await _read(consumer) == [b"0", b"1", b"2"]
            known = await _leader(kafka)
            await asyncio.to_thread(kafka.kill, known)
            await _leader(kafka, other_than=known)
            # Nothing is asked of the reader meanwhile: it still knows the old leader, and that one answers again.
            await asyncio.to_thread(kafka.restart, known)
            if await _leader(kafka) == known:
                pytest.fail("the leader came back as the leader: nothing was tried")
            async with asyncio.timeout(READ_SECONDS):
                assert await _read(consumer) == [b"0", b"1", b"2"]
        finally:
            await consumer.stop()


async def _fill(kafka: Kafka, records: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, num_partitions=1, replication_factor=3)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=kafka.address, acks="all")
    await producer.start()
    for number in range(records):
        await producer.send_and_wait(TOPIC, str(number).encode(), partition=0)
    await producer.stop()


async def _read(consumer: AIOKafkaConsumer) -> list[bytes]:
    await begin(consumer, [PLACE])
    ends = await consumer.end_offsets([PLACE])
    return [record.value async for found in read_up_to(consumer, ends) for record in found.get(PLACE, ())]


async def _leader(kafka: Kafka, other_than: int = 0) -> int:
    """Who leads, as a client that begins now is told."""
    give_up = time.monotonic() + SECONDS
    while time.monotonic() < give_up:
        client = AdminClient({"bootstrap.servers": kafka.address, "log_level": 0})
        seen = await asyncio.to_thread(client.list_topics, TOPIC, 5)
        leader = seen.topics[TOPIC].partitions[0].leader
        if leader not in (-1, other_than):
            return int(leader)
    raise AssertionError(f"no other leader than {other_than} within {SECONDS:g} s")
