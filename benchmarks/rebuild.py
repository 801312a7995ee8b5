"""How long a Redis that was emptied under a running worker takes to be rebuilt: seconds for each 10,000 units.

The log holds an experiment that has run for some weeks over all units, the panel its closed unit-days, the sale topic
the days that may still change. Redis is emptied with FLUSHALL; the clock runs until every shard and every input is
whole again, the second included in which nobody has noticed yet. Then log, topics and Redis are compared.

Run: python -m benchmarks.rebuild [units] [--days N] [--runs N] [--at-once] [--json]. Starts a Kafka and a Redis of its
own; waits before each run until what the last one has read is forgotten, unless ``--at-once``. The peer in the
same run is a bare reader of the same records: getmany until the end, nothing decoded, nothing kept.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import date, timedelta
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import Producer
from redis import Redis

from benchmarks.installation import cpu_seconds, machine
from controller.codec import Record, encode
from controller.events import Assignment, CatalogEntry, PeriodClosed, Reason, Registered, Sale, UnitDay
from controller.experiment import Arm, Experiment, Market, PriceRule, RandomDays, design_hash
from controller.periods import period
from controller.topics import ASSIGNMENT, ASSIGNMENT_LOG, CATALOG, PANEL, SALE
from controller.wire import market_of
from flipside.shop import plain
from flipside.state import differences
from streams import published, rebuild
from streams.admin import create_topics
from streams.children import Sandbox
from streams.parts import PACKED, partition_of
from streams.settings import Settings
from streams.store.redis import RedisStore
from tests.e2e.messy import worker_environment
from tests.e2e.running import Servers
from tests.parts.kafka import Kafka
from tests.parts.redis_server import RedisServer

FIRST, TIME_ZONE = date(1990, 3, 12), "America/Chicago"
MARKETS, REVISION_DAYS = 20, 3
PATIENCE_SECONDS = 300.0


def experiment(units: list[str], days: int) -> Experiment:
    markets = sorted({market_of(unit) for unit in units})
    return Experiment(
        name="bench", currency="USD", units=tuple(units), clusters="market", design=RandomDays(), start=FIRST,
        arms=(Arm(name="control"), Arm(name="higher", price=PriceRule.model_validate_json('{"percent": "5"}'))),
        markets=tuple(Market(name=m, time_zone=TIME_ZONE) for m in markets), days=days + 30, seed="s",
    )  # fmt: skip


def assignments(units: list[str], hash: str, days: int) -> Iterator[Assignment]:
    for number in range(days):
        local = period(FIRST + timedelta(days=number), TIME_ZONE)
        for place, unit in enumerate(units):
            arm = ("control", "higher")[(place + number) % 2]
            yield Assignment(
                id=f"bench.1/{local.day}/{unit}", unit=unit, cluster=market_of(unit), experiment="bench",
                experiment_version=1, design_hash=hash, block=number, day=local.day, arm=arm, planned_arm=arm,
                price_minor=199, currency="USD", effective_at=local.start, expires_at=local.end,
                decided_at=local.start - timedelta(hours=1), epoch=0, sequence=number * len(units) + place + 1,
                reason=Reason(code="scheduled"),
            )  # fmt: skip


def panel(units: list[str], closed: int, positions: dict[int, int], starts: dict[int, int]) -> Iterator[Record]:
    for number in range(closed):
        local = period(FIRST + timedelta(days=number), TIME_ZONE)
        for unit in units:
            row = UnitDay(
                unit=unit, day=local.day, starts_at=local.start, ends_at=local.end, quantity=1, revenue_minor=199,
                cost_minor=None, currency="USD", events=1, revision=0,
                offset=positions[partition_of(unit.encode(), len(positions))],
            )  # fmt: skip
            yield encode(row, f"{unit}/{local.day}/0", local.end)
        for market in sorted({market_of(unit) for unit in units}):
            closing = PeriodClosed(
                market=market, day=local.day, watermark=local.end, offsets={}, unit_days=1, events=1, revised=0,
                revision=0, recount={str(p): offset for p, offset in starts.items()},
            )  # fmt: skip
            yield encode(closing, f"{market}/{local.day}/0", local.end)


def sales(units: list[str], first: int, days: int) -> Iterator[Sale]:
    for number in range(first, days):
        noon = period(FIRST + timedelta(days=number), TIME_ZONE).start + timedelta(hours=12)
        for unit in units:
            yield Sale(id=f"{unit}/{number}", unit=unit, occurred_at=noon, quantity=1, price_minor=199, currency="USD")


def prepare(settings: Settings, units: list[str], days: int) -> dict[str, int]:
    """Write the history as the workers would have; returns how many records there are of what."""
    shared = {"bootstrap.servers": settings.kafka, "queue.buffering.max.messages": 5_000_000, "linger.ms": 20}
    # A batch as large as the worker's.
    plain_ones = Producer({**shared, "batch.size": 256 * 1024})
    packing = Producer({**shared, "batch.size": 256 * 1024, "compression.type": "snappy"})
    counts: dict[str, int] = {}

    def send(topic: str, records: Iterable[Record]) -> None:
        name, producer = settings.prefixed(topic), packing if topic in PACKED else plain_ones
        for record in records:
            home = partition_of(record.key or b"", settings.partitions)
            headers: list[Any] = list(record.headers)
            producer.produce(name, record.value, record.key, home, headers=headers)
            counts[topic] = counts.get(topic, 0) + 1
            if counts[topic] % 5000 == 0:
                producer.poll(0)
        assert producer.flush(120) == 0

    defined, closed = experiment(units, days), days - 1
    hash = design_hash(defined)
    entries = (CatalogEntry(unit=u, time_zone=TIME_ZONE, currency="USD", list_price_minor=199) for u in units)
    send(CATALOG, (plain(entry) for entry in entries))
    at = period(FIRST - timedelta(days=2), TIME_ZONE).start
    registered = Registered(id="bench.1/registered", experiment=defined, design_hash=hash, registered_at=at)
    send(ASSIGNMENT_LOG, [encode(registered, registered.id, at)])
    send(ASSIGNMENT_LOG, (encode(a, a.id, a.decided_at) for a in assignments(units, hash, days)))
    last = (a for a in assignments(units, hash, days) if a.day == FIRST + timedelta(days=days - 1))
    send(ASSIGNMENT, (encode(a, a.id, a.decided_at) for a in last))
    # The sale topic begins with the days that may still change, so each of its partitions starts to be counted at 0.
    first = max(0, closed - REVISION_DAYS)
    send(SALE, (plain(sale) for sale in sales(units, first, days)))
    homes = [partition_of(unit.encode(), settings.partitions) for unit in units]
    positions = {p: homes.count(p) * (closed - first) for p in range(settings.partitions)}
    send(PANEL, panel(units, closed, positions, dict.fromkeys(positions, 0)))
    return counts


async def whole(settings: Settings, store: RedisStore, alive: Callable[[], None]) -> None:
    """Wait until every shard and every input is there."""
    deadline, every = time.monotonic() + PATIENCE_SECONDS, range(settings.partitions)
    while True:
        shards = [bool(await store.restoring.log_positions(shard)) for shard in every]
        inputs = [await store.restoring.has_input(t, p) for t in ("sale", "competitor-price") for p in every]
        if all(shards) and all(inputs):
            return
        alive()
        assert time.monotonic() < deadline, f"not rebuilt after {PATIENCE_SECONDS:g} s"
        await asyncio.sleep(0.01)


async def bare(settings: Settings) -> tuple[float, float]:
    """Seconds to read the same topics and do nothing, and those of the processor."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        names = [settings.prefixed(topic) for topic in (ASSIGNMENT_LOG, PANEL, SALE)]
        places = [TopicPartition(name, p) for name in names for p in range(settings.partitions)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        began, used = time.perf_counter(), time.process_time()
        while any([await consumer.position(p) < ends[p] for p in places]):
            await consumer.getmany(timeout_ms=100)
        return time.perf_counter() - began, time.process_time() - used
    finally:
        await consumer.stop()


async def measure(kafka: str, redis: str, number: int, days: int, times: int, forgotten: bool) -> dict[str, Any]:
    settings = Servers(kafka, redis).settings("rebuild", revision_days=REVISION_DAYS)
    await create_topics(settings)
    units = [f"store-{k % MARKETS}/product-{k // MARKETS}" for k in range(number)]
    counts = await asyncio.to_thread(prepare, settings, units, days)
    store = RedisStore(redis, settings.namespace, settings.partitions)
    server: Redis = Redis.from_url(redis)
    with Sandbox("flipside-rebuild-") as sandbox:
        worker = sandbox.start("worker", [sys.executable, "-m", "flipside", "worker"], worker_environment(settings))

        def alive() -> None:
            assert worker.running(), worker.tail()

        # Its Redis is empty: the first thing that it does is a rebuild.
        await whole(settings, store, alive)
        runs, cpu = [], []
        for _ in range(times):
            if forgotten:
                # What the last rebuild has read is kept for a while: this one shall read it anew.
                await asyncio.sleep(max(published.KEEP_SECONDS, rebuild.KEEP_SECONDS) + 2 * rebuild.NOTE_SECONDS)
            began, used = time.perf_counter(), cpu_seconds(worker.pid)
            await asyncio.to_thread(server.flushall)
            await whole(settings, store, alive)
            runs.append(time.perf_counter() - began)
            cpu.append(cpu_seconds(worker.pid) - used)
        found, _ = await differences(settings)
        worker.stop()
    units_held = sum([len(await store.restoring.held(shard)) for shard in range(settings.partitions)])
    await store.close()
    server.close()
    assert units_held == number
    seconds, reader = sorted(runs)[len(runs) // 2], await bare(settings)
    return {
        "machine": machine(),
        "units": number,
        "days_in_the_log": days,
        "log_records": counts[ASSIGNMENT_LOG],
        "panel_records": counts[PANEL],
        "sales_counted_again": counts[SALE],
        "seconds": [round(run, 2) for run in runs],
        "worker_cpu_seconds": [round(used, 2) for used in cpu],
        "seconds_for_10000_units": round(seconds * 10_000 / number, 2),
        "bare_reader_seconds": round(reader[0], 2),
        "bare_reader_cpu_seconds": round(reader[1], 2),
        "differences_afterwards": len(found),
        "first_differences": [str(difference) for difference in found[:5]],
    }


def main(arguments: list[str]) -> int:
    numbers = [int(argument) for argument in arguments if argument.isdigit()]
    days, times = 28, 3
    if "--days" in arguments:
        days = int(arguments[arguments.index("--days") + 1])
        numbers.remove(days)
    if "--runs" in arguments:
        times = int(arguments[arguments.index("--runs") + 1])
        numbers.remove(times)
    forgotten = "--at-once" not in arguments
    with Kafka() as kafka, RedisServer() as redis:
        found = asyncio.run(
            measure(kafka.address, redis.url, numbers[0] if numbers else 10_000, days, times, forgotten)
        )
    if "--json" in arguments:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:24} {value}")
    return 0 if not found["differences_afterwards"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
