"""A shop whose sales come as badly as sales can, and the count that must come out of them, to the event.

Day by day, in simulated time: a fifth of the records repeat an earlier one, a tenth come days after their day, some of
those too late for any count, a hundredth are poison; all out of order, and compressed in every way that Kafka knows.
"""

import asyncio
import json
import sys
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Producer

from controller.messages.codec import encode, read
from controller.messages.events import PeriodClosed, SaleCorrection, Tick, UnitDay
from controller.messages.inputs import CatalogEntry
from controller.messages.topics import CATALOG, DEAD_LETTER, PANEL, SALE, SALE_CORRECTION, TICK
from controller.time.periods import period
from flipside.simulated_shop.shop import plain
from flipside.topics.reader import Reader
from streams.embedded.processes import Child, Sandbox
from streams.kafka.topics import create_topics
from streams.runtime.settings import Settings, child_environment
from streams.worker.services import partition_of
from tests.e2e.running import eventually
from tests.parts.ports import free_port

FIRST = date(1990, 3, 12)
TIME_ZONE = "America/Chicago"
REVISION_DAYS = 3
#: from its day to the arrival of a sale that comes too late: closed for sure, whatever the closings are just doing
TOO_LATE_DAYS = REVISION_DAYS + 5
#: days that may be open at once: the shop waits for the closings as a real day would
DAYS_AHEAD = 3
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
LARGE = 200_000


def units(markets: int, products: int) -> list[str]:
    return [f"store-{m}/product-{p}" for m in range(markets) for p in range(products)]


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the sale topic."""

    key: bytes
    value: bytes | None
    partition: int


@dataclass(slots=True)
class Truth:
    """What must come out."""

    #: (unit, day) -> quantity, revenue, events
    totals: dict[tuple[str, date], list[int]] = field(default_factory=dict)
    sent: int = 0
    doubled: int = 0
    late: int = 0
    too_late: set[tuple[str, str]] = field(default_factory=set)
    #: records of those, their repetitions included
    corrections: int = 0
    dead: Counter[str] = field(default_factory=Counter)

    @property
    def counted(self) -> int:
        return sum(events for _, _, events in self.totals.values())


class Shop:
    """Makes up each day's records, and keeps the books."""

    def __init__(self, markets: int, products: int, partitions: int, seed: int) -> None:
        self.units = units(markets, products)
        self._homes = [partition_of(unit.encode(), partitions) for unit in self.units]
        self._partitions = partitions
        self._chance = np.random.default_rng(seed)
        self.truth = Truth()
        self._number = 0
        #: (unit index, day number, id, record) of the last days, from which repetitions are taken
        self._known: list[tuple[int, int, str, Record]] = []

    def day(self, number: int, records: int) -> list[Record]:
        """The records that arrive on a day."""
        poison = records // 100
        doubled = records // 5 if number else 0
        fresh = [self._fresh(number, late=k < records // 10) for k in range(records - poison - doubled)]
        # A repetition may come a day after what it repeats; its day is then open still.
        self._known = [k for k in self._known if k[1] > number - REVISION_DAYS or k[1] < number - TOO_LATE_DAYS][
            -records:
        ]
        pool = [*self._known, *fresh]
        again = [pool[k] for k in self._chance.integers(0, len(pool), doubled)]
        for unit, _, id, _ in again:
            if (self.units[unit], id) in self.truth.too_late:
                self.truth.corrections += 1
            else:
                self.truth.doubled += 1
        found = [record for _, _, _, record in (*fresh, *again)] + [self._poison(k) for k in range(poison)]
        self._known = pool
        self.truth.sent += len(found)
        return [found[k] for k in self._chance.permutation(len(found))]

    def _fresh(self, number: int, *, late: bool) -> tuple[int, int, str, Record]:
        self._number += 1
        id, unit = f"sale-{self._number}", int(self._chance.integers(len(self.units)))
        day = number
        if late and number:
            self.truth.late += 1
            # One in five comes when nothing is counted for its day any more.
            if number >= TOO_LATE_DAYS and self._chance.random() < 0.2:
                day = number - TOO_LATE_DAYS
            else:
                day = number - int(self._chance.integers(1, min(number, REVISION_DAYS - 1) + 1))
        quantity, price = int(self._chance.integers(1, 9)), int(self._chance.integers(99, 500))
        name = self.units[unit]
        local = FIRST + timedelta(days=day)
        value = self._value(id, name, local, quantity, price)
        if day <= number - TOO_LATE_DAYS:
            self.truth.too_late.add((name, id))
            self.truth.corrections += 1
        else:
            total = self.truth.totals.setdefault((name, local), [0, 0, 0])
            total[0] += quantity
            total[1] += quantity * price
            total[2] += 1
        return unit, day, id, Record(name.encode(), value, self._homes[unit])

    @staticmethod
    def _value(id: str, unit: str, day: date, quantity: int, price: int, more: str = "") -> bytes:
        return (
            f'{{"id":"{id}","unit":"{unit}","occurred_at":"{day}T18:00:00Z","quantity":{quantity},'
            f'"price_minor":{price},"currency":"USD"{more}}}'
        ).encode()

    def _poison(self, kind: int) -> Record:
        unit = int(self._chance.integers(len(self.units)))
        name, home = self.units[unit], self._homes[unit]

        def good(unit: str = name, more: str = "") -> bytes:
            return self._value(f"poison-{kind}", unit, FIRST, 1, 100, more)

        kinds: list[tuple[str, bytes | None, int]] = [
            ("unreadable", b'{"id": "cut off', home),
            ("unreadable", None, home),
            ("unreadable", b"", home),
            ("unreadable", b"\xff\xfe\x00", home),
            ("unreadable", good(more=',"discount":1'), home),
            ("unreadable", good(more=f',"note":"{"x" * (LARGE if kind < 100 else 10)}"'), home),
            ("unreadable", good().replace(b"T18:00:00Z", b"T18:00:00"), home),
            ("version", good(more=',"version":2,"basket":7'), home),
            ("version", good(more=',"version":0'), home),
            ("unknown-unit", good("store-0/unheard-of"), home),
            ("currency", good().replace(b"USD", b"EUR"), home),
            ("partition", good(), (home + 1) % self._partitions),
        ]
        code, value, partition = kinds[kind % len(kinds)]
        self.truth.dead[code] += 1
        return Record(name.encode(), value, partition)


@dataclass(slots=True)
class Seen:
    """What the topics say."""

    rows: dict[tuple[str, date], UnitDay] = field(default_factory=dict)
    closings: dict[tuple[str, date], PeriodClosed] = field(default_factory=dict)
    corrections: dict[bytes, SaleCorrection] = field(default_factory=dict)
    dead: dict[str, str] = field(default_factory=dict)

    def totals(self) -> dict[tuple[str, date], list[int]]:
        return {place: [row.quantity, row.revenue_minor, row.events] for place, row in self.rows.items()}

    def vouched_for(self) -> int:
        """Sales that the closings speak of."""
        return sum(closing.events for closing in self.closings.values())

    def reasons(self) -> Counter[str]:
        return Counter(self.dead.values())


class Drive:
    """Sends a shop's days to a worker, in simulated time, and reads what it publishes."""

    def __init__(self, settings: Settings, shop: Shop, worker: Child, metrics_port: int) -> None:
        self.settings = settings
        self.shop = shop
        self.worker = worker
        self.seen = Seen()
        self._port = metrics_port
        self._producers = [
            Producer(
                {
                    "bootstrap.servers": settings.kafka, "acks": "all", "enable.idempotence": True, "linger.ms": 20,
                    "compression.type": codec, "queue.buffering.max.messages": 2_000_000,
                }
            )
            for codec in CODECS
        ]  # fmt: skip
        self._readers = {topic: Reader(settings, [topic]) for topic in (PANEL, SALE_CORRECTION, DEAD_LETTER)}

    async def start(self) -> None:
        for reader in self._readers.values():
            await reader.start()
        producer = self._producers[0]
        for unit in self.shop.units:
            entry = plain(CatalogEntry(unit=unit, time_zone=TIME_ZONE, currency="USD", list_price_minor=199))
            home = partition_of(unit.encode(), self.settings.partitions)
            producer.produce(self.settings.prefixed(CATALOG), entry.value, unit.encode(), home)
        await asyncio.to_thread(producer.flush)

    async def stop(self) -> None:
        for reader in self._readers.values():
            await reader.stop()

    async def tick(self, day: int) -> None:
        """A day begins."""
        at = period(FIRST + timedelta(days=day), TIME_ZONE).start + timedelta(
            seconds=self.settings.lateness_seconds + 60
        )
        record = encode(Tick(at=at), f"tick/{at}", at)
        headers: list[Any] = list(record.headers)
        for number in range(self.settings.partitions):
            self._producers[0].produce(self.settings.prefixed(TICK), record.value, partition=number, headers=headers)
        await asyncio.to_thread(self._producers[0].flush)

    async def send(self, records: list[Record]) -> None:
        topic = self.settings.prefixed(SALE)

        def all_of_them() -> None:
            for place, record in enumerate(records):
                producer = self._producers[place % len(self._producers)]
                producer.produce(topic, record.value, record.key, record.partition)
                if place % 10_000 == 0:
                    producer.poll(0)
            for producer in self._producers:
                assert producer.flush(60) == 0

        await asyncio.to_thread(all_of_them)

    async def look(self) -> None:
        """Take in what is new."""
        for topic, reader in self._readers.items():
            for record in await reader.records(5):
                if topic == DEAD_LETTER:
                    told = dict(record.headers)
                    self.seen.dead[told["ce_id"].decode()] = told["ce_reasoncode"].decode()
                elif topic == SALE_CORRECTION:
                    self.seen.corrections[record.key] = read(SaleCorrection, record.value)
                elif dict(record.headers)["ce_type"] == b"flipside.unit-day.v1":
                    row = read(UnitDay, record.value)
                    self.seen.rows[row.unit, row.day] = row
                elif dict(record.headers)["ce_type"] == b"flipside.period-closed.v1":
                    closing = read(PeriodClosed, record.value)
                    self.seen.closings[closing.market, closing.day] = closing

    async def closed(self, day: int) -> None:
        """Wait until every market has closed a day."""
        last = FIRST + timedelta(days=day)
        markets = {unit.partition("/")[0] for unit in self.shop.units}

        async def all_closed() -> bool:
            assert self.worker.running(), self.worker.tail()
            await self.look()
            return all((market, last) in self.seen.closings for market in markets)

        if day >= 0:
            await eventually(f"the closings of {last}; the worker said\n{self.worker.tail()}", all_closed)

    async def play(
        self, days: int, records: int, on_day: Callable[[int], Awaitable[None]] | None = None, *, amid: bool = False
    ) -> None:
        """All days, until the last of them is closed. ``on_day``: after a day's sales, or ``amid`` them."""
        for day in range(days):
            await self.tick(day)
            sales = self.shop.day(day, records)
            half = len(sales) // 2
            await self.send(sales[:half])
            if amid and on_day is not None:
                await on_day(day)
            await self.send(sales[half:])
            await self.closed(day - DAYS_AHEAD)
            if not amid and on_day is not None:
                await on_day(day)
        await self.tick(days)
        await self.closed(days - 1)

    async def settled(self) -> None:
        """Wait until everything that is owed is seen; where that does not come, the comparison says what is missing."""
        truth = self.shop.truth

        async def complete() -> bool:
            await self.look()
            return (
                self.seen.totals() == truth.totals
                and len(self.seen.corrections) == len(truth.too_late)
                and self.seen.reasons() == truth.dead
                # The closings that vouch for rows come after them.
                and self.seen.vouched_for() == truth.counted
            )

        try:
            await eventually("every count", complete)
        except AssertionError:
            return

    def metric(self, outcome: str) -> int:
        """The worker's own count of sales."""
        return self._sum(f'flipside_events_total{{outcome="{outcome}",topic="sale"}}')

    def rebuilds(self) -> int:
        """How often the worker had to count an input again."""
        return self._sum('flipside_rebuilds_total{what="sale"')

    def _sum(self, name: str) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        return sum(int(float(line.split()[-1])) for line in text.splitlines() if line.startswith(name))

    def memory_bytes(self) -> int:
        """Resident memory of the worker."""
        pages = int(Path(f"/proc/{self.worker.pid}/statm").read_text().split()[1])
        return pages * 4096


def worker_environment(settings: Settings, **more: object) -> dict[str, str]:
    """What a worker with these settings is started with."""
    told = json.loads(settings.model_dump_json(exclude={"redis", "kafka_password"}, exclude_none=True)) | more
    told["redis"] = settings.redis.get_secret_value()
    return child_environment({f"FLIPSIDE_{name.upper()}": str(value) for name, value in told.items()})


@asynccontextmanager
async def driving(settings: Settings, shop: Shop) -> AsyncIterator[Drive]:
    """A worker of its own, and what drives it."""
    await create_topics(settings)
    port = free_port()
    with Sandbox("flipside-messy-") as sandbox:
        environment = worker_environment(settings, metrics_port=port)
        worker = sandbox.start("worker", [sys.executable, "-m", "flipside", "worker"], environment)
        drive = Drive(settings, shop, worker, port)
        await drive.start()
        try:
            yield drive
        finally:
            await drive.stop()
            worker.stop()
