"""Rivals' prices folded in memory: what the store is told, and when, if a broker fails or another worker takes over."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from controller.decisions.triggers import Observation, RivalHistory
from controller.definition.experiment import Experiment, design_hash
from controller.messages.codec import MODELS, ce_type
from controller.messages.control import TriggerFired
from controller.messages.topics import COMPETITOR_PRICE
from streams.inputs.competitor_prices import HISTORIES_KEPT, Folded, Rivals
from streams.inputs.recount import Recount
from streams.runtime.settings import Settings
from streams.store import Registration
from streams.store.memory.store import MemoryStore
from streams.store.memory.triggers import MemoryTriggers
from streams.store.restore_port import Damaged
from streams.store.trigger_port import Histories
from streams.worker.metrics import Metrics
from streams.worker.services import Parts, partition_of
from tests.controller.decisions.triggered import STRICT, market_of_rivals, triggered
from tests.streams.builders import Batch
from tests.streams.flips.doubles import PARTITIONS, Known, Rec, Stopped, Topics

PRICES = 3_000


@dataclass
class Deaf(Topics):
    """Topics that acknowledge nothing while they are told so."""

    deaf: bool = False

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> Any:
        if self.deaf:
            raise KafkaError
        return await super().send_batch(batch, topic, partition=partition)

    def triggers(self) -> list[str]:
        """Ids of all that was told, in the order of each partition."""
        found = []
        for _, log in sorted(self.logs.items()):
            for record in log:
                message = MODELS[str(ce_type(record.headers))].model_validate_json(record.value or b"")
                assert isinstance(message, TriggerFired)
                found.append(message.id)
        return found


@dataclass
class Slow(Deaf):
    """Topics that acknowledge nothing until they are told to."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    free: asyncio.Event = field(default_factory=asyncio.Event)

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> Any:
        self.asked.set()
        await self.free.wait()
        return await super().send_batch(batch, topic, partition=partition)


class Busy(MemoryTriggers):
    """What a store remembers of triggers, which takes nothing until it is told to."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store.shards, store.positions, store.histories)
        self.asked, self.free = asyncio.Event(), asyncio.Event()

    async def fold(self, partition: int, start: int, end: int, histories: Histories) -> bool:
        self.asked.set()
        await self.free.wait()
        return await super().fold(partition, start, end, histories)


@dataclass
class House:
    """A store, topics, and the prices of partition 0."""

    store: MemoryStore
    topics: Deaf
    experiment: Experiment
    prices: Sequence[Rec]
    now: datetime

    def worker(self) -> Rivals:
        """Another worker of the same house; it begins where the store stands."""
        quiet = structlog.wrap_logger(structlog.PrintLogger(), wrapper_class=structlog.make_filtering_bound_logger(50))
        settings = Settings.model_validate({"partitions": PARTITIONS})
        clock = Stopped(self.now)
        parts = Parts(settings, clock, self.store, self.topics, Metrics(), quiet, "test")
        return Rivals(parts, Known(self.experiment))

    async def begun(self) -> Rivals:
        rivals = self.worker()
        rivals.begin(0, await self.position())
        return rivals

    async def position(self) -> int:
        return await self.store.position("competitor-price", 0)


@pytest.fixture
async def house() -> House:
    experiment, events = triggered(design=STRICT), market_of_rivals(PRICES)
    mine = [e for e in events if partition_of(e.unit.encode(), PARTITIONS) == 0]
    prices = [
        Rec(COMPETITOR_PRICE, 0, offset, event.unit.encode(), event.model_dump_json().encode())
        for offset, event in enumerate(mine)
    ]
    store = MemoryStore(PARTITIONS)
    await store.put_registration(Registration(experiment, design_hash(experiment)))
    return House(store, Deaf(1), experiment, prices, events[-1].observed_at)


async def fold(rivals: Rivals, records: Sequence[Rec]) -> None:
    assert await rivals.fold(TopicPartition(COMPETITOR_PRICE, 0), records) == len(records)


async def turns(rivals: Rivals) -> None:
    async with asyncio.timeout(10):
        while True:
            rivals.go_on()
            await asyncio.sleep(0)


async def calm(house: House) -> list[str]:
    """What is told where nothing goes wrong."""
    topics, store, house.topics, house.store = house.topics, house.store, Deaf(1), MemoryStore(PARTITIONS)
    await house.store.put_registration(Registration(house.experiment, design_hash(house.experiment)))
    rivals = await house.begun()
    await fold(rivals, house.prices)
    await rivals.keep()
    assert await house.position() == len(house.prices)
    told, house.topics, house.store = house.topics.triggers(), topics, store
    assert len(told) > 5
    return told


async def test_the_position_does_not_pass_a_price_whose_trigger_the_brokers_did_not_acknowledge(house: House) -> None:
    expected, rivals = await calm(house), await house.begun()
    house.topics.deaf = True
    await fold(rivals, house.prices)
    with pytest.raises(KafkaError):
        await rivals.keep()
    assert await house.position() == 0
    assert rivals.stored(0) is None, "what was folded ahead of the store is forgotten"
    house.topics.deaf = False
    rivals.begin(0, await house.position())
    await fold(rivals, house.prices)
    await rivals.keep()
    assert house.topics.triggers() == expected
    assert await house.position() == len(house.prices)


async def test_triggers_told_before_a_crash_are_told_again_under_the_same_ids(house: House) -> None:
    expected, rivals, half = await calm(house), await house.begun(), len(house.prices) // 2
    await fold(rivals, house.prices[:half])
    await rivals.keep()
    at_first = len(house.topics.triggers())
    # Told, but the store hears nothing of it: the partition is another worker's before that.
    await fold(rivals, house.prices[half:])
    rivals.forget(0)
    await rivals.keep()
    assert await house.position() == half
    other = await house.begun()
    await fold(other, house.prices[half:])
    await other.keep()
    assert house.topics.triggers() == [*expected, *expected[at_first:]]


async def test_who_has_lost_a_partition_writes_nothing_over_what_its_next_owner_has_kept(house: House) -> None:
    before, after = await house.begun(), await house.begun()
    await fold(before, house.prices[:30])
    await fold(after, house.prices)
    await after.keep()
    names = [f"{unit}|rival" for unit in house.experiment.units]
    kept = await house.store.triggers.histories(0, {f"{house.experiment.name}.1": names})
    await before.keep()
    assert before.stored(0) is None, "it has to begin anew"
    assert await house.position() == len(house.prices)
    assert await house.store.triggers.histories(0, {f"{house.experiment.name}.1": names}) == kept


async def test_what_nobody_can_read_of_a_rivals_history_is_folded_anew_from_the_topic(house: House) -> None:
    expected, rivals, half = await calm(house), await house.begun(), len(house.prices) // 2
    await fold(rivals, house.prices[:half])
    await rivals.keep()
    watch = f"{house.experiment.name}.1"
    spoilt = {f"{unit}|rival": "{half of it" for unit in house.experiment.units}
    assert await house.store.triggers.fold(0, half, half, {watch: spoilt})
    other, restoring = await house.begun(), house.store.restoring
    with pytest.raises(Damaged, match=watch):
        await fold(other, house.prices[half:])
    assert (other.stored(0), await restoring.with_position("competitor-price", [0])) == (None, frozenset())
    await Recount(other._parts, other._catalog).mend("competitor-price", 0, half)
    again = await house.begun()
    await fold(again, house.prices)
    await again.keep()
    assert house.topics.triggers()[-len(expected) :] == expected


async def test_a_fault_on_the_way_is_raised_with_the_next_turn_and_nothing_is_folded_on_top_of_it(house: House) -> None:
    rivals = await house.begun()
    house.topics.deaf = True
    await fold(rivals, house.prices)
    with pytest.raises(KafkaError):
        await turns(rivals)
    assert rivals.stored(0) is None
    assert await house.position() == 0


async def test_a_trigger_is_told_while_the_store_is_still_busy_with_what_came_before(house: House) -> None:
    expected, half = await calm(house), len(house.prices) // 2
    house.store.triggers = busy = Busy(house.store)
    rivals = await house.begun()
    await fold(rivals, house.prices[:half])
    rivals.go_on()
    await busy.asked.wait()
    await fold(rivals, house.prices[half:])
    rivals.go_on()
    async with asyncio.timeout(10):
        while house.topics.triggers() != expected:
            await asyncio.sleep(0)
    assert await house.position() == 0
    busy.free.set()
    await rivals.stop()
    assert await house.position() == half
    await rivals.keep()
    assert await house.position() == len(house.prices)


async def test_the_store_hears_of_no_price_while_its_trigger_is_still_on_the_way(house: House) -> None:
    await calm(house)
    house.topics = slow = Slow(1)
    rivals = await house.begun()
    await fold(rivals, house.prices)
    rivals.go_on()
    keeping = asyncio.create_task(rivals.keep())
    await slow.asked.wait()
    for _ in range(100):
        await asyncio.sleep(0)
    assert await house.position() == 0
    slow.free.set()
    await keeping
    assert await house.position() == len(house.prices)
    await rivals.stop()


def test_what_came_while_the_store_was_told_is_remembered_though_there_is_too_much_to_keep() -> None:
    old = RivalHistory((Observation(datetime(2030, 1, 1, tzinfo=UTC), "e1", 1),))
    new = RivalHistory((Observation(datetime(2030, 1, 2, tzinfo=UTC), "e2", 2),))
    folded = Folded(0, 0, {"juice.1": {}})
    folded.take({"juice.1": {f"de/{k}|x": old for k in range(HISTORIES_KEPT + 1)}}, 10)
    end, told = folded.unkept()
    folded.take({"juice.1": {"de/0|x": new}}, 11)
    folded.kept(end)
    assert (end, len(told["juice.1"])) == (10, HISTORIES_KEPT + 1)
    assert folded.histories == {"juice.1": {"de/0|x": new}}, "the store has the others, and this one only older"
    assert folded.unkept() == (11, {"juice.1": {"de/0|x": new}})
