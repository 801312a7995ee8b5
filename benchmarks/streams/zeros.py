"""What units that sold nothing cost: bytes of the panel, seconds to close and to fold, memory of store and worker.

Each case is a process of its own: sales are folded into a real Redis, each day is closed by the code of the worker,
with a producer in memory, and all that it published is decoded, folded into a ledger and analysed.

- *all sold*: every listed unit has a sale, so that nothing is unsold
- *tenth sold*: nine tenths of the unit-days are zeros, in compact records
- *tenth sold, rows*: the same, but each zero has a row of its own instead (the choice that was not taken)

Run: python -m benchmarks.streams.zeros [--units N] [--days N] [--json]. Starts a redis-server of its own for each case.
"""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, cast

import numpy as np
import structlog
from redis.asyncio import Redis

from analysis.panel_data.ledger import Ledger
from analysis.worker.worker import BATCH
from benchmarks.worker.worker import START, ZONE, _fill, _placed, experiment, last_steps, refreshed, registered
from controller.errors import UnreadableMessage
from controller.messages.codec import GivenHeaders, decode_many, encode
from controller.messages.events import PeriodClosed, UnitDay, UnsoldUnits
from controller.messages.inputs import CatalogEntry
from controller.outcomes.listing import ALWAYS, Listed
from controller.time.periods import period
from streams.closing.day_close import Closing
from streams.closing.watermark import Watermark
from streams.control.catalog import Catalog
from streams.runtime.clock import TickClock
from streams.runtime.settings import Settings
from streams.store import Cell
from streams.store.redis.store import RedisStore
from streams.worker.metrics import Metrics
from streams.worker.services import Parts, partition_of
from tests.parts.redis_server import RedisServer

CASES = {"all sold": 1.0, "tenth sold": 0.1, "tenth sold, rows": 0.1}
MARKETS = 10
PARTITIONS = 4
CELLS_PER_CALL = 1000
Sent = tuple[bytes | None, bytes, GivenHeaders]


@dataclass
class Topic:
    """A producer that keeps what it is given."""

    records: list[Sent] = field(default_factory=list)

    def create_batch(self) -> "Batch":
        return Batch()

    async def send_batch(self, batch: "Batch", _: str, *, partition: int) -> Awaitable[None]:
        async def acknowledged() -> None: ...

        self.records += batch.records
        return acknowledged()

    def bytes(self) -> int:
        """Keys, values and headers: what the topic holds of them, uncompressed, but for a few bytes a record."""
        of_headers = sum(len(n) + len(h or b"") for _, _, headers in self.records for n, h in headers)
        return of_headers + sum(len(key or b"") + len(value) for key, value, _ in self.records)


@dataclass
class Batch:
    records: list[Sent] = field(default_factory=list)

    def append(self, *, timestamp: None, key: bytes | None, value: bytes, headers: Any) -> int:
        self.records.append((key, value, tuple(headers)))
        return 1

    def close(self) -> None: ...


class Listing(Catalog):
    """A catalog that lists every unit from the beginning of time."""

    def __init__(self, parts: Parts, units: tuple[str, ...]) -> None:
        super().__init__(parts)
        entry = CatalogEntry(unit=units[0], time_zone=ZONE, currency="EUR", list_price_minor=300)
        for unit in units:
            self._listed.known[unit] = entry.model_copy(update={"unit": unit})
            self._listed.listings[unit] = Listed(ALWAYS)
            self._listed.zones[unit.partition("/")[0]] = ZONE


@dataclass
class Case:
    """One installation."""

    store: RedisStore
    parts: Parts
    topic: Topic
    units: tuple[str, ...]
    positions: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(PARTITIONS), 0))

    async def sell(self, day: date, units: list[str]) -> None:
        """One sale each, through the call that counts sales."""
        homes: dict[int, list[Cell]] = {}
        for unit in units:
            sold = Cell(unit.partition("/")[0], day.toordinal(), unit, 3, 900, 600, 1, 1)
            homes.setdefault(partition_of(unit.encode(), PARTITIONS), []).append(sold)
        for home, cells in homes.items():
            for first in range(0, len(cells), CELLS_PER_CALL):
                position = self.positions[home]
                some = cells[first : first + CELLS_PER_CALL]
                assert await self.store.fold_sales(home, position, position + len(some), some)
                self.positions[home] += len(some)

    async def close(self, closings: list[Closing], day: date) -> None:
        """The watermark passes the end of a day."""
        at = period(day, ZONE).end
        for home, position in self.positions.items():
            assert await self.store.mark_caught_up(home, position, at)
        counts = {p: found.counting for p, found in enumerate(await self.store.caught_up())}
        for closing in closings:
            await closing.close(Watermark(at, dict(self.positions), counts))


async def walk(url: str, units: int, days: int, share: float, rows: bool) -> dict[str, Any]:
    """The figures of one case, those of the first day apart."""
    definition = experiment(
        "zeros", tuple(f"m{k}" for k in range(MARKETS)), units // MARKETS, days + 30, "unit"
    )  # fmt: skip
    store, topic = RedisStore(url, "bench", PARTITIONS), Topic()
    settings = Settings(clock="ticks", partitions=PARTITIONS)
    parts = Parts(settings, TickClock(), store, cast(Any, topic), Metrics(), structlog.get_logger(), "bench")
    case = Case(store, parts, topic, definition.units)
    catalog = Listing(parts, definition.units)
    for shard in range(PARTITIONS):
        await store.claim(shard, 1)
    closings = [Closing(parts, catalog, shard, 1) for shard in range(PARTITIONS)]
    ledger, rng = Ledger(), np.random.default_rng(1)
    ledger.fold(registered(definition))
    placed, found = _placed(ledger, [definition]), list[dict[str, float]]()
    for k in range(days):
        day = START + timedelta(days=k)
        sold = [unit for unit, there in zip(definition.units, rng.random(units) < share, strict=True) if there]
        begin = time.perf_counter()
        await case.sell(day, sold)
        counted = time.perf_counter()
        topic.records.clear()
        await case.close(closings, day)
        if rows:
            spell_out(topic, day)
        closed = time.perf_counter()
        _fill(ledger, [definition], placed, day, rng)
        for book in ledger.books.values():
            book.rows.days.pop(day)
        folding = time.perf_counter()
        for first in range(0, len(topic.records), BATCH):
            some = topic.records[first : first + BATCH]
            for message in decode_many([(headers, value) for _, value, headers in some]):
                assert not isinstance(message, UnreadableMessage)
                ledger.fold(message)
        folded = time.perf_counter()
        assert not any(book.unmet for book in ledger.books.values())
        found.append(
            {"sales": len(sold), "count": counted - begin, "records": len(topic.records), "MB": topic.bytes() / 1e6,
             "close": closed - counted, "fold": folded - folding}
        )  # fmt: skip
    published = last_steps(ledger, START + timedelta(days=days - 2))
    begin = time.perf_counter()
    refreshed(ledger, published)
    took = time.perf_counter() - begin
    bare: Redis = Redis.from_url(url)
    memory = (await bare.info("memory"))["used_memory"]
    await bare.aclose()
    await store.close()
    total = {name: sum(one[name] for one in found) for name in found[0]}
    return {
        "first day": found[0],
        "all days": total,
        "refresh": took,
        "Redis MB": memory / 1e6,
        "process MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }


def spell_out(topic: Topic, day: date) -> None:
    """Replace each compact record by a row for each of its zeros."""
    local, kept = period(day, ZONE), list[Sent]()
    for (key, value, headers), message in zip(
        topic.records, decode_many([(h, v) for _, v, h in topic.records]), strict=True
    ):
        if isinstance(message, PeriodClosed | UnitDay):
            kept.append((key, value, headers))
        elif isinstance(message, UnsoldUnits):
            for product in message.zeros:
                row = UnitDay(
                    unit=f"{message.market}/{product}", day=day, starts_at=local.start, ends_at=local.end, quantity=0,
                    revenue_minor=0, cost_minor=0, currency="EUR", events=0, revision=0,
                )  # fmt: skip
                record = encode(row, f"{row.unit}/{day}/0", local.end)
                kept.append((record.key, record.value or b"", tuple(record.headers)))
    topic.records[:] = kept


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--units", type=int, default=100_000)
    arguments.add_argument("--days", type=int, default=10)
    arguments.add_argument("--json", action="store_true")
    arguments.add_argument("--case", choices=CASES, help="one of them, in this process")
    given = arguments.parse_args()
    if given.case is not None:
        with RedisServer() as server:
            found = asyncio.run(
                walk(server.url, given.units, given.days, CASES[given.case], given.case.endswith("rows"))
            )
        print(json.dumps(found))
        return
    every = {}
    for case in CASES:
        command = [sys.executable, "-m", "benchmarks.streams.zeros", "--case", case]
        sizes = ["--units", str(given.units), "--days", str(given.days)]
        said = subprocess.run([*command, *sizes], check=True, capture_output=True, text=True).stdout
        every[case] = json.loads(said.splitlines()[-1])
    if given.json:
        print(json.dumps({"units": given.units, "days": given.days, "cases": every}))
        return
    print(f"{given.units:,} units in {MARKETS} markets, the first day and all {given.days}; seconds, megabytes\n")
    width = max(map(len, CASES)) + 2
    print(f"{'':24}" + "".join(f"{case:>{width}}" for case in CASES))
    for what in ("sales", "count", "records", "MB", "close", "fold"):
        for which in ("first day", "all days"):
            values = "".join(f"{every[case][which][what]:>{width},.2f}" for case in CASES)
            print(f"{what + ', ' + which:24}{values}")
    for what in ("refresh", "Redis MB", "process MB"):
        print(f"{what:24}" + "".join(f"{every[case][what]:>{width},.2f}" for case in CASES))


if __name__ == "__main__":
    main()
