"""Redis is not the truth: emptied, put back from an older file, or damaged, it is folded from the log again."""

import asyncio
from dataclasses import replace

import pytest
from redis import Redis

from flipside.replay.replay import Replayer, replayer
from tests.e2e.running import Servers, decisions, final_estimates, market, plan, replay, running
from tests.parts.redis_server import RedisServer
from tests.parts.shared_kafka import SharedKafka

pytestmark = [pytest.mark.broker, pytest.mark.redis7]

DAYS = 12


async def test_emptied_put_back_older_and_damaged_it_changes_no_decision_and_no_count(
    kafka: SharedKafka, servers: Servers, namespace: str
) -> None:
    history = market(days=DAYS)
    calm = await replay(servers.settings(f"{namespace}-calm"), plan(history))
    with RedisServer() as redis:

        def maltreat(period: int) -> None:
            server: Redis = Redis.from_url(redis.url)
            if period == 2:
                server.flushall()
            elif period == 4:
                redis.back_up()
            elif period == 6:
                redis.kill()
                redis.restore()
                redis.restart()
            elif period == 8:
                # A key of another type, and one that holds what nobody of ours wrote.
                server.set(f"{{{namespace}:t0}}:units", "nonsense")
                units: dict[str, str] = server.hgetall(f"{{{namespace}:t1}}:units")  # type: ignore[assignment]
                server.hset(f"{{{namespace}:t1}}:units", mapping=dict.fromkeys(units, "nonsense"))
                server.hset(f"{{{namespace}:t2}}:plans", "replay.1/store-1", "nonsense")
                for key in server.scan_iter(f"{{{namespace}:sale:*}}:cells:*"):
                    server.hset(key, next(iter(server.hgetall(key))), "nonsense")
            server.close()

        async def something_happens(_: Replayer, period: int) -> None:
            await asyncio.to_thread(maltreat, period)

        # So often that some of what comes back is from checkpoints.
        settings = Servers(kafka.address, redis.url).settings(namespace, checkpoint_seconds=0.5)
        async with (
            running(settings) as started,
            replayer(settings, replace(plan(history), on_period=something_happens)) as shop,
        ):
            result = await shop.run()
            said = started.children["worker"].tail()
    assert result.broken_promises == ()
    assert result.events_counted == result.events_in == history.rows
    assert decisions(result.log) == decisions(calm.log)
    found, expected = final_estimates(result.estimates), final_estimates(calm.estimates)
    assert {place: e["relative"] for place, e in found.items()} == {p: e["relative"] for p, e in expected.items()}
    assert said
