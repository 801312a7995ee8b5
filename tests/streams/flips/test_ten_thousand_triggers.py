"""Ten thousand rivals' prices through the fold, the store and the answers of owners, in both adapters of the store.

Kafka is the only part that is played: records have offsets, batches end where they please, and what can come twice
does. Everything else is what a worker runs.
"""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import structlog
from aiokafka import TopicPartition

from controller.decisions.roster import roster
from controller.definition.experiment import Experiment, design_hash
from controller.messages.codec import MODELS
from controller.messages.control import Entered, TriggerIgnored
from controller.messages.inputs import CatalogEntry, CompetitorPrice
from controller.messages.topics import COMPETITOR_PRICE, TRIGGER
from flipside.checks.entry_promises import check_entries
from streams.control.catalog import Catalog
from streams.flips.shard import Shard
from streams.flips.trigger_answers import answer, enrolments
from streams.inputs.competitor_prices import Rivals
from streams.outputs.outbox_relay import Relay
from streams.recovery.entries import restore_enrolments
from streams.runtime.settings import Settings
from streams.store import Registration, Store
from streams.store.memory.store import MemoryStore
from streams.store.redis.store import RedisStore
from streams.worker.last_line import Suspended
from streams.worker.metrics import Metrics
from streams.worker.services import Parts, partition_of
from tests.controller.decisions.test_enrolment import STRICT, market_of_rivals, triggered
from tests.streams.builders import Batch

PARTITIONS, LIST_PRICE = 2, 300
Arriving = Sequence[tuple[CompetitorPrice, datetime]]
Answers = list[Entered | TriggerIgnored]


@dataclass(frozen=True, slots=True)
class Rec:
    """A record of a topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp: int = 0


@dataclass
class Stopped:
    """A clock that shows what the test says."""

    at: datetime

    def now(self) -> datetime:
        return self.at

    def at_brokers(self, instant: datetime) -> datetime:
        return instant


class Known(Catalog):
    """All units at one list price."""

    def __init__(self, experiment: Experiment) -> None:
        self._all = {
            unit: CatalogEntry(unit=unit, time_zone="America/Chicago", currency="USD", list_price_minor=LIST_PRICE)
            for unit in experiment.units
        }

    @property
    def known(self) -> dict[str, CatalogEntry]:
        return self._all

    async def catch_up(self) -> None:
        """Nothing is on its way."""


@dataclass
class Topics:
    """What was published, by topic and partition: each record ``times`` times."""

    times: int
    logs: dict[tuple[str, int], list[Rec]] = field(default_factory=lambda: defaultdict(list))

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> Any:
        log = self.logs[topic, partition]
        for key, value, headers in batch.records:
            log += [Rec(topic, partition, len(log) + k, key, value, headers) for k in range(self.times)]
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def send_and_wait(self, topic: str, *, value: bytes, headers: Any, partition: int) -> None:
        log = self.logs[topic, partition]
        log.append(Rec(topic, partition, len(log), None, value, tuple(headers)))


class System:
    """A worker without Kafka, for one experiment."""

    def __init__(self, store: Store, experiment: Experiment, times: int) -> None:
        settings = Settings.model_validate({"partitions": PARTITIONS})
        quiet = structlog.make_filtering_bound_logger(50)
        log = structlog.wrap_logger(structlog.PrintLogger(), wrapper_class=quiet)
        self.experiment, self.store, self.topics = experiment, store, Topics(times)
        self.clock = Stopped(datetime.min.replace(tzinfo=UTC))
        self.parts = Parts(settings, self.clock, store, self.topics, Metrics(), log, "test")
        self.logs: dict[int, list[Rec]] = {number: [] for number in range(PARTITIONS)}
        self.shards: dict[int, Shard] = {}

    async def start(self) -> None:
        """As after a crash: everything that is known is what the store knows."""
        _, registrations = await self.store.registrations(0)
        self.rivals = Rivals(self.parts, Known(self.experiment))
        for number in range(PARTITIONS):
            await self.store.claim(number, 1)
            position, clusters = await self.store.triggers.enrolments(number)
            relay: Any = Relay(self.parts, number, 1)
            shard = self.shards[number] = Shard(number, 1, 0, relay, relay, [], Suspended(number, 1), trigger=position)
            shard.enrolments = enrolments(clusters)
            shard.registrations = registrations
            shard.rosters = {name: roster(known.experiment) for name, known in registrations.items()}

    async def take(self, some: Arriving, again: bool) -> None:
        """Events arrive: their partitions are read, what fires is published, and the owners answer it."""
        self.clock.at = some[-1][1]
        touched = set()
        for event, _ in some:
            number = partition_of(event.unit.encode(), PARTITIONS)
            value = event.model_dump_json().encode()
            self.logs[number].append(Rec(COMPETITOR_PRICE, number, len(self.logs[number]), event.unit.encode(), value))
            touched.add(number)
        for number in sorted(touched):
            start = await self.store.position("competitor-price", number)
            for _ in range(1 + again):
                if self.rivals.stored(number) != start:  # another worker, or a crash, or all of it comes again
                    self.rivals.begin(number, start)
                await self.rivals.fold(TopicPartition(COMPETITOR_PRICE, number), self.logs[number][start:])
                await self.rivals.keep()
                assert self.rivals.stored(number) == len(self.logs[number]), "a batch that was kept may come again"
        for number, shard in self.shards.items():
            # What was answered is read once more: only the position in the store says what is new.
            await answer(self.parts, shard, self.topics.logs[TRIGGER, number][max(0, shard.trigger - 3 * again) :])

    async def answers(self) -> Answers:
        """What the log is told."""
        owed = [entry for number in range(PARTITIONS) for entry in await self.store.outbox(number, 10**6)]
        found = [MODELS[kind].model_validate_json(body) for entry in owed for kind, body in entry.records]
        return [message for message in found if isinstance(message, Entered | TriggerIgnored)]


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
