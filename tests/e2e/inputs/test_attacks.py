"""Records of the list in docs/faults.md that only a broker and whole processes show to be harmless: 3, 13, 15."""

from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from controller.messages.codec import encode
from controller.messages.events import Tick
from controller.messages.topics import ASSIGNMENT, CATALOG, DEAD_LETTER, SALE, TICK
from streams.kafka.connection import connection
from streams.kafka.dead_letters import Rejected, dead_letter
from streams.kafka.reading import begin, reader
from streams.kafka.topics import create_topics
from tests.chaos.faults.evening import CATALOG as ENTRIES
from tests.e2e.inputs.hostile_records import Spoilt, write
from tests.e2e.ownership.struck_market import UNITS, registered, send, struck
from tests.e2e.running import Servers, eventually, flipside, records
from tests.streams.inputs.arrivals import NOON, Arrived

pytestmark = pytest.mark.broker


async def test_3_a_header_whose_name_is_no_text_keeps_no_reader_from_the_records_behind_it(
    servers: Servers, namespace: str
) -> None:
    settings = servers.settings(namespace)
    await create_topics(settings)
    producer, topic = AIOKafkaProducer(**connection(settings)), settings.prefixed(SALE)
    await producer.start()
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    await write(producer, topic, Spoilt("a name", b"k", b"first", ((b"\xff\xfe", b"x"),), 0, now_ms))
    await producer.send_and_wait(topic, b"second", partition=0)
    await producer.stop()
    consumer, found = reader(connection(settings), settings), list[bytes]()
    await consumer.start()
    try:
        await begin(consumer, [TopicPartition(topic, 0)])

        async def both() -> bool:
            for batch in (await consumer.getmany(timeout_ms=100)).values():
                found.extend(record.value for record in batch)
            return len(found) == 2

        await eventually("the record and the one behind it", both)
    finally:
        await consumer.stop()


@pytest.mark.parametrize("said", ["x [/nope] y", "[/b]", "\x1b[31mred"])
async def test_13_a_dead_letter_of_any_text_is_listed(servers: Servers, namespace: str, said: str) -> None:
    settings = servers.settings(namespace)
    await create_topics(settings)
    producer = AIOKafkaProducer(**connection(settings))
    await producer.start()
    record = Arrived(said.encode(), 3, 0, key=said.encode())
    letter = dead_letter(Rejected(record, "unreadable", said), NOON)
    await producer.send_and_wait(settings.prefixed(DEAD_LETTER), letter.value, letter.key, headers=letter.headers)
    await producer.stop()
    for arguments in (("dead-letters", "list"), ("dead-letters", "show", f"{record.topic}/0/3")):
        told = await flipside(*arguments, **settings.environment())
        assert (told.code, "\x1b[31m" in told.out) == (0, False), told.err


async def test_15_a_tick_three_days_ahead_decides_nothing(servers: Servers, namespace: str) -> None:

    settings = servers.settings(namespace, clock="wall", partitions=2)
    await create_topics(settings)
    await send(settings, CATALOG, [ENTRIES[unit] for unit in UNITS])
    async with struck(settings) as worker:
        await registered(settings, worker, first_in_days=3)
        at = datetime.now(UTC) + timedelta(days=3)
        tick = encode(Tick(at=at), "ahead", at)
        producer = AIOKafkaProducer(**connection(settings))
        await producer.start()
        for shard in range(settings.partitions):
            await producer.send_and_wait(settings.prefixed(TICK), tick.value, partition=shard, headers=tick.headers)
        await producer.stop()

        async def set_aside() -> bool:
            assert not await records(settings, ASSIGNMENT), "an experiment of the day after tomorrow has begun"
            return len(await records(settings, DEAD_LETTER)) == settings.partitions

        await eventually("the ticks to be dead letters", set_aside)
