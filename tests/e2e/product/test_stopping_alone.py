"""A worker that is asked to stop while Kafka and Redis are gone ends in time: its supervisor need not kill it."""

import asyncio
import time
from pathlib import Path

import pytest

from flipside.replay.processes import Child
from streams.kafka.topics import create_topics
from tests.e2e.product.probes import probed
from tests.e2e.running import Servers, eventually
from tests.parts.kafka import Kafka
from tests.parts.redis_server import RedisServer

pytestmark = pytest.mark.broker

#: what a supervisor that kills after a dozen seconds leaves
SECONDS = 11.0


@pytest.mark.parametrize("away", ["silent", "dead"])
async def test_a_worker_without_kafka_and_redis_ends_within_eleven_seconds_of_sigterm(
    away: str, namespace: str, tmp_path: Path
) -> None:
    with RedisServer() as redis, Kafka() as kafka:
        settings = Servers(kafka.address, redis.url).settings(namespace, clock="wall")
        await create_topics(settings)
        async with probed(settings, tmp_path) as (worker, ask):

            async def ready(status: int) -> bool:
                return (await ask("/ready"))[0] == status

            await eventually("the worker to be ready", lambda: ready(200))
            for part in (kafka, redis):
                part.pause() if away == "silent" else part.kill()
            await eventually("the worker to notice", lambda: ready(503))
            began = time.monotonic()
            await ended(worker)
            assert time.monotonic() - began < SECONDS, worker.tail()


async def ended(worker: Child) -> None:
    """SIGTERM, and until it has ended by itself."""
    worker.terminate()
    async with asyncio.timeout(120):
        await worker.wait()
