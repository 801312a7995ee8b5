"""What a closing vouches for holds from the instant that it is out, whatever becomes of the store beside it."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

import pytest
import structlog

from controller.errors import CannotReach
from controller.messages.codec import ce_type, read
from controller.messages.events import CE_TYPES, PeriodClosed, UnitDay
from controller.messages.inputs import CatalogEntry
from streams.closing.day_close import Closing
from streams.closing.watermark import Watermark
from streams.control.catalog import Catalog
from streams.runtime.clock import TickClock
from streams.runtime.settings import Settings
from streams.store import DIGEST_BYTES, Store
from streams.store.restore_port import CountedDay
from streams.worker.metrics import Metrics
from streams.worker.services import Parts, partition_of
from tests.streams.builders import Batch, at, cell, ordinal
from tests.streams.conftest import SHARDS

REVISION_DAYS = 3
DAYS = 5
MARKET = "de"
Beside = Callable[[], Awaitable[None]]


class Known(Catalog):
    """A catalog of two units."""

    @property
    def known(self) -> dict[str, CatalogEntry]:
        entry = CatalogEntry(unit="de/a", time_zone="UTC", currency="EUR", list_price_minor=100)
        return {"de/a": entry, "de/b": entry.model_copy(update={"unit": "de/b"})}

    @property
    def time_zones(self) -> dict[str, str]:
        return {MARKET: "UTC"}


class Panel:
    """A producer; ``beside`` happens while a closing is on its way."""

    def __init__(self, beside: Beside | None = None) -> None:
        self._beside = beside
        self.rows: list[UnitDay] = []
        self.closings: list[PeriodClosed] = []

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, _: str, *, partition: int) -> Awaitable[None]:
        async def acknowledged() -> None: ...

        for _key, value, headers in batch.records:
            if ce_type(headers) == CE_TYPES[UnitDay]:
                self.rows.append(read(UnitDay, value))
                continue
            self.closings.append(read(PeriodClosed, value))
            if self._beside is not None:
                await self._beside()
        return acknowledged()


class Disturbed:
    """A store to which something happens right before, or right after, its changed days are read."""

    def __init__(self, store: Any, before: Beside | None = None, after: Beside | None = None) -> None:
        self._store = store
        self._before = before
        self._after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def dirty(self, *args: Any) -> Any:
        if self._before is not None:
            await self._before()
        found = await self._store.dirty(*args)
        if self._after is not None:
            await self._after()
        return found


def closing(store: object, panel: Panel) -> Closing:
    settings = Settings(clock="ticks", partitions=SHARDS, revision_days=REVISION_DAYS, lateness_seconds=0)
    parts = Parts(
        settings, TickClock(), cast(Store, store), cast(Any, panel), Metrics(), structlog.get_logger(), "w", {}
    )
    return Closing(parts, Known(parts), parts.shard_of(MARKET), 1)


async def sold(store: Store) -> Watermark:
    """A sale on each of some days, all of which are over."""
    for partition in range(SHARDS):
        await store.restoring.begin_input("sale", partition, "first")
        await store.restoring.finish_input("sale", partition, "first", 0)
    for day in range(DAYS):
        assert await store.fold_sales(0, day, day + 1, [cell(day=day)], [(ordinal(day), bytes(DIGEST_BYTES))])
    for partition, position in enumerate((DAYS, 0)):
        assert await store.mark_caught_up(partition, position, at(DAYS))
    found = await store.caught_up()
    return Watermark(
        at(DAYS), {p: f.position for p, f in enumerate(found)}, {p: f.counting for p, f in enumerate(found)}
    )


async def test_a_day_that_a_closing_seals_takes_no_more_sales_once_the_closing_is_out(store: Store) -> None:
    """Nor does a store that is emptied then need to know more than the closing: all that was counted is in rows."""
    last_sealed, taken = DAYS - 1 - REVISION_DAYS, dict[int, bool]()

    async def late_sales() -> None:
        position = await store.position("sale", 0)
        for day in (last_sealed, last_sealed + 1):
            taken.setdefault(day, await store.fold_sales(0, position, position + 1, [cell(day=day)]))

    panel = Panel(late_sales)
    watermark = await sold(store)
    await closing(store, panel).close(watermark)
    assert taken == {last_sealed: False, last_sealed + 1: True}
    assert sorted(row.day for row in panel.rows) == [at(day).date() for day in range(DAYS)]
    assert [found.events for found in panel.closings] == [1] * DAYS, "shutting a day drops nothing of it"
    assert panel.closings[-1].recount == {"0": 0, "1": 0}, "the days that it seals can be counted again, too"


async def test_a_closing_vouches_for_rows_that_were_published_by_somebody_who_never_vouched_for_them(
    store: Store,
) -> None:
    """Nor does it matter whether this owner has closed another day in between."""
    panel, watermark = Panel(), await sold(store)
    owner = closing(store, panel)
    await owner.close(replace(watermark, at=at(1)))
    assert await store.fold_sales(0, DAYS, DAYS + 1, [cell("de/b", 1)], [(ordinal(1), bytes([1] * DIGEST_BYTES))])
    # Another owner's rows of day 1 went out, and it ended; then one more sale of that day came.
    await store.cleaned(await store.dirty({MARKET: ordinal(1)}))
    assert await store.fold_sales(0, DAYS + 1, DAYS + 2, [cell(day=1)], [(ordinal(1), bytes([2] * DIGEST_BYTES))])
    assert await store.mark_caught_up(0, DAYS + 2, at(DAYS))
    await owner.close(replace(watermark, offsets={0: DAYS + 2, 1: 0}))
    assert [(found.events, found.unit_days) for found in panel.closings] == [(1, 1), (3, 2), (1, 1), (1, 1), (1, 1)]


async def test_a_closing_vouches_for_rows_that_another_owner_published_while_this_one_worked(store: Store) -> None:
    """A pause lets another owner in, who ends before it has vouched; none of what it took is seen as changed."""
    panel, watermark = Panel(), await sold(store)
    owner = closing(store, panel)
    await owner.close(replace(watermark, at=at(1)))
    await store.cleaned(await store.dirty({MARKET: ordinal(1)}))
    assert await store.fold_sales(0, DAYS, DAYS + 1, [cell("de/b", 1)], [(ordinal(1), bytes([1] * DIGEST_BYTES))])
    await owner.close(replace(watermark, offsets={0: DAYS + 1, 1: 0}))
    assert [(found.events, found.unit_days) for found in panel.closings] == [(1, 1), (2, 2), (1, 1), (1, 1), (1, 1)]


async def test_a_closing_vouches_for_no_sale_that_came_after_its_rows_were_read(store: Store) -> None:
    """Whoever reads it would wait for a row that is not there; the sale has a revision of its own."""
    last = DAYS - 1

    async def late_sale() -> None:
        position = await store.position("sale", 0)
        for unit in ("de/a", "de/b"):
            place = (ordinal(last), bytes([position] * DIGEST_BYTES))
            assert await store.fold_sales(0, position, position + 1, [cell(unit, last)], [place])
            position += 1

    panel, watermark = Panel(), await sold(store)
    await closing(Disturbed(store, after=late_sale), panel).close(watermark)
    assert [(found.events, found.unit_days) for found in panel.closings] == [(1, 1)] * DAYS
    assert [row.events for row in panel.rows] == [1] * DAYS


async def test_publishing_rows_keeps_nothing_of_them(store: Store) -> None:
    """Each has a key of its own: a cache of them would grow with every day."""
    panel, watermark = Panel(), await sold(store)
    before = partition_of.cache_info().currsize
    await closing(store, panel).close(watermark)
    assert len(panel.rows) + len(panel.closings) == 2 * DAYS
    # At most the market, whose shard is asked for.
    assert partition_of.cache_info().currsize <= before + 1


@pytest.mark.parametrize("position", [DAYS, DAYS + 3])
async def test_days_of_a_store_that_was_emptied_and_counted_again_meanwhile_are_not_closed(
    store: Store, position: int
) -> None:
    """They were there by half when they were read; where the store stands again tells nothing."""

    async def counted_again() -> None:
        await store.restoring.begin_input("sale", 0, "second")
        half = CountedDay(MARKET, ordinal(0), "de/a", 1, 100, 0, 0, 1, published=-1, revision=0)
        await store.restoring.put_days(0, "second", [half])
        await store.restoring.finish_input("sale", 0, "second", position)

    panel = Panel()
    watermark = await sold(store)
    with pytest.raises(CannotReach, match="counted anew"):
        await closing(Disturbed(store, counted_again), panel).close(watermark)
    assert (panel.rows, panel.closings) == ([], [])


async def test_days_of_a_store_that_is_being_counted_again_are_not_closed(store: Store) -> None:
    async def counts_again() -> None:
        await store.restoring.begin_input("sale", 1, "second")

    panel = Panel()
    watermark = await sold(store)
    with pytest.raises(CannotReach, match="counted anew"):
        await closing(Disturbed(store, counts_again), panel).close(watermark)
    assert (panel.rows, panel.closings) == ([], [])
