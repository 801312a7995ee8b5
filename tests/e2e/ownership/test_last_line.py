"""The last line on real servers: one market that fails is named and suspended, and the others go on."""

import json
import time
from datetime import UTC, datetime
from urllib.request import urlopen

import pytest

from controller.definition.field_types import market_of
from controller.messages.codec import decode
from controller.messages.events import Assignment
from controller.messages.inputs import Sale
from controller.messages.topics import ASSIGNMENT, CATALOG, DEAD_LETTER, SALE
from streams.kafka.topics import create_topics
from streams.runtime.settings import Settings
from tests.chaos.faults.evening import CATALOG as ENTRIES
from tests.chaos.faults.evening import MARKETS
from tests.chaos.faults.strikes import STRUCK
from tests.e2e.ownership.struck_market import UNITS, registered, send, struck
from tests.e2e.running import Servers, eventually, flipside, records
from tests.parts.ports import free_port

pytestmark = pytest.mark.broker

#: place, call -> what is set aside
CELLS = {
    "deciding": ("streams.flips.decider:_flip_all", "flip_all"),
    "relay": ("streams.outputs.outbox_relay:_spelled", ""),
    "record": ("streams.inputs.consumer:_fold_once", "fold_sales"),
}
NAMED_WITHIN_SECONDS = 60.0
OTHERS = frozenset(MARKETS) - {STRUCK}


async def announced(settings: Settings) -> set[str]:
    """Markets of which arms were announced."""
    found = [decode(record.headers, record.value or b"") for record in await records(settings, ASSIGNMENT)]
    return {market_of(one.unit) for one in found if isinstance(one, Assignment)}


async def sell(settings: Settings) -> None:
    now = datetime.now(UTC)
    await send(settings, SALE, [
        Sale(id="s", unit=unit, occurred_at=now, quantity=1, price_minor=1000, currency="EUR") for unit in UNITS
    ])  # fmt: skip


def metric(settings: Settings, name: str) -> float:
    with urlopen(f"http://127.0.0.1:{settings.metrics_port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


@pytest.mark.parametrize("kind", CELLS)
async def test_a_market_that_fails_is_named_within_a_minute_and_all_others_go_on(
    servers: Servers, namespace: str, kind: str
) -> None:
    settings = servers.settings(namespace, clock="wall", partitions=2, metrics_port=free_port())
    await create_topics(settings)
    await send(settings, CATALOG, [ENTRIES[unit] for unit in UNITS])
    place, call = CELLS[kind]
    async with struck(settings, place, call) as worker:
        await registered(settings, worker)
        began = time.monotonic()
        await sell(settings)

        async def others_are_announced() -> bool:
            assert worker.running(), worker.tail(200)
            return await announced(settings) >= OTHERS

        await eventually("arms of all other markets", others_are_announced)

        async def named() -> bool:
            if kind == "record":
                letters = await records(settings, DEAD_LETTER)
                return {record.key for record in letters} == {f"{STRUCK}/a".encode(), f"{STRUCK}/b".encode()}
            said = await flipside("experiment", "suspended", "--json", **settings.environment())
            return {(one["market"], one["duty"]) for one in json.loads(said.out)} == {(STRUCK, kind)}

        await eventually("the market to be named", named)
        took = time.monotonic() - began
        assert took < NAMED_WITHIN_SECONDS
        print(f"{kind}: named after {took:.1f} s")
        assert metric(settings, "flipside_set_aside_total") >= 1
        assert worker.said("set aside")
        assert worker.said(place.partition(":")[2])
        assert (STRUCK in await announced(settings)) == (kind == "record")
    if kind != "record":
        async with struck(settings):  # a restart tries it again

            async def announced_too() -> bool:
                return STRUCK in await announced(settings)

            await eventually("arms of the market that was set aside", announced_too)
            said = await flipside("experiment", "suspended", **settings.environment())
            assert said.out == "no market is set aside\n"
