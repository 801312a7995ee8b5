"""No record stops the system: whatever lies in a topic, everything lives, and what is behind it counts.

Every topic of the contract gets one record for each way in which it may be wrong. After each topic, and after each
hundred records, a sale must be counted, a kill be carried out within five seconds, and a subscribed client show a new
assignment. After each topic, and after each thousand records, a flip of two other markets happens that was due within
the minute: for each record it would take a day. At the end another one does, the processes are killed, and everything
holds again after a restart.
"""

import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from controller.definition.experiment import Experiment
from controller.definition.field_types import Message, milliseconds
from controller.errors import FlipsideError
from controller.messages.control import Kill
from controller.messages.events import Assignment
from controller.messages.inputs import CatalogEntry, Sale
from controller.messages.topics import (
    APPLIED,
    ASSIGNMENT,
    ASSIGNMENT_LOG,
    BLACKOUT,
    CATALOG,
    COMPETITOR_PRICE,
    DEAD_LETTER,
    DEFINITION,
    SALE,
)
from controller.time.periods import day_start, local_day
from flipside.replay.environment import Processes
from flipside.replay.processes import Child
from flipside.schemas import MESSAGES
from flipside.simulated_shop.shop import plain
from flipside.topics import requests
from flipside.topics.dead_letters import read_letters
from flipside_client import Assignments
from streams.kafka.connection import connection
from streams.kafka.topics import create_topics
from streams.runtime.settings import Settings
from streams.store.redis.store import RedisStore
from tests.controller.builders import an_experiment
from tests.e2e.inputs.hostile_records import Spoilt, a_letter, good, spoilt, write
from tests.e2e.running import Servers, eventually

pytestmark = pytest.mark.broker

#: topic -> what lies in it; of the letters, those of a sale
KINDS: dict[str, tuple[type[Message], ...]] = {topic: kinds or (Sale,) for topic, kinds in MESSAGES.items()}
#: whose records are letters where they are refused
INPUTS = (CATALOG, SALE, COMPETITOR_PRICE)


@dataclass(frozen=True, slots=True)
class Piece:
    """What one installation is attacked with."""

    topics: tuple[str, ...]
    #: of the records of each topic this share: (1, 3) is the second third
    part: tuple[int, int] = (0, 1)


PEOPLE = (*INPUTS, DEFINITION, BLACKOUT, APPLIED)
OTHERS = tuple(topic for topic in KINDS if topic not in (*PEOPLE, ASSIGNMENT_LOG))
#: the whole matrix; each piece takes some minutes
PIECES = {
    "inputs": Piece(INPUTS),
    "requests": Piece((DEFINITION, BLACKOUT, APPLIED)),
    **{f"the log, {part + 1} of 3": Piece((ASSIGNMENT_LOG,), (part, 3)) for part in range(3)},
    "others, 1 of 3": Piece(OTHERS[:3]),
    "others, 2 of 3": Piece(OTHERS[3:6]),
    "others, 3 of 3": Piece(OTHERS[6:]),
}
#: where the JSON of a run is written, if anywhere
WRITE_TO = "FLIPSIDE_MATRIX_JSON"
#: kept out of the way of what is looked at: the market of the examples is m0, that of what must go on is north
UNIT, ZONE = "north/tea", "Europe/Berlin"
KILLED_WITHIN_SECONDS = 5.0
#: at the earliest: it has to be registered by then
DUE_IN_SECONDS = 15
#: a kill stands behind so many records at most: each that is refused is answered in the log and by a letter
RECORDS_AT_ONCE = 100
#: a flip is looked at after so many
RECORDS_A_FLIP = 1000


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
            id="market.elsewhere", scope="market", name="elsewhere", lifted=bool(self.sales % 2), who="a test",
            why=where[:100], requested_at=datetime.now(UTC),
        )  # fmt: skip
        await requests.ask(self.settings, DEFINITION, switch, requests.kill_of(switch), 60.0)
        took = time.monotonic() - began
        assert took < KILLED_WITHIN_SECONDS, f"the kill took {took:.1f} s"

    async def submit(self) -> tuple[Experiment, datetime]:
        """Register an experiment of two other markets that is announced 15 to 75 s from now; with its first instant."""
        now = datetime.now(UTC)
        zone, name = f"Etc/GMT{now.hour - 12:+d}", f"behind-{self.flips}"
        # A market of its own for each zone.
        units = [f"{market}-{now.hour}/{name}" for market in ("south", "west")]
        for unit in units:
            await self.put(CATALOG, CatalogEntry(unit=unit, time_zone=zone, currency="EUR", list_price_minor=100))
        tomorrow = local_day(now, zone) + timedelta(days=1)
        due = day_start(tomorrow, zone)
        experiment = an_experiment(
            name=name, currency="EUR", units=tuple(units), start=tomorrow, days=7,
            lead_minutes=int((due - now).total_seconds() - DUE_IN_SECONDS) // 60,
        )  # fmt: skip
        await requests.ask(self.settings, DEFINITION, experiment, requests.registration_of(experiment), 60.0)
        self.flips += 1
        return experiment, due

    async def flipped(self, where: str, submitted: tuple[Experiment, datetime]) -> None:
        """The flip of an experiment that was submitted is drawn and announced."""
        experiment, due = submitted
        name = experiment.name

        async def announced() -> bool:
            self.running.check()
            held = [self.client.assignment(unit, due) for unit in experiment.units]
            return {one.experiment for one in held if one is not None} == {name} and None not in held

        try:
            await eventually(f"the flip of {name}", announced)
        except (FlipsideError, AssertionError) as error:
            raise self._failed(where, error) from error

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
            yield found
    finally:
        await producer.stop()
        await store.close()


def records_of(topic: str, partitions: int) -> list[tuple[type[Message], Spoilt]]:
    now_ms = milliseconds(datetime.now(UTC))
    changes: dict[type[Message], dict[str, Any]] = {
        # One that could be registered, but for what is wrong with it.
        Experiment: {"experiment": None},
    }
    found = []
    for model in KINDS[topic]:
        changed = {} if model not in changes else an_experiment(name="hostile").model_dump(include={"name"})
        record = good(model, partitions, now_ms, **changed)
        if topic == DEAD_LETTER:
            record = a_letter(record)
        found += [(model, one) for one in spoilt(record, partitions)]
    return found


async def attack(found: Installation, piece: Piece, step: int) -> None:
    """Put one in ``step`` of each topic's records, and look after each topic whether everything goes on.

    Flips are looked at where all records are put.
    """
    for topic in piece.topics:
        every = records_of(topic, found.settings.partitions)
        part, parts = piece.part
        every = every[len(every) * part // parts : len(every) * (part + 1) // parts]
        records = every[list(KINDS).index(topic) % step :: step]
        for first in range(0, len(records), RECORDS_AT_ONCE):
            some = records[first : first + RECORDS_AT_ONCE]
            (begins, one), (ends, last) = some[0], some[-1]
            where = f"{topic}: {begins.__name__}: {one.what} to {ends.__name__}: {last.what}"
            end = first + len(some)
            due = await found.submit() if step == 1 and (end == len(records) or end % RECORDS_A_FLIP == 0) else None
            for _, record in some:
                found.refused += not await write(found.producer, found.settings.prefixed(topic), record)
            found.cells += len(some)
            found.by_topic[topic] = found.by_topic.get(topic, 0) + len(some)
            await found.goes_on(where)
            if due is not None:
                await found.flipped(where, due)
        said = [
            line
            for name in ("worker", "another worker")
            for line in found.running.children[name].tail(10**8).splitlines()
        ]
        unforeseen = "\n".join(line[:3000] for line in said if "tried again" in line)
        assert not unforeseen, f"{topic}: no rule foresaw what a record led to\n{unforeseen[:20_000]}"


async def all_go_on(servers: Servers, namespace: str, name: str, piece: Piece, step: int = 1) -> None:
    settings = servers.settings(
        namespace, clock="wall", lateness_seconds=60, metrics_port=0, checkpoint_seconds=1, partitions=2
    )
    await create_topics(settings)
    async with installation(settings) as found:
        await found.goes_on("nothing yet")
        await attack(found, piece, step)
        letters = await read_letters(settings)
        for child in found.running.children.values():
            await child.kill()
            await child.start()
        await found.goes_on("a restart of everything")
        await found.flipped("a restart of everything", await found.submit())
        told = {
            "cells": found.cells, "failures": found.failures, "dead_letters": len(letters), "flips": found.flips,
            "refused_by_the_broker": found.refused, "by_topic": found.by_topic,
        }  # fmt: skip
        print(json.dumps(told))
        if os.environ.get(WRITE_TO):
            write_down(Path(os.environ[WRITE_TO]), name, told)
        assert found.failures == []
        if piece.topics[0] in INPUTS:
            assert letters, "what is refused is a dead letter"


def write_down(path: Path, name: str, told: dict[str, Any]) -> None:
    """Put one piece beside the others, with their sums."""
    every = json.loads(path.read_text())["pieces"] if path.exists() else {}
    every[name] = told
    sums = {key: sum(one[key] for one in every.values()) for key in ("cells", "dead_letters", "flips")}
    failed = sum(len(one["failures"]) for one in every.values())
    path.write_text(json.dumps({**sums, "failures": failed, "pieces": every}, indent=1) + "\n")


async def test_one_record_in_many_of_each_topic_stops_nothing(servers: Servers, namespace: str) -> None:
    await all_go_on(servers, namespace, "one in 23", Piece(tuple(KINDS)), step=23)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", PIECES)
async def test_no_record_of_any_topic_stops_anything(servers: Servers, namespace: str, name: str) -> None:
    await all_go_on(servers, namespace, name, PIECES[name])
