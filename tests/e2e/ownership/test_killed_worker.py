"""A worker that is killed, three times and at bad moments, changes neither a decision nor a digit."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from controller.messages.events import Assignment, UnitDay
from controller.messages.topics import ASSIGNMENT_LOG, PANEL, SALE
from flipside.replay.plan import FIRST_DAY
from flipside.replay.processes import Child
from flipside.replay.progress import Result
from flipside.replay.replay import replayer
from flipside.topics.reader import Reader
from streams.runtime.settings import Settings
from tests.e2e.eventful import DAYS, PRODUCTS, STORES, Outcome, eventful_plan
from tests.e2e.running import Servers, decisions, final_estimates, running

pytestmark = pytest.mark.broker

Moment = Callable[[Reader], bool]


def _day(number: int) -> object:
    return FIRST_DAY + timedelta(days=number)


def deciding(reader: Reader) -> bool:
    """The first arms of day 2 are in the log, the others still in the outbox or not yet drawn."""
    return any(isinstance(m, Assignment) and m.day == _day(2) for m in reader.messages)


def closing(reader: Reader) -> bool:
    """The first rows of day 4 are in the panel, the closing that vouches for them perhaps not."""
    return any(isinstance(m, UnitDay) and m.day == _day(4) for m in reader.messages)


def counting(reader: Reader) -> bool:
    """The first sales of day 9 lie in their topic, and are being folded."""
    return len(reader.others) > 9 * STORES * PRODUCTS + 3


MOMENTS: tuple[tuple[str, Moment], ...] = ((ASSIGNMENT_LOG, deciding), (PANEL, closing), (SALE, counting))


async def kill_at(settings: Settings, topic: str, moment: Moment, victim: Child) -> None:
    """Watch a topic; at the moment, SIGKILL and a new start."""
    reader = Reader(settings, [topic])
    await reader.start()
    try:
        while not moment(reader):
            await reader.poll(20)
    finally:
        await reader.stop()
    await victim.kill()
    await victim.start()


async def disturbed(settings: Settings, victims: tuple[str, ...]) -> Result:
    """The eventful replay, with one of these processes killed at each of the moments."""
    async with running(settings) as children:

        async def kill_all() -> int:
            for (topic, moment), victim in zip(MOMENTS, victims, strict=True):
                await kill_at(settings, topic, moment, children.children[victim])
            return len(victims)

        killer = asyncio.create_task(kill_all())
        async with replayer(settings, eventful_plan()) as shop:
            result = await shop.run()
        assert killer.done(), "the replay ended before all three had been killed"
        assert await killer == 3
        return result


@pytest.mark.parametrize(
    "victims", [("worker", "worker", "worker"), pytest.param(("analysis",) * 3, marks=pytest.mark.slow)]
)
async def test_killed_three_times_it_decides_and_estimates_the_same_to_the_last_digit(
    servers: Servers, namespace: str, eventful: Outcome, victims: tuple[str, ...]
) -> None:
    result = await disturbed(servers.settings(namespace, session_timeout_ms=4000), victims)
    calm = eventful.result
    assert result.design_hash == calm.design_hash
    assert decisions(result.log) == decisions(calm.log)
    assert result.broken_promises == ()
    assert result.events_counted == calm.events_counted == STORES * PRODUCTS * DAYS
    found, expected = final_estimates(result.estimates), final_estimates(calm.estimates)
    assert found.keys() == expected.keys()
    different = {
        (*place, name): (expected[place][name], value)
        for place, estimate in found.items()
        for name, value in estimate.items()
        if value != expected[place][name]
    }
    assert different == {}
