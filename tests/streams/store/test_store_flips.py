"""What the store grants, under both adapters: fence, definition, repetition, exclusivity, outbox."""

import asyncio
from dataclasses import replace

import pytest

from controller.definition.field_types import milliseconds
from controller.schedule.due import MarketPlan
from streams.store import Fenced, Granted, LogRecord, OutboxEntry, Outcome, Registration, Store
from streams.store.encoding import UNITS_PER_CALL
from tests.streams.builders import MIDNIGHT, at, experiment, flip, window
from tests.streams.store.flips import A, granted, last

# --- fence ------------------------------------------------------------------------------------------------------------


async def test_a_lower_epoch_cannot_claim_a_shard(store: Store) -> None:
    await store.claim(0, 7)
    with pytest.raises(Fenced, match="7"):
        await store.claim(0, 6)
    assert (await store.flip(0, 7, flip({A: 1}))).flips == 1


async def test_a_claim_may_be_repeated_and_tells_where_to_go_on(store: Store) -> None:
    await store.settle(0, 1, {}, [], 41)
    assert await store.claim(0, 2) == 41
    assert await store.claim(0, 2) == 41
    assert await store.claim(1, 2) == 0, "the other shard has settled nothing"


async def test_nothing_an_old_owner_says_changes_anything(store: Store) -> None:
    await store.claim(0, 2)
    with pytest.raises(Fenced):
        await store.flip(0, 1, flip({A: 1}))
    with pytest.raises(Fenced):
        await store.settle(0, 1, {"juice.1/de": _plan()}, [LogRecord("t", "{}")], 5)
    with pytest.raises(Fenced):
        await store.tell(0, 1, [LogRecord("t", "{}")])
    with pytest.raises(Fenced):
        await store.set_closed(0, 1, {"de": (1, 1)})
    with pytest.raises(Fenced):
        await store.set_closed(0, 1, {})
    assert await store.outbox(0, 9) == []
    assert await store.plans(0) == {}
    assert await store.closed_through(0) == {}
    assert await store.claim(0, 2) == 0


async def test_an_epoch_that_was_never_claimed_owns_nothing(store: Store) -> None:
    with pytest.raises(Fenced):
        await store.flip(0, 3, flip({A: 1}))


async def test_of_two_owners_at_once_only_the_newer_one_writes(store: Store) -> None:
    outcomes = await asyncio.gather(
        store.claim(0, 2), store.flip(0, 1, flip({A: 1})), store.flip(0, 2, flip({A: 2})), return_exceptions=True
    )
    epochs = [entry.epoch for entry in await store.outbox(0, 9)]
    assert epochs == sorted(epochs), outcomes
    with pytest.raises(Fenced):
        await store.flip(0, 1, flip({A: 1}, day=1))


# --- definition and repetition ----------------------------------------------------------------------------------------


async def test_a_flip_of_another_definition_is_withheld_whole(store: Store) -> None:
    for wrong in (flip({A: 1, "de/b": 0}, design_hash="another"), flip({A: 1, "de/b": 0}, name="unheard-of")):
        assert await store.flip(0, 1, wrong) == Outcome(withheld=(A, "de/b"))
    await store.put_registration(Registration(experiment(version=2), "new hash"))
    assert await store.flip(0, 1, flip({A: 1})) == Outcome(withheld=(A,)), "its definition was replaced"
    assert await store.outbox(0, 9) == []


async def test_a_repeated_flip_changes_nothing_and_says_so(store: Store) -> None:
    await store.put_blackout(window("w", "unit", "de/b", 0, 1))
    asked = flip({A: 1, "de/b": 1, "de/c": 0})
    assert await store.flip(0, 1, asked) == Outcome(flips=1, blocked=1, kept=1)
    before = await store.outbox(0, 9)
    await store.remove_blackout("w")
    assert await store.flip(0, 1, asked) == Outcome(kept=1, repeated=3)
    assert await store.outbox(0, 9) == before


async def test_a_day_before_the_decided_one_is_a_repetition(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1}, day=3))
    assert await store.flip(0, 1, flip({A: 2}, day=2)) == Outcome(kept=1, repeated=1)
    assert len(await granted(store)) == 1


async def test_a_flip_of_many_units_is_granted_whole_and_in_order(store: Store) -> None:
    arms = {f"de/product-{k:04d}": k % 3 for k in range(5000)}
    assert await store.flip(0, 1, flip(arms)) == Outcome(flips=sum(arm > 0 for arm in arms.values()))
    rows = await granted(store)
    assert [(row.unit, row.sequence) for row in rows] == [(unit, k + 1) for k, unit in enumerate(arms)]
    assert [row.price_minor for row in rows] == [(100, 90, 110)[arm] for arm in arms.values()]
    assert await store.flip(0, 1, flip(arms)) == Outcome(repeated=5000)


async def test_an_empty_flip_is_nothing(store: Store) -> None:
    assert await store.flip(0, 1, replace(flip({A: 1}), proposals=())) == Outcome()


# --- exclusivity ------------------------------------------------------------------------------------------------------


async def test_a_unit_that_another_experiment_leases_is_withheld(store: Store) -> None:
    await store.flip(0, 1, flip({A: 0}, days=2))
    assert await store.flip(0, 1, flip({A: 1, "de/b": 1}, day=1, name="milk")) == Outcome(flips=1, withheld=(A,))
    assert [row.unit for row in await granted(store)] == [A, "de/b"]


async def test_a_lapsed_lease_leaves_the_unit_free(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1}))
    assert await store.flip(0, 1, flip({A: 1}, day=1, name="milk")) == Outcome(flips=1)


async def test_a_unit_is_not_given_to_another_experiment_for_a_time_that_has_passed(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1}, day=3))
    await store.flip(0, 1, flip({A: 0}, day=4, release=True))
    assert await store.flip(0, 1, flip({A: 1}, day=3, name="milk")) == Outcome(withheld=(A,))


async def test_a_release_after_a_takeover_does_not_touch_the_new_owner(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1}))
    await store.flip(0, 1, flip({A: 2}, day=1, name="milk", days=3))
    assert await store.flip(0, 1, flip({A: 0}, day=1, release=True)) == Outcome()
    assert await store.flip(0, 1, flip({A: 0}, day=2, release=True)) == Outcome()
    assert (await last(store)).arm == "high"
    assert await store.flip(0, 1, flip({A: 2}, day=2, name="milk")) == Outcome()
    assert await store.flip(0, 1, flip({A: 0}, day=3, release=True)) == Outcome(), "not even once that lease has ended"
    assert {entry.header["owner"] for entry in (await store.outbox(0, 9))[1:]} == {"milk.1"}


@pytest.mark.parametrize("blackout", [False, True], ids=["", "in a blackout"])
@pytest.mark.parametrize("arm", [0, 1], ids=["from control", "from treatment"])
async def test_of_experiments_back_to_back_the_order_of_the_decisions_does_not_matter(
    store: Store, blackout: bool, arm: int
) -> None:
    """Shards 0 and 1 get the same two flips, in both orders."""
    if blackout:
        await store.put_blackout(window("w", "global", "", 1, 2))
    ends, begins = flip({A: 0}, day=1, release=True), flip({A: 2}, day=1, name="milk")
    tails = []
    for shard, order in enumerate([(ends, begins), (begins, ends)]):
        await store.flip(shard, 1, flip({A: arm}))
        withheld = [(await store.flip(shard, 1, one)).withheld for one in order]
        entry = (await store.outbox(shard, 9))[-1]
        row = entry.granted[0]
        tails.append((entry.header["owner"], row.arm, row.price_minor, row.expires_ms, sorted(withheld)))
    assert tails[0] == tails[1]
    holder = "juice.1" if blackout and arm else "milk.1"
    assert tails[0][0] == holder
    assert tails[0][1] == ("high" if not blackout else "low" if arm else "control")


async def test_an_arm_that_only_bears_the_name_of_our_control_is_still_the_other_experiments_price(
    store: Store,
) -> None:
    await store.put_blackout(window("w", "global", "", 1, 2))
    await store.flip(0, 1, flip({A: 1}, arm_names=("base", "control"), prices=(100, 50)))
    begins = flip({A: 1}, day=1, name="milk")
    assert await store.flip(0, 1, begins) == Outcome(withheld=(A,)), "taking over would change 50 to 100"


async def test_a_control_of_another_name_is_no_reason_to_withhold_in_a_blackout(store: Store) -> None:
    await store.put_blackout(window("w", "global", "", 1, 2))
    await store.flip(0, 1, flip({A: 0}, arm_names=("base", "control"), prices=(100, 50)))
    assert await store.flip(0, 1, flip({A: 1}, day=1, name="milk")) == Outcome(blocked=1, kept=1)
    assert (await last(store)).arm == "control"


# --- outbox -----------------------------------------------------------------------------------------------------------


async def test_the_outbox_says_all_that_an_assignment_needs(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1}, days=2, clusters={A: "drinks"}))
    (entry,) = await store.outbox(0, 9)
    assert entry.granted == (
        Granted(A, "drinks", "low", "low", 90, milliseconds(at(2)), "scheduled", "", 1),
    )  # fmt: skip
    assert entry.epoch == 1
    assert entry.records == ()
    assert entry.header == {
        "owner": "juice.1",
        "experiment": "juice",
        "version": 1,
        "design_hash": "hash of juice",
        "market": "de",
        "block": 0,
        "day": MIDNIGHT.date().toordinal(),
        "arms": ["control", "low", "high"],
        "currency": "EUR",
        "effective": milliseconds(MIDNIGHT),
        "expires": milliseconds(at(2)),
        "keep_until": milliseconds(at(1)),
        "decided": milliseconds(at(-1 / 24)),
        "release": False,
        "code": "scheduled",
        "urgent": False,
    }


async def test_prices_and_instants_pass_through_the_store_whole(store: Store) -> None:
    """Up to the largest price of the contract, and not as 1e+12."""
    prices = (10**12, 10**12 - 1, 0)
    await store.flip(0, 1, flip({A: 0, "de/b": 1, "de/c": 2}, prices=prices))
    found = [row.price_minor for row in await granted(store)]
    assert found == list(prices)
    assert all(type(price) is int for price in found)
    await store.put_blackout(window("w", "global", "", 1, 2))
    await store.flip(0, 1, flip({A: 0, "de/b": 1, "de/c": 2}, day=1, prices=(1, 2, 3)))
    assert [row.price_minor for row in await granted(store)][3:] == list(prices), "kept, after a second passage"


async def test_the_outbox_gives_the_oldest_first_and_drops_only_what_is_published(store: Store) -> None:
    units = {f"de/{k:04d}": 1 for k in range(2 * UNITS_PER_CALL + 1)}
    await store.flip(0, 1, flip(units))
    await store.settle(0, 1, {}, [LogRecord("kind", '{"a": "ü"}'), LogRecord("other", "{}")], 1)
    entries = await store.outbox(0, 9)
    assert [len(entry.granted) for entry in entries] == [UNITS_PER_CALL, UNITS_PER_CALL, 1, 0]
    assert entries[3] == OutboxEntry(
        entries[3].id, 1, records=(LogRecord("kind", '{"a": "ü"}'), LogRecord("other", "{}"))
    )
    assert await store.outbox(0, 2) == entries[:2]
    for _ in range(2):
        await store.published(0, [entries[1].id, entries[3].id])
        assert await store.outbox(0, 9) == [entries[0], entries[2]]
    await store.published(0, [])
    await store.published(1, [entries[0].id])
    assert await store.outbox(0, 9) == [entries[0], entries[2]]


async def test_what_is_told_comes_ahead_of_what_is_decided_next(store: Store) -> None:
    await store.tell(0, 1, [LogRecord("kind", '{"a": "ü"}')])
    await store.tell(0, 1, [])
    await store.flip(0, 1, flip({A: 1}))
    told, decided = await store.outbox(0, 9)
    assert told == OutboxEntry(told.id, 1, records=(LogRecord("kind", '{"a": "ü"}'),))
    assert [row.unit for row in decided.granted] == [A]


async def test_sequences_go_on_through_experiments_owners_and_publication(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1, "de/b": 0}))
    await store.published(0, [entry.id for entry in await store.outbox(0, 9)])
    await store.claim(0, 5)
    await store.flip(0, 5, flip({"de/c": 1}, name="milk"))
    (entry,) = await store.outbox(0, 9)
    assert (entry.epoch, entry.granted[0].sequence) == (5, 3)


def _plan() -> MarketPlan:
    return MarketPlan(MIDNIGHT.date())


# --- several at once --------------------------------------------------------------------------------------------------


async def test_several_flips_at_once_are_the_same_flips_one_after_the_other(store: Store) -> None:
    flips = [flip({f"de/{k}": k % 2}, day=day) for day in range(3) for k in range(40)]
    together = await store.flip_all(0, 1, flips)
    entries = await store.outbox(0, 1000)
    assert [row.unit for entry in entries for row in entry.granted] == [p.unit for f in flips for p in f.proposals]
    assert [row.sequence for entry in entries for row in entry.granted] == list(range(1, 121))
    assert sum(outcome.flips for outcome in together) == 20, "each odd unit changes once and keeps its arm"
    assert await store.flip_all(0, 1, flips) == [Outcome(repeated=1)] * 120
    assert await store.flip_all(0, 1, []) == []


async def test_several_flips_of_an_old_owner_change_nothing(store: Store) -> None:
    await store.claim(0, 2)
    with pytest.raises(Fenced) as refusal:
        await store.flip_all(0, 1, [flip({A: 1}), flip({"de/b": 1})])
    assert refusal.value.newer
    assert await store.outbox(0, 9) == []
