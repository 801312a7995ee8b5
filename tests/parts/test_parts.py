"""The servers that the tests rely on do what the tests rely on: they keep what they acknowledged, and they leave."""

import asyncio
import os
from functools import partial
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from redis import Redis

from controller.errors import CannotStart
from controller.messages.topics import Topic
from streams.embedded.processes import Sandbox
from streams.kafka.topics import create_topics
from streams.runtime.settings import Settings
from tests.parts import jars
from tests.parts.kafka import Kafka
from tests.parts.once import once
from tests.parts.ports import FIRST, LAST, free_port
from tests.parts.redis_server import RedisServer

TOPIC = Topic("numbers", "none", "a test", "a test")


async def write(address: str, numbers: range) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=address, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        for number in numbers:
            await producer.send_and_wait(TOPIC.name, b"%d" % number, partition=0)
    finally:
        await producer.stop()


async def read(address: str, count: int) -> list[int]:
    consumer = AIOKafkaConsumer(TOPIC.name, bootstrap_servers=address, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(60):
            return [int((await consumer.getone()).value or b"") for _ in range(count)]
    finally:
        await consumer.stop()


@pytest.mark.broker
async def test_a_broker_killed_and_restarted_is_at_the_same_address_with_what_it_acknowledged() -> None:
    kafka = Kafka()
    await asyncio.to_thread(kafka.__enter__)
    try:
        address = kafka.address
        await create_topics(Settings(kafka=address), [TOPIC])
        await write(address, range(50))
        await asyncio.to_thread(kafka.kill)
        await asyncio.to_thread(kafka.restart)
        await write(address, range(50, 60))
        assert kafka.address == address
        assert await read(address, 60) == list(range(60))
    finally:
        await asyncio.to_thread(kafka.__exit__)


@pytest.mark.broker
@pytest.mark.slow
async def test_three_brokers_lose_one_and_go_on() -> None:
    kafka = Kafka(3)
    await asyncio.to_thread(kafka.__enter__)
    try:
        await create_topics(Settings(kafka=kafka.address, replication_factor=3, min_insync_replicas=2), [TOPIC])
        await write(kafka.address, range(20))
        await asyncio.to_thread(kafka.kill, 1)
        await write(kafka.address, range(20, 40))
        await asyncio.to_thread(kafka.restart, 1)
        await asyncio.to_thread(kafka.stop, 2)
        await write(kafka.address, range(40, 60))
        assert await read(kafka.address, 60) == list(range(60))
    finally:
        await asyncio.to_thread(kafka.__exit__)


@pytest.mark.broker
def test_a_broker_that_dies_at_its_start_shows_the_end_of_its_log() -> None:
    with (
        pytest.raises(CannotStart, match=r"(?s)ended with code.*num\.partitions"),
        Kafka(overrides={"num.partitions": "0"}),
    ):
        pass


def test_redis_killed_and_restarted_is_at_the_same_address_with_what_it_had_written() -> None:
    with RedisServer("--appendfsync", "always") as server, Redis.from_url(server.url) as client:
        url = server.url
        client.set("key", "value")
        server.kill()
        server.restart()
        assert server.url == url
        assert client.get("key") == b"value"


def test_the_shared_redis_persists_every_second(redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        assert client.config_get("append*")["appendonly"] == "yes"
        assert client.config_get("append*")["appendfsync"] == "everysec"
        assert client.config_get("bind")["bind"] == "127.0.0.1"


@pytest.mark.broker
def test_the_jars_are_there_whole_and_outside_the_tree() -> None:
    folder = jars.jars()
    names = {path.name for path in folder.glob("*.jar")}
    assert "kafka_2.13-4.1.1.jar" in names
    assert len(names) > 50
    assert not folder.is_relative_to(Path(__file__).resolve().parents[2])


def test_ports_are_given_out_once_and_below_those_of_outgoing_connections() -> None:
    ports = [free_port() for _ in range(20)]
    assert len(set(ports)) == 20
    assert all(FIRST <= port <= LAST for port in ports)


def test_what_a_sandbox_started_is_gone_with_it() -> None:
    with Sandbox() as sandbox:
        kept = sandbox.start("kept", ["sleep", "600"])
        killed = sandbox.start("killed", ["sleep", "600"])
        killed.kill()
        assert kept.running()
        assert not killed.running()
        folder = sandbox.folder
    assert not folder.exists()
    assert not kept.running()
    with pytest.raises(ProcessLookupError):
        os.kill(kept.pid, 0)


def test_a_process_that_ends_early_is_reported_with_its_last_words() -> None:
    with Sandbox() as sandbox:
        child = sandbox.start("talker", ["sh", "-c", "echo no bread today; exit 3"])
        with pytest.raises(CannotStart, match=r"talker ended with code 3 before ready; its log ends:\nno bread today"):
            child.wait_until(lambda: False, 30, "ready")


def test_a_process_that_dawdles_is_reported_too() -> None:
    with Sandbox() as sandbox:
        child = sandbox.start("dawdler", ["sleep", "600"])
        with pytest.raises(CannotStart, match=r"dawdler: not ready within 0\.05 s"):
            child.wait_until(lambda: False, 0.05, "ready")


def test_a_program_that_is_not_there_is_named() -> None:
    with Sandbox() as sandbox, pytest.raises(CannotStart, match="no-such-program cannot be run: No such file"):
        sandbox.start("ghost", ["no-such-program"])


def test_what_is_made_once_for_a_run_is_made_by_the_first_that_asks(tmp_path_factory: pytest.TempPathFactory) -> None:
    asked: list[str] = []

    def make(who: str) -> dict[str, str]:
        asked.append(who)
        return {"made by": who}

    name = f"made-{os.getpid()}"
    found = [once(tmp_path_factory, name, partial(make, who)) for who in ("first", "second")]
    assert found == [{"made by": "first"}] * 2
    assert asked == ["first"]
