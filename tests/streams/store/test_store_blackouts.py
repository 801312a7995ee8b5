"""What the store grants when a lease has lapsed or a blackout forbids a change, under both adapters."""

from datetime import timedelta

import pytest

from controller.definition.field_types import milliseconds
from streams.store import Outcome, Store
from tests.streams.builders import MIDNIGHT, at, flip, window
from tests.streams.store.flips import A, last


async def test_a_kept_arm_keeps_its_price_until_the_next_boundary(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1}))
    await store.put_blackout(window("w", "global", "", 1, 2))
    dearer = flip({A: 2}, day=1, days=5, prices=(200, 180, 220))
    assert await store.flip(0, 1, dearer) == Outcome(blocked=1, kept=1)
    row = await last(store)
    assert (row.arm, row.planned_arm, row.price_minor, row.code, row.detail) == ("low", "high", 90, "blackout", "w")
    assert row.expires_ms == milliseconds(at(2))


async def test_a_price_that_was_not_known_stays_so_in_a_blackout(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1}, prices=(None, None, None)))
    await store.put_blackout(window("w", "global", "", 1, 2))
    await store.flip(0, 1, flip({A: 1}, day=1))
    assert (await last(store)).price_minor is None


async def test_after_a_lapsed_lease_the_standing_arm_is_control(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1}))
    await store.put_blackout(window("w", "global", "", 2, 3))
    assert await store.flip(0, 1, flip({A: 1}, day=2)) == Outcome(blocked=1, kept=1)
    row = await last(store)
    assert (row.arm, row.price_minor) == ("control", 100)


async def test_returning_to_the_same_arm_after_a_lapse_is_a_flip(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1}))
    assert await store.flip(0, 1, flip({A: 1}, day=1)) == Outcome()
    assert await store.flip(0, 1, flip({A: 1}, day=3)) == Outcome(flips=1)


async def test_a_release_in_a_blackout_keeps_the_arm_and_is_tried_again(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1}))
    await store.put_blackout(window("w", "market", "de", 1, 3))
    for day in (1, 2):
        assert await store.flip(0, 1, flip({A: 0}, day=day, release=True)) == Outcome(blocked=1, kept=1)
        row = await last(store)
        assert (row.arm, row.price_minor, row.expires_ms) == ("low", 90, milliseconds(at(day + 1)))
    assert await store.flip(0, 1, flip({A: 0}, day=3, release=True)) == Outcome(flips=1)
    row = await last(store)
    assert (row.arm, row.expires_ms, row.code) == ("control", None, "released")


async def test_a_release_in_a_blackout_of_a_unit_on_control_is_done(store: Store) -> None:
    await store.flip(0, 1, flip({A: 0}))
    await store.put_blackout(window("w", "global", "", 1, 3))
    assert await store.flip(0, 1, flip({A: 0}, day=1, release=True)) == Outcome()
    assert (await last(store)).expires_ms is None


@pytest.mark.parametrize(
    ("kind", "name"),
    [("global", ""), ("global", "everything"), ("market", "de"), ("cluster", "drinks"), ("unit", A)],
)
async def test_a_blackout_covers_its_scope_from_its_first_instant_to_before_its_last(
    store: Store, kind: str, name: str
) -> None:
    await store.put_blackout(window("w", kind, name, 1, 2))
    arms = {A: 1, "de/b": 1, "de/c": 1}
    clusters = {A: "drinks", "de/b": "drinks", "de/c": "food"}
    covered = {"global": 3, "market": 3, "cluster": 2, "unit": 1}[kind]
    for day, blocked in ((0, 0), (1, covered), (2, 0)):
        arms = {unit: (1, 2, 0)[day] for unit in arms}
        outcome = await store.flip(0, 1, flip(arms, day=day, clusters=clusters))
        assert (outcome.blocked, outcome.flips) == (blocked, 3 - blocked), f"day {day}"


@pytest.mark.parametrize(("kind", "name"), [("market", "fr"), ("cluster", "de"), ("unit", "de/aa"), ("unit", "de")])
async def test_a_blackout_covers_nothing_else(store: Store, kind: str, name: str) -> None:
    await store.put_blackout(window("w", kind, name, 0, 1))
    assert await store.flip(0, 1, flip({A: 1})) == Outcome(flips=1)


async def test_a_window_that_ends_a_moment_after_midnight_holds_the_flip_of_midnight(store: Store) -> None:
    moment = timedelta(microseconds=300)
    ends_late = window("w", "global", "", -1, 0).model_copy(update={"ends_at": MIDNIGHT + moment})
    await store.put_blackout(ends_late)
    assert (await store.flip(0, 1, flip({A: 1}))).blocked == 1
    begins_late = window("v", "global", "", 0, 5).model_copy(update={"starts_at": at(1) + moment})
    await store.put_blackout(begins_late)
    assert (await store.flip(0, 1, flip({A: 1}, day=1))).blocked == 0


async def test_of_windows_that_end_together_the_greater_id_binds_whatever_the_servers_language(store: Store) -> None:
    """Byte by byte: Z is before a, and a before ab."""
    for id in ("a", "Z", "ab", "B"):
        await store.put_blackout(window(id, "global", "", 0, 1))
    await store.flip(0, 1, flip({A: 1}))
    assert (await last(store)).detail == "ab"


async def test_of_windows_of_different_scopes_the_one_that_ends_last_binds(store: Store) -> None:
    for id, kind, name, ends in (("z", "global", "", 1), ("b", "market", "de", 3), ("y", "unit", A, 2)):
        await store.put_blackout(window(id, kind, name, 0, ends))
    await store.flip(0, 1, flip({A: 1}))
    assert (await last(store)).detail == "b"
    await store.put_blackout(window("c", "cluster", "all", 0, 3))
    await store.flip(0, 1, flip({"de/b": 1}))
    assert (await last(store)).detail == "c", "ends with b, and has the greater id"


async def test_a_blackout_to_the_end_of_time_binds(store: Store) -> None:
    forever = window("w", "global", "", 0, 1)
    await store.put_blackout(forever.model_copy(update={"ends_at": forever.ends_at.replace(year=9999)}))
    assert (await store.flip(0, 1, flip({A: 1}, day=400))).blocked == 1


async def test_a_blackout_is_replaced_by_its_id_and_can_be_removed(store: Store) -> None:
    await store.put_blackout(window("w", "global", "", 0, 1))
    await store.put_blackout(window("w", "unit", "de/b", 0, 5))
    moved = await store.blackouts(1)
    assert moved == {"w": window("w", "unit", "de/b", 0, 5)}
    assert (await store.flip(0, 1, flip({A: 1, "de/b": 1}))).blocked == 1
    for _ in range(2):
        await store.remove_blackout("w")
        assert await store.blackouts(0) == {}
    assert (await store.flip(0, 1, flip({A: 1, "de/b": 1}, day=1))).blocked == 0
