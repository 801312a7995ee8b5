"""What the store does for safety, under both adapters: limits, the memory of prices, kills and urgent starts."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.decisions.decide import Flip
from controller.definition.field_types import milliseconds
from controller.messages.control import Kill
from controller.validation.price_rules import PriceChange
from streams.store import Fenced, Granted, Outcome, PastPrices, Store
from tests.streams.builders import MIDNIGHT, at, flip, window

A = "de/a"


async def granted(store: Store) -> list[Granted]:
    return [row for entry in await store.outbox(0, 1000) for row in entry.granted]


async def last(store: Store) -> Granted:
    return (await granted(store))[-1]


# --- limits -----------------------------------------------------------------------------------------------------------


def limited(arms: dict[str, int], day: int = 0, **more: Any) -> Flip:
    """A flip in which a limit has put control in the place of every arm but control."""
    asked = flip(arms, day, **more)
    proposals = tuple(
        p if p.arm == 0 else replace(p, arm=0, planned_arm=p.arm, detail="no price is below the floor (95)")
        for p in asked.proposals
    )
    return replace(asked, proposals=proposals)


async def test_a_limit_keeps_control_and_says_what_was_planned_and_why(store: Store) -> None:
    await store.flip(0, 1, flip({A: 2}))
    assert await store.flip(0, 1, limited({A: 1, "de/b": 0}, day=1)) == Outcome(flips=1)
    row, other = (await granted(store))[-2:]
    assert (row.arm, row.planned_arm, row.price_minor) == ("control", "low", 100)
    assert (row.code, row.detail) == ("limit", "no price is below the floor (95)")
    assert row.expires_ms == milliseconds(at(2)), "control, but leased like any arm of the design"
    assert (other.arm, other.planned_arm, other.code, other.detail) == ("control", "control", "scheduled", "")


async def test_a_blackout_binds_even_the_way_to_the_control_that_a_limit_asks_for(store: Store) -> None:
    await store.flip(0, 1, flip({A: 2}))
    await store.put_blackout(window("w", "global", "", 1, 2))
    assert await store.flip(0, 1, limited({A: 1}, day=1)) == Outcome(blocked=1, kept=1)
    row = await last(store)
    assert (row.arm, row.planned_arm, row.code, row.detail) == ("high", "low", "blackout", "w")


async def test_a_dropped_unit_bears_another_code(store: Store) -> None:
    asked = limited({A: 1})
    await store.flip(0, 1, replace(asked, proposals=tuple(replace(p, code="dropped") for p in asked.proposals)))
    assert (await last(store)).code == "dropped"


# --- what prices were -------------------------------------------------------------------------------------------------

WEEK = timedelta(days=7)


async def changes(store: Store, unit: str = A) -> list[tuple[float, int]]:
    """(day, price) of each change that is remembered."""
    found = (await store.past_prices(0, [unit])).get(unit, PastPrices())
    return [((change.at - MIDNIGHT) / timedelta(days=1), change.price_minor) for change in found.changes]


async def test_prices_are_remembered_as_changes_from_control(store: Store) -> None:
    for day, arm in enumerate([0, 1, 1, 2, 0]):
        await store.flip(0, 1, flip({A: arm, "de/b": 0}, day=day), WEEK)
    assert await changes(store) == [(1, 90), (3, 110), (4, 100)]
    assert await changes(store, "de/b") == []
    assert await changes(store, "de/unheard-of") == []


async def test_nothing_is_remembered_where_nobody_asked(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1}))
    assert await store.past_prices(0, [A]) == {}


async def test_a_lease_that_ran_out_was_a_change_back_to_control(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1}), WEEK)
    assert (await store.past_prices(0, [A]))[A].lapses_at == at(1)
    await store.flip(0, 1, flip({A: 1}, day=3), WEEK)
    assert await changes(store) == [(0, 90), (1, 100), (3, 90)]
    await store.flip(0, 1, flip({A: 0}, day=4, release=True), WEEK)
    assert (await store.past_prices(0, [A]))[A].lapses_at is None


async def test_of_what_is_too_long_ago_only_the_price_in_force_is_remembered(store: Store) -> None:
    for day in range(12):
        await store.flip(0, 1, flip({A: 1 + day % 2}, day=day), timedelta(days=3))
    assert await changes(store) == [(8, 90), (9, 110), (10, 90), (11, 110)]


async def test_an_unknown_price_is_no_change(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1}), WEEK)
    await store.flip(0, 1, flip({A: 2}, day=1, prices=(None, None, None)), WEEK)
    assert await changes(store) == [(0, 90)]


async def test_what_an_urgent_flip_replaces_was_never_a_price(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1}), WEEK)
    await store.flip(0, 1, flip({A: 2}, day=1), WEEK)
    await store.flip(0, 1, urgent({A: 0}, 0.5), WEEK)
    assert await changes(store) == [(0, 90), (0.5, 100)]


async def test_prices_are_read_for_many_units_at_once(store: Store) -> None:
    arms = {f"de/{k:05d}": 1 for k in range(4500)}
    await store.flip(0, 1, flip(arms), WEEK)
    found = await store.past_prices(0, list(arms))
    assert set(found) == set(arms)
    assert {past.changes for past in found.values()} == {(PriceChange(MIDNIGHT, 90),)}


# --- urgent -----------------------------------------------------------------------------------------------------------


def urgent(arms: dict[str, int], instant: float, *, release: bool = True, **more: Any) -> Flip:
    """Effective at once, at an instant in days; a release unless said otherwise."""
    asked = flip(arms, int(instant), release=release, **more)
    proposals = tuple(replace(p, detail="kill of all by ada: wrong prices") for p in asked.proposals)
    return replace(asked, effective_at=at(instant), decided_at=at(instant), proposals=proposals, urgent=True)


async def test_a_kill_replaces_what_holds_and_what_was_decided_for_tomorrow(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1, "de/b": 0}))
    await store.flip(0, 1, flip({A: 2, "de/b": 1}, day=1))
    assert await store.flip(0, 1, urgent({A: 0, "de/b": 0}, 0.97)) == Outcome(flips=2)
    (entry,) = (await store.outbox(0, 9))[2:]
    assert entry.header["urgent"] is True
    assert entry.header["effective"] == milliseconds(at(0.97))
    assert [(r.arm, r.expires_ms, r.code, r.detail, r.sequence) for r in entry.granted] == [
        ("control", None, "released", "kill of all by ada: wrong prices", sequence) for sequence in (5, 6)
    ]
    assert await store.flip(0, 1, flip({A: 2}, day=1)) == Outcome(kept=1, repeated=1), "tomorrow was decided already"
    assert await store.flip(0, 1, flip({A: 2}, day=2)) == Outcome(flips=1), "the day after is another decision"


async def test_no_blackout_stops_a_kill(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1}))
    await store.put_blackout(window("w", "global", "", 0, 9))
    assert await store.flip(0, 1, urgent({A: 0}, 0.5)) == Outcome(flips=1)
    assert (await last(store)).code == "released"


async def test_a_kill_that_is_repeated_writes_nothing_more(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1, "de/b": 0}))
    for instant in (0.5, 0.5, 0.6, 3.0):
        await store.flip(0, 1, urgent({A: 0, "de/b": 0}, instant))
    assert len(await granted(store)) == 4
    await store.claim(0, 2)
    assert await store.flip(0, 2, urgent({A: 0, "de/b": 0}, 4)) == Outcome(repeated=2)


async def test_a_kill_overtakes_a_release_that_was_only_announced(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1}))
    await store.flip(0, 1, flip({A: 0}, day=1, release=True))
    await store.flip(0, 1, urgent({A: 0}, 0.97))
    assert (await store.outbox(0, 9))[-1].header["effective"] == milliseconds(at(0.97))


async def test_a_kill_writes_nothing_for_units_that_were_never_granted(store: Store) -> None:
    assert await store.flip(0, 1, urgent({A: 0}, 0.5)) == Outcome(repeated=1)
    assert await store.outbox(0, 9) == []


async def test_a_kill_leaves_what_another_experiment_holds_and_names_what_it_was_only_promised(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1, "de/b": 1}))
    await store.flip(0, 1, flip({A: 1}, day=1, name="milk", days=3))
    assert await store.flip(0, 1, urgent({A: 0, "de/b": 0}, 0.97)) == Outcome(flips=1, withheld=(A,))
    assert await store.flip(0, 1, urgent({A: 0}, 1.5)) == Outcome(), "now it shows what milk says, and that is right"


async def test_an_old_owner_cannot_kill(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1}))
    await store.claim(0, 2)
    with pytest.raises(Fenced):
        await store.flip(0, 1, urgent({A: 0}, 0.5))
    assert (await last(store)).arm == "low"


async def test_a_start_in_the_middle_of_a_day_is_done_once(store: Store) -> None:
    start = urgent({A: 1}, 0.5, release=False)
    assert await store.flip(0, 1, start) == Outcome(flips=1)
    assert await store.flip(0, 1, start) == Outcome(repeated=1)
    row = await last(store)
    assert (row.arm, row.code, row.expires_ms) == ("low", "scheduled", milliseconds(at(1)))


async def test_the_latest_word_on_a_switch_is_kept_in_every_shard_and_moves_the_counter(store: Store) -> None:
    before = await store.registrations_version(0)
    pulled = Kill(id="all", scope="all", who="ada", why="wrong prices", requested_at=at(0))
    lifted = pulled.model_copy(update={"lifted": True, "requested_at": at(1)})
    for kill in (pulled, pulled, lifted, lifted):
        await store.put_kill(kill)
        assert await store.kills(1) == {"all": kill}
    assert await store.registrations_version(1) == before + 2
