"""The whole product on real servers: what the tests of this folder set up, and what they read afterwards."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from controller.messages.events import Assignment, Estimate
from flipside.replay.answers import ReplayFailed
from flipside.replay.environment import Processes, processes
from flipside.replay.plan import Plan, default_experiment
from flipside.replay.progress import Result
from flipside.replay.replay import replayer
from flipside.sales_history.history import History
from flipside.simulated_shop.demand import made_up_history
from streams.kafka.connection import connection
from streams.kafka.topics import create_topics
from streams.runtime.settings import Settings, child_environment

PARTITIONS = 4
PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.05
#: twice the default: idle processes ask brokers half as often, and that is most of what these tests compute
FETCH_WAIT_MS = 100


@dataclass(frozen=True, slots=True)
class Servers:
    """One Kafka, one Redis; a test takes as many installations on them as it needs."""

    kafka: str
    redis: str

    def settings(self, namespace: str, **more: object) -> Settings:
        """Settings of an installation; it follows ticks unless told otherwise."""
        given = {"kafka": self.kafka, "redis": self.redis, "namespace": namespace, "partitions": PARTITIONS}
        return Settings.model_validate({**given, "clock": "ticks", "fetch_wait_ms": FETCH_WAIT_MS, **more})


def market(stores: int = 6, products: int = 3, days: int = 8, seed: int = 1) -> History:
    """A small made-up market."""
    return made_up_history(stores, products, days, np.random.default_rng(seed))


def plan(history: History, effect: float = -0.10, seed: str = "7", **more: object) -> Plan:
    """The plan that `flipside replay` makes; ``more`` as in Plan."""
    return Plan(history, default_experiment(history, "replay", seed), effect, seed, **more)  # type: ignore[arg-type]


@asynccontextmanager
async def running(settings: Settings, names: Sequence[str] = ("worker", "analysis")) -> AsyncIterator[Processes]:
    """Topics, a worker and an analysis process; what those said is part of a failure."""
    await create_topics(settings)
    async with processes(settings, names) as started:
        try:
            yield started
        except ReplayFailed as error:
            tails = "".join(f"\n--- {name}\n{child.tail(100_000)}" for name, child in started.children.items())
            raise AssertionError(f"{error}{tails}") from error


#: days of the replay in which nothing happens
CALM_DAYS = 8


async def replay(settings: Settings, planned: Plan) -> Result:
    """A whole replay, with a worker and an analysis of its own."""
    async with running(settings), replayer(settings, planned) as shop:
        return await shop.run()


async def eventually(what: str, condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition that itself waits for records."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_SECONDS:.0f} s for {what}"
        # A condition that only looks would keep the loop from whatever it looks at.
        await asyncio.sleep(POLL_SECONDS)


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


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


async def flipside(*arguments: str, **environment: str) -> Said:
    """Run the command as a user does, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "flipside",
        *arguments,
        env=child_environment(environment),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return Said(process.returncode, out.decode(), err.decode())


def decisions(log: Sequence[Assignment]) -> set[tuple[object, ...]]:
    """What was decided, without who decided it and how often it was said."""
    return {(a.id, a.arm, a.planned_arm, a.effective_at, a.expires_at, a.price_minor) for a in log}


def final_estimates(estimates: Sequence[Estimate]) -> Mapping[tuple[str, str, str], Mapping[str, Any]]:
    """(metric, arm, through) -> all that its last revision says, but the input's offsets and the watermark."""
    last: dict[tuple[str, str, str], Estimate] = {}
    for estimate in estimates:
        place = (estimate.metric, estimate.arm, str(estimate.through))
        if place not in last or estimate.revision >= last[place].revision:
            last[place] = estimate
    when = {"offsets", "watermark", "computed_at_event_time"}
    return {place: estimate.model_dump(mode="json", exclude=when) for place, estimate in last.items()}
