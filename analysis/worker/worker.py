"""The analysis worker: reads the log, the panel and the reports; publishes estimates, sequences and checks.

It keeps nothing but what it can read again: after a kill it goes on from its last snapshot, or reads the topics anew;
it asks the topics that it writes what was published last, and goes on from there. Partitions are read at different
paces, so a closing may be read before the rows and assignments that it speaks of: it counts only once every partition
was read up to the end that it had when the closing was read.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from analysis.checks.live_fidelity import LiveFidelity
from analysis.panel_data.ledger import Ledger
from analysis.worker.analyse import Aside, Finding, Mark, Share, due, key, mark_of
from analysis.worker.parallel import share_of
from analysis.worker.pending_closings import ClosingsHeld, Positions
from controller.definition.field_types import Message, market_of, stamped_at
from controller.errors import FlipsideError, UnreadableMessage
from controller.messages.codec import Decoded, decode_many, encode, key_of, read_many, void
from controller.messages.events import Estimate, PeriodClosed
from controller.messages.faults import SET_ASIDE, fault_of
from controller.messages.findings import Health, RunningSequence
from controller.messages.graph_records import take_records
from controller.messages.inputs import Applied, CatalogEntry, CompetitorPrice
from controller.messages.topics import (
    APPLIED,
    ASSIGNMENT_LOG,
    CATALOG,
    COMPETITOR_PRICE,
    ESTIMATE,
    GRAPH,
    HEALTH,
    PANEL,
    SEQUENCE,
)

log = structlog.get_logger(__name__)

#: how long a quiet topic is waited for, and with it the delay of the answer to a stop
POLL_MS = 100
#: records taken at once, over all partitions
BATCH = 20_000
#: estimates sent before their acknowledgements are awaited
SENT_AT_ONCE = 500

#: what an experiment's series said so long before the newest of all is of one that is over, and shown no more
KNOWN_FOR = timedelta(days=30)

#: what is read from topics of the owner's systems, and what else
OWNERS: dict[str, type[Message]] = {APPLIED: Applied, CATALOG: CatalogEntry, COMPETITOR_PRICE: CompetitorPrice}
SOURCES = (ASSIGNMENT_LOG, PANEL, GRAPH, *OWNERS)
#: what is written where
SINKS: dict[type[Message], str] = {Estimate: ESTIMATE, RunningSequence: SEQUENCE, Health: HEALTH}


@dataclass(frozen=True, slots=True)
class Options:
    """How the worker works."""

    #: read rivals' prices too, ten thousand a second in a large shop, to see whether they are staler in one arm
    rivals: bool = False
    #: folder of snapshots; None: the log is read from its beginning at every start
    snapshots: Path | None = None
    #: a snapshot is written after so long, and at a stop
    snapshot_seconds: float = 900.0
    #: processes that share many experiments, or the address of a Dask scheduler whose workers do
    processes: int = 1
    dask: str = ""


def _nothing(_: object) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told how the worker is, as metrics are."""

    #: called with the newest finding of each series that was published before the start
    known: Callable[[Finding], None] = _nothing
    #: called after each turn with how many records, of those that the brokers had at its fetch, are not read yet
    turned: Callable[[int], None] = _nothing


@dataclass(slots=True)
class Tally:
    """What the worker has done so far."""

    records: int = 0
    unreadable: int = 0
    estimates: int = 0


async def run(
    connection: Mapping[str, Any],
    namespace: str,
    stop: asyncio.Event,
    on_finding: Callable[[Finding], None] | None = None,
    options: Options | None = None,
    on_set_aside: Callable[[Literal["record", "experiment"]], None] = lambda _: None,
    watch: Watch | None = None,
) -> Tally:
    """Read, fold and publish until ``stop`` is set; returns what was done.

    Args:
        connection: what aiokafka's clients are given: ``bootstrap_servers`` and, where there is one, security.
        namespace: prefix of the topics, as in the settings.
        stop: set by the caller; it is answered after the batch at hand.
        on_finding: called with each estimate, sequence and check once the broker has acknowledged it.
        options: what is read beside the log and the panel.
        on_set_aside: called with each record or experiment that an error nobody foresaw has set aside.
        watch: told of what was published before this start, and of every turn.

    Raises:
        FlipsideError: a topic does not exist.
        aiokafka.errors.KafkaError: the broker cannot be reached, or does not acknowledge; start again to go on.
    """
    tally, options, watch = Tally(), options or Options(), watch or Watch()
    share = share_of(options.processes, options.dask)
    sources = [_topic(namespace, name) for name in SOURCES if name != COMPETITOR_PRICE or options.rivals]
    sinks = [_topic(namespace, name) for name in SINKS.values()]
    await _must_exist(connection, *sources, *sinks)
    published = await _published(connection, sinks, tally, watch)
    consumer = _consumer(connection, *sources)
    producer = AIOKafkaProducer(**connection, enable_idempotence=True, acks="all", linger_ms=5)
    try:
        await consumer.start()
        await producer.start()
        ledger, closings = await _begin(consumer, options)
        await _read_graphs(consumer, ledger, tally)
        log.info("analysis reads", topics=sources, series_published=len(published))
        live = LiveFidelity(ledger, asyncio.get_running_loop().time)
        reading = Reading(consumer, producer, namespace, ledger, closings, published, tally, share, live, on_set_aside)
        await _follow(reading, stop, on_finding, options, watch)
    finally:
        await producer.stop()
        await consumer.stop()
    log.info("analysis stops", records=tally.records, unreadable=tally.unreadable, estimates=tally.estimates)
    return tally


@dataclass(frozen=True, slots=True)
class Reading:
    """What the worker holds while it runs."""

    consumer: AIOKafkaConsumer
    producer: AIOKafkaProducer
    namespace: str
    ledger: Ledger
    closings: ClosingsHeld
    #: record key -> how new the finding is that was published under it
    published: dict[str, Mark]
    tally: Tally
    share: Share | None
    live: LiveFidelity
    on_set_aside: Callable[[Literal["record", "experiment"]], None] = lambda _: None
    aside: Aside = field(default_factory=Aside)
    #: those of it that were told of
    told: set[tuple[str, int]] = field(default_factory=set)

    def fold(self, message: Message, at: datetime | None = None) -> None:
        """Take a record in; where that fails as nobody foresaw, all numbers of its market are absent from now on."""
        try:
            self.ledger.fold(message, at)
        except MemoryError:
            raise
        except Exception as error:
            fault = fault_of(error)
            market = str(getattr(message, "market", "")) or market_of(str(getattr(message, "unit", "")))
            self.aside.markets.setdefault(market, fault)
            self.on_set_aside("record")
            log.exception(
                "set aside", kind="record", duty="analysis", type=type(message).__name__, key=key_of(message),
                market=market, place=fault.place, error=fault.error,
            )  # fmt: skip

    def live_findings(self) -> list[Health]:
        """What the reports of open days say; an error that nobody foresaw costs these checks alone."""
        try:
            return list(self.live.findings())
        except MemoryError:
            raise
        except Exception as error:
            fault = fault_of(error)
            self.on_set_aside("record")
            log.exception("set aside", kind="record", duty="fidelity-today", place=fault.place, error=fault.error)
            return []

    def tell_aside(self) -> None:
        """Log and count the experiments that were put aside since the last time."""
        for name, fault in self.aside.experiments.items():
            if name not in self.told:
                self.told.add(name)
                self.on_set_aside("experiment")
                log.error(
                    "set aside", kind="experiment", duty="analysis", experiment=name[0], version=name[1],
                    place=fault.place, error=fault.error, way_out="see the place; a restart computes it again",
                )  # fmt: skip

    async def positions(self) -> dict[TopicPartition, int]:
        """The next offset of each partition."""
        return {partition: await self.consumer.position(partition) for partition in self.consumer.assignment()}


async def _begin(consumer: AIOKafkaConsumer, options: Options) -> tuple[Ledger, ClosingsHeld]:
    """The newest snapshot, and the consumer moved to where it ends; nothing, and the beginning, where there is none."""
    if options.snapshots is None:
        return Ledger(), ClosingsHeld()
    from analysis.worker.snapshot import load  # Parquet is not loaded where nobody asks for it

    found = load(options.snapshots)
    if found is None:
        return Ledger(), ClosingsHeld()
    partitions = {_named(partition): partition for partition in consumer.assignment()}
    ends = {
        _named(partition): end for partition, end in (await consumer.end_offsets(list(partitions.values()))).items()
    }
    lost = sorted(name for name, offset in found.positions.items() if ends.get(name, -1) < offset)
    if lost or set(partitions) != set(found.positions):
        log.warning(
            "snapshot is not of these topics: the log is read from its beginning",
            folder=str(options.snapshots),
            partitions=lost or sorted(set(partitions) ^ set(found.positions)),
        )
        return Ledger(), ClosingsHeld()
    for name, offset in found.positions.items():
        consumer.seek(partitions[name], offset)
    held: list[tuple[Positions, PeriodClosed]] = [
        ({partitions[name]: end for name, end in until.items()}, closing) for until, closing in found.closings
    ]
    log.info("analysis goes on from a snapshot", folder=str(options.snapshots))
    return found.ledger, ClosingsHeld(held)


async def _read_graphs(consumer: AIOKafkaConsumer, ledger: Ledger, tally: Tally) -> None:
    """The graphs that are published now, ahead of everything else: a snapshot does not hold them."""
    places = [place for place in consumer.assignment() if place.topic.endswith(GRAPH)]
    for place, first in (await consumer.beginning_offsets(places)).items():
        consumer.seek(place, first)
    ends = await consumer.end_offsets(places)
    while not all([await consumer.position(place) >= end for place, end in ends.items()]):
        _take_graphs(await consumer.getmany(*places, timeout_ms=POLL_MS, max_records=BATCH), ledger, tally)


def _take_graphs(
    batches: Mapping[TopicPartition, list[Any]], ledger: Ledger, tally: Tally
) -> dict[TopicPartition, list[Any]]:
    """Take the records of the graph's topic in; the others are returned."""
    others = {}
    for place, records in batches.items():
        if not place.topic.endswith(GRAPH):
            others[place] = records
            continue
        unreadable = take_records(ledger.graphs.published, records)
        tally.records, tally.unreadable = tally.records + len(records), tally.unreadable + unreadable
        if unreadable:
            log.warning("records skipped", topic=place.topic, partition=place.partition, number=unreadable)
    return others


async def _follow(
    reading: Reading,
    stop: asyncio.Event,
    on_finding: Callable[[Finding], None] | None,
    options: Options,
    watch: Watch,
) -> None:
    consumer, closings = reading.consumer, reading.closings
    clock = asyncio.get_running_loop().time
    kept, read_since = clock(), False
    while not stop.is_set():
        batches = await consumer.getmany(timeout_ms=POLL_MS, max_records=BATCH)
        fresh = _messages(_take_graphs(batches, reading.ledger, reading.tally), reading.tally)
        closed = [message for message, _ in fresh if isinstance(message, PeriodClosed)]
        for message, at in fresh:
            if not isinstance(message, PeriodClosed):
                reading.fold(message, at)
            if isinstance(message, Applied):
                reading.live.heard(message)
        if closed:
            closings.hold(closed, await consumer.end_offsets(list(consumer.assignment())))
        counted: list[PeriodClosed] = []
        if closings.held:
            counted = closings.release(await reading.positions())
        for closing in counted:
            reading.fold(closing)
        if fresh or counted:
            await _refresh(reading, on_finding)
            read_since = True
        behind = sum(_behind(consumer.highwater(p), at) for p, at in (await reading.positions()).items())
        if not behind and not closings.held:
            await _send(reading, iter(reading.live_findings()), on_finding)
        watch.turned(behind)
        if options.snapshots and read_since and clock() - kept >= options.snapshot_seconds:
            await _keep(reading, options.snapshots)
            kept, read_since = clock(), False
    if options.snapshots and read_since:
        await _keep(reading, options.snapshots)


async def _refresh(reading: Reading, on_finding: Callable[[Finding], None] | None) -> None:
    """Publish what is due."""
    await _send(reading, due(reading.ledger, dict(reading.published), reading.share, reading.aside), on_finding)


def _behind(end: int | None, position: int) -> int:
    """Records that are not read yet; one where nothing has come of the partition, not even its end."""
    return 1 if end is None else max(0, end - position)


async def _send(reading: Reading, fresh: Iterator[Finding], on_finding: Callable[[Finding], None] | None) -> None:
    while batch := list(islice(fresh, SENT_AT_ONCE)):
        await _publish(reading.producer, reading.namespace, batch)
        for finding in batch:
            reading.published[key(finding)] = mark_of(finding)
            reading.tally.estimates += isinstance(finding, Estimate)
            tell_failing(finding)
            if on_finding is not None:
                on_finding(finding)
    reading.tell_aside()


def tell_failing(finding: Finding) -> None:
    """Log a check that fails, with what it is about and what to do."""
    if isinstance(finding, Health) and finding.verdict == "fail":
        log.error(
            "check fails", experiment=finding.experiment, check=finding.check, value=finding.value,
            units=list(finding.units), systems=list(finding.systems), way_out=finding.what_to_do,
        )  # fmt: skip


async def _keep(reading: Reading, folder: Path) -> None:
    """Write a snapshot: everything read up to the positions is in it, published or held."""
    from analysis.worker.snapshot import Snapshot, save

    held = tuple(
        ({_named(partition): end for partition, end in ends.items()}, closing)
        for ends, closing in reading.closings.held
    )
    positions = {_named(partition): offset for partition, offset in (await reading.positions()).items()}
    path = save(folder, Snapshot(reading.ledger, positions, held))
    log.info("snapshot written", folder=str(path))


def _named(partition: TopicPartition) -> str:
    return f"{partition.topic}/{partition.partition}"


async def _publish(producer: AIOKafkaProducer, namespace: str, findings: list[Finding]) -> None:
    """Send findings and wait until the broker has all of them."""
    sent = []
    for finding in findings:
        identity = f"{key(finding)}/{finding.experiment_version}/{finding.through}/{finding.revision}"
        if isinstance(finding, Health):
            identity += f"/{mark_of(finding).digest[:16]}"
        if finding.computed_at_event_time is None:
            raise AssertionError(f"{identity} rests on no closed day")
        record = encode(finding, identity, finding.computed_at_event_time)
        topic = _topic(namespace, SINKS[type(finding)])
        sent.append(await producer.send(topic, value=record.value, key=record.key, headers=record.headers))
    await asyncio.gather(*sent)


async def _published(connection: Mapping[str, Any], topics: list[str], tally: Tally, watch: Watch) -> dict[str, Mark]:
    """The newest mark of each series in the topics that we write; ``watch`` is told of the findings themselves."""
    marks: dict[str, Mark] = {}
    newest: dict[str, Estimate | Health] = {}
    consumer = _consumer(connection, *topics)
    try:
        await consumer.start()
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while not all([await consumer.position(partition) >= end for partition, end in ends.items()]):
            for finding, _ in _messages(await consumer.getmany(timeout_ms=POLL_MS, max_records=BATCH), tally):
                if isinstance(finding, Estimate) and (finding.reason_absent or "").startswith(SET_ASIDE):
                    continue  # to be computed again
                if isinstance(finding, Estimate | RunningSequence | Health):
                    mark = mark_of(finding)
                    if mark >= marks.get(key(finding), mark):
                        marks[key(finding)] = mark
                        if not isinstance(finding, RunningSequence):  # long, and in no metric
                            newest[key(finding)] = finding
    finally:
        await consumer.stop()
    said_at = [at for found in newest.values() if (at := found.computed_at_event_time) is not None]
    for found in newest.values():
        at = found.computed_at_event_time
        if at is None or at >= max(said_at) - KNOWN_FOR:
            watch.known(found)
    return marks


def _messages(batches: Mapping[TopicPartition, list[Any]], tally: Tally) -> list[tuple[Message, datetime | None]]:
    """The readable messages of a batch and when they were written, as far as their timestamps can be meant.

    An unreadable record is counted and logged, and stops nothing. A decision that came too late to count was shown by
    nobody.
    """
    found: list[tuple[Message, datetime | None]] = []
    for partition, records in batches.items():
        # an owner's systems need not say what kind their records are: the topic does
        model = next((model for name, model in OWNERS.items() if partition.topic.endswith(name)), None)
        tally.records += len(records)
        records = [record for record in records if record.value is not None and not void(record)]
        read: Sequence[Decoded]
        if model:
            read = read_many(model, [record.value for record in records])
        else:
            read = decode_many([(record.headers, record.value) for record in records])
        for record, message in zip(records, read, strict=True):
            if isinstance(message, UnreadableMessage):
                tally.unreadable += 1
                log.warning(
                    "record skipped",
                    topic=partition.topic,
                    partition=partition.partition,
                    offset=record.offset,
                    reason=str(message),
                )
            else:
                found.append((message, stamped_at(record.timestamp)))
    return found


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
