"""How many sales one core counts, exactly once: beside a Faust agent and beside a bare loop, on real servers.

Run: python -m benchmarks.streams.ingest [--events 400000] [--repeat 3] [--json]. Each consumer runs in a process of
its own over the same topic: four partitions, sales without headers. A rate is events over the
processor time of that process, so that it says what one core does whatever else the machine has to do; what passed
stands beside it.

- bare loop: ``getmany`` and a msgspec decode, nothing kept;
- Faust agent: one agent, raw bytes, the same decode, nothing kept;
- Flipside: `streams.inputs.consumer.Ingest` as a worker runs it: every sale validated, folded, applied to Redis with
its offset.
"""

import argparse
import asyncio
import json
import multiprocessing
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from statistics import median
from tempfile import TemporaryDirectory

import faust
import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.streams.numbered_sales import sale, unit
from controller.messages.inputs import CatalogEntry
from controller.messages.topics import CATALOG, SALE
from flipside.simulated_shop.shop import plain
from streams.app import build_parts, collect_seldom
from streams.control.catalog import Catalog
from streams.inputs.consumer import Ingest
from streams.kafka.topics import create_topics
from streams.runtime.settings import Settings
from streams.worker.services import Parts, partition_of
from tests.parts.kafka import Kafka
from tests.parts.redis_server import RedisServer

PARTITIONS = 4


class BareSale(msgspec.Struct):  # type: ignore[misc]  # a peer's class: mypy skips those
    """What a msgspec decode makes of a sale."""

    id: str
    unit: str
    occurred_at: datetime
    quantity: int
    price_minor: int
    currency: str
    version: int = 1
    cost_minor: int | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """One run of one consumer."""

    events: int
    seconds: float
    cpu_seconds: float


async def fill(settings: Settings, events: int, units: int) -> None:
    """The topics, the catalog and the sales."""
    await create_topics(settings)
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka, linger_ms=50, max_batch_size=256 * 1024)
    await producer.start()
    try:
        for number in range(units):
            entry = plain(CatalogEntry(unit=unit(number), time_zone="UTC", currency="EUR", list_price_minor=999))
            await producer.send(settings.prefixed(CATALOG), key=entry.key, value=entry.value)
        for number in range(events):
            sold = plain(sale(number, units))
            assert sold.key is not None
            await producer.send(
                settings.prefixed(SALE), key=sold.key, value=sold.value, partition=partition_of(sold.key, PARTITIONS)
            )
        await producer.flush()
    finally:
        await producer.stop()


async def bare(settings: Settings, events: int) -> Taken:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    decode = msgspec.json.Decoder(BareSale).decode
    consumer.assign([TopicPartition(settings.prefixed(SALE), number) for number in range(PARTITIONS)])
    seen, begin = 0, (time.perf_counter(), time.process_time())
    while seen < events:
        for records in (await consumer.getmany(timeout_ms=100, max_records=10_000)).values():
            for record in records:
                decode(record.value)
            seen += len(records)
    taken = since(begin, seen)
    await consumer.stop()
    return taken


async def faust_agent(settings: Settings, events: int) -> Taken:
    with TemporaryDirectory() as scratch:
        app = faust.App(
            f"bench-{uuid.uuid4().hex[:8]}",
            broker=f"aiokafka://{settings.kafka}",
            consumer_auto_offset_reset="earliest",
            processing_guarantee="at_least_once",
            stream_wait_empty=False,
            stream_buffer_maxsize=32_768,
            broker_commit_interval=1,
            topic_disable_leader=True,
            topic_allow_declare=False,
            topic_partitions=PARTITIONS,
            datadir=scratch,
            web_enabled=False,
        )
        sold = app.topic(settings.prefixed(SALE), value_type=bytes, value_serializer="raw", key_serializer="raw")
        decode = msgspec.json.Decoder(BareSale).decode
        done = asyncio.Event()
        seen, begin = 0, (0.0, 0.0)

        @app.agent(sold)
        async def count(stream: faust.StreamT[bytes]) -> None:
            nonlocal seen, begin
            async for value in stream:
                if not seen:
                    begin = time.perf_counter(), time.process_time()
                decode(value)
                seen += 1
                if seen >= events:
                    done.set()

        await app.start()
        await done.wait()
        taken = since(begin, seen)
        await app.stop()
        return taken


async def flipside(deduplicate: bool, settings: Settings, events: int) -> Taken:
    settings = settings.model_copy(update={"deduplicate": deduplicate})
    async with build_parts(settings, "bench") as parts:
        catalog = Catalog(parts)
        await catalog.start()
        collect_seldom()
        stop = asyncio.Event()
        ingest = Ingest(parts, catalog, SALE)
        running = asyncio.create_task(ingest.run(stop))
        seen = first = 0
        begin = 0.0, 0.0
        while seen < events and not running.done():
            # Joining the group is no part of it, as it is none for the other two.
            await asyncio.sleep(0.05 if first else 0.001)
            seen = await counted(parts)
            if seen and not first:
                first, begin = seen, (time.perf_counter(), time.process_time())
        assert seen == events, f"{seen} of {events} sales were counted"
        taken = since(begin, seen - first)
        stop.set()
        await running
        await catalog.stop()
        return taken


async def counted(parts: Parts) -> int:
    # This meter alone: to collect all of them costs as much as a thousand sales.
    samples = (sample for metric in parts.metrics.events.collect() for sample in metric.samples)
    wanted = ("flipside_events_total", {"topic": "sale", "outcome": "counted"})
    return int(next((sample.value for sample in samples if (sample.name, sample.labels) == wanted), 0))


def since(begin: tuple[float, float], events: int) -> Taken:
    return Taken(events, time.perf_counter() - begin[0], time.process_time() - begin[1])


Consumer = Callable[[Settings, int], Awaitable[Taken]]
CONSUMERS: dict[str, Consumer] = {
    "bare loop": bare,
    "Faust agent": faust_agent,
    "Flipside, ids not compared": partial(flipside, False),
    "Flipside": partial(flipside, True),
}


def in_a_process(name: str, settings: Settings, events: int) -> Taken:
    """One run in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_consume, (name, settings, events))


def _consume(name: str, settings: Settings, events: int) -> Taken:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    return asyncio.run(CONSUMERS[name](settings, events))  # type: ignore[arg-type]


def measure(events: int, repeat: int, units: int) -> dict[str, list[Taken]]:
    """Every consumer, ``repeat`` times, taken in turn; a Faust agent gets a tenth of the events."""
    found: dict[str, list[Taken]] = {name: [] for name in CONSUMERS}
    with Kafka() as kafka, RedisServer() as redis:
        full, part = (
            Settings.model_validate(
                {"kafka": kafka.address, "redis": redis.url, "partitions": PARTITIONS, "namespace": n}
            )
            for n in ("full", "part")
        )
        asyncio.run(fill(full, events, units))
        asyncio.run(fill(part, events // 10, units))
        for turn in range(repeat):
            for name in CONSUMERS:
                settings, number = (part, events // 10) if name == "Faust agent" else (full, events)
                _forget(redis.url)
                print(f"{name}, run {turn + 1} of {repeat}", file=sys.stderr)
                found[name].append(in_a_process(name, settings, number))
    return found


def _forget(url: str) -> None:
    """Positions and totals are in Redis: without them the same sales are counted anew."""
    from redis import Redis

    Redis.from_url(url).flushall()


def summary(found: dict[str, list[Taken]]) -> dict[str, dict[str, float]]:
    rates = {name: median(t.events / t.cpu_seconds for t in taken) for name, taken in found.items()}
    passed = {name: median(t.events / t.seconds for t in taken) for name, taken in found.items()}
    return {
        name: {
            "events_per_second_per_core": rate,
            "cpu_us_per_event": 1e6 / rate,
            "events_per_second_passed": passed[name],
            "times_faust": rate / rates["Faust agent"],
            "times_bare": rate / rates["bare loop"],
        }
        for name, rate in rates.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=400_000, help="sales in the topic")
    parser.add_argument("--units", type=int, default=1_000, help="units that are sold, in 50 markets, on one day")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each consumer; the median is shown")
    parser.add_argument("--json", action="store_true", help="machine-readable, with every run")
    options = parser.parse_args()
    found = measure(options.events, options.repeat, options.units)
    shown = summary(found)
    if options.json:
        runs = {name: [asdict(taken) for taken in taken_list] for name, taken_list in found.items()}
        print(json.dumps({"events": options.events, "summary": shown, "runs": runs}))
        return
    print(f"{'':28}{'events/s/core':>15}{'CPU us/event':>14}{'events/s':>12}{'x Faust':>9}{'x bare':>8}")
    for name, row in shown.items():
        print(
            f"{name:28}{row['events_per_second_per_core']:15,.0f}{row['cpu_us_per_event']:14.2f}"
            f"{row['events_per_second_passed']:12,.0f}{row['times_faust']:9.1f}{row['times_bare']:8.2f}"
        )


if __name__ == "__main__":
    main()
