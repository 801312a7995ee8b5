"""`flipside verify` on the topic itself: three records were tampered with, and exactly these three are named."""

import json
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from controller.definition.field_types import Message
from controller.messages.codec import encode
from controller.messages.topics import ASSIGNMENT_LOG
from streams.kafka.connection import connection
from streams.kafka.topics import create_topics
from streams.runtime.settings import Settings
from streams.worker.services import partition_of
from tests.controller.builders import BEFORE, an_experiment
from tests.controller.decisions.assignment_logs import a_log, change, other_arm, published
from tests.e2e.running import Said, Servers, flipside

pytestmark = pytest.mark.broker


async def write(settings: Settings, records: list[Message]) -> None:
    """Append records to the log, each where its key belongs."""
    producer = AIOKafkaProducer(**connection(settings), acks="all")
    await producer.start()
    try:
        for number, message in enumerate(records):
            record = encode(message, f"r{number}", BEFORE)
            where = partition_of(record.key or b"", settings.partitions)
            await producer.send(
                settings.prefixed(ASSIGNMENT_LOG), value=record.value, key=record.key, headers=record.headers,
                partition=where,
            )  # fmt: skip
        await producer.flush()
    finally:
        await producer.stop()


async def verify(settings: Settings, file: Path, topic: str) -> Said:
    return await flipside(
        "verify", str(file), "--log", topic, "--json",
        FLIPSIDE_KAFKA=settings.kafka,
        FLIPSIDE_NAMESPACE=settings.namespace,
        FLIPSIDE_PARTITIONS=str(settings.partitions),
    )  # fmt: skip


async def test_an_altered_a_missing_and_a_doubled_record_are_the_three_that_are_named(
    servers: Servers, namespace: str, tmp_path: Path
) -> None:
    settings = servers.settings(namespace)
    await create_topics(settings)
    experiment, file = an_experiment(), tmp_path / "registered.json"
    file.write_text(published(experiment).model_dump_json())
    honest = an_experiment(name="other", seed="8")
    log = a_log(experiment)
    log = change(log, "m0/p1", 3, lambda r: (other_arm(r),))
    log = change(log, "m1/p0", 5, lambda r: ())
    log = change(log, "m1/p2", 7, lambda r: (r, r))
    await write(settings, [published(experiment), published(honest), *log, *a_log(honest)])

    for topic in (ASSIGNMENT_LOG, settings.prefixed(ASSIGNMENT_LOG)):
        said = await verify(settings, file, topic)
        assert said.code == 7, said.err
        found = json.loads(said.out.splitlines()[-1])["differences"]
        assert [(d["kind"], d["subject"], d["day"]) for d in found] == [
            ("altered", "m0/p1", "2026-03-05"), ("missing", "m1/p0", "2026-03-07"), ("doubled", "m1/p2", "2026-03-09"),
        ]  # fmt: skip

    file.write_text(published(honest).model_dump_json())
    untouched = await verify(settings, file, ASSIGNMENT_LOG)
    assert (untouched.code, json.loads(untouched.out.splitlines()[-1])["differences"]) == (0, [])

    nowhere = await verify(settings, file, "assignments")
    assert nowhere.code == 1
    assert f"no topic {settings.prefixed('assignments')}" in nowhere.err
