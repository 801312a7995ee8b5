"""What a supervisor and Prometheus see of a worker: while it runs, while a part is away, and of transactions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from controller.messages.codec import encode
from controller.messages.events import Tick
from controller.messages.inputs import CatalogEntry
from controller.messages.topics import CATALOG, SALE, TICK
from controller.time.periods import period
from flipside.replay.plan import FIRST_DAY
from flipside.sales_history.history import CURRENCY, TIME_ZONE
from flipside.simulated_shop.shop import plain
from streams.runtime.settings import Settings
from tests.e2e.eventful import UNIT, sale
from tests.e2e.product.probes import Ask, probed
from tests.e2e.running import Servers, eventually
from tests.parts.redis_server import RedisServer
from tests.parts.shared_kafka import SharedKafka

pytestmark = pytest.mark.broker


@asynccontextmanager
async def probed_worker(settings: Settings, folder: Path) -> AsyncIterator[Ask]:
    """Its probes alone."""
    async with probed(settings, folder) as (_, ask):
        yield ask


async def test_a_worker_is_ready_once_it_works_not_ready_while_redis_is_away_and_alive_all_the_time(
    kafka: SharedKafka, namespace: str, tmp_path: Path
) -> None:
    with RedisServer() as redis:
        settings = Servers(kafka.address, redis.url).settings(namespace, clock="wall")
        async with probed_worker(settings, tmp_path) as ask:

            async def answers(path: str, status: int) -> bool:
                return (await ask(path))[0] == status

            await eventually("the worker to be ready", lambda: answers("/ready", 200))
            redis.kill()
            await eventually("the worker to say that it waits", lambda: answers("/ready", 503))
            assert "Redis" in (await ask("/ready"))[1]
            assert (await ask("/live")) == (200, "ok\n")
            redis.restart()
            await eventually("the worker to be ready again", lambda: answers("/ready", 200))
            assert (await ask("/live")) == (200, "ok\n")


async def test_the_marks_of_a_transaction_at_the_end_of_a_partition_hold_up_no_watermark(
    servers: Servers, namespace: str, tmp_path: Path
) -> None:
    """A till that sells in transactions leaves a mark behind its last sale that nobody can count."""
    settings = servers.settings(namespace)
    entry = CatalogEntry(unit=UNIT, time_zone=TIME_ZONE, currency=CURRENCY, list_price_minor=100)
    sold = plain(sale("in a transaction", FIRST_DAY))
    noon = period(FIRST_DAY, TIME_ZONE).start + timedelta(hours=12)
    async with probed_worker(settings, tmp_path) as ask:
        till = AIOKafkaProducer(bootstrap_servers=settings.kafka, transactional_id=namespace)
        async with till, till.transaction():
            listed = plain(entry)
            await till.send(settings.prefixed(CATALOG), key=listed.key, value=listed.value)
            await till.send(settings.prefixed(SALE), key=sold.key, value=sold.value)
        tick = encode(Tick(at=noon), "noon", noon)
        async with AIOKafkaProducer(bootstrap_servers=settings.kafka) as clock:
            for number in range(settings.partitions):
                await clock.send_and_wait(
                    settings.prefixed(TICK), value=tick.value, headers=tick.headers, partition=number
                )

        async def caught_up() -> bool:
            watermark = (noon - timedelta(seconds=settings.lateness_seconds)).timestamp()
            shown = (await ask("/metrics"))[1].splitlines()
            return (
                'flipside_events_total{outcome="counted",topic="sale"} 1.0' in shown
                and 'flipside_input_lag_records{topic="sale"} 0.0' in shown
                and any(
                    line.startswith("flipside_watermark_timestamp_seconds") and float(line.split()[1]) == watermark
                    for line in shown
                )
            )

        await eventually("the watermark to follow the clock", caught_up)

        async def all_are_read() -> bool:
            """A partition that nobody reads has no lag: only its absence from this sum shows it."""
            shown = (await ask("/metrics"))[1].splitlines()
            inputs = ("sale", "competitor-price")
            return {f'flipside_input_partitions{{topic="{topic}"}} {settings.partitions}.0' for topic in inputs} <= {
                *shown
            }

        await eventually("both inputs to be read whole", all_are_read)
