"""Sales that come twice, late, out of order, compressed and poisoned: every one of them is accounted for, once."""

import asyncio

import pytest
from redis import Redis

from tests.e2e.inputs.messy import REVISION_DAYS, Drive, Shop, driving
from tests.e2e.running import PARTITIONS, Servers
from tests.parts.redis_server import RedisServer
from tests.parts.shared_kafka import SharedKafka

pytestmark = pytest.mark.broker

DAYS, A_DAY = 14, 1440


def account(drive: Drive) -> None:
    """Every record that was sent is in one place."""
    truth, seen = drive.shop.truth, drive.seen
    assert seen.totals() == truth.totals
    assert len(seen.corrections) == len(truth.too_late)
    assert {(c.sale.unit, c.sale.id) for c in seen.corrections.values()} == truth.too_late
    assert seen.reasons() == truth.dead
    assert truth.counted + truth.doubled + truth.corrections + truth.dead.total() == truth.sent
    assert seen.vouched_for() == truth.counted, "closings vouch for every sale"


async def test_twenty_thousand_messy_sales_are_counted_to_the_event(servers: Servers, namespace: str) -> None:
    settings = servers.settings(namespace, revision_days=REVISION_DAYS)
    async with driving(settings, Shop(4, 25, PARTITIONS, seed=5)) as drive:
        await drive.play(DAYS, A_DAY)
        await drive.settled()
        account(drive)
        assert drive.metric("counted") == drive.shop.truth.counted
        assert drive.metric("duplicate") == drive.shop.truth.doubled
        assert drive.metric("corrected") == drive.shop.truth.corrections
    truth = drive.shop.truth
    assert truth.sent == DAYS * A_DAY
    assert truth.doubled + truth.corrections > 0.15 * truth.sent, "a fifth of the records repeat one"
    assert truth.late > 0.08 * truth.sent
    assert truth.too_late
    assert set(truth.dead) == {"unreadable", "version", "unknown-unit", "currency", "partition"}


async def test_a_store_that_is_emptied_again_and_again_loses_and_doubles_no_sale(
    kafka: SharedKafka, namespace: str
) -> None:
    """Between two days, and while sales are on their way: what is published stays, the rest is counted again."""
    with RedisServer() as redis:
        settings = Servers(kafka.address, redis.url).settings(namespace, revision_days=REVISION_DAYS)
        server: Redis = Redis.from_url(redis.url)

        async def empty(day: int) -> None:
            if day in (2, 6, 7, 11):
                await asyncio.to_thread(server.flushall)

        async with driving(settings, Shop(4, 10, PARTITIONS, seed=6)) as drive:
            await drive.play(DAYS, 400, on_day=empty, amid=True)
            await drive.settled()
            account(drive)
            assert drive.rebuilds() > 0
        server.close()
