"""The owner's systems for `benchmarks.streams.latency`: rivals' prices and sales at an even pace, from a process of
its own."""

import asyncio
import multiprocessing
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Producer

from benchmarks.streams.installation import CURRENCY, LIST_PRICE, compiled_since, compiler_seconds
from controller.messages.codec import Record
from controller.messages.topics import COMPETITOR_PRICE, SALE
from streams.runtime.settings import Settings
from streams.worker.services import partition_of

TRIGGERS_A_SECOND = 50
#: Java compiles what it runs often: before anything is measured, prices and undercuts go at the highest rate until the
#: broker used less than this of a core for that, in so many seconds
COMPILING, WARM_UP_SECONDS = 0.03, 10.0
#: how long a producer gathers: one that sends every price by itself costs a broker more than all that it leads to
PRICE_LINGER_MS = 10
#: nobody waits for a sale
SALE_LINGER_MS = 100
#: how often producers are handed what is due
PULSE_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent in one run."""

    rate: int
    seconds: float
    #: units that are undercut, in this order
    undercut: tuple[str, ...]
    units: tuple[str, ...]
    sales: int


def price(name: str, identity: str, at: str, minor: int) -> bytes:
    return (
        f'{{"id":"{identity}","unit":"{name}","competitor":"rival","observed_at":"{at}",'
        f'"price_minor":{minor},"currency":"{CURRENCY}"}}'
    ).encode()


def sale(name: str, identity: str, at: str) -> bytes:
    return (
        f'{{"id":"{identity}","unit":"{name}","occurred_at":"{at}","quantity":1,'
        f'"price_minor":{LIST_PRICE},"currency":"{CURRENCY}"}}'
    ).encode()


def generate(settings: Settings, plan: Plan, run: str, told: Any) -> None:
    """What that process does; tells prices a second, undercuts and its processor seconds."""
    producer = Producer({"bootstrap.servers": settings.kafka, "linger.ms": PRICE_LINGER_MS, "acks": "all"})
    tills = Producer({"bootstrap.servers": settings.kafka, "linger.ms": SALE_LINGER_MS, "acks": "all"})
    homes = {name: partition_of(name.encode(), settings.partitions) for name in plan.units}
    prices, sales = settings.prefixed(COMPETITOR_PRICE), settings.prefixed(SALE)
    undercut, watched, number = deque(plan.undercut), plan.units[len(plan.undercut) :], 0
    begin, sold, moved = time.perf_counter(), 0, 0
    while (passed := time.perf_counter() - begin) < plan.seconds:
        now = datetime.now(UTC).isoformat()
        due = range(number + 1, int(passed * plan.rate) + 1)
        for number in due:
            if moved < int(passed * TRIGGERS_A_SECOND) and undercut:
                name, minor, moved = undercut.popleft(), LIST_PRICE - 100, moved + 1
            else:
                name, minor = watched[number * 7919 % len(watched)], LIST_PRICE + number % 50
            producer.produce(prices, price(name, f"{run}-{number}", now, minor), name.encode(), homes[name])
        due = range(sold + 1, int(passed * plan.sales) + 1)
        for sold in due:
            name = plan.units[sold * 104_729 % len(plan.units)]
            tills.produce(sales, sale(name, f"{run}-{sold}", now), name.encode(), homes[name])
        producer.poll(0)
        tills.poll(0)
        time.sleep(PULSE_SECONDS)
    producer.flush(30)
    tills.flush(30)
    told.put((number / plan.seconds, moved, time.process_time()))


async def generated(settings: Settings, plan: Plan, run: str) -> tuple[float, int, float]:
    """Let the owner's systems do what is planned; returns prices a second, undercuts and processor seconds."""
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    generator = context.Process(target=generate, args=(settings, plan, run, told), daemon=True)
    generator.start()
    sent: tuple[float, int, float] = await asyncio.to_thread(told.get)
    await asyncio.to_thread(generator.join, 10)
    return sent


async def warm_up(settings: Settings, plan: Plan, broker: int, most_seconds: float) -> None:
    """Let a broker run until it is as fast as one that was started yesterday; ``plan`` is of one piece of that."""
    each = round(plan.seconds * TRIGGERS_A_SECOND)
    for k in range(round(most_seconds / plan.seconds)):
        before, piece = compiler_seconds(broker), plan.undercut[k * each : (k + 1) * each]
        await generated(settings, replace(plan, undercut=piece, units=(*piece, *plan.units)), f"warm{k}")
        share = compiled_since(before, broker) / plan.seconds
        say(f"{(k + 1) * plan.seconds:g} s of warming up: the broker's compiler took {share:.2f} of a core")
        if share < COMPILING:
            return


def above_ours(units: Sequence[str], run: str) -> Iterator[Record]:
    """A price of each unit that undercuts nobody."""
    now = datetime.now(UTC).isoformat()
    for name in units:
        yield Record(name.encode(), price(name, f"{run}-{name}", now, LIST_PRICE + 100), [])


def say(what: str) -> None:
    print(what, file=sys.stderr)
