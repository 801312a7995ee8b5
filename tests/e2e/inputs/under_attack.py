"""Two workers, an analysis and a client that are attacked, and what must go on meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from controller.definition.experiment import Experiment
from controller.definition.field_types import Message, milliseconds
from controller.errors import FlipsideError
from controller.messages.control import Kill
from controller.messages.events import Assignment
from controller.messages.inputs import CatalogEntry, Sale
from controller.messages.topics import ASSIGNMENT, BLACKOUT, CATALOG, DEFINITION, SALE
from controller.time.periods import day_start, local_day
from flipside.replay.environment import Processes
from flipside.replay.processes import Child
from flipside.simulated_shop.shop import plain
from flipside.topics import requests
from flipside.topics.dead_letters import read_letters
from flipside_client import Assignments
from streams.kafka.connection import connection
from streams.runtime.settings import Settings
from streams.store.redis.store import RedisStore
from tests.controller.builders import an_experiment
from tests.e2e.inputs.hostile_records import good, write
from tests.e2e.running import eventually

#: kept out of the way of what is looked at: the market of the examples is m0, that of what must go on is north
UNIT, ZONE = "north/tea", "Europe/Berlin"
KILLED_WITHIN_SECONDS = 5.0
SWITCH = "market.elsewhere"
#: at the earliest: it has to be registered by then
DUE_IN_SECONDS = 15
FLIPPED_WITHIN_SECONDS = 30.0


@dataclass(slots=True)
class Installation:
    """Two workers, an analysis, a client, and what was sent so far."""

    settings: Settings
    producer: AIOKafkaProducer
    client: Assignments
    store: RedisStore
    running: Processes
    sales: int = 0
    cells: int = 0
    #: topic -> cells
    by_topic: dict[str, int] = field(default_factory=dict)
    #: by the broker
    refused: int = 0
    flips: int = 0
    #: those that are on their way
    coming: list[asyncio.Task[None]] = field(default_factory=list)
    #: seconds after they were due, at worst
    latest_flip: float = 0.0
    slowest_kill: float = 0.0
    failures: list[str] = field(default_factory=list)

    async def put(self, topic: str, message: Message) -> None:
        record = plain(message)
        await self.producer.send_and_wait(self.settings.prefixed(topic), record.value, record.key)

    async def goes_on(self, where: str) -> None:
        """A sale counts, a kill is carried out in time, the client shows what is new, and nothing has ended."""
        try:
            self.running.check()
            await self._sells()
            await self._kills(where)
            await self._shows()
            self.running.check()
        except (FlipsideError, AssertionError) as error:
            raise self._failed(where, error) from error

    def _failed(self, where: str, error: Exception) -> AssertionError:
        self.failures.append(f"{where}: {str(error)[-3000:]}")
        tails = "".join(f"\n--- {name}\n{child.tail(8000)}" for name, child in self.running.children.items())
        return AssertionError(f"after {where}: {error}{tails}")

    async def _sells(self) -> None:
        now, self.sales = datetime.now(UTC), self.sales + 1
        sale = Sale(id=f"behind-{self.sales}", unit=UNIT, occurred_at=now, quantity=1, price_minor=100, currency="EUR")
        await self.put(SALE, sale)
        day = local_day(now, ZONE).toordinal()

        async def counted() -> bool:
            self.running.check()
            days = [day - 1, day]
            found = [one for d in days for one in await self.store.unit_days("north", d) if one.unit == UNIT]
            return sum(one.events for one in found) == self.sales

        await eventually(f"sale {self.sales} to be counted", counted)

    async def _kills(self, where: str) -> None:
        began = time.monotonic()
        switch = Kill(
            id=SWITCH, scope="market", name="elsewhere", lifted=bool(self.sales % 2), who="a test",
            why=where[:100], requested_at=datetime.now(UTC),
        )  # fmt: skip
        await requests.ask(self.settings, DEFINITION, switch, requests.kill_of(switch), 60.0)
        took = time.monotonic() - began
        self.slowest_kill = max(self.slowest_kill, took)
        assert took < KILLED_WITHIN_SECONDS, f"the kill took {took:.1f} s"

    async def flips_soon(self, where: str) -> None:
        """Register an experiment of two other markets that is announced 15 to 75 s from now, and look out for it."""
        now = datetime.now(UTC)
        zone, name = f"Etc/GMT{now.hour - 12:+d}", f"behind-{self.flips}"
        # A market of its own for each zone.
        units = [f"{market}-{now.hour}/{name}" for market in ("south", "west")]
        for unit in units:
            await self.put(CATALOG, CatalogEntry(unit=unit, time_zone=zone, currency="EUR", list_price_minor=100))
        tomorrow = local_day(now, zone) + timedelta(days=1)
        starts_at = day_start(tomorrow, zone)
        lead = timedelta(minutes=int((starts_at - now).total_seconds() - DUE_IN_SECONDS) // 60)
        experiment = an_experiment(
            name=name, currency="EUR", units=tuple(units), start=tomorrow, days=7,
            lead_minutes=lead // timedelta(minutes=1),
        )  # fmt: skip
        await requests.ask(self.settings, DEFINITION, experiment, requests.registration_of(experiment), 60.0)
        self.flips += 1
        self.coming.append(asyncio.create_task(self._flips(where, experiment, starts_at, starts_at - lead)))

    async def _flips(self, where: str, experiment: Experiment, starts_at: datetime, due: datetime) -> None:
        """The flip is drawn and announced in time."""

        async def announced() -> bool:
            held = [self.client.assignment(unit, starts_at) for unit in experiment.units]
            return {one.experiment for one in held if one is not None} == {experiment.name} and None not in held

        try:
            await eventually(f"the flip of {experiment.name}", announced)
            late = (datetime.now(UTC) - due).total_seconds()
            assert late > 0, f"{experiment.name} flipped {-late:.1f} s before it was due"
            self.latest_flip = max(self.latest_flip, late)
            assert late < FLIPPED_WITHIN_SECONDS, f"{experiment.name} flipped {late:.1f} s after it was due"
        except AssertionError as error:
            raise self._failed(f"the flip behind {where}", error) from error

    async def flipped(self) -> None:
        """All flips that are on their way happen."""
        coming, self.coming = self.coming, []
        await asyncio.gather(*coming)

    async def holds(self) -> dict[str, object]:
        """What a restart must not change: what is registered, killed, closed to flips, refused and shown."""
        letters = await read_letters(self.settings)
        shards = range(self.settings.partitions)
        registered = [(await self.store.registrations(shard))[1] for shard in shards]
        units = {unit for known in registered for one in known.values() for unit in one.experiment.units}
        kills = [await self.store.kills(shard) for shard in shards]
        async with Assignments(self.settings.kafka, self.settings.namespace) as another:
            tomorrow = datetime.now(UTC) + timedelta(days=1)
            shown = {unit: another.assignment(unit, tomorrow) for unit in units}
            assert shown == {unit: self.client.assignment(unit, tomorrow) for unit in shown}
        return {
            "registrations": registered,
            # The other one is pulled or lifted behind each record.
            "kills": [{name: kill for name, kill in known.items() if name != SWITCH} for known in kills],
            "blackouts": [await self.store.blackouts(shard) for shard in shards],
            "letters": sorted(kept.letter.id for kept in letters),
            "shown": shown,
        }

    async def requests_handled(self) -> None:
        """Every request that was sent has been read and handled by whichever worker has its partition.

        A kill that is answered says nothing of the other partitions, nor of the other worker.
        """
        places = [
            TopicPartition(self.settings.prefixed(topic), number)
            for topic in (DEFINITION, BLACKOUT)
            for number in range(self.settings.partitions)
        ]
        group = self.settings.prefixed("flipside")
        consumer = AIOKafkaConsumer(**connection(self.settings), group_id=group, enable_auto_commit=False)
        await consumer.start()
        try:
            ends = await consumer.end_offsets(places)

            async def committed() -> bool:
                return all([(await consumer.committed(place) or 0) >= end for place, end in ends.items()])

            await eventually("every request to be handled", committed)
        finally:
            await consumer.stop()

    def foreseen(self, where: str) -> None:
        """Nothing was tried again: each record was met by a rule."""
        workers = [self.running.children[name] for name in ("worker", "another worker")]
        said = [line for worker in workers for line in worker.tail(10**8).splitlines()]
        unforeseen = "\n".join(line[:3000] for line in said if "tried again" in line)
        assert not unforeseen, f"{where}: no rule foresaw what a record led to\n{unforeseen[:20_000]}"

    async def _shows(self) -> None:
        now = datetime.now(UTC)
        shown = good(
            Assignment, self.settings.partitions, milliseconds(now), unit=UNIT, id=f"north.1/{self.sales}/{UNIT}",
            effective_at=now, expires_at=now + timedelta(hours=1), decided_at=now, epoch=7, sequence=self.sales,
        )  # fmt: skip
        await write(self.producer, self.settings.prefixed(ASSIGNMENT), shown)

        async def there() -> bool:
            held = self.client.assignment(UNIT, datetime.now(UTC))
            return held is not None and held.sequence == self.sales

        await eventually("the client to show the new assignment", there)


@asynccontextmanager
async def two_workers(settings: Settings) -> AsyncIterator[Processes]:
    """Two workers and an analysis, stopped at the end."""
    with TemporaryDirectory(prefix="flipside-hostile-") as folder:
        commands = {"worker": "worker", "another worker": "worker", "analysis": "analysis"}
        environment = settings.environment()
        children = {name: Child(name, [command], environment, Path(folder)) for name, command in commands.items()}
        try:
            for child in children.values():
                await child.start()
            yield Processes(children)
        finally:
            for child in children.values():
                await child.stop()


@asynccontextmanager
async def installation(settings: Settings) -> AsyncIterator[Installation]:
    store = RedisStore(settings.redis.get_secret_value(), settings.namespace, settings.partitions)
    producer = AIOKafkaProducer(**connection(settings), max_request_size=16 * 1024 * 1024)
    await producer.start()
    try:
        async with (
            Assignments(settings.kafka, settings.namespace) as client,
            two_workers(settings) as running,
        ):
            found = Installation(settings, producer, client, store, running)
            entry = CatalogEntry(unit=UNIT, time_zone=ZONE, currency="EUR", list_price_minor=100)
            await found.put(CATALOG, entry)
            try:
                yield found
            finally:
                for flip in found.coming:
                    flip.cancel()
    finally:
        await producer.stop()
        await store.close()
