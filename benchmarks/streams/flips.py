"""Flips of 1,000 to 100,000 units: decided, logged, published and held by two pricing systems; and do those differ?

A real Kafka and a real Redis, workers as they are installed, simulated time. An experiment in random days over all
units has decided its first day; then a tick says that it is the evening before the second. The clock runs from that
tick until every unit's assignment is decided and acknowledged on both topics, and until a client that listens holds all
of them. A second one starts then, and loads what the first one was told.

Then both are asked for every unit's arm at each instant around the flip: they must answer alike, with the old day's arm
up to the last millisecond before `effective_at`, and with the new day's from it on.

Run: python -m benchmarks.streams.flips [--units 1000 10000 100000] [--workers 1] [--json]. The peer in the same run:
the same records written to the same two topics by a producer that decides nothing.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from redis import Redis

from benchmarks.streams.installation import (
    CURRENCY,
    Parts,
    fill_catalog,
    hold_for_good,
    machine,
    publish,
    resident_mb,
    servers,
    start_worker,
    unit,
)
from controller.definition.experiment import Arm, CatalogFilter, Experiment, PriceRule
from controller.definition.field_types import milliseconds
from controller.messages.codec import encode
from controller.messages.events import Tick
from controller.messages.topics import ASSIGNMENT, ASSIGNMENT_LOG, DEFINITION, TICK
from controller.time.periods import day_start
from flipside.simulated_shop.shop import plain
from flipside_client import Assignments
from streams.embedded.processes import Child, Sandbox
from streams.kafka.topics import create_topics
from streams.runtime.settings import Settings
from streams.worker.services import partition_of

MARKETS = 50
START, TIME_ZONE = date(2026, 3, 2), "America/Chicago"
LEAD = timedelta(minutes=60)
PATIENCE_SECONDS = 120.0
#: must show: 100,000 units flipped, logged and published
BAR_SECONDS = 5.0
POLL_SECONDS = 0.02
#: of an assignment with its headers, nearly
PEER_BYTES = 700
#: around the flip, milliseconds
AROUND_MS = (-3_600_000, -1000, -2, -1, 0, 1, 2, 1000, 3_600_000)


@dataclass(frozen=True, slots=True)
class Flipped:
    """One evening."""

    units: int
    workers: int
    #: units whose arm is another one than the day before
    flips: int
    #: from the tick until all are acknowledged on both topics, and until a client that listens holds them
    published_seconds: float
    held_seconds: float
    #: how long a client that starts afterwards loads both days
    loaded_seconds: float
    #: the same records to the same topics, ready-made
    peer_seconds: float
    #: processor time until all are held, by process; the client's also looks at the topics' ends
    cpu_seconds: dict[str, float]
    #: memory afterwards: of the largest worker, and of Redis
    worker_mb: float
    redis_mb: float
    #: instants around the flip at which all units of both clients were compared, and units that differed
    instants: int
    differing: int
    #: largest distance between the instants at which the two clients flip a unit
    skew_ms: int


@dataclass(frozen=True, slots=True)
class Compared:
    """What two clients show around a flip."""

    differing: int
    flips: int
    skew_ms: int


class Ends:
    """How many records lie on the topics of assignments."""

    def __init__(self, settings: Settings) -> None:
        self._consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka, enable_auto_commit=False)
        self._places = {
            topic: [TopicPartition(settings.prefixed(topic), n) for n in range(settings.partitions)]
            for topic in (ASSIGNMENT, ASSIGNMENT_LOG)
        }

    async def start(self) -> None:
        await self._consumer.start()

    async def stop(self) -> None:
        await self._consumer.stop()

    async def count(self) -> dict[str, int]:
        return {
            topic: sum((await self._consumer.end_offsets(places)).values()) for topic, places in self._places.items()
        }

    async def grown(self, before: dict[str, int], number: int, workers: Sequence[Child]) -> None:
        """Wait until each topic has so many records more."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(now < before[topic] + number for topic, now in (await self.count()).items()):
            alive(workers, deadline)
            await asyncio.sleep(POLL_SECONDS)


def alive(workers: Sequence[Child], deadline: float) -> None:
    for worker in workers:
        assert worker.running(), worker.tail()
    assert time.monotonic() < deadline, "\n".join(worker.tail() for worker in workers)


def definition() -> Experiment:
    return Experiment(
        name="bench", currency=CURRENCY, select=CatalogFilter(), start=START, days=28, seed="s",
        arms=(Arm(name="control"), Arm(name="lower", price=PriceRule.model_validate_json('{"percent": "-5"}'))),
    )  # fmt: skip


async def tick(producer: AIOKafkaProducer, settings: Settings, at: datetime) -> None:
    record = encode(Tick(at=at), f"tick/{at.isoformat()}", at)
    for number in range(settings.partitions):
        await producer.send(settings.prefixed(TICK), value=record.value, headers=record.headers, partition=number)
    await producer.flush()


async def at_rest(settings: Settings, producer: AIOKafkaProducer, at: datetime, workers: Sequence[Child]) -> None:
    """Noon of a day: its beginning is on record, and every shard knows of it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka, enable_auto_commit=False)
    await consumer.start()
    store: Redis = Redis.from_url(settings.redis.get_secret_value())
    try:
        places = [TopicPartition(settings.prefixed(TICK), number) for number in range(settings.partitions)]
        for minute in range(2):
            await tick(producer, settings, at + timedelta(minutes=minute))
            ends = await consumer.end_offsets(places)
            keys = [f"{{{settings.namespace}:t{place.partition}}}:tick" for place in places]
            while any(int(store.get(key) or 0) < ends[place] for key, place in zip(keys, places, strict=True)):
                alive(workers, deadline)
                await asyncio.sleep(POLL_SECONDS)
    finally:
        store.close()
        await consumer.stop()


async def held(client: Assignments, units: Sequence[str], at_ms: int, workers: Sequence[Child]) -> None:
    """Wait until a client knows of every unit what holds at an instant."""
    deadline, waiting = time.monotonic() + PATIENCE_SECONDS, list(units)
    while waiting:
        alive(workers, deadline)
        missing = next((k for k, name in enumerate(waiting) if not starts_at(client, name, at_ms)), len(waiting))
        del waiting[:missing]
        await asyncio.sleep(POLL_SECONDS)


def starts_at(client: Assignments, name: str, at_ms: int) -> bool:
    found = client.assignment(name, at_ms)
    return found is not None and found.effective_at_ms == at_ms


def compare(one: Assignments, other: Assignments, units: Sequence[str], at_ms: int) -> Compared:
    """Both clients at each instant around a flip, and the instant at which each of them flips each unit."""
    differing = sum(one.arm(u, at_ms + ms) != other.arm(u, at_ms + ms) for ms in AROUND_MS for u in units)
    before, after = AROUND_MS[AROUND_MS.index(0) - 1], 0
    flips, skew = 0, 0
    for name in units:
        # What one client calls the end of the old arm, the other one must call so too.
        ends = [client.price(name, at_ms - 1).until_ms for client in (one, other)]
        assert None not in ends
        skew = max(skew, abs((ends[0] or 0) - (ends[1] or 0)), abs((ends[0] or 0) - at_ms))
        flips += one.arm(name, at_ms + before) != one.arm(name, at_ms + after)
    return Compared(differing, flips, skew)


def apart(settings: Settings) -> Settings:
    return settings.model_copy(update={"namespace": f"{settings.namespace}-peer"})


async def peer(settings: Settings, units: Sequence[str]) -> float:
    """Seconds to write as many records of that size to both topics, in a namespace of their own."""
    there = apart(settings)
    value = b"x" * PEER_BYTES
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka, acks="all", enable_idempotence=True, max_batch_size=256 * 1024
    )
    await producer.start()
    begin, sent = time.perf_counter(), []
    for topic in (ASSIGNMENT_LOG, ASSIGNMENT):
        name = there.prefixed(topic)
        for key in (u.encode() for u in units):
            home = partition_of(key, settings.partitions)
            sent.append(await producer.send(name, value=value, key=key, partition=home))
    for future in sent:
        await future
    passed = time.perf_counter() - begin
    await producer.stop()
    return passed


async def measure(kafka: Any, redis: Any, number: int, count: int, profile: str) -> Flipped:
    settings = Settings.model_validate(
        {"kafka": kafka.address, "redis": redis.url, "namespace": f"flips-{number}-{count}", "clock": "ticks"}
    )
    for one in (settings, apart(settings)):
        await create_topics(one)
    units = [unit(k, MARKETS) for k in range(number)]
    fill_catalog(settings, units, TIME_ZONE)
    producer, ends = AIOKafkaProducer(bootstrap_servers=settings.kafka), Ends(settings)
    await producer.start()
    await ends.start()
    with Sandbox("flipside-flips-") as sandbox:
        workers = [
            start_worker(sandbox, settings, f"worker-{k}", profile=profile if k == 0 else "", log_level="warning")
            for k in range(count)
        ]
        pids = {"kafka": kafka.pid(), "redis": redis.pid, "client": os.getpid()} | {w.name: w.pid for w in workers}
        begins, midnight = day_start(START, TIME_ZONE), day_start(START + timedelta(days=1), TIME_ZONE)
        first_ms, flip_ms = milliseconds(begins), milliseconds(midnight)
        try:
            async with Assignments(settings.kafka, settings.namespace) as first:
                await tick(producer, settings, begins - timedelta(days=2))
                publish(settings, DEFINITION, [plain(definition())])
                await registered(ends, workers)
                await tick(producer, settings, begins - LEAD / 2)
                await held(first, units, first_ms, workers)
                await at_rest(settings, producer, begins + timedelta(hours=12), workers)
                hold_for_good()
                before, cpu, began = await ends.count(), Parts(pids).cpu_seconds(), time.perf_counter()
                await tick(producer, settings, midnight - LEAD / 2)
                published = asyncio.create_task(timed(ends.grown(before, number, workers), began))
                await held(first, units, flip_ms, workers)
                passed = time.perf_counter() - began
                taken = {name: round(now - cpu[name], 2) for name, now in Parts(pids).cpu_seconds().items()}
                await published
                loads = time.perf_counter()
                async with Assignments(settings.kafka, settings.namespace) as other:
                    await held(other, units, flip_ms, workers)
                    loaded = time.perf_counter() - loads
                    found = compare(first, other, units, flip_ms)
                    return Flipped(
                        units=number, workers=count, flips=found.flips, published_seconds=await published,
                        held_seconds=passed, loaded_seconds=loaded, peer_seconds=await peer(settings, units),
                        cpu_seconds=taken,
                        worker_mb=max(resident_mb(w.pid) for w in workers), redis_mb=resident_mb(redis.pid),
                        instants=len(AROUND_MS), differing=found.differing, skew_ms=found.skew_ms,
                    )  # fmt: skip
        finally:
            await ends.stop()
            await producer.stop()
            for worker in workers:
                worker.stop()


async def registered(ends: Ends, workers: Sequence[Child]) -> None:
    """Wait until the log has the registration."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (await ends.count())[ASSIGNMENT_LOG]:
        alive(workers, deadline)
        await asyncio.sleep(POLL_SECONDS)


async def timed(work: Any, began: float) -> float:
    await work
    return time.perf_counter() - began


def result(numbers: Sequence[int], workers: int = 1, profile: str = "") -> dict[str, Any]:
    """What is printed, as JSON has it."""
    begun, found = machine(), []
    with servers() as (kafka, redis):
        for number in numbers:
            print(f"{number:,} units, {workers} workers", file=sys.stderr)
            found.append(asdict(asyncio.run(measure(kafka, redis, number, workers, profile))))
    return {"machine": begun, "bar_seconds": BAR_SECONDS, "runs": found}


def table(shown: dict[str, Any]) -> str:
    lines = [
        "| units | workers | arms changed | published, s | held by a client, s | loaded by another, s "
        "| ready-made records, s | CPU, s "
        "| instants compared | units that differed | skew, ms | worker, MB | Redis, MB |",
        "| ---: |" + " ---: |" * 12,
    ]
    for one in shown["runs"]:
        cpu = ", ".join(f"{name} {seconds:.1f}" for name, seconds in one["cpu_seconds"].items())
        lines.append(
            f"| {one['units']:,} | {one['workers']} | {one['flips']:,} | {one['published_seconds']:.2f} "
            f"| {one['held_seconds']:.2f} | {one['loaded_seconds']:.2f} "
            f"| {one['peer_seconds']:.2f} | {cpu} | {one['instants']} "
            f"| {one['differing']} | {one['skew_ms']} | {one['worker_mb']:.0f} | {one['redis_mb']:.0f} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="in 50 markets")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--profile", default="", help="write what cProfile sees of the first worker to this file")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    options = parser.parse_args(arguments)
    shown = result(options.units, options.workers, options.profile)
    print(json.dumps(shown) if options.json else f"{shown['machine']}\n\n{table(shown)}")
    return 0 if all(one["differing"] == 0 == one["skew_ms"] for one in shown["runs"]) else 1


if __name__ == "__main__":
    sys.exit(main())
