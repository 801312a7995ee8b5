"""From sales to a price: an arm that loses sales is found out by the analysis, and the worker ends it by itself."""

import numpy as np
import pytest

from controller.control import GuardrailBreached
from controller.events import Assignment, Registered, Sale
from controller.parameters import Guardrail
from controller.topics import SALE
from controller.verify import verify
from flipside.shop import plain
from tests.e2e.running import Servers, eventually
from tests.e2e.test_acting import UNITS, House, at, definition, house

pytestmark = pytest.mark.broker

#: days of sales before the start: what the bound is planned from
BEFORE = 14
SOLD = 40


async def sell(it: House, day: int, sold: dict[str, int]) -> None:
    for unit, quantity in sold.items():
        sale = Sale(
            id=f"{unit}/{day}", unit=unit, occurred_at=at(day, 12), quantity=quantity, price_minor=1000, currency="EUR"
        )
        await it.send(SALE, plain(sale))


async def test_an_arm_that_loses_half_its_sales_is_back_on_control_within_a_week(
    servers: Servers, namespace: str
) -> None:
    chance = np.random.default_rng(3)

    def usual() -> dict[str, int]:
        return {unit: SOLD + int(chance.integers(-4, 5)) for unit in UNITS}

    guardrail = Guardrail(metric="units", tolerance=2.0, expected_blocks=7)
    settings = servers.settings(namespace, revision_days=30)
    async with house(settings, definition(guardrails=(guardrail,))) as it:
        for day in range(-BEFORE, 0):
            await sell(it, day, usual())

        def ended() -> bool:
            return any(change.action == "revert" for change in it.changes())

        async def arms_of(day: int) -> dict[str, str]:
            """The arms of a day, or none once the experiment is over."""
            found: dict[str, str] = {}
            await it.tick(at(day, -0.5))

            async def decided() -> bool:
                await it.log.poll(20)
                said = [m for m in it.log.messages if isinstance(m, Assignment) and m.effective_at == at(day)]
                found.update({m.unit: m.arm for m in said})
                return ended() or found.keys() >= set(UNITS)

            await eventually(f"the arms of day {day}", decided)
            return {} if ended() else found

        day = 0
        while arms := await arms_of(day):
            assert day < 7, "half of all sales are gone, and nobody has noticed"
            await sell(it, day, {unit: n // 2 if arms[unit] == "cheap" else n for unit, n in usual().items()})
            day += 1
        (breach,) = [m for m in it.log.messages if isinstance(m, GuardrailBreached)]
        assert (breach.metric, breach.arm) == ("units", "cheap")
        assert -SOLD < breach.upper_limit < -guardrail.tolerance, "half of forty is lost, two are put up with"
        (change,) = [change for change in it.changes() if change.action == "revert"]
        assert (change.role, change.to_state, change.frozen) == ("guardrail", "stopping", True)
        # Each market lets its units go with the first tick after it has heard.
        last = max(message.effective_at for message in await it.released())
        assert last <= at(day, -0.5), "at once, not at the next boundary"
        await it.shows(dict.fromkeys(UNITS), last)
        registered = next(m for m in it.log.messages if isinstance(m, Registered))
        assert verify(registered, it.log.messages) == ()
