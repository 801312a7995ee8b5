"""A shop that sells rarely sends nothing when it sells nothing: each cell of the panel is what really happened.

Two markets of six units over ten days, on real Kafka and Redis. One busy unit sells twelve times a day in each of two
partitions; the others sell now and then. A partition is cut off for a day and some of its sales come late, a unit is
listed midway, another one delisted, and one market is closed on Sundays.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from redis import Redis

from analysis.panel_data.ledger import Ledger
from analysis.panel_data.sales_columns import Unseen, unseen
from controller.messages.codec import Record, encode
from controller.messages.events import PeriodClosed, Tick, UnsoldUnits
from controller.messages.inputs import CatalogEntry, Sale
from controller.messages.topics import CATALOG, DEAD_LETTER, PANEL, SALE, TICK
from flipside.checks.state_comparison import differences
from flipside.replay.processes import Child
from flipside.simulated_shop.shop import plain
from flipside.topics.reader import Reader
from streams.app import build_parts
from streams.kafka.topics import create_topics
from streams.runtime.settings import Settings
from streams.worker.services import Parts, partition_of
from tests.e2e.running import PARTITIONS, Servers, eventually, records

pytestmark = pytest.mark.broker

#: a Monday
FIRST = datetime(2026, 3, 2, tzinfo=UTC)
DAYS = 10
ONE_DAY = timedelta(days=1)
CUT_OFF, LATE_TOLD = 7, 8
#: sales of a busy unit: no sale after seven such days has a chance of (7/8)^84.5, one in 80,000
BUSY = 12
NAMES = [f"p{number:03d}" for number in range(200)]


def homes(market: str, partition: int) -> list[str]:
    """Products of a market whose sales lie in one partition."""
    return [name for name in NAMES if partition_of(f"{market}/{name}".encode(), PARTITIONS) == partition]


#: the busy unit of each partition, and two that sell rarely
A_BUSY, A_RARE, A_NEW = homes("de", 0)[:3]
B_BUSY, B_RARE, B_GONE = homes("de", 1)[:3]
F_BUSY, F_RARE = homes("fr", 2)[:2]
LISTED = [f"de/{name}" for name in (A_BUSY, A_RARE, B_BUSY, B_RARE, B_GONE)] + [f"fr/{F_BUSY}", f"fr/{F_RARE}"]

#: rare sales: unit -> days
RARE = {f"de/{A_RARE}": {0, 4}, f"de/{B_RARE}": {2, 9}, f"fr/{F_RARE}": {3, 6}, f"de/{A_NEW}": {9}}


def at(day: float) -> datetime:
    return FIRST + day * ONE_DAY


def sunday(day: int) -> bool:
    return at(day).isoweekday() == 7


def sold_on(day: int) -> list[str]:
    """Units with a sale, once for each."""
    busy = [f"de/{A_BUSY}"] * BUSY + ([] if day == CUT_OFF else [f"de/{B_BUSY}"] * BUSY)
    busy += [] if sunday(day) else [f"fr/{F_BUSY}"] * BUSY
    return busy + [unit for unit, days in RARE.items() if day in days]


def expected() -> dict[tuple[str, int], object]:
    """What became of each cell: quantity, or why nothing is known of it."""
    found: dict[tuple[str, int], object] = {}
    for unit in [*LISTED, f"de/{A_NEW}"]:
        for day in range(DAYS):
            found[unit, day] = sold_on(day).count(unit)
    for day in range(DAYS):
        if day < 5:
            # Listed during day 3; the worker of a replay reads it when it closes that day, early on day 4.
            found[f"de/{A_NEW}", day] = Unseen.UNLISTED
        if day >= 6:
            found[f"de/{B_GONE}", day] = Unseen.UNLISTED
        if sunday(day):
            found[f"fr/{F_BUSY}", day] = Unseen.CLOSED
    # A late sale of a unit that had a zero; the market was open by mistake on its closed Sunday.
    found[f"de/{A_RARE}", 6] = 1
    found[f"fr/{F_RARE}", 6] = 1
    # Silent at first: one of its units sold after all, as came out a day late, and so the others are zeros.
    found[f"de/{B_BUSY}", CUT_OFF] = 2
    found[f"de/{B_RARE}", CUT_OFF] = 0
    return found


@dataclass
class Shop:
    """Everything outside of the house."""

    parts: Parts
    panel: Reader
    sales: int = 0
    closed: set[tuple[str, date]] = field(default_factory=set)

    async def list_unit(self, unit: str, **more: object) -> None:
        entry = CatalogEntry.model_validate(
            {"unit": unit, "time_zone": "UTC", "currency": "EUR", "list_price_minor": 300, **more}
        )
        await self.parts.publish(CATALOG, [plain(entry)])

    async def sell(self, day: int, units: Sequence[str]) -> None:
        sold = []
        for unit in units:
            self.sales += 1
            sold.append(
                Sale(
                    id=f"s{self.sales}", unit=unit, occurred_at=at(day + 0.5), quantity=1, price_minor=300,
                    currency="EUR",
                )
            )  # fmt: skip
        await self.parts.publish(SALE, [plain(sale) for sale in sold])

    async def tick(self, day: float) -> None:
        record = encode(Tick(at=at(day)), f"tick/{day}", at(day))
        for number in range(PARTITIONS):
            await self.parts.producer.send_and_wait(
                self.parts.topic(TICK), value=record.value, headers=record.headers, partition=number
            )

    async def end_of(self, day: int, revision: bool = False) -> None:
        """The day is over in both markets."""
        await self.tick(day + 1.02)

        async def over() -> bool:
            await self.panel.poll()
            closings = [m for m in self.panel.messages if isinstance(m, PeriodClosed)]
            self.closed |= {(m.market, m.day) for m in closings}
            return {("de", at(day).date()), ("fr", at(day).date())} <= self.closed

        await eventually(f"day {day} to be closed", over)

    async def revised(self, market: str, day: int) -> None:
        async def again() -> bool:
            await self.panel.poll()
            return any(
                isinstance(m, PeriodClosed) and (m.market, m.day) == (market, at(day).date()) and m.revision
                for m in self.panel.messages
            )

        await eventually(f"day {day} to be closed again", again)


@asynccontextmanager
async def shop_of(settings: Settings) -> AsyncIterator[Shop]:
    await create_topics(settings)
    panel = Reader(settings, [PANEL])
    await panel.start()
    try:
        async with build_parts(settings, "shop") as parts:
            yield Shop(parts, panel)
    finally:
        await panel.stop()


def emptied(settings: Settings) -> None:
    """Redis forgets all of this installation."""
    server: Redis = Redis.from_url(settings.redis.get_secret_value())
    keys = list(server.scan_iter(f"{{{settings.namespace}:*"))
    assert keys
    server.delete(*keys)
    server.close()


def cells(ledger: Ledger) -> dict[tuple[str, int], object]:
    found: dict[tuple[str, int], object] = {}
    for unit in [*LISTED, f"de/{A_NEW}"]:
        rows = ledger.books[unit.partition("/")[0]].rows
        for day in range(DAYS):
            cell = rows.read(at(day).date(), rows.slots_of([unit]))
            why = Unseen(int(unseen(cell.revision, Unseen.UNLISTED)[0]))
            found[unit, day] = int(cell.quantity[0]) if why is Unseen.OBSERVED else why
    return found


@pytest.mark.parametrize("lost", [False, True], ids=["Redis keeps all", "Redis is emptied twice"])
async def test_each_cell_is_a_sale_a_zero_or_missing_for_a_reason(
    servers: Servers, namespace: str, tmp_path: Path, lost: bool
) -> None:
    settings = servers.settings(namespace, checkpoint_seconds=0)
    worker = Child("worker", ["worker"], settings.environment(), tmp_path)
    async with shop_of(settings) as shop:
        await shop.tick(-2)
        for unit in LISTED:
            closed = {"closed_weekdays": (7,)} if unit.startswith("fr/") else {}
            await shop.list_unit(unit, **closed)
        # What is wrong is set aside: a key that is not the unit, and a zone that is none.
        good = CatalogEntry(unit="de/x1", time_zone="UTC", currency="EUR", list_price_minor=300)
        await shop.parts.publish(
            CATALOG,
            [
                Record(b"de/x2", good.model_dump_json().encode(), []),
                Record(
                    b"it/x", good.model_dump_json().replace("de/x1", "it/x").replace("UTC", "Mars/Olympus").encode(), []
                ),
            ],
        )
        await worker.start()
        try:
            for day in range(DAYS):
                if day == 3:
                    await shop.tick(3.5)
                    await shop.list_unit(f"de/{A_NEW}")
                if day == 5:
                    await shop.tick(5.5)
                    await shop.list_unit(f"de/{B_GONE}", delisted=True)
                if lost and day in (6, LATE_TOLD):
                    await worker.stop()
                    emptied(settings)
                    await worker.start()
                await shop.sell(day, sold_on(day))
                if day == LATE_TOLD:
                    await shop.sell(6, [f"de/{A_RARE}"])
                    await shop.sell(CUT_OFF, [f"de/{B_BUSY}"] * 2)
                await shop.end_of(day)
                if day == CUT_OFF:
                    said = [m for m in shop.panel.messages if isinstance(m, UnsoldUnits) and m.day == at(day).date()]
                    (silent,) = [m.missing for m in said if m.market == "de"]
                    assert silent == {"feed_silent": tuple(sorted((B_BUSY, B_RARE)))}
            for late in (6, CUT_OFF):
                await shop.revised("de", late)
            worker.check()
            found, _ = await differences(settings)
            assert found == []
        finally:
            await worker.stop()
        ledger = Ledger()
        for message in shop.panel.messages:
            ledger.fold(message)
    assert cells(ledger) == expected(), worker.tail()
    assert [book.unmet for book in ledger.books.values()] == [set()] * 2, "all that closings promise was read"
    rows = ledger.books["de"].rows
    first = rows.read(at(6).date(), rows.slots_of([f"de/{A_RARE}"]))
    assert (first.revision.tolist(), first.late.tolist()) == ([1], [1])
    letters = [dict(letter.headers)["ce_reasoncode"] for letter in await records(settings, DEAD_LETTER)]
    assert set(letters) == {b"key", b"unreadable"}
    last = {(m.market, m.day): m for m in shop.panel.messages if isinstance(m, PeriodClosed)}
    assert last["fr", at(6).date()].sold_while_closed == 1
