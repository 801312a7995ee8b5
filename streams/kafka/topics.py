"""Topics as the contract wants them: made where they are missing, compared where they are there, never changed."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import NoError, TopicAlreadyExistsError, for_code

from controller.errors import CannotReach, InvalidSettings
from controller.messages.topics import TOPICS, Topic
from streams.kafka.connection import connection, reach_kafka
from streams.runtime.settings import Settings

#: how long a new topic may take until every partition has a leader
LEADERS_SECONDS = 30.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Difference:
    """A topic that is there, but not as the contract wants it. Whether to change it is the operator's decision."""

    topic: str
    #: ``partitions``, ``replication factor`` or a topic configuration such as ``retention.ms``
    setting: str
    wanted: str
    found: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.setting} is {self.found}, wanted {self.wanted}"


@dataclass(frozen=True, slots=True)
class TopicsReport:
    """What `create_topics` did and found; names with the namespace's prefix."""

    created: tuple[str, ...]
    existing: tuple[str, ...]
    differing: tuple[Difference, ...]


async def create_topics(settings: Settings, topics: Iterable[Topic] = tuple(TOPICS.values())) -> TopicsReport:
    """Make the topics that are missing and return once all of them can be written to; safe to repeat and to race.

    Raises CannotReach where no broker answers, InvalidSettings where the brokers refuse a topic (those made before
    stay: a second call goes on from there).
    """
    wanted = {settings.prefixed(topic.name): _configuration(settings, topic) for topic in topics}
    await reach_kafka(settings)
    admin = AIOKafkaAdminClient(**connection(settings))
    await admin.start()
    try:
        created = await _create(admin, settings, wanted)
        found = await _with_leaders(admin, wanted)
        existing = [name for name in wanted if name not in created]
        differing = _shape_differences(settings, {name: found[name] for name in existing})
        if existing:
            differing += await _configuration_differences(admin, {name: wanted[name] for name in existing})
    finally:
        await admin.close()
    return TopicsReport(tuple(created), tuple(existing), tuple(differing))


def _configuration(settings: Settings, topic: Topic) -> dict[str, str]:
    return {**topic.config, "min.insync.replicas": str(settings.min_insync_replicas)}


async def _create(admin: Any, settings: Settings, wanted: dict[str, dict[str, str]]) -> list[str]:
    """Names of the topics that were not there before."""
    response = await admin.create_topics(
        [
            NewTopic(name, settings.partitions, settings.replication_factor, topic_configs=configuration)
            for name, configuration in wanted.items()
        ]
    )
    created, refused = [], []
    for name, code, *message in response.topic_errors:
        answer = for_code(code)
        if answer is NoError:
            created.append(name)
        elif answer is not TopicAlreadyExistsError:
            said = message[0] if message and message[0] else answer.description
            refused.append(f"{name}: {answer.message}: {said}")
    if refused:
        raise InvalidSettings(
            f"the brokers at {settings.kafka} refuse {len(refused)} of {len(wanted)} topics "
            f"(FLIPSIDE_PARTITIONS = {settings.partitions}, FLIPSIDE_REPLICATION_FACTOR = "
            f"{settings.replication_factor}):\n" + "\n".join(refused)
        )
    return created


async def _with_leaders(admin: Any, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Metadata of the topics, once every partition of each has a leader."""
    wanted = set(names)
    try:
        async with asyncio.timeout(LEADERS_SECONDS):
            while True:
                seen = {topic["topic"]: topic for topic in await admin.describe_topics()}
                waiting = [name for name in wanted if not _has_leaders(seen.get(name))]
                if not waiting:
                    return {name: seen[name] for name in wanted}
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise CannotReach(
            f"no leader for {', '.join(sorted(waiting))} after {LEADERS_SECONDS:g} s: check that all brokers run"
        ) from None


def _has_leaders(topic: dict[str, Any] | None) -> bool:
    return topic is not None and all(partition["leader"] >= 0 for partition in topic["partitions"])


def _shape_differences(settings: Settings, found: dict[str, dict[str, Any]]) -> list[Difference]:
    differing = []
    for name, topic in found.items():
        copies = min(len(partition["replicas"]) for partition in topic["partitions"])
        for setting, wanted, there in (
            ("partitions", settings.partitions, len(topic["partitions"])),
            ("replication factor", settings.replication_factor, copies),
        ):
            if wanted != there:
                differing.append(Difference(name, setting, str(wanted), str(there)))
    return differing


async def _configuration_differences(admin: Any, wanted: dict[str, dict[str, str]]) -> list[Difference]:
    responses = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name, configs=wanted[name]) for name in wanted]
    )
    found: dict[str, dict[str, str]] = {}
    for response in responses:
        for code, message, _, name, entries in response.resources:
            if code:
                raise InvalidSettings(f"the brokers do not show the configuration of {name}: {message}")
            found[name] = {entry[0]: entry[1] for entry in entries}
    return [
        Difference(name, setting, value, found[name].get(setting, "unknown to the brokers"))
        for name, configuration in wanted.items()
        for setting, value in configuration.items()
        if found[name].get(setting) != value
    ]
