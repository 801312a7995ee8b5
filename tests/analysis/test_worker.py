"""The analysis worker: closings wait for what was written before them; over a real broker, restarts and poison."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from analysis.analyse import due
from analysis.ledger import Ledger
from analysis.worker import ClosingsHeld, Tally, run
from controller.codec import decode, encode
from controller.errors import FlipsideError
from controller.events import Estimate, PeriodClosed, UnitDay
from controller.topics import ASSIGNMENT_LOG, ESTIMATE, PANEL
from controller.wire import Message
from tests.analysis.traffic import START, closing, experiment, history, unit_day
from tests.parts.kafka import Kafka

AT = datetime(2026, 3, 1, tzinfo=UTC)
PARTITIONS = 3
A, B = TopicPartition("panel", 0), TopicPartition("log", 0)
DEFINITION = experiment(markets=6, products=2, days=5)


def test_a_closing_counts_only_once_every_partition_was_read_up_to_the_end_it_had_then() -> None:
    closings, one = ClosingsHeld(), closing(DEFINITION, "m00", START)
    closings.hold([one], {A: 5, B: 7})
    assert closings.release({A: 5, B: 6}) == []
    assert closings.release({A: 5, B: 7}) == [one]
    assert closings.release({A: 9, B: 9}) == []


def test_an_earlier_closing_read_later_counts_with_the_later_one() -> None:
    closings = ClosingsHeld()
    first, second = (closing(DEFINITION, "m00", START.replace(day=day)) for day in (2, 3))
    closings.hold([second], {A: 5, B: 7})
    closings.hold([first], {A: 6, B: 8})
    assert closings.release({A: 5, B: 7}) == [first, second]


async def make_topics(kafka: Kafka, namespace: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    await admin.create_topics(
        [NewTopic(f"{namespace}.{name}", PARTITIONS, 1) for name in (ASSIGNMENT_LOG, PANEL, ESTIMATE)]
    )
    await admin.close()


async def write(kafka: Kafka, namespace: str, messages: list[Message], poison: bytes | None = None) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.address, enable_idempotence=True)
    await producer.start()
    for message in messages:
        record = encode(message, "id", AT)
        topic = PANEL if isinstance(message, UnitDay | PeriodClosed) else ASSIGNMENT_LOG
        await producer.send(f"{namespace}.{topic}", value=record.value, key=record.key, headers=record.headers)
    if poison is not None:
        await producer.send_and_wait(f"{namespace}.{PANEL}", value=poison)
    await producer.stop()


async def analysed(
    kafka: Kafka, namespace: str, enough: Callable[[list[Estimate]], bool]
) -> tuple[list[Estimate], Tally]:
    """What a worker publishes until there is enough."""
    stop, seen = asyncio.Event(), list[Estimate]()

    def look(estimate: Estimate) -> None:
        seen.append(estimate)
        if enough(seen):
            stop.set()

    tally = await run({"bootstrap_servers": kafka.address}, namespace, stop, look)
    return seen, tally


async def compacted(kafka: Kafka, namespace: str) -> dict[bytes, bytes]:
    """The last value of each key of the estimate topic."""
    consumer = AIOKafkaConsumer(
        f"{namespace}.{ESTIMATE}", bootstrap_servers=kafka.address, auto_offset_reset="earliest", group_id=None
    )
    await consumer.start()
    ends, values = await consumer.end_offsets(list(consumer.assignment())), {}
    while any([await consumer.position(partition) < end for partition, end in ends.items()]):
        for records in (await consumer.getmany(timeout_ms=100)).values():
            values |= {record.key: record.value for record in records}
    await consumer.stop()
    return values


def at_last_step(seen: list[Estimate]) -> bool:
    return (seen[-1].metric, seen[-1].through) == ("margin", START.replace(day=6))


@pytest.mark.broker
async def test_a_worker_stopped_midway_and_started_again_leaves_the_topic_of_one_that_never_stopped(
    kafka: Kafka, namespace: str
) -> None:
    messages = history(DEFINITION)
    ledger = Ledger()
    for message in messages:
        ledger.fold(message)
    whole = list(due(ledger, {}))
    await make_topics(kafka, namespace)
    half = next(k for k, m in enumerate(messages) if isinstance(m, PeriodClosed) and m.day == START.replace(day=4))
    await write(kafka, namespace, messages[:half], poison=b"\xff not ours")
    first, tally = await analysed(kafka, namespace, lambda seen: len(seen) == 6)
    assert tally.unreadable == 1
    await write(kafka, namespace, messages[half:])
    second, _ = await analysed(kafka, namespace, at_last_step)
    assert [e.model_dump_json() for e in first + second] == [e.model_dump_json() for e in whole]
    late = unit_day(DEFINITION, "m00/p0", START, 1000, revision=1, events=2)
    await write(kafka, namespace, [late])
    third, _ = await analysed(kafka, namespace, at_last_step)
    assert {(e.metric, e.revision) for e in third} == {("units", 1), ("revenue", 1), ("margin", 1)}
    values = [decode([("ce_type", b"flipside.estimate.v1")], v) for v in (await compacted(kafka, namespace)).values()]
    assert sorted(map(repr, values)) == sorted(map(repr, third))


@pytest.mark.broker
async def test_a_topic_that_does_not_exist_is_named_with_the_way_out(kafka: Kafka, namespace: str) -> None:
    with pytest.raises(FlipsideError, match="flipside topics create"):
        await run({"bootstrap_servers": kafka.address}, namespace, asyncio.Event())
