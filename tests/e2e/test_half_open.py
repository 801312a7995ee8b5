"""A connection whose other end is gone, and that nobody closed: readers must not wait on it for ever."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.reading import begin, read_up_to, reader
from streams.settings import Settings
from tests.chaos.proxy import Doors
from tests.parts.kafka import Kafka

pytestmark = pytest.mark.broker

TOPIC = "quiet"
PLACE = TopicPartition(TOPIC, 0)
ANSWER_MS = 1000
#: less than all attempts at an answer take
READ_SECONDS = 2.5


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
            async with asyncio.timeout(READ_SECONDS):
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


async def _fill(kafka: Kafka, records: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, num_partitions=1, replication_factor=1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=kafka.address, acks="all")
    await producer.start()
    for number in range(records):
        await producer.send_and_wait(TOPIC, str(number).encode(), partition=0)
    await producer.stop()
