"""The analysis worker: reads the assignment log and the panel from the beginning, publishes the estimates that are due.

It keeps nothing but what it can read again: after a kill it reads both topics anew, asks the estimate topic what was
published last, and goes on from there. Partitions are read at different paces, so a closing may be read before the rows
and assignments that it speaks of: it counts only once every partition was read up to the end that it had when the
closing was read.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import islice
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from analysis.analyse import Mark, due, key, mark_of
from analysis.ledger import Ledger
from controller.codec import decode, encode
from controller.errors import FlipsideError, UnreadableMessage
from controller.events import Estimate, PeriodClosed
from controller.topics import ASSIGNMENT_LOG, ESTIMATE, PANEL
from controller.wire import Message

log = structlog.get_logger(__name__)

#: how long a quiet topic is waited for, and with it the delay of the answer to a stop
POLL_MS = 100
#: records taken at once, over all partitions
BATCH = 20_000
#: estimates sent before their acknowledgements are awaited
SENT_AT_ONCE = 500

Positions = Mapping[TopicPartition, int]


@dataclass(slots=True)
class Tally:
    """What the worker has done so far."""

    records: int = 0
    unreadable: int = 0
    estimates: int = 0


@dataclass(slots=True)
class ClosingsHeld:
    """Closings that were read, but not yet everything that was written before them."""

    held: list[tuple[Positions, PeriodClosed]] = field(default_factory=list)

    def hold(self, closings: Iterable[PeriodClosed], ends: Positions) -> None:
        """Hold closings until every partition was read up to ``ends``, taken after the closings were read."""
        self.held += [(ends, closing) for closing in closings]

    def release(self, positions: Positions) -> list[PeriodClosed]:
        """The closings that now count, by market and day.

        A market's days are closed in order: an earlier closing that was read later counts with the later one.
        """
        reached: dict[str, date] = {}
        passed: dict[int, bool] = {}
        for ends, closing in self.held:
            if id(ends) not in passed:
                passed[id(ends)] = all(positions[partition] >= end for partition, end in ends.items())
            if passed[id(ends)]:
                reached[closing.market] = max(reached.get(closing.market, date.min), closing.day)
        released = [
            closing
            for ends, closing in self.held
            if passed[id(ends)] or closing.day < reached.get(closing.market, date.min)
        ]
        self.held = [
            (ends, closing)
            for ends, closing in self.held
            if not passed[id(ends)] and closing.day >= reached.get(closing.market, date.min)
        ]
        return sorted(released, key=lambda closing: (closing.market, closing.day, closing.revision))


async def run(
    connection: Mapping[str, Any],
    namespace: str,
    stop: asyncio.Event,
    on_estimate: Callable[[Estimate], None] | None = None,
) -> Tally:
    """Read, fold and publish until ``stop`` is set; returns what was done.

    Args:
        connection: what aiokafka's clients are given: ``bootstrap_servers`` and, where there is one, security.
        namespace: prefix of the topics, as in the settings.
        stop: set by the caller; it is answered after the batch at hand.
        on_estimate: called with each estimate once the broker has acknowledged it.

    Raises:
        FlipsideError: a topic does not exist.
        aiokafka.errors.KafkaError: the broker cannot be reached, or does not acknowledge; start again to go on.
    """
    tally = Tally()
    sources, sink = (_topic(namespace, ASSIGNMENT_LOG), _topic(namespace, PANEL)), _topic(namespace, ESTIMATE)
    await _must_exist(connection, *sources, sink)
    published = await _published(connection, sink, tally)
    consumer = _consumer(connection, *sources)
    producer = AIOKafkaProducer(**connection, enable_idempotence=True, acks="all", linger_ms=5)
    try:
        await consumer.start()
        await producer.start()
        log.info("analysis reads", topics=sources, series_published=len(published))
        await _follow(consumer, producer, sink, published, stop, on_estimate, tally)
    finally:
        await producer.stop()
        await consumer.stop()
    log.info("analysis stops", records=tally.records, unreadable=tally.unreadable, estimates=tally.estimates)
    return tally


async def _follow(
    consumer: AIOKafkaConsumer,
    producer: AIOKafkaProducer,
    topic: str,
    published: dict[str, Mark],
    stop: asyncio.Event,
    on_estimate: Callable[[Estimate], None] | None,
    tally: Tally,
) -> None:
    ledger, closings = Ledger(), ClosingsHeld()
    while not stop.is_set():
        read = _messages(await consumer.getmany(timeout_ms=POLL_MS, max_records=BATCH), tally)
        closed = [message for message in read if isinstance(message, PeriodClosed)]
        for message in read:
            if not isinstance(message, PeriodClosed):
                ledger.fold(message)
        if closed:
            closings.hold(closed, await consumer.end_offsets(list(consumer.assignment())))
        counted: list[PeriodClosed] = []
        if closings.held:
            counted = closings.release({p: await consumer.position(p) for p in consumer.assignment()})
        for closing in counted:
            ledger.fold(closing)
        if not (read or counted):
            continue
        fresh = due(ledger, dict(published))
        while batch := list(islice(fresh, SENT_AT_ONCE)):
            await _publish(producer, topic, batch)
            for estimate in batch:
                published[key(estimate)] = mark_of(estimate)
                tally.estimates += 1
                if on_estimate is not None:
                    on_estimate(estimate)


async def _publish(producer: AIOKafkaProducer, topic: str, estimates: list[Estimate]) -> None:
    """Send estimates and wait until the broker has all of them."""
    sent = []
    for estimate in estimates:
        identity = (
            f"{estimate.experiment}.{estimate.experiment_version}/{estimate.metric}/{estimate.arm}/"
            f"{estimate.estimator}/{estimate.through}/{estimate.revision}"
        )
        if estimate.computed_at_event_time is None:
            raise AssertionError(f"{identity} rests on no closed day")
        record = encode(estimate, identity, estimate.computed_at_event_time)
        sent.append(await producer.send(topic, value=record.value, key=record.key, headers=record.headers))
    await asyncio.gather(*sent)


async def _published(connection: Mapping[str, Any], topic: str, tally: Tally) -> dict[str, Mark]:
    """The newest mark of each series in the estimate topic."""
    marks: dict[str, Mark] = {}
    consumer = _consumer(connection, topic)
    try:
        await consumer.start()
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while not all([await consumer.position(partition) >= end for partition, end in ends.items()]):
            for estimate in _messages(await consumer.getmany(timeout_ms=POLL_MS, max_records=BATCH), tally):
                if isinstance(estimate, Estimate):
                    mark = mark_of(estimate)
                    marks[key(estimate)] = max(mark, marks.get(key(estimate), mark))
    finally:
        await consumer.stop()
    return marks


def _messages(batches: Mapping[TopicPartition, list[Any]], tally: Tally) -> list[Message]:
    """The readable messages of a batch; an unreadable record is counted and logged, and stops nothing."""
    read = []
    for partition, records in batches.items():
        for record in records:
            tally.records += 1
            if record.value is None:
                continue
            try:
                read.append(decode(record.headers, record.value))
            except UnreadableMessage as error:
                tally.unreadable += 1
                log.warning(
                    "record skipped",
                    topic=partition.topic,
                    partition=partition.partition,
                    offset=record.offset,
                    reason=str(error),
                )
    return read


def _consumer(connection: Mapping[str, Any], *topics: str) -> AIOKafkaConsumer:
    """A consumer of no group that reads all partitions from the beginning."""
    return AIOKafkaConsumer(
        *topics,
        **connection,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=POLL_MS,
        max_partition_fetch_bytes=16 * 1024 * 1024,
    )


async def _must_exist(connection: Mapping[str, Any], *topics: str) -> None:
    """Raise FlipsideError where a topic does not exist: to subscribe to it would be to wait in silence."""
    probe = AIOKafkaConsumer(**connection, group_id=None)
    try:
        await probe.start()
        missing = sorted(set(topics) - await probe.topics())
    finally:
        await probe.stop()
    if missing:
        where = connection["bootstrap_servers"]
        raise FlipsideError(f"{', '.join(missing)}: no such topic at {where}; run `flipside topics create`")


def _topic(namespace: str, name: str) -> str:
    return f"{namespace}.{name}" if namespace else name
