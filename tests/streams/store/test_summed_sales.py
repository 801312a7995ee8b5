"""A rebuild that begins at a checkpoint ends where one that reads the whole log ends; what would not, is not used."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.decisions.decide import Flip
from controller.messages.checkpoints import Checkpoint
from controller.messages.codec import encode
from controller.messages.events import Withheld
from controller.schedule.due import MarketPlan
from streams.inputs.published_sales import MARGIN, Published, begins, reaches_back
from streams.recovery.checkpoints import Summed, known_experiment, row_of
from streams.recovery.log_fold import Remembered
from streams.store import Registration, plan_key
from streams.store.memory.store import MemoryStore
from streams.store.restore_port import HeldUnit, ShardRest, newest
from tests.streams.builders import MIDNIGHT, at, experiment, flip, paused
from tests.streams.recovery.played_logs import CALLS, CONTROLS, DE, kept, played, reading
from tests.streams.store.strategies import CLUSTERS, flips


def begun(store: MemoryStore, held: dict[str, Any], plans: dict[str, MarketPlan]) -> Checkpoint:
    """The checkpoint of a store's only shard."""
    return Checkpoint(
        shard=0, epoch=0, made_at=MIDNIGHT, positions={}, sequence=store.shards[0].sequence, tick=0, closed={},
        units={unit: row_of(state) for unit, state in held.items()},
        plans={
            key: (-1 if plan.decided_through is None else plan.decided_through.toordinal(), plan.released)
            for key, plan in plans.items()
        },
    )  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(CALLS, st.integers(0, 25), st.data())
def test_a_checkpoint_and_the_log_behind_it_are_the_whole_log(
    calls: list[tuple[Any, ...]], made_after: int, data: st.DataObject
) -> None:
    """Wherever it was made, and however much of what it holds is read again, in whatever order."""

    async def run() -> None:
        early, before = await played(calls[:made_after])
        late, log = await played(calls)
        whole, short = Remembered(controls=dict(CONTROLS)), Remembered(controls=dict(CONTROLS))
        known = Remembered(controls=dict(CONTROLS))
        for found, records in ((whole, log), (known, before)):
            for record in records:
                found.take(record)
        short.begin(begun(early, await early.restoring.held(0), known.plans(DE)))
        begins = data.draw(st.integers(0, len(before)))
        for record in data.draw(reading(log[begins:])):
            short.take(record)
        units = {unit.unit: unit for unit in short.held_units(DE)}
        assert units == {unit.unit: unit for unit in whole.held_units(DE)} == await late.restoring.held(0)
        plans, wanted = short.plans(DE), whole.plans(DE)
        assert {k: p.decided_through for k, p in plans.items()} == {k: p.decided_through for k, p in wanted.items()}
        # The checkpoint may know of a release that the log does not tell any more: another experiment has the units.
        assert all(plans[key].released for key, plan in wanted.items() if plan.released)
        owners = [key.rpartition("/")[0] for key, plan in plans.items() if plan.released]
        assert all(unit.on_control and not unit.expires_ms for unit in units.values() if unit.owner in owners)
        assert short.sequence(0, units.values()) == late.shards[0].sequence
        assert short.markets() == whole.markets()

    asyncio.run(run())


@settings(max_examples=50, deadline=None)
@given(CALLS, flips())
def test_a_store_that_comes_back_from_a_checkpoint_alone_goes_on_like_one_that_was_not_lost(
    calls: list[tuple[Any, ...]], last: Flip
) -> None:
    async def run() -> None:
        calm, _ = await played(calls)
        other, _ = await played(calls)
        found = Remembered()
        found.begin(begun(other, await other.restoring.held(0), {}))
        await other.restoring.forget_shard(0)
        units = found.held_units(DE)
        await other.restoring.restore_units(0, 0, units)
        await other.restoring.restore_rest(0, 0, ShardRest({}, {}, found.sequence(0, units)))
        assert await other.restoring.held(0) == await calm.restoring.held(0)
        assert await other.flip(0, 0, last) == await calm.flip(0, 0, last)
        assert await other.restoring.held(0) == await calm.restoring.held(0)

    asyncio.run(run())


def test_checkpoints_that_do_not_add_up_are_not_used() -> None:
    def of(shard: int, **more: Any) -> Checkpoint:
        return Checkpoint.model_validate(
            {"shard": shard, "epoch": 1, "made_at": MIDNIGHT, "positions": {"log:0": 5 + shard}, "sequence": 0,
             "tick": 0, "units": {}, "plans": {}, "closed": {}} | more
        )  # fmt: skip

    ends = {"log:0": 10, "log:1": 3, "panel:0": 7}
    known = known_experiment(Registration(experiment(), "hash", history=(paused(),)))
    summed = Summed({0: of(0), 1: of(1)})
    assert (summed.missing(2, ends), summed.starts()) == (None, {"log:0": 5}), "everybody has the log up to there"
    assert "none of shard 2" in str(summed.missing(3, ends))
    assert "longer log" in str(summed.missing(2, ends | {"log:0": 5})), "the topic was made anew"
    leaning = Summed({0: of(0, experiments={"juice": (1, 1)})})
    assert "juice" in str(leaning.missing(1, ends))
    assert "juice" in str(
        replace(leaning, experiments={"juice": known.model_copy(update={"history": ()})}).missing(1, ends)
    )
    assert replace(leaning, experiments={"juice": known}).missing(1, ends) is None


def test_days_that_lie_further_back_than_what_was_read_are_noticed() -> None:
    zones = {"de": "Europe/Berlin", "us": "America/Chicago"}
    day = at(10).date()
    found = Published(closed={"de": day.toordinal(), "us": day.toordinal()})
    first = begins({"de": day, "us": day}, zones, 3)
    assert first == at(8) - timedelta(hours=1), "the third last day begins first in the east"
    assert reaches_back(found, zones, 3, first - MARGIN)
    assert not reaches_back(found, zones, 3, first - MARGIN + timedelta(seconds=1))
    behind = Published(closed={"de": day.toordinal(), "us": day.toordinal() - 1})
    assert not reaches_back(behind, zones, 3, first - MARGIN), "a market that is a day behind may change one day more"
    assert not reaches_back(Published(closed={"de": day.toordinal()}), zones, 3, first - MARGIN), "nothing of a market"
    assert not reaches_back(Published(), {}, 3, first)


def test_what_was_decided_for_a_later_day_stays_decided_though_an_urgent_flip_came_behind_the_checkpoint() -> None:
    planned = HeldUnit("de/a", "juice.1", 12, "low", False, 0, 0, 90, sequence=4, epoch=1)
    urgent = replace(planned, day=11, arm="control", on_control=True, sequence=5)
    assert newest(urgent, planned) == replace(urgent, day=12)
    assert newest(planned, urgent) == urgent, "the checkpoint has seen what is read again"
    assert newest(replace(urgent, changed_hands=True), planned).day == 11, "another experiment had it in between"
    assert newest(replace(urgent, owner="milk.1"), planned).day == 11, "another experiment's day is its own"
    assert newest(urgent, None) == urgent


def test_a_market_that_was_let_go_stays_so_until_more_is_planned_for_it() -> None:
    """Another experiment has its units by now, so that nothing of them tells."""
    day, place = at(3).date(), ("juice", 1, "de")
    found = Remembered()
    found.begin(begun(MemoryStore(1), {}, {plan_key(*place): MarketPlan(day, True)}))
    assert found.plans(DE) == {plan_key(*place): MarketPlan(day, True)}
    said = Withheld(
        id="w", experiment="juice", experiment_version=1, market="de", day=at(4).date(), units=("de/a",), reason="held",
        decided_at=at(3),
    )  # fmt: skip
    found.take(kept(encode(said, "w", MIDNIGHT)))
    assert found.plans(DE) == {plan_key(*place): MarketPlan(at(4).date(), False)}


async def test_a_market_that_was_let_go_holds_again_what_an_urgent_flip_has_granted_since() -> None:
    """Its plan stands on the same day, but a unit is not on control."""
    urgent = replace(flip({"de/a": 1}, 3, clusters=CLUSTERS, design_hash="hash"), urgent=True, effective_at=at(3.5))
    _, log = await played([("flip", urgent)])
    day, place = at(3).date(), ("juice", 1, "de")
    found = Remembered(controls=dict(CONTROLS))
    found.begin(begun(MemoryStore(1), {}, {plan_key(*place): MarketPlan(day, True)}))
    for record in log:
        found.take(record)
    assert found.plans(DE) == {plan_key(*place): MarketPlan(day, False)}


def test_numbers_go_on_above_those_of_the_checkpoint() -> None:
    store, found = MemoryStore(1), Remembered()
    store.shards[0].sequence = 9
    found.begin(begun(store, {}, {}))
    unit = HeldUnit("de/a", "juice.1", 12, "low", False, 0, 0, 90, sequence=4, epoch=1)
    assert found.sequence(0, [unit]) == 9
    assert found.sequence(0, [replace(unit, sequence=11)]) == 11
    assert found.sequence(1, [unit]) == 4
