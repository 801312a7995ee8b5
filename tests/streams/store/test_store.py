"""What the store keeps, under both adapters: settled ticks, definitions, folded inputs, totals owed, closings."""

from dataclasses import replace
from datetime import date
from itertools import pairwise

import pytest

from controller.schedule.due import MarketPlan
from streams.store import DIGEST_BYTES, Cell, DayFull, DirtyCell, LogRecord, Registration, Store, plan_key
from tests.streams.builders import at, cell, experiment, flip, ordinal, total

LAST = {"de": ordinal(99)}


# --- settled ticks ----------------------------------------------------------------------------------------------------


async def test_settling_moves_ticks_forward_only_and_repeats_nothing(store: Store) -> None:
    key, plan = plan_key("juice", 1, "de"), MarketPlan(date(2026, 3, 2))
    for _ in range(2):
        await store.settle(0, 1, {key: plan}, [LogRecord("kind", "{}")], 5)
    await store.settle(0, 1, {key: MarketPlan(date(2020, 1, 1))}, [LogRecord("old", "{}")], 4)
    assert await store.claim(0, 1) == 5
    assert await store.plans(0) == {key: plan}
    assert [entry.records for entry in await store.outbox(0, 9)] == [(("kind", "{}"),)]
    await store.settle(0, 1, {}, [], 6)
    assert await store.claim(0, 1) == 6
    assert len(await store.outbox(0, 9)) == 1


async def test_plans_come_back_as_they_went_in(store: Store) -> None:
    plans = {"a.1/de": MarketPlan(), "a.2/de": MarketPlan(date(2026, 3, 2)), "b.1/de": MarketPlan(date.max, True)}
    await store.settle(0, 1, plans, [], 1)
    assert await store.plans(0) == plans
    assert await store.plans(1) == {}
    await store.settle(0, 1, {"a.1/de": MarketPlan(date(2026, 3, 3))}, [], 2)
    assert await store.plans(0) == {**plans, "a.1/de": MarketPlan(date(2026, 3, 3))}


async def test_an_older_tick_of_many_markets_takes_no_plan_back(store: Store) -> None:
    """More plans than one Lua call can unpack at once: all or none of them are written."""
    newer = {f"juice.1/m{k:05d}": MarketPlan(date(2026, 3, 3)) for k in range(9000)}
    older = dict.fromkeys(newer, MarketPlan(date(2026, 3, 2)))
    await store.settle(0, 1, newer, [], 2)
    await store.settle(0, 1, older, [], 1)
    assert await store.plans(0) == newer


# --- definitions ------------------------------------------------------------------------------------------------------


async def test_the_version_of_the_registrations_moves_only_on_a_change(store: Store) -> None:
    first = Registration(experiment("tea"), "hash")
    before = await store.registrations_version(0)
    versions = [before]
    for registration in (
        first,
        first,
        replace(first, state="running", frozen=True),
        first,
        Registration(experiment("tea", 2), "h2"),
    ):
        await store.put_registration(registration)
        versions.append(await store.registrations_version(0))
    assert [later - sooner for sooner, later in pairwise(versions)] == [1, 0, 1, 1, 1]
    version, found = await store.registrations(1)
    assert version == versions[-1], "the same in every shard"
    assert found["tea"] == Registration(experiment("tea", 2), "h2")
    assert set(found) == {"juice", "milk", "tea"}


# --- inputs: compare and set ------------------------------------------------------------------------------------------


async def test_a_batch_is_folded_once_however_often_it_comes(store: Store) -> None:
    for _ in range(3):
        assert await store.fold_sales(0, 0, 10, [cell(quantity=2, revenue=180)])
    assert await store.position("sale", 0) == 10
    assert total(await store.dirty(LAST)) == [("de/a", 2, 180, 0)]


@pytest.mark.parametrize(("start", "end"), [(11, 20), (0, 5), (5, 15), (0, 20)], ids=["gap", "older", "across", "more"])
async def test_a_batch_that_does_not_begin_at_the_position_is_refused_whole(store: Store, start: int, end: int) -> None:
    await store.fold_sales(0, 0, 10, [cell()])
    await store.triggers.fold(0, 0, 10, {"juice.1": {"de/a|rival": "100"}})
    assert not await store.fold_sales(0, start, end, [cell(quantity=7)])
    assert not await store.triggers.fold(0, start, end, {"juice.1": {"de/a|rival": "50"}})
    assert await store.position("sale", 0) == 10
    assert await store.position("competitor-price", 0) == 10
    assert total(await store.dirty(LAST)) == [("de/a", 1, 100, 0)]
    assert await store.triggers.histories(0, {"juice.1": ["de/a|rival"]}) == {"juice.1": {"de/a|rival": "100"}}


async def test_partitions_and_topics_have_positions_of_their_own(store: Store) -> None:
    assert await store.fold_sales(0, 0, 3, [])
    assert await store.fold_sales(1, 0, 4, [])
    assert await store.triggers.fold(0, 0, 5, {})
    positions = [await store.position("sale", 0), await store.position("sale", 1)]
    assert [*positions, await store.position("competitor-price", 0), await store.position("else", 0)] == [3, 4, 5, 0]


async def test_totals_add_over_batches_days_and_partitions(store: Store) -> None:
    await store.fold_sales(0, 0, 1, [cell(quantity=2, revenue=200, cost=80, costed=1, events=2), cell("de/b")])
    await store.fold_sales(0, 1, 2, [cell(quantity=3, revenue=270, cost=90, costed=3, events=3), cell(day=1)])
    await store.fold_sales(1, 0, 1, [cell(quantity=1)])
    assert await store.dirty(LAST) == [
        DirtyCell(0, "de", ordinal(0), "de/a", 5, 470, 170, 4, 5, 0, 2),
        DirtyCell(1, "de", ordinal(0), "de/a", 1, 100, 0, 0, 1, 0, 1),
        DirtyCell(0, "de", ordinal(0), "de/b", 1, 100, 0, 0, 1, 0, 2),
        DirtyCell(0, "de", ordinal(1), "de/a", 1, 100, 0, 0, 1, 0, 2),
    ]


async def test_a_cell_named_twice_in_a_batch_counts_twice(store: Store) -> None:
    await store.fold_sales(0, 0, 1, [cell(quantity=2), cell(quantity=3)])
    assert total(await store.dirty(LAST)) == [("de/a", 5, 200, 0)]


@pytest.mark.parametrize(
    "amounts",
    [
        (10**12, 10**12),
        (10**15 - 1, 1),
        (0, 10**15),
        (333, 10**15 - 999, 666),
    ],
)
async def test_money_adds_exactly_up_to_the_most_that_a_unit_day_holds(store: Store, amounts: tuple[int, ...]) -> None:
    for k, amount in enumerate(amounts):
        await store.fold_sales(0, k, k + 1, [cell(revenue=amount, cost=amount)])
    (found,) = await store.dirty(LAST)
    assert (found.revenue_minor, found.cost_minor) == (sum(amounts), sum(amounts))


@pytest.mark.parametrize(
    ("held", "more"),
    [
        (cell(revenue=10**15), cell(revenue=1)),
        (cell(revenue=1), cell(revenue=10**15)),
        (cell(quantity=10**15, revenue=0), cell(revenue=0)),
        (cell(cost=10**15, costed=1), cell(cost=1, costed=1)),
        (cell(), cell(revenue=10**21)),
    ],
)
async def test_a_unit_day_that_cannot_hold_more_says_what_it_holds_and_nothing_is_written(
    store: Store, held: Cell, more: Cell
) -> None:
    """Else its row would be more than 64 bits, or a double, can count: no reader could take it."""
    assert await store.fold_sales(0, 0, 1, [held])
    before = await store.dirty(LAST)
    with pytest.raises(DayFull) as full:
        await store.fold_sales(0, 1, 2, [cell("de/b"), more], [(ordinal(0), b"x" * DIGEST_BYTES)])
    assert full.value.held == {("de/a", ordinal(0)): (held.quantity, held.revenue_minor, held.cost_minor)}
    assert await store.dirty(LAST) == before
    assert await store.position("sale", 0) == 1
    assert await store.fold_sales(0, 1, 2, [cell("de/b")], [(ordinal(0), b"x" * DIGEST_BYTES)])


async def test_a_large_batch_is_one_fold(store: Store) -> None:
    cells = [cell(f"de/{k:05d}", quantity=k + 1) for k in range(5000)]
    assert await store.fold_sales(0, 0, 5000, cells)
    found = await store.dirty(LAST)
    assert [one.quantity for one in found] == list(range(1, 5001))
    await store.cleaned(found)
    assert await store.dirty(LAST) == []


# --- totals owed ------------------------------------------------------------------------------------------------------


async def test_dirty_cells_are_of_the_markets_asked_for_and_up_to_their_day(store: Store) -> None:
    await store.fold_sales(0, 0, 1, [cell(), cell(day=1), cell("fr/a"), cell("fr/a", day=1), cell("it/a")])
    found = await store.dirty({"fr": ordinal(1), "de": ordinal(0), "es": ordinal(9)})
    assert [(one.unit, one.day - ordinal(0)) for one in found] == [("de/a", 0), ("fr/a", 0), ("fr/a", 1)]
    assert await store.dirty({}) == []


async def test_a_published_total_is_clean_until_a_late_sale_makes_a_revision(store: Store) -> None:
    await store.fold_sales(0, 0, 1, [cell()])
    first = await store.dirty(LAST)
    for _ in range(2):
        await store.cleaned(first)
        assert await store.dirty(LAST) == []
    await store.fold_sales(0, 1, 2, [cell()])
    again = await store.dirty(LAST)
    assert total(again) == [("de/a", 2, 200, 1)]
    await store.cleaned(again)
    await store.fold_sales(0, 2, 3, [cell()])
    assert total(await store.dirty(LAST)) == [("de/a", 3, 300, 2)]


async def test_a_cell_that_changed_while_it_was_published_stays_dirty_with_a_revision_more(store: Store) -> None:
    await store.fold_sales(0, 0, 1, [cell()])
    published = await store.dirty(LAST)
    await store.fold_sales(0, 1, 2, [cell()])
    for _ in range(2):
        await store.cleaned(published)
        assert total(await store.dirty(LAST)) == [("de/a", 2, 200, 1)]


async def test_an_old_word_of_publication_that_comes_late_changes_nothing(store: Store) -> None:
    await store.fold_sales(0, 0, 1, [cell()])
    old = await store.dirty(LAST)
    await store.fold_sales(0, 1, 2, [cell()])
    new = await store.dirty(LAST)
    await store.cleaned(new)
    await store.cleaned(old)
    assert await store.dirty(LAST) == []
    await store.fold_sales(0, 2, 3, [cell()])
    assert total(await store.dirty(LAST)) == [("de/a", 3, 300, 1)]


async def test_a_cell_that_nobody_knows_is_not_cleaned_into_being(store: Store) -> None:
    await store.cleaned([DirtyCell(0, "de", ordinal(0), "de/ghost", 1, 1, 0, 0, 1, 0, 1)])
    assert await store.dirty(LAST) == []


# --- rivals, catching up, closings ------------------------------------------------------------------------------------


async def test_each_partition_says_how_far_it_has_caught_up(store: Store) -> None:
    assert await store.mark_caught_up(1, 0, at(0.5))
    await store.fold_sales(0, 0, 7, [])
    assert await store.caught_up() == [(None, 7, ""), (at(0.5), 0, "")]


async def test_a_store_that_has_come_back_older_is_not_told_that_it_is_caught_up(store: Store) -> None:
    """Whoever has folded up to 9 in a store that was put back to 7 would close days without two of their sales."""
    await store.fold_sales(0, 0, 7, [])
    assert not await store.mark_caught_up(0, 9, at(1))
    assert (await store.caught_up())[0] == (None, 7, "")
    assert await store.mark_caught_up(0, 7, at(1))


async def test_closings_are_kept_by_shard(store: Store) -> None:
    await store.set_closed(0, 1, {"de": (ordinal(0), 1), "fr": (ordinal(1), 3)})
    await store.set_closed(0, 1, {"de": (ordinal(1), 2)})
    assert await store.closed_through(0) == {"de": (ordinal(1), 2), "fr": (ordinal(1), 3)}
    assert await store.closed_through(1) == {}


async def test_shards_share_nothing_but_definitions_and_blackouts(store: Store) -> None:
    await store.flip(0, 1, flip({"de/a": 1}))
    await store.flip(1, 1, flip({"de/a": 2}))
    assert [(await store.outbox(shard, 9))[0].granted[0].sequence for shard in (0, 1)] == [1, 1]
    await store.published(0, [entry.id for entry in await store.outbox(0, 9)])
    assert len(await store.outbox(1, 9)) == 1
