"""An installation with one experiment whose control requests are tried out."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from aiokafka import AIOKafkaProducer

from controller.definition.experiment import Arm, Experiment, PriceRule
from controller.messages.codec import Record, encode
from controller.messages.control import LifecycleChanged
from controller.messages.events import Assignment, Registered, Tick
from controller.messages.inputs import CatalogEntry
from controller.messages.topics import ASSIGNMENT_LOG, CATALOG, DEFINITION, TICK
from flipside.simulated_shop.shop import plain
from flipside.topics.reader import Reader
from flipside_client import Assignments
from streams.kafka.connection import connection
from streams.runtime.settings import Settings
from streams.worker.services import partition_of
from tests.e2e.running import Said, eventually, flipside, running

START = date(2026, 3, 2)
UNITS = tuple(f"{market}/{product}" for market in ("de", "fr") for product in "abcd")


def at(day: int, hour: float = 0.0) -> datetime:
    """An instant of an experiment's day, 0 being its first one; both markets live in UTC."""
    return datetime(START.year, START.month, START.day, tzinfo=UTC) + timedelta(days=day, hours=hour)


def entry(unit: str, **changes: Any) -> CatalogEntry:
    return CatalogEntry(
        unit=unit, time_zone="Etc/UTC", currency="EUR", list_price_minor=1000, cost_minor=500, **changes
    )


def definition(**changes: Any) -> Experiment:
    arms = (Arm(name="control"), Arm(name="cheap", price=PriceRule(percent=Decimal(-10))))
    return Experiment(name="juice", currency="EUR", units=UNITS, arms=arms, start=START, days=14, seed="7", **changes)


@dataclass
class House:
    """A running installation, and everything around it: owner's systems, the clock, a pricing system, the log."""

    settings: Settings
    producer: AIOKafkaProducer
    client: Assignments
    log: Reader

    async def send(self, topic: str, record: Record) -> None:
        number = partition_of(record.key or b"", self.settings.partitions)
        await self.producer.send_and_wait(
            self.settings.prefixed(topic), value=record.value, key=record.key, headers=record.headers, partition=number
        )

    async def tick(self, now: datetime) -> None:
        record = encode(Tick(at=now), f"tick/{now.isoformat()}", now)
        for number in range(self.settings.partitions):
            await self.producer.send_and_wait(
                self.settings.prefixed(TICK), value=record.value, headers=record.headers, partition=number
            )

    async def logged(self, what: str, condition: Any) -> None:
        """Wait until the log holds a message of which something is true."""

        async def there() -> bool:
            await self.log.poll(20)
            return any(condition(message) for message in self.log.messages)

        await eventually(what, there)

    async def decided(self, day: int, units: tuple[str, ...] = UNITS) -> dict[str, Assignment]:
        """The evening before a day, and what was assigned for it."""
        await self.tick(at(day, -0.5))
        found: dict[str, Assignment] = {}

        async def all_there() -> bool:
            await self.log.poll(20)
            found.update(
                {m.unit: m for m in self.log.messages if isinstance(m, Assignment) and m.effective_at == at(day)}
            )
            return found.keys() >= set(units)

        await eventually(f"the assignments of day {day}", all_there)
        return found

    async def shows(self, arms: Mapping[str, str | None], now: datetime) -> None:
        """Wait until a pricing system shows these arms."""

        async def shown() -> bool:
            await self.log.poll(20)
            return {unit: self.client.arm(unit, now) for unit in arms} == arms

        await eventually(f"{arms} at {now}", shown)

    async def released(self) -> list[Assignment]:
        """Wait until the log holds the release of every unit, and return what it says of them."""
        found: list[Assignment] = []

        async def all_let_go() -> bool:
            await self.log.poll(20)
            said = (message for message in self.log.messages if isinstance(message, Assignment))
            found[:] = [message for message in said if message.reason.code == "released"]
            return {message.unit for message in found} == set(UNITS)

        await eventually("the release of every unit", all_let_go)
        return found

    async def command(self, *arguments: str) -> Said:
        environment = {
            "FLIPSIDE_KAFKA": self.settings.kafka,
            "FLIPSIDE_NAMESPACE": self.settings.namespace,
            "FLIPSIDE_PARTITIONS": str(self.settings.partitions),
        }
        return await flipside(*arguments, **environment)

    def changes(self) -> list[LifecycleChanged]:
        return [m for m in self.log.messages if isinstance(m, LifecycleChanged)]


@asynccontextmanager
async def house(settings: Settings, experiment: Experiment) -> AsyncIterator[House]:
    """An installation with a registered experiment, the day before it starts.

    With an analysis where there is a guardrail: nothing else here looks at what an analysis finds.
    """
    async with running(settings, ("worker", "analysis") if experiment.guardrails else ("worker",)):
        producer, log = AIOKafkaProducer(**connection(settings), acks="all"), Reader(settings, [ASSIGNMENT_LOG])
        await producer.start()
        await log.start()
        try:
            async with Assignments(settings.kafka, settings.namespace) as client:
                lived_in = House(settings, producer, client, log)
                await lived_in.tick(at(-2))
                for unit in UNITS:
                    await lived_in.send(CATALOG, plain(entry(unit)))
                await lived_in.send(DEFINITION, plain(experiment))
                await lived_in.logged("the registration", lambda m: isinstance(m, Registered))
                yield lived_in
        finally:
            await log.stop()
            await producer.stop()
