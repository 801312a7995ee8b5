"""The analysis worker: closings wait for what was written before them; over a real broker, restarts and poison."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from analysis.panel_data.ledger import Ledger
from analysis.worker.analyse import Finding, due, key
from analysis.worker.pending_closings import ClosingsHeld
from analysis.worker.worker import SINKS, SOURCES, Options, Tally, Watch, run
from controller.definition.field_types import Message
from controller.errors import FlipsideError
from controller.messages.codec import encode
from controller.messages.events import Assignment, Estimate, PeriodClosed, UnitDay
from controller.messages.findings import Health
from controller.messages.graphs import GraphPart
from controller.messages.inputs import Applied
from controller.messages.topics import APPLIED, ASSIGNMENT_LOG, GRAPH, PANEL
from streams.worker.metrics import AnalysisMetrics
from tests.analysis.traffic import START, assignments, closing, experiment, history, unit_day
from tests.analysis.worker import substitute_shop
from tests.parts.shared_kafka import SharedKafka

AT = datetime(2026, 3, 1, tzinfo=UTC)
PARTITIONS = 3
A, B = TopicPartition("panel", 0), TopicPartition("log", 0)
DEFINITION = experiment(markets=6, products=2, days=5)
REPORTS = [
    Applied(id=a.id, unit=a.unit, arm=a.arm, price_minor=1, applied_at=a.effective_at, assignment=a.id)
    for a in assignments(DEFINITION)
]


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


async def make_topics(kafka: SharedKafka, namespace: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    await admin.create_topics([NewTopic(f"{namespace}.{name}", PARTITIONS, 1) for name in (*SOURCES, *SINKS.values())])
    await admin.close()


async def write(kafka: SharedKafka, namespace: str, messages: Sequence[Message], poison: bytes | None = None) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.address, enable_idempotence=True)
    await producer.start()
    for message in messages:
        if isinstance(message, Applied):  # an owner's system, which knows nothing of our headers
            value = message.model_dump_json().encode()
            await producer.send(f"{namespace}.{APPLIED}", value=value, key=message.unit.encode())
            continue
        record = encode(message, "id", AT)
        topic = PANEL if isinstance(message, UnitDay | PeriodClosed) else ASSIGNMENT_LOG
        topic = GRAPH if isinstance(message, GraphPart) else topic
        await producer.send(f"{namespace}.{topic}", value=record.value, key=record.key, headers=record.headers)
    if poison is not None:
        await producer.send_and_wait(f"{namespace}.{PANEL}", value=poison)
    await producer.stop()


async def analysed(
    kafka: SharedKafka, namespace: str, enough: Callable[[list[Finding]], bool], options: Options | None = None
) -> tuple[list[Finding], Tally]:
    """What a worker publishes until there is enough."""
    stop, seen = asyncio.Event(), list[Finding]()

    def look(finding: Finding) -> None:
        seen.append(finding)
        if enough(seen):
            stop.set()

    tally = await run({"bootstrap_servers": kafka.address}, namespace, stop, look, options)
    return seen, tally


async def compacted(kafka: SharedKafka, namespace: str) -> dict[bytes, bytes]:
    """The last value of each key of the topics that the worker writes."""
    topics = [f"{namespace}.{name}" for name in SINKS.values()]
    consumer = AIOKafkaConsumer(*topics, bootstrap_servers=kafka.address, auto_offset_reset="earliest", group_id=None)
    await consumer.start()
    ends = await consumer.end_offsets(list(consumer.assignment()))
    values: dict[bytes, bytes] = {}
    while any([await consumer.position(partition) < end for partition, end in ends.items()]):
        for records in (await consumer.getmany(timeout_ms=100)).values():
            values |= {record.key: record.value for record in records}
    await consumer.stop()
    return values


def at_last_step(seen: list[Finding]) -> bool:
    """The last check of the last day is the last thing that is said."""
    last = seen[-1]
    return isinstance(last, Health) and (last.check, last.through) == ("interference", START.replace(day=6))


def through_half(seen: list[Finding]) -> bool:
    last = seen[-1]
    return isinstance(last, Health) and (last.check, last.through) == ("interference", START.replace(day=3))


@pytest.mark.broker
async def test_a_worker_stopped_midway_and_started_again_leaves_the_topic_of_one_that_never_stopped(
    kafka: SharedKafka, namespace: str
) -> None:
    messages = history(DEFINITION)
    ledger = Ledger()
    for message in messages:
        ledger.fold(message)
    whole = list(due(ledger, {}))
    await make_topics(kafka, namespace)
    half = next(k for k, m in enumerate(messages) if isinstance(m, PeriodClosed) and m.day == START.replace(day=4))
    await write(kafka, namespace, messages[:half], poison=b"\xff not ours")
    first, tally = await analysed(kafka, namespace, through_half)
    assert tally.unreadable == 1
    await write(kafka, namespace, messages[half:])
    second, _ = await analysed(kafka, namespace, at_last_step)
    steps = [e.model_dump_json() for e in first + second if isinstance(e, Estimate)]
    assert steps == [e.model_dump_json() for e in whole if isinstance(e, Estimate)]
    last = {key(f): f.model_dump_json() for f in whole}
    assert {name.decode(): value.decode() for name, value in (await compacted(kafka, namespace)).items()} == last
    late = unit_day(DEFINITION, "m00/p0", START, 1000, revision=1, events=2)
    await write(kafka, namespace, [late])
    third, _ = await analysed(kafka, namespace, at_last_step)
    estimates = [e for e in third if isinstance(e, Estimate)]
    assert {(e.metric, e.revision) for e in estimates} == {("units", 1), ("revenue", 1), ("margin", 1)}
    values = {name.decode(): value.decode() for name, value in (await compacted(kafka, namespace)).items()}
    assert values == {key(f): f.model_dump_json() for f in third}


@pytest.mark.broker
async def test_a_worker_that_is_started_again_still_shows_what_it_found(kafka: SharedKafka, namespace: str) -> None:
    await make_topics(kafka, namespace)
    ignored = [report.model_copy(update={"arm": "control"}) for report in REPORTS]
    await write(kafka, namespace, [*(m for m in history(DEFINITION) if not isinstance(m, Applied)), *ignored])
    before = await analysed(kafka, namespace, at_last_step)
    failing = {f.key for f in before[0] if isinstance(f, Health) and f.verdict == "fail"}
    assert f"{DEFINITION.name}/fidelity" in failing
    stop, metrics = asyncio.Event(), AnalysisMetrics()

    def turned(behind: int) -> None:
        if not behind:
            stop.set()

    again = list[Finding]()
    await run({"bootstrap_servers": kafka.address}, namespace, stop, again.append, watch=Watch(metrics.known, turned))
    assert again == [], "nothing is published twice"
    ask = metrics.registry.get_sample_value
    assert ask("flipside_health_check", {"experiment": DEFINITION.name, "check": "fidelity"}) == 2
    assert ask("flipside_health_checks", {"check": "fidelity", "verdict": "fail"}) == 1
    assert ask("flipside_estimate_watermark_timestamp_seconds") == max(
        f.watermark.timestamp() for f in before[0] if isinstance(f, Estimate) and f.watermark is not None
    )


@pytest.mark.broker
async def test_a_worker_that_goes_on_from_its_snapshot_reads_the_rest_only_and_says_the_same(
    kafka: SharedKafka, namespace: str, tmp_path: Path
) -> None:
    messages = history(DEFINITION)
    await make_topics(kafka, namespace)
    half = next(k for k, m in enumerate(messages) if isinstance(m, PeriodClosed) and m.day == START.replace(day=4))
    await write(kafka, namespace, messages[:half])
    options = Options(snapshots=tmp_path)
    _, first = await analysed(kafka, namespace, through_half, options)
    await write(kafka, namespace, messages[half:])
    _, second = await analysed(kafka, namespace, at_last_step, options)
    assert first.records == half
    # the rest of the topics, and what was published to go on from
    assert second.records < len(messages)
    ledger = Ledger()
    for message in messages:
        ledger.fold(message)
    values = {name.decode(): value.decode() for name, value in (await compacted(kafka, namespace)).items()}
    assert values == {key(finding): finding.model_dump_json() for finding in due(ledger, {})}


@pytest.mark.broker
async def test_a_worker_that_goes_on_from_its_snapshot_has_the_graphs_that_are_published(
    kafka: SharedKafka, namespace: str, tmp_path: Path
) -> None:
    shop = substitute_shop.definition(days=5)
    messages = substitute_shop.sold(shop)
    whole = [f.spillover for f in due(substitute_shop.read(messages), {}) if isinstance(f, Estimate)]
    later = [m for m in messages if isinstance(m, PeriodClosed) and m.day >= START.replace(day=4)]
    await make_topics(kafka, namespace)
    await write(kafka, namespace, [*substitute_shop.published(), *(m for m in messages if m not in later)])
    options = Options(snapshots=tmp_path)
    first, _ = await analysed(kafka, namespace, through_half, options)
    await write(kafka, namespace, later)
    second, _ = await analysed(kafka, namespace, at_last_step, options)
    assert [f.spillover for f in first + second if isinstance(f, Estimate)] == whole


@pytest.mark.broker
async def test_a_pricing_system_that_ignores_an_arm_for_a_day_is_on_the_health_topic_with_that_days_closing(
    kafka: SharedKafka, namespace: str
) -> None:
    ignored, shown, messages = START.replace(day=5), dict[str, str](), list[Message]()
    for message in history(DEFINITION):
        messages.append(message)
        if isinstance(message, Assignment):
            arm = "control" if message.day == ignored else message.arm
            if shown.get(message.unit) != arm:
                shown[message.unit] = arm
                at = message.effective_at
                messages.append(
                    Applied(
                        id=message.id,
                        unit=message.unit,
                        arm=arm,
                        price_minor=None,
                        applied_at=at,
                        assignment=message.id,
                    )
                )
    await make_topics(kafka, namespace)
    upto = next(k for k, m in enumerate(messages) if getattr(m, "day", START) > ignored)
    await write(kafka, namespace, messages[:upto])

    def told(seen: list[Finding]) -> bool:
        last = seen[-1]
        return isinstance(last, Health) and (last.check, last.through) == ("interference", ignored)

    seen, _ = await analysed(kafka, namespace, told)
    fidelity = [finding for finding in seen if isinstance(finding, Health) and finding.check == "fidelity"][-1]
    assert (fidelity.verdict, fidelity.value) == ("fail", 0.0)
    assert str(ignored) in fidelity.what_to_do


@pytest.mark.broker
async def test_a_topic_that_does_not_exist_is_named_with_the_way_out(kafka: SharedKafka, namespace: str) -> None:
    with pytest.raises(FlipsideError, match="flipside topics create"):
        await run({"bootstrap_servers": kafka.address}, namespace, asyncio.Event())


@pytest.mark.broker
async def test_effects_with_spillover_come_through_kafka_as_they_are_in_memory(
    kafka: SharedKafka, namespace: str
) -> None:
    shop = substitute_shop.definition(days=5)
    messages = substitute_shop.sold(shop)
    whole = [f for f in due(substitute_shop.read(messages), {}) if isinstance(f, Estimate)]
    await make_topics(kafka, namespace)
    await write(kafka, namespace, [*substitute_shop.published(), *messages])
    seen, _ = await analysed(kafka, namespace, at_last_step)
    found = [f for f in seen if isinstance(f, Estimate)]
    assert [f.spillover for f in found] == [f.spillover for f in whole]
    assert found[-1].spillover is not None
    assert found[-1].spillover.effects
    neighbours = [f for f in seen if isinstance(f, Health) and f.check == "interference"]
    assert "graph g1" in neighbours[-1].evidence
