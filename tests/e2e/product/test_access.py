"""Who may write what, on a real Kafka with SCRAM and access rules and a real Redis with users: the files of deploy/.

The product runs under the rules, each part as its own role; then each role tries each topic and each kind of key.
"""

import asyncio
import logging
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from controller.messages.codec import encode
from controller.messages.events import Tick
from controller.messages.topics import ASSIGNMENT, SALE, TICK, TOPICS
from flipside.replay.processes import Child
from flipside.replay.replay import Replayer
from flipside.schemas import ROOT
from flipside.topics.access import GROUPS, PRINCIPALS, Principal
from flipside.topics.access_files import KAFKA_FILE, REDIS_FILE
from flipside_client import Assignments
from streams.kafka.connection import connection
from streams.runtime.settings import Settings
from tests.e2e.running import Said, Servers, eventually, flipside, market, plan
from tests.parts.certificates import Certificates, make_certificates
from tests.parts.jars import class_sharing, jars
from tests.parts.kafka import Kafka, guarded_listener
from tests.parts.ports import free_port
from tests.parts.redis_server import RedisServer

pytestmark = [pytest.mark.broker, pytest.mark.timeout(600)]

NAMESPACE = "guarded"
AUTHORIZER = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    # The listener without passwords is the administrator's: it is not among what the roles are given.
    "super.users": "User:ANONYMOUS",
}
KEYS = {
    "own shard": f"{{{NAMESPACE}:t0}}:plans",
    "own input": f"{{{NAMESPACE}:sale:0}}:sealed",
    "another installation": "{guarded2:t0}:plans",
    "no installation": "{:t0}:plans",
    "anything else": "sessions",
}
COMMANDS_OF_NOBODY = (
    "FLUSHALL", "FLUSHDB", "CONFIG SET maxmemory 1", "CONFIG GET maxmemory", "KEYS *", "ACL LIST",
    "SCRIPT FLUSH", "SWAPDB 0 1", "MONITOR", "CLIENT KILL ID 1", "SUBSCRIBE x", "FUNCTION FLUSH", "SHUTDOWN NOSAVE",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Guarded:
    """Servers under the rules."""

    kafka: Kafka
    tls_port: int
    redis: RedisServer
    certificates: Certificates

    def settings(self, role: str, **more: object) -> Settings:
        return Servers(f"127.0.0.1:{self.tls_port}", self.redis_of(role)).settings(
            NAMESPACE,
            kafka_security_protocol="SASL_SSL",
            kafka_username=f"flipside-{role}",
            kafka_password=f"{role}'s",
            kafka_ca_file=str(self.certificates.authority),
            connect_timeout_seconds=10.0,
            **more,
        )

    def redis_of(self, role: str) -> str:
        return f"redis://{role}:{role}-secret@127.0.0.1:{self.redis.port}/0"

    async def run(self, role: str, *arguments: str) -> Said:
        return await flipside(*arguments, **self.settings(role).environment())

    async def succeeds(self, role: str, *arguments: str) -> str:
        said = await self.run(role, *arguments)
        assert said.code == 0, f"{role}: flipside {' '.join(arguments)}: {said.err}"
        return said.out


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("access")
    certificates, tls_port = make_certificates(folder), free_port()
    users = {f"flipside-{principal.name}": f"{principal.name}'s" for principal in PRINCIPALS}
    listener = guarded_listener(tls_port, certificates.key_and_certificate)
    passwords = {f"{role.upper()}_PASSWORD": f"{role}-secret" for role in ("worker", "operator", "maintainer")}
    acl = folder / "users.acl"
    acl.write_text(shell(REDIS_FILE, FLIPSIDE_NAMESPACE=NAMESPACE, **passwords))
    with Kafka(overrides={**listener, **AUTHORIZER}, users=users) as kafka, RedisServer("--aclfile", str(acl)) as redis:
        found = Guarded(kafka, tls_port, redis, certificates)
        tools = folder / "kafka-acls.sh"
        tools.write_text(
            f"#!/bin/sh\nexec java {' '.join(class_sharing())} -XX:TieredStopAtLevel=1"
            f' -cp "{jars()}/*" org.apache.kafka.tools.AclCommand "$@"\n'
        )
        tools.chmod(0o755)
        path = f"{folder}:{os.environ['PATH']}"
        shell(KAFKA_FILE, FLIPSIDE_NAMESPACE=NAMESPACE, BOOTSTRAP=kafka.address, PATH=path)
        yield found


def shell(file: str, **environment: str) -> str:
    done = subprocess.run(
        [str(ROOT / file)], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@asynccontextmanager
async def producing(settings: Settings, **more: object) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(**connection(settings), **more)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def test_every_part_does_its_work_as_its_own_role_and_each_role_is_refused_all_else(
    guarded: Guarded, tmp_path: Path
) -> None:
    await guarded.succeeds("installer", "topics", "create")
    await guarded.succeeds("installer", "topics", "create")  # compares what is there
    # The outside world of a replay: clock, catalog, definition, sales. Its prices are those of the client below.
    world = Servers(guarded.kafka.address, "").settings(NAMESPACE)
    history = market(days=3)
    async with AsyncExitStack() as stack:
        children = [
            Child(name, [name], guarded.settings(name).environment(), tmp_path) for name in ("worker", "analysis")
        ]
        for child in children:
            await child.start()
            stack.push_async_callback(child.stop)

        def alive() -> None:
            for child in children:
                child.check()

        given = connection(guarded.settings("pricing-system"))
        bootstrap = given.pop("bootstrap_servers")
        client = await stack.enter_async_context(
            Assignments(bootstrap, NAMESPACE, clock=lambda: 7_000_000_000_000, **given)
        )
        producer = await stack.enter_async_context(producing(world, enable_idempotence=True, acks="all"))
        result = await Replayer(world, plan(history, check_alive=alive), producer, client).run()
        assert result.broken_promises == ()
        assert result.events_counted == history.rows
        assert result.flips > 0
        assert result.dead_lettered == 0

        unit = history.catalog[0].unit
        await client.applied(unit, 638_000_000_000)
        await commands(guarded, tmp_path, history.catalog[0].unit.partition("/")[0], unit)
        alive()
    # Nothing else runs now: each role tries everything.
    topics = await topics_tried(guarded)
    redis = keys_tried(guarded)
    print(f"\n{shown(topics)}\n{shown(redis)}")
    assert topics == {
        (role.name, what): allowed for role in PRINCIPALS for what, allowed in topics_expected(role).items()
    }
    assert redis == {(role.name, what): allowed for role in PRINCIPALS for what, allowed in keys_expected(role).items()}


async def commands(guarded: Guarded, folder: Path, market: str, unit: str) -> None:
    """Flipside's commands, each as the role that it is for; and as one that it is not for."""
    operator = ("operator",)
    window = ("--starts", "1990-05-01T00:00:00Z", "--ends", "1990-05-02T00:00:00Z", "--reason", "audit")
    await guarded.succeeds(*operator, "experiment", "list")
    await guarded.succeeds(*operator, "experiment", "kill", "--market", market, "--reason", "a drill")
    await guarded.succeeds(*operator, "blackout", "add", "audit", *window)
    assert "audit" in await guarded.succeeds(*operator, "blackout", "list")
    await guarded.succeeds(*operator, "verify", "--state")
    async with producing(guarded.settings("owner")) as owner:
        name = guarded.settings("owner").prefixed(SALE)
        await owner.send_and_wait(name, b"garbage", unit.encode())

    async def is_there() -> bool:
        return "unreadable" in await guarded.succeeds(*operator, "dead-letters", "list", "--json")

    await eventually("the dead letter", is_there)
    await guarded.succeeds("maintainer", "dead-letters", "redrive", "--all")
    await guarded.succeeds("maintainer", "rebuild")
    await guarded.succeeds("analyst", "estimates")
    await guarded.succeeds("analyst", "export", "--out", str(folder / "out"))

    for role, arguments in (
        ("analyst", ("experiment", "kill", "--market", market, "--reason", "not mine to say")),
        ("operator", ("dead-letters", "redrive", "--all", "--again")),
        ("pricing-system", ("estimates",)),
        ("owner", ("worker",)),
    ):
        said = await guarded.run(role, *arguments)
        assert said.code == 5, f"{role} {arguments}: {said.code} {said.err} {said.out}"
        assert "Traceback" not in said.err
        assert "Who may write what" in said.err or "FLIPSIDE_REDIS" in said.err, said.err


async def topics_tried(guarded: Guarded) -> dict[tuple[str, str], bool]:
    found = {}
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a line for each refusal
    world = Servers(guarded.kafka.address, "").settings(NAMESPACE)
    async with producing(world) as producer:
        for topic in TOPICS:
            await producer.send_and_wait(world.prefixed(topic), b"{}", b"a", partition=0)
    for role in PRINCIPALS:
        settings = guarded.settings(role.name)
        for topic in TOPICS:
            found[role.name, f"read {topic}"] = await reads(settings, settings.prefixed(topic))
            found[role.name, f"write {topic}"] = await writes(settings, settings.prefixed(topic))
        for group in ("flipside", "flipside.owner"):
            found[role.name, f"join {group}"] = await joins(settings, settings.prefixed(group))
        found[role.name, "read another installation"] = await reads(settings, f"guarded2.{ASSIGNMENT}")
    return found


def topics_expected(role: Principal) -> dict[str, bool]:
    found = {f"read {topic}": topic in role.reads for topic in TOPICS}
    found |= {f"write {topic}": topic in role.writes for topic in TOPICS}
    found |= {f"join {GROUPS}{more}": role.joins_groups for more in ("", ".owner")}
    return {**found, "read another installation": False}


async def reads(settings: Settings, topic: str) -> bool:
    consumer, place = AIOKafkaConsumer(**connection(settings)), TopicPartition(topic, 0)
    await consumer.start()
    try:
        consumer.assign([place])
        # Of a topic that it may not see, aiokafka asks the broker for an offset until its timeout.
        await consumer._client.force_metadata_update()
        if topic in consumer._client.cluster.unauthorized_topics:
            return False
        await consumer.seek_to_beginning(place)
        async with asyncio.timeout(30):
            await consumer.getone()
    except TopicAuthorizationFailedError:
        return False
    finally:
        await consumer.stop()
    return True


async def writes(settings: Settings, topic: str) -> bool:
    # Not idempotent: who may write nothing at all does not even get so far otherwise.
    async with producing(settings) as producer:
        try:
            async with asyncio.timeout(30):
                await producer.send_and_wait(topic, b"{}", b"a", partition=0)
        except TopicAuthorizationFailedError:
            return False
        return True


async def joins(settings: Settings, group: str) -> bool:
    consumer = AIOKafkaConsumer(**connection(settings), group_id=group, enable_auto_commit=False)
    try:
        await consumer.start()
        async with asyncio.timeout(30):
            await consumer.committed(TopicPartition(settings.prefixed(ASSIGNMENT), 0))
    except GroupAuthorizationFailedError:
        return False
    except TopicAuthorizationFailedError:
        return True
    finally:
        await consumer.stop()
    return True


def keys_tried(guarded: Guarded) -> dict[tuple[str, str], bool]:
    found = {}
    for role in PRINCIPALS:
        client = Redis.from_url(guarded.redis_of(role.name))
        for what, key in KEYS.items():
            found[role.name, f"read {what}"] = admitted(client, "HGETALL", key)
            found[role.name, f"write {what}"] = admitted(client, "HSET", key, "tried", "1")
            found[role.name, f"script on {what}"] = admitted(
                client, "EVAL", "return redis.call('HSET', KEYS[1], 'tried', '1')", 1, key
            )
            found[role.name, f"script that names no key, on {what}"] = admitted(
                client, "EVAL", f"return redis.call('HGETALL', '{key}')", 0
            )
            found[role.name, f"drop {what}"] = admitted(client, "UNLINK", key)
        for command in COMMANDS_OF_NOBODY:
            found[role.name, command] = admitted(client, *command.split())
        client.close()
    return found


def keys_expected(role: Principal) -> dict[str, bool]:
    found = {}
    for what in KEYS:
        own = what.startswith("own")
        scripts = own and role.keys == "%RW" and "eval" in role.commands
        found[f"read {what}"] = own and bool(role.keys)
        found[f"write {what}"] = own and role.keys == "%RW" and "hset" in role.commands
        found[f"script on {what}"] = found[f"script that names no key, on {what}"] = scripts
        found[f"drop {what}"] = own and role.keys == "%RW"
    return found | dict.fromkeys(COMMANDS_OF_NOBODY, False)


def admitted(client: Redis, *command: object) -> bool:
    try:
        client.execute_command(*command)  # type: ignore[no-untyped-call]
    except (AuthenticationError, NoPermissionError):
        return False
    except ResponseError as error:
        # Inside a script Redis words it so; all else, such as a key of another type, is an answer.
        return not any(words in str(error) for words in ("ACL failure", "NOPERM", "The user executing the script"))
    return True


def shown(found: dict[tuple[str, str], bool]) -> str:
    """The table of what was allowed and refused: a line for what was tried, a column for each role."""
    tried = list(dict.fromkeys(what for _, what in found))
    lines = [" ".join([f"{'':52}", *(f"{role.name:>14}" for role in PRINCIPALS)])]
    for what in tried:
        cells = ("allowed" if found[role.name, what] else "refused" for role in PRINCIPALS)
        lines.append(" ".join([f"{what:52}", *(f"{cell:>14}" for cell in cells)]))
    return "\n".join(lines)


async def test_a_letter_from_a_topic_of_the_workers_is_not_claimed_by_whoever_may_not_send_it(
    guarded: Guarded, tmp_path: Path
) -> None:
    await guarded.succeeds("installer", "topics", "create")
    child = Child("worker", ["worker"], guarded.settings("worker", clock="wall").environment(), tmp_path)
    await child.start()
    try:
        at = datetime(2150, 1, 1, tzinfo=UTC)
        ahead = encode(Tick(at=at), "ahead", at)
        world = Servers(guarded.kafka.address, "").settings(NAMESPACE)
        async with producing(world) as producer:
            await producer.send_and_wait(world.prefixed(TICK), ahead.value, headers=ahead.headers, partition=1)

        async def is_there() -> bool:
            child.check()
            return "future" in await guarded.succeeds("operator", "dead-letters", "list", "--json")

        await eventually("the tick's dead letter", is_there)
        said = await guarded.run("maintainer", "dead-letters", "redrive", "--reason", "future")
        assert said.code == 5
        assert TICK in said.err
        assert "nothing was sent" in said.err
        listed = await guarded.succeeds("operator", "dead-letters", "list", "--reason", "future", "--json")
        assert "in doubt" not in listed
    finally:
        await child.stop()
