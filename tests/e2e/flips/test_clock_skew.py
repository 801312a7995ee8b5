"""A worker whose clock is wrong decides nothing: it ends, and says which clocks contradict each other."""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from streams.app import build_parts
from streams.control.catalog import Catalog
from streams.kafka.topics import create_topics
from streams.ownership.owner import Owner
from streams.worker.clock_skew import ClockWrong, keep_in_step
from tests.e2e.running import Servers

pytestmark = pytest.mark.broker


@dataclass(frozen=True, slots=True)
class Off:
    """A clock that is wrong by so much."""

    by: timedelta

    def now(self) -> datetime:
        return datetime.now(UTC) + self.by

    def at_brokers(self, instant: datetime) -> datetime:
        return instant


@pytest.mark.parametrize("hours", [-2, 2])
async def test_an_owner_whose_clock_is_two_hours_wrong_ends_and_names_both_clocks_and_the_way_out(
    servers: Servers, namespace: str, hours: int
) -> None:
    settings = servers.settings(namespace, clock="wall", reconcile_seconds=0.1)
    await create_topics(settings)
    async with build_parts(settings, "stepped") as parts:
        wrong = replace(parts, clock=Off(timedelta(hours=hours)))
        with pytest.raises(ClockWrong, match=r"differ by 7\d\d\d s.*CLOCK_TOLERANCE_SECONDS = 60.*NTP"):
            await Owner(wrong, Catalog(wrong)).run(asyncio.Event())


async def test_a_difference_within_the_tolerance_is_put_up_with(servers: Servers, namespace: str) -> None:
    settings = servers.settings(namespace, clock="wall", clock_tolerance_seconds=30.0)
    async with build_parts(settings, "nearly right") as parts:
        await keep_in_step(replace(parts, clock=Off(timedelta(seconds=20))))
        with pytest.raises(ClockWrong):
            await keep_in_step(replace(parts, clock=Off(timedelta(seconds=40))))
