"""Redis is the fast decision point, not the truth: killed in a replay, it changes no decision and no count."""

import asyncio
from dataclasses import replace

import pytest

from flipside.replay.progress import Result
from flipside.replay.replay import Replayer, replayer
from tests.e2e.running import CALM_DAYS, Servers, decisions, final_estimates, market, plan, running
from tests.parts.redis_server import RedisServer
from tests.parts.shared_kafka import SharedKafka

pytestmark = pytest.mark.broker


async def test_killed_and_restarted_twice_it_comes_back_older_and_nothing_is_lost_or_counted_twice(
    kafka: SharedKafka, calm: Result, namespace: str
) -> None:
    """Its append-only file is written once a second: what it lost is decided and folded again, from the log."""
    history = market(days=CALM_DAYS)
    with RedisServer() as redis:

        async def kill_it(_: Replayer, period: int) -> None:
            if period in (3, 6):
                await asyncio.to_thread(redis.kill)
                await asyncio.to_thread(redis.restart)

        settings = Servers(kafka.address, redis.url).settings(namespace)
        async with running(settings), replayer(settings, replace(plan(history), on_period=kill_it)) as shop:
            result = await shop.run()
    assert result.broken_promises == ()
    assert result.events_counted == result.events_in == history.rows
    assert decisions(result.log) == decisions(calm.log)
    found, expected = final_estimates(result.estimates), final_estimates(calm.estimates)
    assert {place: e["relative"] for place, e in found.items()} == {p: e["relative"] for p, e in expected.items()}
