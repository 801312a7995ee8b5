"""What triggers keep in the store, under both adapters: rivals' histories, what fired, and who has entered."""

from dataclasses import replace

import pytest

from streams.store import Fenced, RivalPrice, Store
from tests.streams.builders import at, flip, window

FIRED = (("fired", '{"id": "t1"}'), ("fired", '{"id": "t2"}'))


async def test_a_batch_of_rival_prices_leaves_histories_and_triggers_once_however_often_it_comes(store: Store) -> None:
    for _ in range(3):
        assert await store.triggers.fold(0, 0, 4, [RivalPrice("de/a", "x", 1, 7)], {"juice.1": {"de/a|x": "h"}}, FIRED)
    assert await store.triggers.histories(0, {"juice.1": ["de/a|x", "de/b|x"], "milk.1": []}) == {
        "juice.1": {"de/a|x": "h"},
        "milk.1": {},
    }
    (entry,) = await store.triggers.owed(0, 9)
    assert entry.records == FIRED
    await store.triggers.published(0, [entry.id])
    assert await store.triggers.owed(0, 9) == []


async def test_a_batch_that_is_refused_leaves_neither_history_nor_trigger(store: Store) -> None:
    await store.triggers.fold(0, 0, 4, [], {"juice.1": {"de/a|x": "old"}})
    assert not await store.triggers.fold(0, 2, 6, [], {"juice.1": {"de/a|x": "new"}}, FIRED)
    assert await store.triggers.histories(0, {"juice.1": ["de/a|x"]}) == {"juice.1": {"de/a|x": "old"}}
    assert await store.triggers.owed(0, 9) == []


async def test_partitions_remember_their_own_rivals(store: Store) -> None:
    await store.triggers.fold(0, 0, 1, [], {"juice.1": {"de/a|x": "h"}}, FIRED)
    assert await store.triggers.histories(1, {"juice.1": ["de/a|x"]}) == {"juice.1": {}}
    assert await store.triggers.owed(1, 9) == []


async def test_answers_move_forward_only_and_repeat_nothing(store: Store) -> None:
    for _ in range(2):
        await store.triggers.enrol(0, 1, {"c": "one"}, [("entered", "{}")], 3)
    await store.triggers.enrol(0, 1, {"c": "older"}, [("late", "{}")], 2)
    assert await store.triggers.enrolments(0) == (3, {"c": "one"})
    assert [entry.records for entry in await store.outbox(0, 9)] == [(("entered", "{}"),)]
    await store.triggers.begun(0, 1, {"c": "begun"})
    assert await store.triggers.enrolments(0) == (3, {"c": "begun"})
    assert await store.triggers.enrolments(1) == (0, {})


async def test_only_the_owner_answers_triggers(store: Store) -> None:
    await store.claim(0, 2)
    with pytest.raises(Fenced):
        await store.triggers.enrol(0, 1, {"c": "zombie"}, [], 1)
    with pytest.raises(Fenced):
        await store.triggers.begun(0, 1, {"c": "zombie"})
    assert await store.triggers.enrolments(0) == (0, {})


async def test_ticks_and_triggers_have_positions_of_their_own(store: Store) -> None:
    await store.settle(0, 1, {}, [], 9)
    await store.triggers.enrol(0, 1, {"c": "x"}, [], 1)
    assert (await store.triggers.enrolments(0))[0] == 1
    assert await store.claim(0, 1) == 9


async def test_a_start_within_a_day_changes_nothing_in_a_blackout(store: Store) -> None:
    await store.put_blackout(window("w", "unit", "de/a", 0.2, 0.8))
    await store.flip(0, 1, flip({"de/a": 0, "de/b": 0}))
    start = replace(flip({"de/a": 1, "de/b": 1}), urgent=True, effective_at=at(0.5))
    said = await store.flip(0, 1, start)
    assert (said.flips, said.blocked) == (1, 1)
    rows = (await store.outbox(0, 9))[-1].granted
    assert [(row.unit, row.arm, row.code, row.detail) for row in rows] == [
        ("de/a", "control", "blackout", "w"),
        ("de/b", "low", "scheduled", ""),
    ]
