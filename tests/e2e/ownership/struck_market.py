"""An experiment of which one market meets an error that nobody foresaw."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from aiokafka import AIOKafkaProducer

from controller.definition.experiment import Experiment, design_hash
from controller.messages.inputs import CatalogEntry, Sale
from flipside.simulated_shop.shop import plain
from streams.embedded.processes import Child, Sandbox
from streams.kafka.connection import connection
from streams.runtime.settings import Settings, child_environment
from streams.store import Registration
from streams.store.redis.store import RedisStore
from tests.chaos.faults.evening import ARMS, MARKETS, definition

UNITS = [f"{market}/{product}" for market in MARKETS for product in "ab"]


def tomorrow(in_days: int = 1) -> Experiment:
    """An experiment whose first day, if that is tomorrow, is decided at once."""
    first = datetime.now(UTC).date() + timedelta(days=in_days)
    return definition("north", "ab").model_copy(update={"start": first, "lead_minutes": 1439, "arms": ARMS})


async def registered(settings: Settings, worker: Child, first_in_days: int = 1) -> None:
    """Put it into the store once that is whole: to be submitted, it would have to lie ahead by minutes."""
    worker.wait_until(lambda: worker.tail(1000).count("shard taken over") == settings.partitions, 60.0, "its shards")
    experiment = tomorrow(first_in_days)
    store = RedisStore(settings.redis.get_secret_value(), settings.namespace, settings.partitions)
    try:
        listed = dict.fromkeys(experiment.units, (1000, None))
        await store.put_registration(Registration(experiment, design_hash(experiment), listed=listed))
    finally:
        await store.close()


async def send(settings: Settings, topic: str, messages: list[CatalogEntry] | list[Sale]) -> None:
    producer = AIOKafkaProducer(**connection(settings))
    await producer.start()
    try:
        for message in messages:
            record = plain(message)
            await producer.send_and_wait(settings.prefixed(topic), record.value, record.key)
    finally:
        await producer.stop()


@asynccontextmanager
async def struck(settings: Settings, place: str = "", call: str = "") -> AsyncIterator[Child]:
    command = [sys.executable, "-m", "tests.chaos.faults.struck_worker", "w1"]
    with Sandbox() as sandbox:
        child = sandbox.start(
            "w1", command, child_environment({**settings.environment(), "STRUCK_PLACE": place, "STRUCK_CALL": call})
        )
        yield child
        assert child.running(), child.tail(100)
