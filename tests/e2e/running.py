"""The whole product on real servers: what the tests of this room set up, and what they read afterwards."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from controller.events import Assignment, Estimate
from flipside.history import History
from flipside.market import made_up_history
from flipside.replay import Plan, ReplayFailed, Result, default_experiment, replayer
from flipside.replaying import Processes, processes
from streams.admin import create_topics
from streams.kafka import connection
from streams.settings import Settings

PARTITIONS = 4


@dataclass(frozen=True, slots=True)
class Servers:
    """One Kafka, one Redis; a test takes as many installations on them as it needs."""

    kafka: str
    redis: str

    def settings(self, namespace: str, **more: object) -> Settings:
        """Settings of an installation that follows ticks."""
        return Settings.model_validate(
            {
                "kafka": self.kafka,
                "redis": self.redis,
                "namespace": namespace,
                "partitions": PARTITIONS,
                "clock": "ticks",
                **more,
            }
        )


def market(stores: int = 6, products: int = 3, days: int = 8, seed: int = 1) -> History:
    """A small made-up market."""
    return made_up_history(stores, products, days, np.random.default_rng(seed))


def plan(history: History, effect: float = -0.10, seed: str = "7", **more: object) -> Plan:
    """The plan that `flipside replay` makes; ``more`` as in Plan."""
    return Plan(history, default_experiment(history, "replay", seed), effect, seed, **more)  # type: ignore[arg-type]


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Processes]:
    """Topics, a worker and an analysis process."""
    await create_topics(settings)
    async with processes(settings) as children:
        yield children


async def replay(settings: Settings, planned: Plan, children: Processes | None = None) -> Result:
    """A whole replay; the output of the processes is part of a failure."""
    if children is None:
        async with running(settings) as started:
            return await replay(settings, planned, started)
    try:
        async with replayer(settings, planned) as shop:
            return await shop.run()
    except ReplayFailed as error:
        tails = "".join(f"\n--- {name}\n{child.tail()}" for name, child in children.children.items())
        raise AssertionError(f"{error}{tails}") from error


async def records(settings: Settings, topic: str) -> Sequence[ConsumerRecord]:
    """Every record of a topic, as bytes."""
    partitions = [TopicPartition(settings.prefixed(topic), number) for number in range(settings.partitions)]
    consumer = AIOKafkaConsumer(**connection(settings), auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found: list[ConsumerRecord] = []
        while any([await consumer.position(p) < end for p, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=100)).values():
                found += batch
        return found
    finally:
        await consumer.stop()


def decisions(log: Sequence[Assignment]) -> set[tuple[object, ...]]:
    """What was decided, without who decided it and how often it was said."""
    return {(a.id, a.arm, a.planned_arm, a.effective_at, a.expires_at, a.price_minor) for a in log}


def final_estimates(estimates: Sequence[Estimate]) -> Mapping[tuple[str, str, str], Mapping[str, object]]:
    """(metric, arm, through) -> everything that its last revision says, but offsets in the input."""
    last: dict[tuple[str, str, str], Estimate] = {}
    for estimate in estimates:
        place = (estimate.metric, estimate.arm, str(estimate.through))
        if place not in last or estimate.revision >= last[place].revision:
            last[place] = estimate
    return {place: estimate.model_dump(exclude={"offsets"}) for place, estimate in last.items()}
