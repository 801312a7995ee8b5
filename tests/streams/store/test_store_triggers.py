"""What triggers keep in the store, under both adapters: rivals' histories, and who has entered."""

from dataclasses import replace

import pytest

from streams.store import Fenced, LogRecord, Store
from tests.streams.builders import at, flip, window

RIVALS = ["a|b", "two words", "ü ☃ 𝄞", "*", "new\nline", "nul\0", '"quoted"', "-", ""]


async def test_a_batch_of_rival_prices_leaves_its_histories_however_often_it_comes(store: Store) -> None:
    for _ in range(3):
        assert await store.triggers.fold(0, 0, 4, {"juice.1": {"de/a|x": "h"}})
    assert await store.triggers.histories(0, {"juice.1": ["de/a|x", "de/b|x"], "milk.1": []}) == {
        "juice.1": {"de/a|x": "h"},
        "milk.1": {},
    }
    assert await store.position("competitor-price", 0) == 4


async def test_a_batch_that_is_refused_leaves_no_history(store: Store) -> None:
    await store.triggers.fold(0, 0, 4, {"juice.1": {"de/a|x": "old"}})
    assert not await store.triggers.fold(0, 2, 6, {"juice.1": {"de/a|x": "new"}})
    assert await store.triggers.histories(0, {"juice.1": ["de/a|x"]}) == {"juice.1": {"de/a|x": "old"}}


async def test_partitions_remember_their_own_rivals(store: Store) -> None:
    await store.triggers.fold(0, 0, 1, {"juice.1": {"de/a|x": "h"}})
    assert await store.triggers.histories(1, {"juice.1": ["de/a|x"]}) == {"juice.1": {}}


@pytest.mark.parametrize("rival", RIVALS)
async def test_a_rival_may_have_any_name(store: Store, rival: str) -> None:
    await store.triggers.fold(0, 0, 1, {"juice.1": {f"de/a|{rival}": "h"}})
    assert await store.triggers.histories(0, {"juice.1": [f"de/a|{rival}"]}) == {"juice.1": {f"de/a|{rival}": "h"}}


async def test_answers_move_forward_only_and_repeat_nothing(store: Store) -> None:
    for _ in range(2):
        await store.triggers.enrol(0, 1, {"c": "one"}, [LogRecord("entered", "{}")], 3)
    await store.triggers.enrol(0, 1, {"c": "older"}, [LogRecord("late", "{}")], 2)
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
