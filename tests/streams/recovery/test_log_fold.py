"""State = fold(log): what the relay publishes of a store, folded again, is what the store holds."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.definition.field_types import Message, milliseconds
from controller.messages.codec import announce_by, encode
from controller.messages.control import Kill, LifecycleChanged
from controller.messages.events import PeriodClosed, Registered, Withheld
from controller.schedule.due import MarketPlan
from streams.recovery.log_fold import Remembered
from streams.store import Registration, plan_key
from streams.store.restore_port import ShardRest
from tests.streams.builders import MIDNIGHT, at, experiment, flip, ordinal
from tests.streams.recovery.played_logs import CALLS, CONTROLS, DE, Kept, kept, played, reading
from tests.streams.store.strategies import CLUSTERS, REMEMBER, flips


def folded(*messages: Message) -> Remembered:
    found = Remembered()
    for message in messages:
        found.take(kept(encode(message, "id", MIDNIGHT)))
    return found


@settings(max_examples=200, deadline=None)
@given(CALLS, st.data())
def test_folding_the_log_gives_the_store(calls: list[tuple[Any, ...]], data: st.DataObject) -> None:
    """Whatever was said twice, and in whatever order its partitions are read."""

    async def run() -> None:
        store, log = await played(calls)
        found = Remembered(controls=dict(CONTROLS))
        for record in data.draw(reading(log)):
            found.take(record)
        assert {unit.unit: unit for unit in found.held_units(DE)} == await store.restoring.held(0)

    asyncio.run(run())


async def test_a_day_decided_before_another_experiment_had_the_unit_is_to_be_decided_again() -> None:
    """Killed with a later day decided, lent to another experiment, and back: though the log says all of it again."""
    arms = {"de/a": 1}
    kill = replace(flip(arms, 2, release=True, design_hash="hash"), urgent=True, effective_at=at(2.5))
    milk = flip(arms, 3, name="milk", arm_names=("low", "control", "high"), design_hash="hash")
    juice = [flip(arms, day, design_hash="hash") for day in (5, 4)]
    store, log = await played([("flip", asked) for asked in (juice[0], kill, milk, juice[1])])
    assert len(log) == 4
    for again in range(4):
        found = Remembered(controls=dict(CONTROLS))
        for record in [*log, *log[again:]]:
            found.take(record)
        assert {unit.unit: unit for unit in found.held_units(DE)} == await store.restoring.held(0)
        assert [unit.day for unit in found.held_units(DE)] == [ordinal(4)]


@settings(max_examples=100, deadline=None)
@given(CALLS, st.integers(0, 25), flips())
def test_a_store_that_is_rebuilt_midway_goes_on_like_one_that_was_not(
    calls: list[tuple[Any, ...]], lost_after: int, last: Any
) -> None:
    async def run() -> None:
        calm, _ = await played(calls)
        other, first = await played(calls[:lost_after])
        await other.restoring.forget_shard(0)
        found = Remembered(controls=dict(CONTROLS))
        for record in first:
            found.take(record)
        units = found.held_units(DE)
        await other.restoring.restore_units(0, 0, units)
        sequence = max((unit.sequence for unit in units), default=0)
        await other.restoring.restore_rest(0, 0, ShardRest(found.plans(DE), {}, sequence))
        for call in calls[lost_after:]:
            if call[0] == "flip":
                await other.flip(0, 0, call[1], REMEMBER)
            else:
                await other.put_blackout(call[1])
        assert await other.flip(0, 0, last) == await calm.flip(0, 0, last)
        assert await other.restoring.held(0) == await calm.restoring.held(0)

    asyncio.run(run())


def registered(version: int = 1) -> Registered:
    found = experiment(version=version)
    return Registered(
        id=f"r{version}", experiment=found, design_hash=f"hash {version}", registered_at=MIDNIGHT,
        listed={"de/a": (100, None), "de/b": (90, 40)},
    )  # fmt: skip


def changed(id: str, to: Any, version: int = 1) -> LifecycleChanged:
    return LifecycleChanged(
        id=id, experiment="juice", experiment_version=version, action="pause", from_state="running", to_state=to,
        frozen=True, role="owner", who="ada", why="rain", changed_at=MIDNIGHT,
    )  # fmt: skip


def test_a_registration_comes_back_with_its_life_and_its_list_prices() -> None:
    found = folded(registered(), changed("a", "paused"), changed("b", "stopped"), changed("a", "paused"))
    back = found.registrations["juice"]
    assert (back.state, back.frozen, [c.id for c in back.history]) == ("stopped", True, ["a", "b"])
    assert back.listed == {"de/a": (100, None), "de/b": (90, 40)}
    assert back.design_hash == "hash 1"


def test_a_new_version_begins_a_new_life_and_an_old_one_does_not_come_back() -> None:
    found = folded(registered(), changed("a", "stopped"), registered(2), registered(), changed("z", "paused"))
    back = found.registrations["juice"]
    assert (back.experiment.version, back.state, back.history) == (2, "scheduled", ())


def test_what_is_known_already_goes_on() -> None:
    found = Remembered()
    known = Registration(experiment(), "hash 1", state="paused", history=(changed("a", "paused"),))
    found.given([known])
    for message in (changed("a", "paused"), changed("b", "stopped")):
        found.take(kept(encode(message, "id", MIDNIGHT)))
    assert [c.id for c in found.registrations["juice"].history] == ["a", "b"]


def test_the_last_word_on_a_switch_holds() -> None:
    pull = Kill(id="all", scope="all", who="ada", why="fire", requested_at=at(1))
    lift = pull.model_copy(update={"lifted": True, "requested_at": at(2)})
    assert folded(pull, lift, pull).kills == {"all": lift}


def test_closings_give_the_last_day_and_how_often_one_was_revised() -> None:
    def closing(day: int, revision: int) -> PeriodClosed:
        return PeriodClosed(
            market="de", day=at(day).date(), watermark=MIDNIGHT, offsets={}, unit_days=1, events=1, revised=0,
            revision=revision,
        )  # fmt: skip

    assert folded(closing(3, 0), closing(1, 2), closing(2, 0)).closed == {"de": (ordinal(3), 2)}


async def test_a_market_has_got_as_far_as_its_last_scheduled_day_and_is_released_once_all_its_units_are() -> None:
    async def plan(*asked: Any) -> MarketPlan | None:
        _, log = await played([("flip", each) for each in asked])
        found = Remembered(controls=dict(CONTROLS))
        for record in log:
            found.take(record)
        return found.plans(DE).get(plan_key("juice", 1, "de"))

    def asked(arms: dict[str, int], day: int, **more: Any) -> Any:
        return replace(flip(arms, day, clusters=CLUSTERS, design_hash="hash", **more))

    both = {"de/a": 1, "de/b": 0}
    assert await plan(asked(both, 0), asked(both, 1)) == MarketPlan(at(1).date())
    release = asked(both, 2, release=True)
    assert await plan(asked(both, 1), release) == MarketPlan(at(2).date(), released=True)
    half = asked({"de/a": 1}, 2, release=True)
    assert await plan(asked(both, 1, days=9), half) == MarketPlan(at(2).date(), released=False)
    kill = replace(asked(both, 1, release=True), urgent=True, effective_at=at(1.5))
    assert await plan(asked(both, 1, days=9), kill) == MarketPlan(at(1).date(), released=True), (
        "urgent: no day's decision"
    )


def test_a_day_on_which_everything_was_withheld_was_decided() -> None:
    withheld = Withheld(
        id="w", experiment="juice", experiment_version=1, market="de", day=at(4).date(), units=("de/a",), reason="held",
        decided_at=at(3),
    )  # fmt: skip
    found = folded(withheld)
    assert found.plans(DE) == {plan_key("juice", 1, "de"): MarketPlan(at(4).date())}
    assert found.decided_at(DE) == at(3)


def test_what_is_none_of_the_logs_is_passed_over() -> None:
    found = Remembered()
    for headers in ((), (("ce_type", b"flipside.unheard-of.v1"),), (("ce_type", b"flipside.kill.v1"),)):
        found.take(Kept(b"k", b"{broken", headers))
    assert found == Remembered(records=3, unreadable=1)


def test_the_instant_of_the_last_decision_is_that_of_the_shards_markets() -> None:
    assert Remembered().decided_at(DE) is None
    _, log = asyncio.run(played([("flip", flip({"de/a": 1}, 1, design_hash="hash"))]))
    found = Remembered()
    for record in log:
        found.take(record)
    assert found.decided_at(DE) == at(1) - timedelta(hours=1)
    assert found.decided_at(frozenset({"fr"})) is None


async def test_a_decision_that_came_to_the_brokers_too_late_was_never_made() -> None:
    """Its day is to be reported; one that came a millisecond before is held."""
    _, log = await played([("flip", flip({"de/a": 1}, day, design_hash="hash")) for day in range(2)])
    begins = [milliseconds(at(day)) for day in range(2)]
    for missed, through in ((0, 1), (1, 0)):
        found = Remembered()
        found.given([Registration(experiment(), "hash")])
        for day, record in enumerate(log):
            late = replace(record, timestamp=begins[day] - (day != missed))
            found.take(replace(late, headers=(*late.headers, announce_by(at(day)))))
        assert found.plans(DE)[plan_key("juice", 1, "de")].decided_through == at(through).date()
        assert [held.effective_ms for held in found.held_units(DE)] == [begins[1 - missed]]
