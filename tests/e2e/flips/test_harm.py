"""From sales to a price: an arm that loses sales is found out by the analysis, and the worker ends it by itself."""

from datetime import date

import numpy as np
import pytest

from controller.decisions.guardrails import first_breach
from controller.decisions.verify import verify
from controller.definition.parameters import Guardrail
from controller.messages.control import GuardrailBreached, LifecycleChanged
from controller.messages.events import Registered
from controller.messages.findings import RunningSequence
from controller.messages.inputs import Sale
from controller.messages.topics import SALE, SEQUENCE
from flipside.simulated_shop.shop import plain
from flipside.topics.reader import Reader
from tests.e2e.flips.house import UNITS, House, at, definition, house
from tests.e2e.running import Servers, eventually

pytestmark = pytest.mark.broker

#: days of sales before the start: what the bound is planned from
BEFORE = 14
SOLD = 40
GUARDRAIL = Guardrail(metric="units", tolerance=2.0, expected_blocks=7)


async def sell(it: House, day: int, sold: dict[str, int]) -> None:
    for unit, quantity in sold.items():
        sale = Sale(
            id=f"{unit}/{day}", unit=unit, occurred_at=at(day, 12), quantity=quantity, price_minor=1000, currency="EUR"
        )
        await it.send(SALE, plain(sale))


async def harm_is_seen(findings: Reader, through: date) -> bool:
    """Whether what the analysis says of all days up to this one, once it does, leaves what is tolerated."""
    said: list[RunningSequence] = []

    async def told() -> bool:
        await findings.poll(20)
        units = (m for m in findings.messages if isinstance(m, RunningSequence) and m.metric == "units")
        said[:] = [sequence for sequence in units if sequence.through == through]
        return bool(said)

    await eventually(f"the sequence through {through}", told)
    return first_breach(GUARDRAIL, said[-1], 1) is not None


async def test_an_arm_that_loses_half_its_sales_is_back_on_control_within_a_week(
    servers: Servers, namespace: str
) -> None:
    chance = np.random.default_rng(3)

    def usual() -> dict[str, int]:
        return {unit: SOLD + int(chance.integers(-4, 5)) for unit in UNITS}

    settings = servers.settings(namespace, revision_days=30)
    findings = Reader(settings, [SEQUENCE])
    async with house(settings, definition(guardrails=(GUARDRAIL,))) as it:
        await findings.start()
        for day in range(-BEFORE, 0):
            await sell(it, day, usual())
        day = 0
        while True:
            arms = await it.decided(day)
            # On the eve of a day, the one before it is not over.
            if day >= 2 and await harm_is_seen(findings, at(day - 2).date()):
                break
            assert day < 7, "half of all sales are gone, and nobody has noticed"
            await sell(it, day, {unit: n // 2 if arms[unit].arm == "cheap" else n for unit, n in usual().items()})
            day += 1
        await it.logged("the end", lambda m: isinstance(m, LifecycleChanged) and m.action == "revert")
        await findings.stop()

        (breach,) = [m for m in it.log.messages if isinstance(m, GuardrailBreached)]
        assert (breach.metric, breach.arm) == ("units", "cheap")
        assert -SOLD < breach.upper_limit < -GUARDRAIL.tolerance, "half of forty is lost, two are put up with"
        (change,) = [change for change in it.changes() if change.action == "revert"]
        assert (change.role, change.to_state, change.frozen) == ("guardrail", "stopping", True)
        # A market that is not yet done with the last tick lets go with that one.
        now = at(day, -0.25)
        await it.tick(now)
        released = {message.effective_at for message in await it.released()}
        assert released <= {at(day, -0.5), now}, "at once, not at the next boundary"
        await it.shows(dict.fromkeys(UNITS), now)
        registered = next(m for m in it.log.messages if isinstance(m, Registered))
        assert verify(registered, it.log.messages) == ()
