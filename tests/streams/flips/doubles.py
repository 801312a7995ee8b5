"""Kafka and the parts of a worker, as lists in memory."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from aiokafka import TopicPartition

from controller.decisions.roster import roster
from controller.definition.experiment import Experiment
from controller.messages.codec import MODELS, GivenHeaders
from controller.messages.control import Entered, TriggerIgnored
from controller.messages.inputs import CatalogEntry, CompetitorPrice
from controller.messages.topics import COMPETITOR_PRICE, TRIGGER
from streams.control.catalog import Catalog
from streams.flips.shard import Shard
from streams.flips.trigger_answers import answer, enrolments
from streams.inputs.competitor_prices import Rivals
from streams.outputs.outbox_relay import Relay
from streams.runtime.settings import Settings
from streams.store import Store
from streams.worker.last_line import Suspended
from streams.worker.metrics import Metrics
from streams.worker.services import Parts, partition_of
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
    headers: GivenHeaders = ()
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
