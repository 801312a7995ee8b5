"""Topics and first contact, on a real broker."""

import asyncio
import socket
import time

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pydantic import SecretStr, ValidationError

from controller.errors import CannotReach, InvalidSettings
from controller.messages.topics import SALE, TOPICS
from streams.kafka.connection import connection, reach_kafka
from streams.kafka.topics import Difference, create_topics
from streams.runtime.settings import Settings
from tests.parts.ports import free_port
from tests.parts.shared_kafka import SharedKafka


def settings_of_a_user(port: int, password: str, namespace: str) -> Settings:
    return Settings(
        kafka=f"127.0.0.1:{port}",
        namespace=namespace,
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_sasl_mechanism="PLAIN",
        kafka_username="worker",
        kafka_password=SecretStr(password),
        connect_timeout_seconds=5,
    )


@pytest.mark.broker
async def test_topics_are_made_once_and_found_afterwards(kafka: SharedKafka, namespace: str) -> None:
    settings = Settings(kafka=kafka.address, namespace=namespace, partitions=3)
    names = {f"{namespace}.{name}" for name in TOPICS}
    first = await create_topics(settings)
    second = await create_topics(settings)
    assert set(first.created) == names
    assert (first.existing, first.differing) == ((), ())
    assert (second.created, set(second.existing), second.differing) == ((), names, ())


@pytest.mark.broker
async def test_two_that_create_topics_at_once_share_the_work(kafka: SharedKafka, namespace: str) -> None:
    settings = Settings(kafka=kafka.address, namespace=namespace)
    one, other = await asyncio.gather(create_topics(settings), create_topics(settings))
    assert sorted(one.created + other.created) == sorted(f"{namespace}.{name}" for name in TOPICS)
    assert (one.differing, other.differing) == ((), ())


@pytest.mark.broker
async def test_a_topic_that_differs_is_shown_and_left_as_it_is(kafka: SharedKafka, namespace: str) -> None:
    settings = Settings(kafka=kafka.address, namespace=namespace, partitions=4)
    name = settings.prefixed(SALE)
    admin = AIOKafkaAdminClient(**connection(settings))
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 2, 1, topic_configs={"retention.ms": "1000"})])
    finally:
        await admin.close()
    differences = (
        Difference(name, "partitions", "4", "2"),
        Difference(name, "retention.ms", TOPICS[SALE].config["retention.ms"], "1000"),
        Difference(name, "message.timestamp.type", "LogAppendTime", "CreateTime"),
        Difference(name, "max.message.bytes", TOPICS[SALE].config["max.message.bytes"], "1048588"),
    )
    assert set((await create_topics(settings)).differing) == set(differences)
    assert set((await create_topics(settings)).differing) == set(differences), "the first call changed something"
    assert str(differences[0]) == f"{name}: partitions is 2, wanted 4"


@pytest.mark.broker
async def test_more_copies_than_brokers_are_refused_with_setting_and_answer(kafka: SharedKafka, namespace: str) -> None:
    settings = Settings(kafka=kafka.address, namespace=namespace, replication_factor=3)
    with pytest.raises(InvalidSettings, match=r"FLIPSIDE_REPLICATION_FACTOR = 3(.|\n)*INVALID_REPLICATION_FACTOR"):
        await create_topics(settings)


async def test_an_absent_broker_is_named_after_retries_and_the_time_that_was_asked_for() -> None:
    address = f"127.0.0.1:{free_port()}"
    started = time.monotonic()
    with pytest.raises(CannotReach, match=rf"Kafka at {address} cannot be reached \(\d+ attempts.*FLIPSIDE_KAFKA"):
        await reach_kafka(Settings(kafka=address, connect_timeout_seconds=0.5))
    assert time.monotonic() - started >= 0.5


async def test_with_no_time_there_is_one_attempt() -> None:
    with pytest.raises(CannotReach, match=r"\(1 attempt in"):
        await reach_kafka(Settings(kafka=f"127.0.0.1:{free_port()}", connect_timeout_seconds=0))


async def test_one_of_several_brokers_is_enough(mock_broker: str) -> None:
    await reach_kafka(Settings(kafka=f"127.0.0.1:{free_port()},{mock_broker}", connect_timeout_seconds=0))


async def test_a_server_that_accepts_and_says_nothing_is_not_waited_for_for_ever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(CannotReach, match=f"{address} cannot be reached .*no answer in time"):
            await reach_kafka(Settings(kafka=address, connect_timeout_seconds=0))


@pytest.mark.broker
async def test_the_right_password_is_admitted_and_the_wrong_one_refused_at_once_by_name(
    kafka: SharedKafka, namespace: str
) -> None:
    report = await create_topics(settings_of_a_user(kafka.password_port, "right", namespace))
    assert len(report.created) == len(TOPICS)
    refusal = f"Kafka at 127.0.0.1:{kafka.password_port} does not admit 'worker'.*FLIPSIDE_KAFKA_PASSWORD"
    with pytest.raises(CannotReach, match=refusal):
        await reach_kafka(settings_of_a_user(kafka.password_port, "wrong", namespace))


@pytest.mark.broker
async def test_a_mechanism_that_the_broker_lacks_is_refused_at_once(kafka: SharedKafka, namespace: str) -> None:
    settings = settings_of_a_user(kafka.password_port, "right", namespace)
    with pytest.raises(CannotReach, match="FLIPSIDE_KAFKA_SASL_MECHANISM"):
        await reach_kafka(settings.model_copy(update={"kafka_sasl_mechanism": "SCRAM-SHA-512"}))


def test_sasl_without_a_user_and_more_acknowledgements_than_copies_are_no_settings() -> None:
    with pytest.raises(ValidationError, match="FLIPSIDE_KAFKA_USERNAME"):
        Settings(kafka_security_protocol="SASL_SSL")
    with pytest.raises(ValidationError, match="min_insync_replicas = 2 exceeds replication_factor = 1"):
        Settings(min_insync_replicas=2)


def test_an_authority_that_cannot_be_read_is_named() -> None:
    with pytest.raises(CannotReach, match=r"FLIPSIDE_KAFKA_CA_FILE = '/nowhere/ca\.pem'"):
        connection(Settings(kafka_security_protocol="SSL", kafka_ca_file="/nowhere/ca.pem"))
