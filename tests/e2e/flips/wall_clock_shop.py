"""A shop under the wall clock."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest_asyncio
from aiokafka import AIOKafkaProducer

from controller.messages.inputs import CatalogEntry
from controller.messages.topics import CATALOG, TOPICS
from controller.time.periods import day_start
from flipside.replay.environment import processes
from flipside.simulated_shop.shop import plain
from streams.runtime.settings import Settings
from tests.e2e.running import Said, Servers, flipside

UNITS = ("north/tea", "north/coffee", "south/tea", "south/coffee")
FLOOR_MINOR = 900


@dataclass(frozen=True, slots=True)
class Shop:
    """A running installation and how its commands are called."""

    settings: Settings
    time_zone: str
    today: date

    async def run(self, *arguments: str, **more: str) -> Said:
        return await flipside(*arguments, **(self.environment | more))

    @property
    def environment(self) -> dict[str, str]:
        return {
            "FLIPSIDE_KAFKA": self.settings.kafka,
            "FLIPSIDE_REDIS": self.settings.redis.get_secret_value(),
            "FLIPSIDE_NAMESPACE": self.settings.namespace,
            "FLIPSIDE_PARTITIONS": str(self.settings.partitions),
            "FLIPSIDE_FETCH_WAIT_MS": str(self.settings.fetch_wait_ms),
        }

    def definition(self, **changed: object) -> dict[str, Any]:
        """An experiment from tomorrow on, whose first assignments go out within the next minute and a half."""
        tomorrow = self.today + timedelta(days=1)
        left = day_start(tomorrow, self.time_zone) - datetime.now(UTC)
        return {
            "name": "prices",
            "currency": "EUR",
            "units": list(UNITS),
            "clusters": "unit",
            "arms": [{"name": "control"}, {"name": "cheaper", "price": {"percent": "-5"}}],
            "start": str(tomorrow),
            "days": 7,
            "seed": "wall",
            "lead_minutes": int((left.total_seconds() - 25) // 60),
        } | changed


async def publish_catalog(settings: Settings, time_zone: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka)
    await producer.start()
    try:
        for unit in UNITS:
            entry = CatalogEntry(
                unit=unit, time_zone=time_zone, currency="EUR", list_price_minor=1000, floor_minor=FLOOR_MINOR
            )
            record = plain(entry)
            await producer.send_and_wait(settings.prefixed(CATALOG), key=record.key, value=record.value)
    finally:
        await producer.stop()


@pytest_asyncio.fixture
async def shop(servers: Servers, namespace: str) -> AsyncIterator[Shop]:
    """Topics, catalog and a worker on the wall clock, in a zone where it is noon: far from midnight."""
    settings = servers.settings(namespace, clock="wall", lateness_seconds=60)
    now = datetime.now(UTC)
    time_zone = f"Etc/GMT{now.hour - 12:+d}"
    found = Shop(settings, time_zone, (now + timedelta(hours=12 - now.hour)).date())
    first = await found.run("topics", "create", "--json")
    assert first.code == 0, first.err
    assert len(json.loads(first.out.splitlines()[-1])["created"]) == len(TOPICS)
    await publish_catalog(settings, time_zone)
    async with processes(settings, ("worker",)):
        yield found


def written(folder: Path, definition: dict[str, Any]) -> str:
    path = folder / f"{len(list(folder.iterdir()))}.json"
    path.write_text(json.dumps(definition))
    return str(path)


def last_json(said: Said) -> Any:
    assert said.code == 0, said.err
    return json.loads(said.out.splitlines()[-1])
