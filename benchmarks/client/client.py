"""What the client costs: a look-up, the load of a topic, its memory. ``python -m benchmarks.client.client --help``.

Peers in the same run: for a look-up a plain dictionary of (arm, end); for the load a bare aiokafka loop over the same
topic that decodes the JSON and keeps the last body of each unit. The load runs in a process of its own, ``--repeat``
times, on a real Kafka that is started for it (``--kafka HOST:PORT`` uses a running one).
"""

import argparse
import asyncio
import json
import multiprocessing
import resource
import sys
import time
import timeit
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from controller.messages.codec import encode
from controller.messages.events import Assignment
from controller.messages.topics import ASSIGNMENT, TOPICS
from flipside_client import Assignments, topic
from streams.kafka.topics import create_topics
from streams.runtime.settings import Settings
from tests.parts.kafka import Kafka

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)
MARKETS = 100


def assignment(number: int, day: int = 0) -> Assignment:
    """The assignment of unit ``number`` for a day of March, as a worker publishes it."""
    unit = f"store-{number % MARKETS}/product-{number // MARKETS}"
    start = MIDNIGHT + timedelta(days=day)
    arm, price_minor = (("low", 900), ("control", 1000))[(number + day) % 2]
    return Assignment.model_validate(
        {
            "id": f"spring.1/{start.date()}/{unit}",
            "unit": unit,
            "cluster": f"store-{number % MARKETS}",
            "experiment": "spring",
            "experiment_version": 1,
            "design_hash": "5f" * 32,
            "block": day,
            "day": date(2026, 3, 1) + timedelta(days=day),
            "arm": arm,
            "planned_arm": arm,
            "price_minor": price_minor + number % 500,
            "currency": "EUR",
            "effective_at": start,
            "expires_at": start + timedelta(days=1),
            "decided_at": start - timedelta(hours=1),
            "epoch": 4711,
            "sequence": day * 1_000_000 + number,
            "reason": {"code": "scheduled"},
        }
    )


# --- look-ups --------------------------------------------------------------------------------------------------------

#: how many units are asked for in turn: a few that stay in the processor's cache, and so many that they do not
ASKED = {"popular": 200, "spread": 20_000}
#: look-ups per kind and question; the shorter a round, the more of them pass undisturbed on a busy machine
LOOK_UPS = 600_000


def look_ups(units: int) -> dict[str, dict[str, float]]:
    """Nanoseconds of one look-up among ``units``, present day and announced one held; the loop's own cost taken off."""
    client = Assignments("127.0.0.1:9")
    for day in (0, 1):
        for number in range(units):
            message = assignment(number, day)
            client._fold.take(message.unit.encode(), message.model_dump_json().encode())
    client._become_ready()
    now = MIDNIGHT + timedelta(hours=12)
    noon_ms = int(now.timestamp()) * 1000
    end_ms = noon_ms + 1
    plain = {unit: ("low", end_ms) for unit in client.units()}
    arm, price = client.arm, client.price

    def bare(unit: str) -> str | None:
        shown, end = plain[unit]
        return shown if noon_ms < end else None

    asks: dict[str, Callable[[str], Any]] = {
        "plain_dict_ns": bare,
        "arm_int_ns": lambda unit: arm(unit, noon_ms),
        "arm_datetime_ns": lambda unit: arm(unit, now),
        "price_ns": lambda unit: price(unit, noon_ms),
    }
    result = {}
    for kind, count in ASKED.items():
        asked = [assignment(number * 7919 % units).unit for number in range(min(units, count))]
        empty = nanoseconds(asked, lambda unit: None)
        result[kind] = {name: nanoseconds(asked, ask) - empty for name, ask in asks.items()}
    return result


def nanoseconds(asked: list[str], ask: Callable[[str], Any]) -> float:
    """The best of many rounds: what disturbs a measurement only ever adds to it."""

    def run() -> None:
        for unit in asked:
            ask(unit)

    return min(timeit.repeat(run, number=1, repeat=LOOK_UPS // len(asked))) / len(asked) * 1e9


# --- load ------------------------------------------------------------------------------------------------------------


async def publish(settings: Settings, units: int, days: int) -> None:
    """Fill the topic as a worker does: an acknowledged, idempotent producer and CloudEvents headers."""
    await create_topics(settings, [TOPICS[ASSIGNMENT]])
    name = settings.prefixed(ASSIGNMENT)
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka, enable_idempotence=True, linger_ms=5, max_batch_size=262_144
    )
    await producer.start()
    try:
        for day in range(days):
            sent = []
            for number in range(units):
                message = assignment(number, day)
                record = encode(message, message.id, message.decided_at)
                sent.append(await producer.send(name, key=record.key, value=record.value, headers=record.headers))
            await asyncio.gather(*sent)
            print(f"published {units} assignments of day {day + 1} of {days}", file=sys.stderr)
    finally:
        await producer.stop()


def resident_mb() -> float:
    """Memory of this process now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


async def client_load(address: str, namespace: str) -> dict[str, float]:
    """From nothing connected to ready."""
    before, started, cpu = resident_mb(), time.perf_counter(), time.process_time()
    async with Assignments(address, namespace) as client:
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        status = client.status()
        assert status.records["unreadable"] == 0
        return {
            "seconds": seconds,
            "cpu_seconds": cpu,
            "memory_mb": resident_mb() - before,
            "units": status.units,
            "records": sum(status.records.values()),
        }


async def bare_load(address: str, namespace: str) -> dict[str, float]:
    """The same topic through a loop that knows no rule."""
    before, started, cpu = resident_mb(), time.perf_counter(), time.process_time()
    kept: dict[str, Any] = {}
    consumer = AIOKafkaConsumer(
        topic(ASSIGNMENT, namespace),
        bootstrap_servers=address,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=8 * 1024 * 1024,
    )
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    body = json.loads(record.value)
                    kept[body["unit"]] = body
        return {
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - cpu,
            "memory_mb": resident_mb() - before,
            "units": len(kept),
        }
    finally:
        await consumer.stop()


LOADS = {"client": client_load, "bare_loop": bare_load}


def in_a_process(kind: str, address: str, namespace: str) -> dict[str, float]:
    return asyncio.run(LOADS[kind](address, namespace))


def loads(address: str, namespace: str, repeat: int) -> dict[str, dict[str, float]]:
    """Medians over fresh processes, the two kinds in turn."""
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in LOADS}
    for turn in range(repeat):
        for kind in LOADS:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                runs[kind].append(pool.apply(in_a_process, (kind, address, namespace)))
        print(f"loaded {turn + 1} of {repeat}", file=sys.stderr)
    return {kind: {name: median(run[name] for run in done) for name in done[0]} for kind, done in runs.items()}


@contextmanager
def kafka_at(address: str | None) -> Iterator[str]:
    if address is not None:
        yield address
        return
    with Kafka() as started:
        yield started.address


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=100_000, help="units, in 100 markets (default 100,000)")
    parser.add_argument("--days", type=int, default=1, help="days of which the topic still holds records (default 1)")
    parser.add_argument("--repeat", type=int, default=3, help="loads of each kind (default 3)")
    parser.add_argument("--kafka", metavar="HOST:PORT", help="a running Kafka; default: one is started")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    options = parser.parse_args()
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    with kafka_at(options.kafka) as address:
        asyncio.run(publish(Settings(kafka=address, namespace=namespace), options.units, options.days))
        load = loads(address, namespace, options.repeat)
    result = {
        "units": options.units,
        "days": options.days,
        "look_up": look_ups(min(options.units, 100_000)),
        "load": load,
        "load_ratio_to_bare_loop": load["client"]["seconds"] / load["bare_loop"]["seconds"],
    }
    print(json.dumps(result) if options.json else table(result))


def table(result: dict[str, Any]) -> str:
    look_up, load = result["look_up"], result["load"]
    lines = [f"{result['units']} units, {result['days']} day(s) of records on the topic", ""]
    lines += ["| one look-up | " + " | ".join(f"{kind}, ns | times a dictionary" for kind in look_up) + " |"]
    lines += ["| --- |" + " ---: |" * 2 * len(look_up)]
    for name in look_up["popular"]:
        costs = [(kind[name], kind[name] / kind["plain_dict_ns"]) for kind in look_up.values()]
        figures = " | ".join(f"{cost:.0f} | {ratio:.1f}" for cost, ratio in costs)
        lines.append(f"| {name.removesuffix('_ns').replace('_', ' ')} | {figures} |")
    lines += ["", "| load | s | CPU s | memory, MB | units |", "| --- | ---: | ---: | ---: | ---: |"]
    for kind, run in load.items():
        figures = f"{run['seconds']:.2f} | {run['cpu_seconds']:.2f} | {run['memory_mb']:.0f} | {run['units']:.0f}"
        lines.append(f"| {kind.replace('_', ' ')} | {figures} |")
    lines += ["", f"client / bare loop: {result['load_ratio_to_bare_loop']:.2f} of the time"]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
