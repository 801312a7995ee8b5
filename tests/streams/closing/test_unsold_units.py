"""A listed unit that sold nothing on a day of a living feed is zero; those of a silent feed are missing."""

from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, cast

import pytest
import structlog

from controller.errors import CannotReach
from controller.messages.checkpoints import Checkpoint
from controller.messages.codec import M, ce_type, read
from controller.messages.events import CE_TYPES, PeriodClosed, UnitDay, UnsoldUnits
from controller.messages.inputs import CatalogEntry
from controller.outcomes.listing import ALWAYS, Listed, read_whole_days
from controller.outcomes.unsold_units import Part, counts, unpacked
from streams.closing.day_close import Closing
from streams.closing.unsold_restore import PanelDays, restore_notes
from streams.closing.watermark import Watermark
from streams.control.catalog import Catalog
from streams.inputs.published_sales import Published
from streams.inputs.recount import Recounted
from streams.runtime.clock import TickClock
from streams.runtime.settings import Settings
from streams.store import DIGEST_BYTES, NOTE_KINDS, Fenced, Store
from streams.store.memory.store import MemoryStore
from streams.store.restore_port import CountedDay
from streams.worker.metrics import Metrics
from streams.worker.services import Parts, partition_of
from tests.streams.builders import Batch, at, cell, ordinal
from tests.streams.conftest import SHARDS

REVISION_DAYS = 7
MARKET = "de"
#: known before the clock began
EVER = Listed(ALWAYS)
#: a unit of the first partition, and three of the second one
HOME = {f"de/{letter}": partition_of(f"de/{letter}".encode(), SHARDS) for letter in "abcdefghijklmnop"}
FIRST = [unit for unit, home in HOME.items() if home == 0][:2]
SECOND = [unit for unit, home in HOME.items() if home == 1][:3]
BUSY, QUIET = FIRST
UNITS = sorted(FIRST + SECOND)


class Shop(Catalog):
    """A catalog that tests write."""

    def __init__(self, parts: Parts, units: list[str]) -> None:
        super().__init__(parts)
        self.add_market(MARKET)
        for unit in units:
            self.list_unit(unit)

    def add_market(self, market: str) -> None:
        self._listed.zones[market] = "UTC"

    def forget(self, unit: str) -> None:
        del self._listed.known[unit], self._listed.listings[unit]

    def list_unit(self, unit: str, found: Listed = EVER, **more: Any) -> None:
        self._listed.known[unit] = CatalogEntry(
            unit=unit, time_zone="UTC", currency="EUR", list_price_minor=100, **more
        )  # fmt: skip
        self._listed.listings[unit] = found


@dataclass
class Panel:
    """A producer of the panel, which may fail after so many records; what came before is out."""

    fails_after: int | None = None
    records: list[tuple[bytes, bytes, str | None]] = field(default_factory=list)

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, _: str, *, partition: int) -> Awaitable[None]:
        async def acknowledged() -> None: ...

        for key, value, headers in batch.records:
            if self.fails_after is not None and len(self.records) >= self.fails_after:
                raise ConnectionError("the brokers are gone")
            self.records.append((key, value, ce_type(headers)))
        return acknowledged()

    def of(self, model: type[M]) -> list[M]:
        return [read(model, value) for _, value, kind in self.records if kind == CE_TYPES[model]]

    def compacted(self) -> dict[bytes, bytes]:
        return {key: value for key, value, _ in self.records}

    def closing(self, day: int) -> PeriodClosed:
        """The last of a day."""
        return [found for found in self.of(PeriodClosed) if found.day == at(day).date()][-1]

    def unsold(self, day: int) -> UnsoldUnits:
        """The last of a day, which has one part."""
        return [found for found in self.of(UnsoldUnits) if found.day == at(day).date()][-1]


class Market:
    """A store whose sales come by units and days."""

    def __init__(self, store: Store, units: list[str] = UNITS) -> None:
        self.store = store
        self.panel = Panel()
        settings = Settings(clock="ticks", partitions=SHARDS, revision_days=REVISION_DAYS, lateness_seconds=0)
        self.parts = Parts(
            settings, TickClock(), store, cast(Any, self.panel), Metrics(), structlog.get_logger(), "w", {}
        )  # fmt: skip
        self.shop = Shop(self.parts, units)
        self._positions = dict.fromkeys(range(SHARDS), 0)
        self._sales = 0
        self.owner = self.new_owner()

    def take_over(self, other: "Market") -> None:
        """Go on where another one has got."""
        self._positions, self._sales = other._positions, other._sales

    def new_owner(self) -> Closing:
        self.owner = Closing(self.parts, self.shop, self.parts.shard_of(MARKET), 1)
        return self.owner

    async def begin(self) -> None:
        for partition in range(SHARDS):
            await self.store.restoring.begin_input("sale", partition, "first")
            await self.store.restoring.finish_input("sale", partition, "first", 0)

    async def sell(self, day: int, *units: str) -> None:
        for unit in units:
            home, self._sales = HOME[unit], self._sales + 1
            position = self._positions[home]
            identity = self._sales.to_bytes(DIGEST_BYTES, "big")
            assert await self.store.fold_sales(
                home, position, position + 1, [cell(unit, day)], [(ordinal(day), identity)]
            )
            self._positions[home] += 1

    async def close(self, day: float) -> None:
        """The watermark reaches the end of a day."""
        for partition, position in self._positions.items():
            assert await self.store.mark_caught_up(partition, position, at(day + 1))
        inputs = enumerate(await self.store.caught_up())
        counts = {p: found.counting for p, found in inputs}
        await self.owner.close(Watermark(at(day + 1), dict(self._positions), counts))


@pytest.fixture
async def market(store: Store) -> Market:
    found = Market(store)
    await found.begin()
    return found


def products(units: list[str]) -> tuple[str, ...]:
    return tuple(sorted(unit.partition("/")[2] for unit in units))


async def test_a_listed_unit_that_sold_nothing_is_zero(market: Market) -> None:
    await market.sell(0, BUSY, BUSY, SECOND[0])
    await market.close(0)
    (said,) = market.panel.of(UnsoldUnits)
    assert said.zeros == products([QUIET, *SECOND[1:]])
    assert (said.missing, said.revision, said.part) == ({}, 0, 0)
    closing = market.panel.closing(0)
    assert (closing.unit_days, closing.events, closing.zeros, closing.missing) == (2, 3, 3, {})
    assert closing.partition_events == {"0": 2, "1": 1}


async def test_unsold_units_are_out_before_the_rows_and_those_before_the_closing(market: Market) -> None:
    await market.sell(0, BUSY)
    await market.close(0)
    kinds = [kind for _, _, kind in market.panel.records]
    assert kinds == [CE_TYPES[UnsoldUnits], CE_TYPES[UnitDay], CE_TYPES[PeriodClosed]]


async def test_a_market_that_sold_nothing_is_missing_until_its_history_shows_that_such_days_are_usual(
    market: Market,
) -> None:
    await market.sell(0, BUSY)
    await market.sell(1, BUSY)
    for day in range(3):
        await market.close(day)
    assert market.panel.unsold(2).missing == {"feed_silent": products(UNITS)}, "two days show nothing"
    assert (market.panel.closing(2).zeros, market.panel.closing(2).partition_events) == (0, {})
    await market.sell(3, BUSY)
    await market.close(3)
    await market.close(4)
    assert market.panel.unsold(4).zeros == products(UNITS), "three days with a sale each: (3/4)^3.5 is a third"
    assert market.panel.closing(4).partition_events == {"0": 0, "1": 0}


async def test_units_of_a_partition_that_was_cut_off_are_missing_while_the_rest_of_their_market_lives(
    market: Market,
) -> None:
    for day in range(4):
        await market.sell(day, BUSY, *[SECOND[0]] * 20)
        await market.close(day)
    await market.sell(4, BUSY)
    await market.close(4)
    said, closing = market.panel.unsold(4), market.panel.closing(4)
    assert (said.zeros, said.missing) == (products([QUIET]), {"feed_silent": products(SECOND)})
    assert (closing.zeros, closing.missing, closing.partition_events) == (1, {"feed_silent": 3}, {"0": 1})


async def test_late_sales_show_that_a_feed_was_alive_and_its_other_units_become_zeros(market: Market) -> None:
    for day in range(4):
        await market.sell(day, BUSY, *[SECOND[0]] * 20)
        await market.close(day)
    await market.sell(4, BUSY)
    await market.close(4)
    await market.sell(4, SECOND[0], SECOND[0])
    await market.close(5)
    said, closing = market.panel.unsold(4), market.panel.closing(4)
    assert (said.zeros, said.missing, said.revision) == (products([QUIET, *SECOND[1:]]), {}, 1)
    assert (closing.zeros, closing.missing, closing.revision) == (3, {}, 1)
    (row,) = [row for row in market.panel.of(UnitDay) if (row.unit, row.day) == (SECOND[0], at(4).date())]
    assert (row.events, row.revision, row.late) == (2, 1, 2), "its first row is a revision, and all of it came late"
    await market.sell(4, SECOND[0], QUIET)
    await market.close(6)
    rows = [row for row in market.panel.of(UnitDay) if row.day == at(4).date()]
    assert [(r.unit, r.events, r.revision, r.late) for r in rows[-2:]] == sorted(
        [(QUIET, 1, 1, 1), (SECOND[0], 3, 2, 3)]
    )
    assert (market.panel.closing(4).zeros, market.panel.closing(4).unit_days) == (2, 3)


async def test_a_late_sale_of_a_unit_with_a_row_counts_only_itself_as_late(market: Market) -> None:
    await market.sell(0, BUSY, BUSY)
    await market.close(0)
    await market.sell(0, BUSY)
    await market.close(1)
    await market.sell(0, BUSY, BUSY)
    await market.close(2)
    rows = [row for row in market.panel.of(UnitDay) if row.day == at(0).date()]
    assert [(row.events, row.revision, row.late) for row in rows] == [(2, 0, 0), (3, 1, 1), (5, 2, 3)]
    (held,) = await market.store.unit_days(MARKET, ordinal(0))
    assert (held.late, held.revision, held.published) == (3, 3, 5)


async def test_closed_units_are_missing_those_that_sold_anyway_count_and_are_counted(market: Market) -> None:
    monday = at(0).date()
    assert monday.isoweekday() == 1
    market.shop.list_unit(BUSY, closed_weekdays=(1,))
    market.shop.list_unit(QUIET, closed_on=(monday,))
    await market.sell(0, BUSY, SECOND[0])
    await market.close(0)
    said, closing = market.panel.unsold(0), market.panel.closing(0)
    assert (said.zeros, said.missing) == (products(SECOND[1:]), {"closed": products([QUIET])})
    assert (closing.sold_while_closed, closing.missing, closing.unit_days) == (1, {"closed": 1}, 2)
    meter = market.parts.metrics.registry.get_sample_value
    assert meter("flipside_sold_while_closed_unit_days_total") == 1
    assert meter("flipside_unsold_unit_days_total", {"what": "closed"}) == 1
    assert meter("flipside_unsold_unit_days_total", {"what": "zero"}) == 2


async def test_days_on_which_all_units_are_closed_are_no_history_of_silence(market: Market) -> None:
    """A shop that is closed on Sundays: no Sunday makes a Monday without sales look usual."""
    for unit in UNITS:
        market.shop.list_unit(unit, closed_weekdays=(6, 7))
    for day in range(14):
        if at(day).isoweekday() < 6:
            await market.sell(day, *[BUSY] * 40, *[SECOND[0]] * 40)
        await market.close(day)
    assert market.panel.closing(6).missing == {"closed": len(UNITS)}
    assert market.panel.closing(6).partition_events == {}
    await market.close(14)
    assert market.panel.closing(14).missing == {"feed_silent": len(UNITS)}


async def test_a_unit_that_is_listed_midway_has_zeros_from_its_first_whole_day_on(market: Market) -> None:
    new, gone = SECOND[1], SECOND[2]
    market.shop.forget(new)
    for day in range(5):
        if day == 1:
            market.shop.list_unit(new, Listed(at(1.5)))
        if day == 3:
            market.shop.list_unit(gone, Listed(ALWAYS, at(3.5)), delisted=True)
        await market.sell(day, BUSY)
        await market.close(day)
    zeros = [market.panel.unsold(day).zeros for day in range(5)]
    assert [products([new])[0] in found for found in zeros] == [False, False, True, True, True]
    assert [products([gone])[0] in found for found in zeros] == [True, True, True, False, False]


async def test_an_entry_that_comes_after_its_day_was_closed_makes_no_zero_of_that_day(market: Market) -> None:
    new = SECOND[1]
    market.shop.forget(new)
    await market.sell(0, BUSY)
    await market.close(0)
    market.shop.list_unit(new)  # the topic shows it as known for ever
    await market.sell(0, QUIET)
    await market.sell(1, BUSY)
    await market.close(1)
    assert products([new])[0] not in market.panel.unsold(0).zeros
    assert market.panel.closing(0).zeros == 2
    assert products([new])[0] in market.panel.unsold(1).zeros


async def test_a_product_of_two_markets_is_two_units(market: Market) -> None:
    """Each counts for itself; what another market lists is nothing to this one."""
    market.shop.list_unit("fr/a")
    market.shop.add_market("fr")
    await market.sell(0, BUSY)
    await market.close(0)
    said = [found for found in market.panel.of(UnsoldUnits) if found.market == MARKET]
    assert [found.zeros for found in said] == [products([unit for unit in UNITS if unit != BUSY])]


async def test_many_units_are_cut_into_parts_in_the_order_of_their_names(store: Store) -> None:
    many = [f"de/p{number:05d}" for number in range(9000)]
    HOME.update({unit: partition_of(unit.encode(), SHARDS) for unit in many})
    market = Market(store, many)
    await market.begin()
    await market.sell(0, many[0], many[4000])
    await market.close(0)
    parts = market.panel.of(UnsoldUnits)
    assert [(part.part, len(part.zeros), part.zeros[0]) for part in parts] == [
        (0, 3999, "p00001"), (1, 3999, "p04001"), (2, 1000, "p08000"),
    ]  # fmt: skip
    assert market.panel.closing(0).zeros == 8998


@pytest.mark.parametrize("records", range(9))
async def test_a_crash_after_any_record_changes_nothing_of_what_is_published_in_the_end(
    market: Market, records: int
) -> None:
    """The next owner has what its store has; the catalog has changed in between, which must not matter."""
    for day in range(4):
        await market.sell(day, BUSY, *[SECOND[0]] * 20)
        await market.close(day)
    before = len(market.panel.records)
    await market.sell(3, QUIET, QUIET)
    await market.sell(4, BUSY)
    market.panel.fails_after = before + records
    crashed = False
    try:
        await market.close(4)
    except ConnectionError:
        crashed = True
        market.shop.list_unit(SECOND[1], Listed(ALWAYS, at(1)), delisted=True)
        for unit in UNITS:
            market.shop.list_unit(unit, closed_weekdays=(1, 2, 3, 4, 5, 6, 7))
    market.panel.fails_after = None
    await market.new_owner().begin()
    await market.close(4.01)
    assert crashed == (records < 5), "the closings of two days, two rows and a record of unsold units"
    assert (market.panel.unsold(4).zeros, market.panel.unsold(4).missing) == (
        products([QUIET]), {"feed_silent": products(SECOND)},
    )  # fmt: skip
    last = [read(PeriodClosed, v) for k, v in market.panel.compacted().items() if k.count(b"/") == 1]
    kept = {(c.day - at(0).date()).days: (c.unit_days, c.events, c.zeros, dict(c.missing)) for c in last}
    assert kept == {
        0: (2, 21, 3, {}), 1: (2, 21, 3, {}), 2: (2, 21, 3, {}), 3: (3, 23, 2, {}), 4: (1, 1, 1, {"feed_silent": 3}),
    }  # fmt: skip


class Failing:
    """A store that cannot be reached any more from one call on."""

    def __init__(self, store: Store, at: str, after: bool) -> None:
        self._store, self._at, self._after = store, at, after
        self.failed = False

    def __getattr__(self, name: str) -> Any:
        if name != self._at or self.failed:
            return getattr(self._store, name)

        async def failing(*given: Any) -> None:
            self.failed = True
            if self._after:
                await getattr(self._store, name)(*given)
            raise CannotReach("the store is gone")

        return failing


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", ["note", "cleaned", "set_closed"])
async def test_a_crash_at_any_step_changes_no_count(store: Store, call: str, after: bool) -> None:
    market = Market(cast(Store, Failing(store, "none", after)))
    await market.begin()
    for day in range(4):
        await market.sell(day, BUSY, *[SECOND[0]] * 20)
        await market.close(day)
    await market.sell(4, BUSY)
    failing = Failing(store, call, after)
    crashing = Market(cast(Store, failing))
    crashing.take_over(market)
    await crashing.owner.begin()
    with pytest.raises(CannotReach):
        await crashing.close(4)
    assert failing.failed
    await crashing.new_owner().begin()
    await crashing.sell(4, SECOND[1])
    await crashing.close(5)
    closing = crashing.panel.closing(4)
    said = crashing.panel.unsold(4)
    alive = products([QUIET, SECOND[0], SECOND[1], SECOND[2]])
    named = {*said.zeros, *said.missing.get("feed_silent", ())} | {SECOND[1].partition("/")[2]}
    assert named == set(alive), "each unsold unit is named once; the one that sold in between may not be"
    assert (closing.unit_days, closing.events) == (2, 2)
    assert (closing.zeros or 0) + sum(closing.missing.values()) == 3
    assert closing.zeros == 3, "the late sale shows that the partition lives"


async def test_what_is_kept_of_days_that_take_no_more_sales_is_dropped(market: Market) -> None:
    for day in range(REVISION_DAYS + 3):
        await market.sell(day, BUSY)
        await market.close(day)
    shard = market.parts.shard_of(MARKET)
    kept = sorted(int(day) - ordinal(0) for day in await market.store.notes(shard, "unsold", MARKET))
    assert kept == list(range(3, REVISION_DAYS + 3))
    assert len(await market.store.notes(shard, "history", MARKET)) == REVISION_DAYS + 3


async def test_a_day_that_was_closed_before_zeros_were_known_says_nothing_of_them(market: Market) -> None:
    """An installation that is upgraded: its closings say so, and a late sale of such a day is a row as ever."""
    shard = market.parts.shard_of(MARKET)
    await market.store.set_closed(shard, 1, {MARKET: (ordinal(2), 0)})
    await market.owner.begin()
    await market.sell(1, BUSY)
    await market.sell(3, BUSY)
    await market.close(3)
    assert (market.panel.closing(1).zeros, market.panel.closing(1).partition_events) == (None, {})
    assert market.panel.closing(3).zeros == len(UNITS) - 1


@pytest.mark.parametrize("kind", ["listing", "history", "unsold"])
async def test_notes_are_written_by_the_owner_of_a_shard_only(store: Store, kind: Any) -> None:
    await store.note(0, 1, MARKET, {kind: {"a": "1", "b": "2"}})
    await store.note(0, 1, MARKET, {kind: {"a": None, "c": ""}})
    assert await store.notes(0, kind, MARKET) == {"b": "2", "c": ""}
    with pytest.raises(Fenced):
        await store.note(0, 0, MARKET, {kind: {"a": "1"}})
    assert await store.notes(0, kind, "fr") == {}


async def test_a_rebuild_brings_back_how_many_events_of_a_unit_day_were_late(store: Store) -> None:
    await store.restoring.begin_input("sale", 0, "first")
    back = [
        CountedDay(MARKET, ordinal(0), "de/a", 9, 900, 0, 0, 9, published=7, revision=2, late=3),
        CountedDay(MARKET, ordinal(0), "de/b", 1, 100, 0, 0, 1, published=1, revision=1),
    ]
    await store.restoring.put_days(0, "first", back)
    await store.restoring.finish_input("sale", 0, "first", 10)
    assert await store.restoring.days(0) == back
    assert await store.fold_sales(0, 10, 11, [cell("de/a")])
    (dirty,) = await store.dirty({MARKET: ordinal(0)})
    published = dirty.after_closing()
    assert (published.events, published.revision, published.late) == (10, 2, 6), "3, and the 3 that are in no row yet"
    await store.cleaned([published])
    assert [(d.late, d.published, d.revision) for d in await store.restoring.days(0)] == [(6, 10, 3), (0, 1, 1)]


def test_a_count_that_begins_with_a_row_of_the_panel_knows_what_of_it_was_late() -> None:
    row = UnitDay(
        unit="de/a", day=at(0).date(), starts_at=at(0), ends_at=at(1), quantity=3, revenue_minor=300, cost_minor=None,
        currency="EUR", events=3, revision=2, offset=5, late=2,
    )  # fmt: skip
    (found,) = Recounted({("de/a", ordinal(0)): row}).days()
    assert (found.late, found.published, found.revision) == (2, 3, 3)


@pytest.mark.parametrize("summed", [False, True], ids=["from the panel", "from a checkpoint and the panel's last days"])
async def test_a_shard_that_lost_its_notes_has_them_again(market: Market, summed: bool) -> None:
    for day in range(12):
        await market.sell(day, BUSY, *([] if day == 9 else [SECOND[0]] * 20))
        await market.close(day)
    await market.sell(9, SECOND[1])
    await market.close(12)
    shard, lost = market.parts.shard_of(MARKET), MemoryStore(SHARDS)
    await lost.claim(shard, 1)
    days, rows = PanelDays(), [(row.unit, row.day.toordinal()) for row in market.panel.of(UnitDay)]
    for key, value, kind in market.panel.records:
        recent = not summed or date.fromisoformat(key.decode().split("/")[1 if b"unsold" in key else -1]) > at(4).date()
        if kind == CE_TYPES[UnsoldUnits] and recent:
            days.take_unsold(key, value)
        elif kind == CE_TYPES[PeriodClosed] and recent:
            days.take_closing(read(PeriodClosed, value))
    before = {kind: await market.store.notes(shard, kind, MARKET) for kind in NOTE_KINDS}
    checkpoint = Checkpoint(
        shard=shard, epoch=1, made_at=at(5), positions={}, sequence=0, tick=0, units={}, plans={}, closed={},
        listing={MARKET: before["listing"]}, history={MARKET: before["history"]},
    )  # fmt: skip
    parts = replace(market.parts, store=lost)
    await restore_notes(parts, shard, 1, days, {MARKET: ordinal(12)}, rows, checkpoint if summed else None)
    after = {kind: await lost.notes(shard, kind, MARKET) for kind in NOTE_KINDS}
    assert after["history"] == before["history"]
    assert after["unsold"].keys() == before["unsold"].keys()
    gone = {row.unit.partition("/")[2] for row in market.panel.of(UnitDay) if row.day == at(9).date()}
    for name, text in before["unsold"].items():
        assert counts(unpacked(after["unsold"][name]), gone) == counts(unpacked(text), gone)
    assert after["listing"].keys() == before["listing"].keys()
    assert all(ordinal(13) in read_whole_days(text) for text in after["listing"].values())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("de/2027-03-01/unsold/0", b"[" * 200_000),
        ("de/2027-03-01/unsold/0", b"{}"),
        (
            "de/2027-03-01/unsold/0",
            b'{"version":1,"market":"at","day":"2027-03-01","part":0,"zeros":["c"],"revision":9}',
        ),
        (
            "de/2027-03-01/unsold/0",
            b'{"version":1,"market":"de","day":"2027-03-02","part":0,"zeros":["c"],"revision":9}',
        ),
        (
            "de/2027-03-01/unsold/1",
            b'{"version":1,"market":"de","day":"2027-03-01","part":0,"zeros":["c"],"revision":9}',
        ),
    ],
    ids=["too deep", "no fields", "another market", "another day", "another part"],
)
def test_a_record_of_unsold_units_that_no_worker_wrote_changes_nothing(key: str, value: bytes) -> None:
    days = PanelDays()
    assert days.take_unsold(
        b"de/2027-03-01/unsold/0",
        b'{"version":1,"market":"de","day":"2027-03-01","part":0,"zeros":["a"],"revision":1}',
    )
    days.take_unsold(key.encode(), value)
    assert days.parts("de", date(2027, 3, 1).toordinal()) == (Part(("a",), {}, 1),)
    assert days.parts("de", date(2027, 3, 2).toordinal()) is None


@pytest.mark.parametrize(
    "key", [b"", b"de", b"de/2027-03-01/unsold/x", b"de/soon/unsold/0", b"\xff/2027-03-01/unsold/0", b"a/b/c/d/e",
            b"de/2027-03-01/unsold/9007199254740991", b"de/2027-03-01/unsold/-1"],
)  # fmt: skip
def test_a_key_that_names_no_part_is_refused(key: bytes) -> None:
    days = PanelDays()
    assert not days.take_unsold(key, b"{}")
    assert days.raw == {}


@dataclass(frozen=True, slots=True)
class PanelRecord:
    key: bytes | None
    value: bytes | None = b"{}"
    headers: tuple[tuple[str, bytes | None], ...] = (("ce_type", CE_TYPES[UnitDay].encode()),)
    partition: int = 0
    offset: int = 0
    timestamp: int = 0
    topic: str = "panel"


@pytest.mark.parametrize("key", [b"\xff/a/2027-03-01", b"", None], ids=["no text", "empty", "none"])
def test_a_row_whose_key_names_no_unit_is_no_row_of_the_panel(key: bytes | None) -> None:
    published = Published()
    published.take_panel(PanelRecord(key))
    assert published.raw == {}
