"""The loop of the pricing engineer's page, as it is written there, against a running installation."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from controller.messages.events import BlackoutSet
from controller.messages.inputs import Blackout, Scope
from controller.messages.topics import BLACKOUT
from flipside.schemas import ROOT
from flipside.simulated_shop.shop import plain
from flipside_client import Assignments
from tests.e2e.flips.house import UNITS, House, at, definition, house
from tests.e2e.running import Servers, eventually

pytestmark = pytest.mark.broker

REGULAR = dict.fromkeys(UNITS, 1000)


def the_loop() -> Callable[..., Any]:
    """`set_prices` out of the page."""
    text = (ROOT / "docs" / "pricing-engineer.md").read_text()
    (snippet,) = [one for one in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "async def set_prices" in one]
    names: dict[str, Any] = {"__name__": "the_page"}
    exec(compile(snippet, "pricing-engineer.md", "exec"), names)
    loop: Callable[..., Any] = names["set_prices"]
    return loop


@dataclass
class Shop:
    """A price list that the loop writes."""

    now: datetime
    prices: dict[str, int] = field(default_factory=dict)
    #: every price that was set, in order
    written: list[tuple[str, int]] = field(default_factory=list)

    def set_price(self, unit: str, minor: int) -> None:
        self.prices[unit] = minor
        self.written.append((unit, minor))

    async def has(self, prices: Mapping[str, int], what: str) -> None:
        async def so() -> bool:
            await asyncio.sleep(0.02)
            return self.prices == prices

        await eventually(what, so)


@asynccontextmanager
async def following(it: House, shop: Shop) -> AsyncIterator[Assignments]:
    """A pricing system: its own client, and the page's loop over it."""
    async with Assignments(it.settings.kafka, it.settings.namespace, system="shop") as assignments:
        task = asyncio.create_task(the_loop()(assignments, REGULAR, shop.set_price, lambda: shop.now))
        try:
            yield assignments
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def prices(arms: Mapping[str, str]) -> dict[str, int]:
    return {unit: 900 if arm == "cheap" else 1000 for unit, arm in arms.items()}


async def test_the_page_s_loop_follows_flips_a_blackout_a_restart_a_lapse_and_a_kill(
    servers: Servers, namespace: str
) -> None:
    async with house(servers.settings(namespace), definition()) as it:
        shop = Shop(at(-1))
        async with following(it, shop):
            await shop.has(REGULAR, "the regular prices before anything is assigned")
            today = {unit: record.arm for unit, record in (await it.decided(0)).items()}
            assert "cheap" in today.values()
            assert shop.prices == REGULAR, "announced is not yet in force"
            shop.now = at(0, 1)
            await shop.has(prices(today), "the first day's arms")

            window = Blackout(id="w", scope=Scope(kind="market", name="de"), starts_at=at(0), ends_at=at(1, 12),
                              reason="stock-taking")  # fmt: skip
            await it.send(BLACKOUT, plain(window))
            await it.logged("the blackout", lambda m: isinstance(m, BlackoutSet))
            tomorrow = {unit: record.arm for unit, record in (await it.decided(1)).items()}
            assert {u: tomorrow[u] for u in UNITS if u.startswith("de/")} == {
                u: today[u] for u in UNITS if u.startswith("de/")
            }, "the blackout keeps the arms of its market"
            assert shop.prices == prices(today), "tomorrow's announcement does not end today's price"
            shop.now = at(1, 1)
            await shop.has(prices(tomorrow), "the second day's arms")

        shop.prices.clear()
        shop.written.clear()
        async with following(it, shop) as assignments:  # a restart: nothing is remembered
            await shop.has(prices(tomorrow), "the same prices after a restart")
            assert len(shop.written) == len(UNITS), "each unit once, and none by way of another price"

            shop.now = at(2, 1)  # the day is over and nobody has decided the next one
            await shop.has(REGULAR, "the regular prices once the leases have lapsed")

            third = {unit: record.arm for unit, record in (await it.decided(3)).items()}
            shop.now = at(3, 1)
            await shop.has(prices(third), "arms again")
            assert "cheap" in third.values()
            await it.tick(at(3, 2))
            shop.now = at(3, 2)
            killed = await it.command("experiment", "kill", "juice", "--reason", "wrong prices", "--who", "ada")
            assert killed.code == 0, killed.err
            await shop.has(REGULAR, "the regular prices after a kill")

            async def all_said() -> bool:
                await asyncio.sleep(0.02)
                return assignments.status().acknowledged == len(shop.written)

            await eventually("Kafka has taken what went live, a statement a price", all_said)
