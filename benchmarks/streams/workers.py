"""Sales counted by one, two and three workers: how capacity grows by adding them.

A real Kafka and a real Redis, workers as they are installed, a topic of six partitions full of sales. The clock runs
from the first sale that is counted to the last; each worker's processor time stands beside it, because on two cores a
third worker has no core to run on: what it shows there is that the work is split, and what that costs.

Run: python -m benchmarks.streams.workers [--workers 1 2 3] [--events 300000] [--json]. The peer is one worker alone.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.streams.installation import (
    Parts,
    fill_catalog,
    machine,
    publish,
    resident_mb,
    servers,
    start_worker,
    unit,
)
from benchmarks.streams.numbered_sales import sale
from controller.messages.codec import Record
from controller.messages.topics import SALE
from flipside.simulated_shop.shop import plain
from streams.embedded.processes import Child, Sandbox
from streams.kafka.topics import create_topics
from streams.runtime.settings import Settings
from streams.store.redis.store import RedisStore

PARTITIONS, MARKETS, UNITS = 6, 50, 1_000
PATIENCE_SECONDS = 100.0


@dataclass(frozen=True, slots=True)
class Split:
    """One number of workers."""

    workers: int
    events: int
    seconds: float
    events_a_second: float
    #: of each worker, from the first sale that anyone counted
    cpu_seconds: tuple[float, ...]
    events_a_second_and_core: float
    #: of the largest
    resident_mb: float


def sales(events: int) -> Iterator[Record]:
    return (plain(sale(number, UNITS)) for number in range(events))


async def counted(store: RedisStore) -> int:
    return sum([await store.position("sale", number) for number in range(PARTITIONS)])


async def until(store: RedisStore, number: int, workers: Sequence[Child]) -> None:
    """Wait until so many sales are counted."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while await counted(store) < number:
        for worker in workers:
            assert worker.running(), worker.tail()
        assert time.monotonic() < deadline, "\n".join(worker.tail() for worker in workers)
        await asyncio.sleep(0.01)


async def measure(kafka: str, redis: str, count: int, events: int) -> Split:
    """The workers are there first, each with its share of the partitions; then all sales come at once."""
    settings = Settings.model_validate(
        {"kafka": kafka, "redis": redis, "namespace": f"workers-{count}", "partitions": PARTITIONS}
    )
    await create_topics(settings)
    fill_catalog(settings, [unit(k, MARKETS) for k in range(UNITS)], "UTC")
    store = RedisStore(redis, settings.namespace, PARTITIONS)
    with Sandbox("flipside-workers-") as sandbox:
        workers = [start_worker(sandbox, settings, f"worker-{k}", log_level="info") for k in range(count)]
        try:
            await assigned(workers, settings)
            clocks = Parts({worker.name: worker.pid for worker in workers})
            cpu = clocks.cpu_seconds()
            writing = asyncio.create_task(asyncio.to_thread(publish, settings, SALE, sales(events)))
            await until(store, 1, workers)
            began = time.perf_counter()
            await until(store, events, workers)
            passed = time.perf_counter() - began
            await writing
            taken = tuple(round(now - cpu[name], 2) for name, now in clocks.cpu_seconds().items())
            return Split(
                workers=count, events=events, seconds=passed, events_a_second=events / passed, cpu_seconds=taken,
                events_a_second_and_core=events / sum(taken), resident_mb=max(resident_mb(w.pid) for w in workers),
            )  # fmt: skip
        finally:
            await store.close()
            for worker in workers:
                worker.stop()


async def assigned(workers: Sequence[Child], settings: Settings) -> None:
    """Wait until every worker reads sales."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    said = f'"topic": "{settings.prefixed(SALE)}"'
    while not all(worker.said(said) for worker in workers):
        for worker in workers:
            assert worker.running(), worker.tail()
        assert time.monotonic() < deadline, "\n".join(worker.tail() for worker in workers)
        await asyncio.sleep(0.05)


def result(counts: Sequence[int], events: int) -> dict[str, Any]:
    """What is printed, as JSON has it."""
    begun, found = machine(), []
    with servers() as (kafka, redis):
        for count in counts:
            print(f"{count} workers, {events:,} sales", file=sys.stderr)
            found.append(asdict(asyncio.run(measure(kafka.address, redis.url, count, events))))
    return {"machine": begun, "runs": found}


def table(shown: dict[str, Any]) -> str:
    lines = [
        "| workers | sales | s | sales a second | CPU of each worker, s | sales a second and core | MB, largest |",
        "| ---: |" + " ---: |" * 6,
    ]
    for one in shown["runs"]:
        cpu = ", ".join(f"{seconds:.1f}" for seconds in one["cpu_seconds"])
        lines.append(
            f"| {one['workers']} | {one['events']:,} | {one['seconds']:.1f} | {one['events_a_second']:,.0f} | {cpu} "
            f"| {one['events_a_second_and_core']:,.0f} | {one['resident_mb']:.0f} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--events", type=int, default=300_000, help="sales of 1,000 units in 50 markets")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    options = parser.parse_args(arguments)
    shown = result(options.workers, options.events)
    print(json.dumps(shown) if options.json else f"{shown['machine']}\n\n{table(shown)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
