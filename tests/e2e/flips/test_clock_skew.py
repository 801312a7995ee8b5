"""A worker whose clock is wrong decides nothing: it ends, and says which clocks contradict each other."""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from structlog.testing import capture_logs

from controller.messages.codec import ce_type, message_of
from controller.messages.events import CE_TYPES, Ownership, Tick
from controller.messages.topics import TICK
from streams.app import build_parts, run_worker
from streams.control.catalog import Catalog
from streams.kafka.topics import create_topics
from streams.ownership.owner import Owner
from streams.worker.clock_skew import BrokerClocks, ClockWrong, ask_brokers, keep_in_step
from streams.worker.services import Parts
from tests.e2e.running import Servers, records

pytestmark = pytest.mark.broker


@dataclass(frozen=True, slots=True)
class Off:
    """A clock that is wrong by so much."""

    by: timedelta

    def now(self) -> datetime:
        return datetime.now(UTC) + self.by

    def at_brokers(self, instant: datetime) -> datetime:
        return instant


@dataclass(frozen=True, slots=True)
class Brokers:
    """A right clock; those of the brokers are to differ from it by so much."""

    by: timedelta

    def now(self) -> datetime:
        return datetime.now(UTC)

    def at_brokers(self, instant: datetime) -> datetime:
        return instant + self.by


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


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_brokers_whose_clock_is_wrong_are_named_by_a_metric_and_a_log_line(
    servers: Servers, namespace: str, minutes: int
) -> None:
    """To a worker that agrees with Redis, brokers that are ahead look as if all others were behind."""
    settings = servers.settings(namespace, clock="wall")
    await create_topics(settings)
    async with build_parts(settings, "agrees with redis") as parts:
        right = replace(parts, clock=Brokers(timedelta(minutes=-minutes)), log=structlog.get_logger())
        with capture_logs() as logged:
            clocks = BrokerClocks(right)
            await clocks.look()
            await clocks.look()
        shown = right.metrics.registry.get_sample_value("flipside_clock_difference_seconds", {"part": "kafka"})
        assert shown == pytest.approx(60 * minutes, abs=30)
        (line,) = [line for line in logged if line["event"] == "brokers' clock differs"]
        assert line["ahead_seconds"] == pytest.approx(60 * minutes, abs=30)
        await keep_in_step(right)


async def test_a_worker_whose_clock_is_wrong_ends_before_it_joins_a_group_and_says_who_of_three_is_alone(
    servers: Servers, namespace: str
) -> None:
    settings = servers.settings(namespace, clock="wall")
    await create_topics(settings)
    seen: list[Parts] = []

    def wrong(parts: Parts) -> Parts:
        seen.append(replace(parts, clock=Off(timedelta(hours=1))))
        return seen[0]

    with pytest.raises(ClockWrong, match=r"those of the brokers .*: this machine is alone"):
        await run_worker(settings, "wrong", asyncio.Event(), fitted=wrong)
    assert all(ce_type(r.headers) != CE_TYPES[Ownership] for r in await records(settings, TICK)), "nothing was claimed"
    assert seen[0].metrics.registry.get_sample_value("flipside_shards_owned") == 0


async def test_what_is_sent_to_ask_the_brokers_for_the_time_decides_nothing(servers: Servers, namespace: str) -> None:
    settings = servers.settings(namespace, clock="wall")
    await create_topics(settings)
    async with build_parts(settings, "asks") as parts:
        assert await ask_brokers(parts) == pytest.approx(0, abs=5)
    (asked,) = await records(settings, TICK)
    tick = message_of(asked, Tick)
    assert isinstance(tick, Tick)
    assert datetime.now(UTC) - tick.at > timedelta(seconds=settings.stale_tick_seconds)
