"""Dead letters: found by why, where and when; looked at whole; sent again as they came, each once."""

import asyncio
import json
import sys
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from controller.messages.inputs import CatalogEntry, Sale
from controller.messages.topics import CATALOG, DEAD_LETTER, SALE
from flipside.simulated_shop.shop import plain
from flipside.topics.dead_letters import Wanted, read_letters, redrive
from streams.embedded.processes import Sandbox
from streams.kafka.topics import create_topics
from streams.runtime.clock import WallClock
from streams.runtime.settings import Settings
from tests.e2e.inputs.messy import worker_environment
from tests.e2e.running import Said, Servers, eventually, flipside, records
from tests.parts.ports import free_port

pytestmark = pytest.mark.broker


@dataclass(frozen=True, slots=True)
class Shop:
    """A worker on the wall clock, for which a sale two seconds ahead is one from the future."""

    settings: Settings
    producer: AIOKafkaProducer
    port: int

    async def run(self, *arguments: str) -> Said:
        return await flipside("dead-letters", *arguments, **worker_environment(self.settings))

    async def listed(self, *filters: str) -> list[dict[str, Any]]:
        said = await self.run("list", "--json", *filters)
        assert said.code == 0, said.err
        return list(json.loads(said.out.splitlines()[-1]))

    async def send(self, value: bytes | None, *headers: tuple[str, bytes], key: bytes = b"de/tea") -> None:
        await self.producer.send_and_wait(self.settings.prefixed(SALE), value, key, headers=list(headers))

    async def enter(self, unit: str) -> None:
        entry = CatalogEntry(unit=unit, time_zone="Europe/Berlin", currency="EUR", list_price_minor=100)
        record = plain(entry)
        await self.producer.send_and_wait(self.settings.prefixed(CATALOG), record.value, record.key)

    def sales(self, outcome: str) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        name = f'flipside_events_total{{outcome="{outcome}",topic="sale"}}'
        return sum(int(float(line.split()[-1])) for line in lines if line.startswith(name))


def sale(id: str, unit: str = "de/tea", ahead: float = 0.0) -> bytes:
    at = datetime.now(UTC) + timedelta(seconds=ahead)
    return plain(Sale(id=id, unit=unit, occurred_at=at, quantity=1, price_minor=100, currency="EUR")).value or b""


@pytest_asyncio.fixture
async def shop(servers: Servers, namespace: str) -> AsyncIterator[Shop]:
    port = free_port()
    settings = servers.settings(namespace, clock="wall", future_seconds=2, metrics_port=port)
    await create_topics(settings)
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka)
    await producer.start()
    with Sandbox("flipside-letters-") as sandbox:
        found = Shop(settings, producer, port)
        await found.enter("de/tea")
        worker = sandbox.start("worker", [sys.executable, "-m", "flipside", "worker"], worker_environment(settings))
        yield found
        worker.stop()
    await producer.stop()


async def test_letters_are_found_shown_and_sent_again_once_they_are_mended(shop: Shop) -> None:
    await shop.send(sale("good"))
    await shop.send(b'{"id": "broken', ("trace", b"\xff1"))
    await shop.send(None)
    await shop.send(sale("ahead", ahead=8.0), ("till", b"7"))
    await shop.send(sale("unheard-of", "de/cocoa"), key=b"de/cocoa")

    async def four() -> bool:
        return len(await read_letters(shop.settings)) == 4

    await eventually("four dead letters", four)
    everything = await shop.listed()
    assert [letter["standing"] for letter in everything] == ["dead"] * 4
    assert {letter["reason_code"] for letter in everything} == {"unreadable", "future", "unknown-unit"}
    assert [letter["tombstone"] for letter in everything].count(True) == 1
    (ahead,) = await shop.listed("--reason", "future", "--topic", SALE)
    assert await shop.listed("--since", "2100-01-01T00:00:00Z") == []
    assert len(await shop.listed("--until", "2100-01-01T00:00:00Z")) == 4

    shown = json.loads((await shop.run("show", ahead["id"], "--json")).out.splitlines()[-1])
    assert shown["headers"] == {"till": "7"}
    assert "ahead of its arrival" in shown["reason"]
    unknown = await shop.run("show", "nothing/0/0")
    assert (unknown.code, "no dead letter has the id" in unknown.err) == (1, True)
    assert (await shop.run("redrive")).code == 1, "not all of them by mistake"

    # Both are mended: the catalog has the unit, and the instant has come.
    await shop.enter("de/cocoa")
    due = datetime.fromisoformat(ahead["at"]) + timedelta(seconds=6.5)

    async def come() -> bool:
        return datetime.now(UTC) >= due

    await eventually("its instant", come)
    dry = await shop.run("redrive", "--reason", "future", "--dry-run", "--json")
    assert json.loads(dry.out) == {"would_send": [ahead["id"]]}
    for reasons in (("--reason", "future", "--reason", "unknown-unit"), ("--all",)):
        said = await shop.run("redrive", *reasons, "--json")
        assert said.code == 0, said.err
    outcome = json.loads(said.out.splitlines()[-1])
    assert (len(outcome["sent"]), len(outcome["passed_over"])) == (2, 2), "what was sent is not sent again"

    async def counted() -> bool:
        return shop.sales("counted") == 3 and len(await read_letters(shop.settings)) == 6

    await eventually("the mended ones to be counted, the others to be rejected again", counted)
    sent = [r for r in await records(shop.settings, SALE) if dict(r.headers).get("till") == b"7"]
    assert len(sent) == 2, "as it came, and once more"
    assert (sent[0].key, sent[0].value, sent[0].headers) == (sent[1].key, sent[1].value, sent[1].headers)
    tombstones = [r for r in await records(shop.settings, SALE) if r.value is None]
    assert len(tombstones) == 2, "a null is sent again as a null"
    standings = [letter["standing"] for letter in await shop.listed()]
    assert (standings.count("sent again"), standings.count("dead")) == (4, 2)


async def test_of_two_who_send_the_same_letters_each_is_sent_by_one(shop: Shop) -> None:
    for k in range(40):
        await shop.send(sale(f"twice-{k}", f"de/cocoa-{k}"), key=f"de/cocoa-{k}".encode())

    async def all_dead() -> bool:
        return len(await read_letters(shop.settings)) == 40

    await eventually("forty dead letters", all_dead)
    wanted, now = Wanted(reasons=frozenset({"unknown-unit"})), WallClock().now
    outcomes = await asyncio.gather(*(redrive(shop.settings, wanted, now, who=who) for who in ("ada", "bob")))
    sent = [id for outcome in outcomes for id in outcome.sent]
    assert len(sent) == len(set(sent)) == 40
    assert sum(len(outcome.taken) + len(outcome.passed_over) for outcome in outcomes) == 40
    assert len(await records(shop.settings, SALE)) == 80


async def test_a_letter_whose_sender_died_half_way_is_in_doubt_and_needs_to_be_told_again(shop: Shop) -> None:
    await shop.send(b"broken")

    async def dead() -> bool:
        return len(await read_letters(shop.settings)) == 1

    await eventually("a dead letter", dead)
    (kept,) = await read_letters(shop.settings)
    claim = {
        "ce_id": "c", "ce_type": "flipside.dead-letter-redrive.v1", "ce_time": "2026-01-01T00:00:00Z",
        "ce_letter": kept.letter.id, "ce_step": "claimed", "ce_round": "1", "ce_by": "ada",
    }  # fmt: skip
    headers = [(name, value.encode()) for name, value in claim.items()]
    topic = shop.settings.prefixed(DEAD_LETTER)
    await shop.producer.send_and_wait(topic, b"", kept.letter.key, partition=kept.letter.shelf, headers=headers)
    (found,) = await shop.listed()
    assert found["standing"] == "in doubt"
    over = await shop.run("redrive", found["id"], "--json")
    assert json.loads(over.out.splitlines()[-1])["passed_over"] == [found["id"]]
    again = await shop.run("redrive", found["id"], "--again", "--json")
    assert json.loads(again.out.splitlines()[-1])["sent"] == [found["id"]]
    first = next(letter for letter in await shop.listed() if letter["id"] == found["id"])
    assert first["standing"] == "sent again"
