"""A store that lost everything is put right by one reading of log and panel; what lost nothing was not rebuilt."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta

import pytest
from aiokafka import AIOKafkaConsumer

from controller.definition.experiment import design_hash
from controller.messages.codec import encode
from controller.messages.events import PeriodClosed, Registered, Tick, UnitDay
from controller.messages.inputs import Blackout
from controller.messages.topics import ASSIGNMENT_LOG, BLACKOUT, PANEL, TICK
from streams.inputs.published_sales import Publications
from streams.outputs.outbox_relay import assignment_records
from streams.ownership.claims import append_ownership
from streams.recovery.rebuild import Rebuild
from streams.store import Registration, TopicPlace
from streams.store.memory.store import MemoryStore
from streams.store.redis.store import RedisStore
from streams.worker.services import Parts, partition_of
from tests.e2e.recovery.installations import MARKETS, installation, mended
from tests.e2e.running import Servers
from tests.streams.builders import MIDNIGHT, at, cell, experiment, flip, window

pytestmark = pytest.mark.broker


def closing(market: str, day: date, revision: int = 0) -> PeriodClosed:
    return PeriodClosed(
        market=market, day=day, watermark=MIDNIGHT, offsets={}, unit_days=1, events=1, revised=0, revision=revision
    )


async def decided(parts: Parts, markets: Sequence[str]) -> None:
    """The log of a flip in each of some markets."""
    found, store = experiment(), MemoryStore(1)
    registered = Registered(id="r", experiment=found, design_hash=design_hash(found), registered_at=MIDNIGHT)
    await store.claim(0, 0)
    await store.put_registration(Registration(found, registered.design_hash))
    for market in markets:
        await store.flip(0, 0, flip({f"{market}/a": 1}, design_hash=registered.design_hash))
    log = [encode(registered, registered.id, MIDNIGHT), *assignment_records(await store.outbox(0, 100))]
    await parts.publish(ASSIGNMENT_LOG, log)


async def test_lost_shards_come_back_and_one_that_never_decided_is_new(servers: Servers, namespace: str) -> None:
    async with installation(servers, namespace) as (parts, catalog):
        homes = {market: parts.shard_of(market) for market in MARKETS}
        new = homes["de"]
        old = [market for market in MARKETS if homes[market] != new]
        assert len({homes[market] for market in old}) > 1, "at least two shards have decided"
        await decided(parts, old)
        await parts.publish(PANEL, [encode(closing(market, at(0).date()), market, MIDNIGHT) for market in old])
        rebuild = Rebuild(parts, Publications(parts, catalog))
        held: set[str] = set()
        for shard in range(parts.settings.partitions):
            await mended(parts, rebuild, shard)
            held |= (await parts.store.restoring.held(shard)).keys()
            assert await parts.store.restoring.log_positions(shard), "it is known to hold all that there is"
        await rebuild.stop()
        assert held == {f"{market}/a" for market in old}
        assert await parts.store.closed_days() == dict.fromkeys(old, at(0).date().toordinal())
        counted = parts.metrics.registry.get_sample_value("flipside_rebuilds_total", {"what": "shard", "why": "lost"})
        assert counted == len({homes[market] for market in old})


async def test_rows_that_the_store_was_never_told_of_are_no_late_sales_for_the_next_owner(
    servers: Servers, namespace: str
) -> None:
    """Its owner died between the closing and the mark that the rows are out."""
    async with installation(servers, namespace) as (parts, catalog):
        rebuild, store, day = Rebuild(parts, Publications(parts, catalog)), parts.store, at(0).date()
        shard, home = parts.shard_of("de"), partition_of(b"de/a", parts.settings.partitions)
        await mended(parts, rebuild, shard)
        assert await store.fold_sales(home, 0, 1, [cell(events=2)])
        row = UnitDay(
            unit="de/a", day=day, starts_at=at(0), ends_at=at(1), quantity=1, revenue_minor=100, cost_minor=None,
            currency="EUR", events=2, revision=0, offset=1,
        )  # fmt: skip
        await parts.publish(PANEL, [encode(row, "row", MIDNIGHT), encode(closing("de", day), "closing", MIDNIGHT)])
        await mended(parts, rebuild, shard)
        assert await store.dirty({"de": day.toordinal()}) == []
        assert await store.closed_days() == {"de": day.toordinal()}
        assert await store.fold_sales(home, 1, 2, [cell()])
        (late,) = await store.dirty({"de": day.toordinal()})
        assert (late.events, late.revision) == (3, 1), "a sale that is late indeed is a revision"
        await rebuild.stop()


class Drowsy(RedisStore):
    """A store to whose user something happens before it writes its first window."""

    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def put_blackout(self, blackout: Blackout, place: TopicPlace | None = None) -> bool:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return await super().put_blackout(blackout, place)


async def test_who_sleeps_amid_a_rebuild_undoes_no_window_that_was_set_or_changed_meanwhile(
    servers: Servers, namespace: str
) -> None:
    """Its shard is somebody else's when it wakes up, but windows are everybody's."""
    async with installation(servers, namespace) as (parts, catalog):
        settings = parts.settings
        drowsy = Drowsy(settings.redis.get_secret_value(), settings.namespace, settings.partitions)
        rebuild = Rebuild(replace(parts, store=drowsy), Publications(parts, catalog))

        async def said(blackout: Blackout) -> TopicPlace:
            record = encode(blackout, blackout.id, MIDNIGHT)
            home = partition_of(record.key or b"", settings.partitions)
            sent = await parts.producer.send_and_wait(parts.topic(BLACKOUT), record.value, record.key, home)
            return TopicPlace(sent.partition, sent.offset)

        async def set_by_another() -> None:
            for blackout in (changed, new):
                assert await parts.store.put_blackout(blackout, await said(blackout))

        first, changed = (window("first", "global", "", 1, ends) for ends in (2, 5))
        new, forgotten = window("new", "market", "de", 1, 3), window("forgotten", "global", "", 8, 9)
        await said(first)
        # Of a store that has come back older: removed so long ago that the topic says nothing of it.
        await parts.store.put_blackout(forgotten)
        drowsy.meanwhile = set_by_another
        await mended(replace(parts, store=drowsy), rebuild, parts.shard_of("de"))
        assert vars(drowsy)["meanwhile"] is None, "it has happened"
        for shard in range(settings.partitions):
            assert await parts.store.blackouts(shard) == {"first": changed, "new": new}
        await rebuild.stop()
        await drowsy.close()


async def test_who_was_succeeded_is_told_so_by_the_log_whatever_the_store_has_forgotten(
    servers: Servers, namespace: str
) -> None:
    async with installation(servers, namespace) as (parts, catalog):
        rebuild = Rebuild(parts, Publications(parts, catalog))
        first = await append_ownership(parts, 1)
        assert not await rebuild.succeeded(1, first)
        tick = encode(Tick(at=at(0)), "tick", at(0))
        await parts.producer.send_and_wait(parts.topic(TICK), tick.value, partition=1, headers=tick.headers)
        assert not await rebuild.succeeded(1, first), "a tick is nobody's claim"
        second = await append_ownership(parts, 1)
        assert [await rebuild.succeeded(1, epoch) for epoch in (first, second)] == [True, False]
        await rebuild.stop()


async def test_what_was_published_is_read_once_and_then_read_on(servers: Servers, namespace: str) -> None:
    async with installation(servers, namespace) as (parts, catalog):
        publications, days = Publications(parts, catalog), [at(0).date() + timedelta(days=n) for n in range(3)]
        consumer = AIOKafkaConsumer(**parts.connection, enable_auto_commit=False, auto_offset_reset="earliest")
        await consumer.start()
        try:
            await parts.publish(PANEL, [encode(closing(market, days[0]), market, MIDNIGHT) for market in MARKETS])
            first = await publications.read(consumer)
            assert first.closed == dict.fromkeys(MARKETS, days[0].toordinal())
            await parts.publish(PANEL, [encode(closing("de", day, 1), str(day), MIDNIGHT) for day in days[1:]])
            assert await publications.read(consumer) is first
            assert first.closed == dict.fromkeys(MARKETS, days[0].toordinal()) | {"de": days[2].toordinal()}
            assert (first.revisions["de"], first.revisions["fr"]) == (1, 0)
        finally:
            await consumer.stop()
