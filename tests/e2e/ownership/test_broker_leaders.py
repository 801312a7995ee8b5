"""A partition's leader moves to another broker, or a connection's other end is gone: readers must not wait for ever."""

import asyncio
import time

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from confluent_kafka.admin import AdminClient

from streams.kafka.reading import begin, read_up_to, reader
from streams.runtime.settings import Settings
from tests.chaos.faults.proxy import Doors
from tests.parts.kafka import Kafka

pytestmark = pytest.mark.broker

TOPIC = "moves"
PLACE = TopicPartition(TOPIC, 0)
#: for a leader to be elected
SECONDS = 20.0
#: half of what aiokafka waits for one answer, before it does something else
READ_SECONDS = 8.0
ANSWER_MS = 1000
#: less than all attempts at an answer take
ANSWERED_SECONDS = 2.5


async def test_a_reader_begins_anew_though_the_leader_that_it_knows_came_back_as_a_follower() -> None:
    with Kafka(nodes=3) as kafka:
        settings = Settings.model_validate({"kafka": kafka.address})
        await _fill(kafka, records=3, copies=3)
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


async def test_a_reader_hangs_up_on_a_connection_on_which_nothing_comes() -> None:
    with Kafka(doors=["QUIET"]) as kafka:
        await _fill(kafka, records=3)
        ways = list(kafka.door("QUIET"))
        doors = Doors(ways)
        await doors.start()
        address = f"127.0.0.1:{ways[0][0]}"
        consumer = reader({"bootstrap_servers": address}, Settings.model_validate({"kafka": address}), ANSWER_MS)
        await consumer.start()
        try:
            await begin(consumer, [PLACE])
            assert await consumer.end_offsets([PLACE]) == {PLACE: 3}
            doors.set("half-open")
            async with asyncio.timeout(ANSWERED_SECONDS):
                ends = await consumer.end_offsets([PLACE])
            assert [r.value async for found in read_up_to(consumer, ends) for r in found.get(PLACE, ())] == [
                b"0",
                b"1",
                b"2",
            ]
        finally:
            doors.set("open")
            await consumer.stop()
            await doors.stop()


async def _fill(kafka: Kafka, records: int, copies: int = 1) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, num_partitions=1, replication_factor=copies)])
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
