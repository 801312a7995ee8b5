"""What a rebuild writes back, under both adapters: newer over older, under its owner's epoch, an input whole or not."""

from dataclasses import replace
from datetime import date

import pytest

from controller.messages.control import LifecycleChanged
from controller.schedule.due import MarketPlan
from streams.store import DIGEST_BYTES, Fenced, Registration, Store, plan_key
from streams.store.restore_port import CountedDay, HeldUnit, ShardRest
from tests.streams.builders import MIDNIGHT, at, cell, day_totals, experiment, flip, ordinal, total

LAST = {"de": ordinal(99)}


def unit(name: str = "de/a", *, sequence: int = 1, epoch: int = 0, day: int = 0, arm: str = "low") -> HeldUnit:
    begins = int(at(day).timestamp() * 1000)
    return HeldUnit(
        name, "juice.1", ordinal(day), arm, arm == "control", begins, begins + 86_400_000, 90, sequence, epoch
    )


def counted(name: str = "de/a", day: int = 0, *, events: int = 3, published: int = -1, revision: int = 0) -> CountedDay:
    return CountedDay("de", ordinal(day), name, events, 100 * events, 0, 0, events, published, revision)


# --- shards -----------------------------------------------------------------------------------------------------------


async def test_a_shard_that_nobody_noted_is_lost_or_new(store: Store) -> None:
    assert await store.restoring.log_positions(0) == {}
    with pytest.raises(Fenced) as refused:
        await store.restoring.stand(0, 1)
    assert not refused.value.newer, "its owner may claim it again"
    await store.restoring.stand(0, 1, {"log:0": 5})
    await store.restoring.stand(0, 1)
    assert await store.restoring.log_positions(0) == {"log:0": 5}


async def test_only_the_owner_notes_and_writes_back(store: Store) -> None:
    for call in (
        store.restoring.stand(0, 7, {"log:0": 1}),
        store.restoring.restore_units(0, 7, [unit()]),
        store.restoring.restore_rest(0, 7, ShardRest({}, {}, 1)),
    ):
        with pytest.raises(Fenced):
            await call
    assert await store.restoring.held(0) == {}


async def test_what_was_granted_is_held_as_the_log_would_have_it(store: Store) -> None:
    await store.flip(0, 1, flip({"de/a": 1, "de/b": 0}))
    (entry,) = await store.outbox(0, 9)
    held = await store.restoring.held(0)
    assert {(u.arm, u.on_control) for u in held.values()} == {("low", False), ("control", True)}
    assert {(u.epoch, u.sequence) for u in held.values()} == {(entry.epoch, row.sequence) for row in entry.granted}


async def test_units_written_back_are_decided_over_as_if_nothing_had_happened(store: Store) -> None:
    """The second half of a history on a store that was emptied after the first comes out as on one that was not."""
    await store.flip(0, 1, flip({"de/a": 1, "de/b": 0}, day=0))
    known = list((await store.restoring.held(0)).values())
    await store.restoring.forget_shard(0)
    for name in ("juice", "milk"):
        await store.put_registration(Registration(experiment(name), f"hash of {name}"))
    assert await store.restoring.restore_units(0, 1, known) == 2
    await store.restoring.restore_rest(0, 1, ShardRest({}, {}, 2))
    again = await store.flip(0, 1, flip({"de/a": 1, "de/b": 0}, day=0))
    assert (again.repeated, await store.outbox(0, 9)) == (2, []), "decided once"
    later = await store.flip(0, 1, flip({"de/a": 0, "de/b": 0}, day=1))
    assert later.flips == 1
    (entry,) = await store.outbox(0, 9)
    assert [row.sequence for row in entry.granted] == [3, 4], "the sequence goes on"


async def test_an_older_grant_is_not_written_over_a_newer_one(store: Store) -> None:
    assert await store.restoring.restore_units(0, 1, [unit(sequence=5, epoch=1)]) == 1
    older = [unit(sequence=4, epoch=1, arm="high"), unit(sequence=9, epoch=0, arm="high"), unit(sequence=5, epoch=1)]
    for back in older:
        assert await store.restoring.restore_units(0, 1, [back]) == 0
    assert (await store.restoring.held(0))["de/a"].arm == "low"
    assert await store.restoring.restore_units(0, 1, [unit(sequence=1, epoch=2, arm="high")]) == 1


async def test_what_was_decided_for_a_later_day_stays_decided(store: Store) -> None:
    await store.restoring.restore_units(0, 1, [unit(sequence=1, day=3)])
    await store.restoring.restore_units(0, 1, [unit(sequence=2, day=1, arm="control")])
    held = (await store.restoring.held(0))["de/a"]
    assert (held.day, held.arm) == (ordinal(3), "control")
    back = replace(unit(sequence=5, day=1), changed_hands=True)
    await store.restoring.restore_units(0, 1, [back])
    assert (await store.restoring.held(0))["de/a"] == back, "another experiment has had it since: its days count anew"


async def test_plans_closings_sequence_and_tick_only_move_on(store: Store) -> None:
    key, restoring = plan_key("juice", 1, "de"), store.restoring
    rest = ShardRest({key: MarketPlan(date(2026, 3, 5))}, {"de": (ordinal(3), 2)}, 7, 11)
    await restoring.restore_rest(0, 1, rest)
    await restoring.restore_rest(
        0, 1, ShardRest({key: MarketPlan(date(2026, 3, 4), True)}, {"de": (ordinal(1), 1)}, 3, 5)
    )
    assert await store.plans(0) == {key: MarketPlan(date(2026, 3, 5))}
    assert await store.closed_through(0) == {"de": (ordinal(3), 2)}
    assert await store.claim(0, 1) == 11
    await restoring.restore_rest(0, 1, ShardRest({key: MarketPlan(date(2026, 3, 5), True)}, {"de": (ordinal(2), 4)}, 3))
    assert await store.plans(0) == {key: MarketPlan(date(2026, 3, 5), True)}
    assert await store.closed_through(0) == {"de": (ordinal(3), 4)}


async def test_a_registration_comes_back_only_over_one_that_knows_less(store: Store) -> None:
    change = LifecycleChanged(
        id="c", experiment="juice", experiment_version=1, action="pause", from_state="running", to_state="paused",
        frozen=False, role="owner", who="ada", why="rain", changed_at=MIDNIGHT,
    )  # fmt: skip
    first = Registration(experiment("juice"), "hash of juice")
    longer = replace(first, state="paused", history=(change,))
    await store.restoring.restore_registrations(0, [longer])
    await store.restoring.restore_registrations(0, [first])
    assert (await store.registrations(0))[1]["juice"] == longer
    second = Registration(experiment("juice", 2), "another hash")
    await store.restoring.restore_registrations(0, [second])
    await store.restoring.restore_registrations(0, [longer])
    assert (await store.registrations(0))[1]["juice"] == second


async def test_who_holds_a_shard_that_is_forgotten_is_sent_to_rebuild_it(store: Store) -> None:
    await store.flip(0, 1, flip({"de/a": 1}))
    await store.restoring.stand(0, 1, {"log:0": 1})
    await store.restoring.forget_shard(0)
    with pytest.raises(Fenced) as refused:
        await store.restoring.stand(0, 1)
    assert not refused.value.newer
    assert await store.restoring.held(0) == {}
    with pytest.raises(Fenced):
        await store.claim(0, 0)


# --- inputs -----------------------------------------------------------------------------------------------------------


async def test_of_rivals_whose_prices_are_begun_again_nothing_is_remembered(store: Store) -> None:
    restoring, kept = store.restoring, {"juice.1": {"de/a|rival": "100"}}
    for partition in range(2):
        assert await store.triggers.fold(partition, 0, 5, kept)
    await restoring.begin_input("competitor-price", 0, "mine")
    await restoring.finish_input("competitor-price", 0, "mine", 0)
    assert await store.triggers.histories(0, {"juice.1": ["de/a|rival"]}) == {"juice.1": {}}
    assert await store.triggers.histories(1, {"juice.1": ["de/a|rival"]}) == kept, "the other partition's stand"
    assert await store.triggers.fold(0, 0, 5, kept)


async def test_an_input_is_missing_until_it_is_written_back_whole(store: Store) -> None:
    restoring = store.restoring
    await store.fold_sales(0, 0, 5, [cell()], [(ordinal(0), b"a" * DIGEST_BYTES)])
    await restoring.begin_input("sale", 0, "mine")
    assert await restoring.with_position("sale", [1, 0]) == frozenset()
    assert not await store.fold_sales(0, 0, 1, [cell()]), "nobody folds into what is being rebuilt"
    assert await restoring.put_ids(0, "mine", [(ordinal(0), b"b" * DIGEST_BYTES)]) == frozenset()
    assert await restoring.put_ids(
        0, "mine", [(ordinal(0), b"b" * DIGEST_BYTES), (ordinal(0), b"c" * DIGEST_BYTES)]
    ) == {0}
    await restoring.put_days(0, "mine", [counted("de/a", published=3), counted("de/b", published=2, revision=1)])
    await restoring.finish_input("sale", 0, "mine", 9, {("de", ordinal(0)): 4}, {"de": ordinal(-3)})
    assert await restoring.with_position("sale", [1, 0]) == {0}
    assert await restoring.with_position("competitor-price", [1, 0]) == frozenset()
    assert (await store.position("sale", 0), await store.recount_from()) == (9, [4, 0])
    assert await store.sealed(0) == {"de": ordinal(-3)}
    assert total(await store.dirty(LAST)) == [("de/b", 3, 300, 1)], "what was published as it is need not be again"
    assert await day_totals(store, "de", ordinal(0)) == (2, 6)
    assert await store.fold_sales(0, 9, 10, [cell()], [(ordinal(0), b"a" * DIGEST_BYTES)]), "what it knew is gone"


async def test_each_count_of_an_input_has_a_name_of_its_own(store: Store) -> None:
    """What was read of one is not taken for the other, though both stand at the same position."""
    restoring, names = store.restoring, []
    for token in ("first", "second"):
        await restoring.begin_input("sale", 0, token)
        names.append((await store.caught_up())[0].counting)
        await restoring.finish_input("sale", 0, token, 9)
        names.append((await store.caught_up())[0].counting)
        await store.fold_sales(0, 9, 10, [cell()])
        names.append((await store.caught_up())[0].counting)
    assert names == ["", "first", "first", "", "second", "second"]


async def test_a_day_that_is_shut_while_its_input_is_counted_again_stays_shut(store: Store) -> None:
    await store.restoring.begin_input("sale", 0, "t")
    await store.shut({"de": ordinal(2), "fr": ordinal(0)})
    await store.restoring.finish_input("sale", 0, "t", 9, {}, {"de": ordinal(1), "fr": ordinal(1)})
    assert await store.sealed(0) == {"de": ordinal(2), "fr": ordinal(1)}


async def test_of_two_who_rebuild_an_input_the_later_one_does(store: Store) -> None:
    restoring = store.restoring
    await restoring.begin_input("sale", 0, "first")
    await restoring.put_days(0, "first", [counted()])
    await restoring.begin_input("sale", 0, "second")
    for call in (
        restoring.put_ids(0, "first", [(ordinal(0), b"b" * DIGEST_BYTES)]),
        restoring.put_days(0, "first", [counted()]),
        restoring.finish_input("sale", 0, "first", 9),
    ):
        with pytest.raises(Fenced):
            await call
    await restoring.finish_input("sale", 0, "second", 3)
    assert (await restoring.days(0), await store.position("sale", 0)) == ([], 3)


async def test_days_come_back_as_they_went_in(store: Store) -> None:
    days = [counted("de/a", 0, published=3, revision=2), counted("de/b", 1, events=10**6)]
    await store.restoring.begin_input("sale", 1, "t")
    await store.restoring.put_days(1, "t", days)
    await store.restoring.finish_input("sale", 1, "t", 0)
    assert await store.restoring.days(1) == days
    assert await store.restoring.days(0) == []


async def test_forgetting_an_input_leaves_no_watermark(store: Store) -> None:
    await store.fold_sales(0, 0, 5, [cell()])
    await store.mark_caught_up(0, 5, at(1))
    await store.restoring.forget_input("sale", 0)
    assert not await store.restoring.with_position("sale", [0])
    assert (await store.caught_up())[0] == (None, 0, "")
