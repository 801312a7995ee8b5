"""Exactness of the inputs, under both adapters: ids that were counted, days that are sealed, where to count from."""

import pytest

from streams.store import DIGEST_BYTES, CountedBefore, Store
from tests.streams.builders import cell, day_totals, ordinal, total

LAST = {"de": ordinal(99)}


def ids(*names: str, day: int = 0) -> list[tuple[int, bytes]]:
    return [(ordinal(day), name.encode().ljust(DIGEST_BYTES, b"\0")) for name in names]


async def test_an_id_that_was_counted_is_named_and_nothing_of_its_batch_is_written(store: Store) -> None:
    assert await store.fold_sales(0, 0, 2, [cell(quantity=2, events=2)], ids("a", "b"))
    with pytest.raises(CountedBefore) as known:
        await store.fold_sales(0, 2, 5, [cell(quantity=3, events=3)], ids("c", "b", "a"))
    assert known.value.which == {1, 2}
    assert await store.position("sale", 0) == 2
    assert total(await store.dirty(LAST)) == [("de/a", 2, 100, 0)]
    assert await store.fold_sales(0, 2, 5, [cell()], ids("c")), "what was refused has left no trace"


async def test_the_places_are_those_of_the_list_whatever_the_days(store: Store) -> None:
    assert await store.fold_sales(0, 0, 2, [cell()], [*ids("a", day=3), *ids("b", day=1)])
    again = [*ids("a", day=3), *ids("x", day=0), *ids("b", day=1), *ids("b", day=3)]
    with pytest.raises(CountedBefore) as known:
        await store.fold_sales(0, 2, 6, [cell()], again)
    assert known.value.which == {0, 2}


async def test_a_repeated_batch_is_no_duplicate_of_itself(store: Store) -> None:
    """The reply was lost, and it is asked again."""
    for _ in range(2):
        assert await store.fold_sales(0, 0, 1, [cell()], ids("a"))
    assert total(await store.dirty(LAST)) == [("de/a", 1, 100, 0)]


async def test_ids_of_another_partition_or_day_are_others(store: Store) -> None:
    assert await store.fold_sales(0, 0, 1, [cell()], ids("a"))
    assert await store.fold_sales(1, 0, 1, [cell()], ids("a"))
    assert await store.fold_sales(0, 1, 2, [cell(day=1)], ids("a", day=1))


async def test_as_many_ids_as_a_batch_may_have(store: Store) -> None:
    many = ids(*(str(k) for k in range(2000)))
    assert await store.fold_sales(0, 0, 2000, [cell(events=2000)], many)
    with pytest.raises(CountedBefore) as known:
        await store.fold_sales(0, 2000, 4000, [cell()], many)
    assert known.value.which == set(range(2000))


async def test_a_shut_day_takes_no_more_sales_in_any_partition_and_what_is_kept_of_it_stays(store: Store) -> None:
    for partition in (0, 1):
        assert await store.fold_sales(partition, 0, 1, [cell(day=1)], ids("a", day=1))
    await store.cleaned(await store.dirty(LAST))
    await store.shut({"de": ordinal(1)})
    await store.shut({"de": ordinal(0)})
    for partition in (0, 1):
        assert not await store.fold_sales(partition, 1, 2, [cell(day=1)])
        assert await store.sealed(partition) == {"de": ordinal(1)}
    assert await day_totals(store, "de", ordinal(1)) == (2, 2)
    assert await store.recount_from() == [0, 0]


async def test_a_sealed_day_takes_no_more_sales_and_the_next_one_does(store: Store) -> None:
    await store.seal(0, {"de": ordinal(1)})
    assert not await store.fold_sales(0, 0, 1, [cell(day=2), cell(day=1)])
    assert await store.position("sale", 0) == 0
    assert await store.dirty(LAST) == []
    assert await store.fold_sales(0, 0, 1, [cell(day=2), cell("fr/a", day=1)])
    assert await store.fold_sales(1, 0, 1, [cell(day=1)]), "each partition is told for itself"


async def test_a_seal_never_moves_back(store: Store) -> None:
    await store.seal(0, {"de": ordinal(3)})
    await store.seal(0, {"de": ordinal(1), "fr": ordinal(1)})
    assert await store.sealed(0) == {"de": ordinal(3), "fr": ordinal(1)}


async def test_a_sealed_day_is_let_go_with_its_ids_once_it_is_published(store: Store) -> None:
    await store.fold_sales(0, 0, 1, [cell(quantity=2)], ids("a"))
    await store.seal(0, {"de": ordinal(0)})
    (owed,) = await store.dirty(LAST)
    assert owed.quantity == 2, "a sale that is not yet published is not let go"
    await store.cleaned([owed])
    assert await day_totals(store, "de", ordinal(0)) == (1, 1)
    await store.seal(0, {"de": ordinal(0)})
    assert await day_totals(store, "de", ordinal(0)) == (0, 0)
    assert await store.recount_from() == [1, 0]


async def test_ids_of_a_day_are_kept_as_long_as_any_market_may_still_sell_on_it(store: Store) -> None:
    await store.fold_sales(0, 0, 2, [cell(), cell("fr/a")], ids("a", "f"))
    await store.cleaned(await store.dirty({"de": ordinal(9), "fr": ordinal(9)}))
    await store.seal(0, {"de": ordinal(0)})
    with pytest.raises(CountedBefore):
        await store.fold_sales(0, 2, 3, [cell("fr/a")], ids("f"))
    await store.seal(0, {"de": ordinal(0), "fr": ordinal(0)})
    assert await day_totals(store, "fr", ordinal(0)) == (0, 0)


async def test_counting_again_starts_with_the_first_sale_of_a_day_that_may_still_change(store: Store) -> None:
    await store.fold_sales(0, 0, 5, [cell(day=0)])
    await store.fold_sales(0, 5, 7, [cell(day=1), cell(day=0)])
    await store.fold_sales(0, 7, 9, [cell(day=2)])
    assert await store.recount_from() == [0, 0]
    await store.cleaned(await store.dirty(LAST))
    await store.seal(0, {"de": ordinal(0)})
    assert await store.recount_from() == [5, 0]
    await store.seal(0, {"de": ordinal(2)})
    assert await store.recount_from() == [9, 0]


async def test_a_total_says_up_to_which_offset_it_counts(store: Store) -> None:
    await store.fold_sales(0, 0, 5, [cell()])
    await store.fold_sales(0, 5, 9, [cell("fr/a")])
    assert [(c.unit, c.offset) for c in await store.dirty(LAST)] == [("de/a", 9)]


async def test_closed_days_are_those_of_all_shards(store: Store) -> None:
    await store.set_closed(0, 1, {"de": (ordinal(1), 0)})
    await store.set_closed(1, 1, {"fr": (ordinal(2), 3)})
    assert await store.closed_days() == {"de": ordinal(1), "fr": ordinal(2)}
