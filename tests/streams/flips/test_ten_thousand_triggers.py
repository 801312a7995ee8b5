"""Ten thousand rivals' prices through the fold, the store and the answers of owners, in both adapters of the store.

Kafka is the only part that is played: records have offsets, batches end where they please, and what can come twice
does. Everything else is what a worker runs.
"""

import uuid
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pytest

from controller.definition.experiment import Experiment, design_hash
from controller.messages.control import Entered, TriggerIgnored
from controller.messages.inputs import CompetitorPrice
from flipside.checks.entry_promises import check_entries
from streams.inputs.competitor_prices import Rivals
from streams.recovery.entries import restore_enrolments
from streams.store import Registration, Store
from streams.store.memory.store import MemoryStore
from streams.store.redis.store import RedisStore
from streams.worker.services import partition_of
from tests.controller.decisions.triggered import STRICT, market_of_rivals, triggered
from tests.streams.flips.doubles import LIST_PRICE, PARTITIONS, Answers, Arriving, Known, System


async def passage(store: Store, experiment: Experiment, arriving: Arriving, *, again: bool = False) -> Answers:
    """All events in the order of their arrival. ``again``: every step may be repeated, and there are crashes."""
    shape, crashes = np.random.default_rng(1), np.random.default_rng(2)
    await store.put_registration(Registration(experiment, design_hash(experiment)))
    system = System(store, experiment, times=1 + again)
    await system.start()
    at = 0
    while at < len(arriving):
        some = arriving[at : at + int(shape.integers(1, 15))]
        at += len(some)
        await system.take([one for one in some for _ in range(1 + again)], again)
        if again and crashes.random() < 0.03:
            await system.start()
    return await system.answers()


def in_order(events: Sequence[CompetitorPrice]) -> Arriving:
    return [(event, event.observed_at + timedelta(seconds=1)) for event in events]


async def test_workers_that_take_a_partition_from_each_other_remember_nothing_that_is_over() -> None:
    """What a worker keeps in memory of rivals is of use only where the store stands as it has left it."""
    experiment, events = triggered(design=STRICT), market_of_rivals(1_500)
    alone = await passage(MemoryStore(PARTITIONS), experiment, in_order(events))
    system = System(MemoryStore(PARTITIONS), experiment, times=1)
    await system.store.put_registration(Registration(experiment, design_hash(experiment)))
    await system.start()
    other = Rivals(system.parts, Known(experiment))
    shape, swaps = np.random.default_rng(1), np.random.default_rng(4)
    arriving, at = in_order(events), 0
    while at < len(arriving):
        some = arriving[at : at + int(shape.integers(1, 15))]
        at += len(some)
        await system.take(some, again=False)
        if swaps.random() < 0.5:
            system.rivals, other = other, system.rivals
    assert await system.answers() == alone
    assert len(alone) > 20


@pytest.mark.slow
async def test_ten_thousand_events_with_every_record_twice_and_crashes_lead_to_the_same_entries(redis_url: str) -> None:
    experiment, events = triggered(design=STRICT), market_of_rivals(10_000)
    redis = RedisStore(redis_url, uuid.uuid4().hex, PARTITIONS)
    found = [
        await passage(MemoryStore(PARTITIONS), experiment, in_order(events)),
        await passage(MemoryStore(PARTITIONS), experiment, in_order(events), again=True),
        await passage(redis, experiment, in_order(events), again=True),
    ]
    await redis.close()
    once = found[0]
    entered = [message for message in once if isinstance(message, Entered)]
    assert len(entered) > 20
    ignored = [message for message in once if isinstance(message, TriggerIgnored)]
    assert {message.reason for message in ignored} >= {"running", "cool_down", "not_quiet", "cap"}
    for other in found[1:]:
        assert other == once
    assert check_entries(experiment, entered, ignored, events, dict.fromkeys(experiment.units, LIST_PRICE)) == []


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_shuffled_within_their_lateness_no_rule_of_entering_is_broken_and_arms_are_as_committed(
    redis_url: str, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    experiment, events = triggered(design=STRICT), market_of_rivals(10_000)
    lateness = chance.uniform(0, 100 * 60, len(events))
    late = [(e, e.observed_at + timedelta(seconds=float(s))) for e, s in zip(events, lateness, strict=True)]
    arriving = sorted(late, key=lambda pair: pair[1])
    memory = await passage(MemoryStore(PARTITIONS), experiment, arriving)
    if seed == 1:
        redis = RedisStore(redis_url, uuid.uuid4().hex, PARTITIONS)
        assert await passage(redis, experiment, arriving) == memory
        await redis.close()
    entered = [message for message in memory if isinstance(message, Entered)]
    ignored = [message for message in memory if isinstance(message, TriggerIgnored)]
    assert entered
    # What crossed what is another story for each order of arrival; every other promise is the same.
    listed = dict.fromkeys(experiment.units, LIST_PRICE)
    broken = check_entries(experiment, entered, ignored, [event for event, _ in arriving], listed)
    assert [v for v in broken if "crosses no" not in v.what] == []


async def test_a_store_that_lost_its_entries_knows_them_again_from_the_log_and_admits_nobody_twice() -> None:
    experiment, events = triggered(design=STRICT), market_of_rivals(1_500)
    whole = System(MemoryStore(PARTITIONS), experiment, times=1)
    await whole.store.put_registration(Registration(experiment, design_hash(experiment)))
    await whole.start()
    half = events[:1000]
    for event, at in in_order(half):
        await whole.take([(event, at)], again=False)
    said = await whole.answers()
    assert any(isinstance(answer, Entered) for answer in said)

    lost = System(MemoryStore(PARTITIONS), experiment, times=1)
    registration = Registration(experiment, design_hash(experiment))
    await lost.store.put_registration(registration)
    await lost.start()
    for number in range(PARTITIONS):
        mine = [answer for answer in said if partition_of(answer.market.encode(), PARTITIONS) == number]
        for _ in range(2):
            await restore_enrolments(lost.parts, number, 1, mine, {experiment.name: registration})
    await lost.start()
    for number, shard in lost.shards.items():
        entered = {e for plan in whole.shards[number].enrolments.values() for e in plan.entries}
        assert {e for plan in shard.enrolments.values() for e in plan.entries} == entered
    # The topics are read from their beginnings again.
    for event, at in in_order(events):
        await lost.take([(event, at)], again=False)
        if event in half:
            assert await lost.answers() == [], "what was answered is not answered again"
    for event, at in in_order(events[1000:]):
        await whole.take([(event, at)], again=False)
    order = {id: k for k, id in enumerate(event.id for event in events)}
    told = sorted(said + await lost.answers(), key=lambda a: order[a.trigger.rpartition("/")[2]])
    assert told == sorted(await whole.answers(), key=lambda a: order[a.trigger.rpartition("/")[2]])
