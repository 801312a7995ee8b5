"""Shards that rest while a group shares out anew go on, or are taken over, as the log and the store say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from controller.messages.codec import ce_type
from controller.messages.events import CE_TYPES, Ownership
from controller.messages.topics import TICK
from streams.app import build_parts
from streams.control.catalog import Catalog
from streams.inputs.published_sales import Publications
from streams.kafka.topics import create_topics
from streams.ownership.claims import append_ownership
from streams.ownership.owner import Owner
from streams.ownership.takeover import Holdings
from streams.recovery.rebuild import Rebuild
from streams.runtime.settings import Settings
from streams.worker.services import Parts
from tests.e2e.running import PARTITIONS, PATIENCE_SECONDS, Servers, eventually, records

pytestmark = pytest.mark.broker

#: longer than any of these tests may take: nobody who has left is missed before
LONG_MS = 300_000


@asynccontextmanager
async def holding(servers: Servers, namespace: str) -> AsyncIterator[tuple[Parts, Holdings]]:
    """The shards of a worker that was given shards 0 and 1, and has taken them over."""
    settings = servers.settings(namespace, clock="wall", reconcile_seconds=0.1)
    await create_topics(settings)
    async with build_parts(settings, "first") as parts:
        catalog = Catalog(parts)
        rebuild = Rebuild(parts, Publications(parts, catalog))
        consumer = AIOKafkaConsumer(**parts.connection, enable_auto_commit=False, auto_offset_reset="earliest")
        await consumer.start()
        consumer.assign([TopicPartition(parts.topic(TICK), number) for number in (0, 1)])
        held = Holdings(parts, catalog, rebuild, consumer, at_rest=lambda number: None)
        try:
            await held.take_over([0, 1])
            yield parts, held
        finally:
            await held.let_all_go()
            await rebuild.stop()
            await consumer.stop()


def epochs(held: Holdings) -> dict[int, int]:
    return {number: shard.epoch for number, shard in sorted(held.shards.items())}


async def test_what_comes_back_goes_on_under_the_same_epoch_and_what_does_not_is_gone(
    servers: Servers, namespace: str
) -> None:
    async with holding(servers, namespace) as (_, held):
        before, tasks = epochs(held), [task for shard in held.shards.values() for task in shard.tasks]
        await held.rest()
        assert (held.shards, all(task.done() for task in tasks)) == ({}, True)
        held.given([1])
        await held.take_over([1])
        assert epochs(held) == {1: before[1]}
        assert not any(task.done() for task in held.shards[1].tasks)


async def test_nothing_is_taken_over_while_the_group_shares_out(servers: Servers, namespace: str) -> None:
    async with holding(servers, namespace) as (_, held):
        await held.rest()
        await held.take_over([0, 1])
        assert not held.shards


async def test_what_somebody_has_claimed_meanwhile_is_claimed_anew(servers: Servers, namespace: str) -> None:
    async with holding(servers, namespace) as (parts, held):
        before = epochs(held)
        await held.rest()
        # The log alone knows: the store may have come back older.
        other = await append_ownership(parts, 0)
        held.given([0, 1])
        await held.take_over([0, 1])
        after = epochs(held)
        assert after[0] > other > before[0]
        assert after[1] == before[1]


async def test_what_the_store_has_lost_meanwhile_is_claimed_and_mended_anew(servers: Servers, namespace: str) -> None:
    async with holding(servers, namespace) as (parts, held):
        before = epochs(held)
        await held.rest()
        await parts.store.restoring.forget_shard(0)
        held.given([0, 1])
        await held.take_over([0, 1])
        after = epochs(held)
        assert after[0] > before[0]
        assert after[1] == before[1]
        assert await parts.store.restoring.log_positions(0), "it was mended"


async def claims(settings: Settings) -> dict[int, int]:
    """How often each shard was claimed."""
    found = dict.fromkeys(range(PARTITIONS), 0)
    for record in await records(settings, TICK):
        if ce_type(record.headers) == CE_TYPES[Ownership]:
            found[record.partition] += 1
    return found


async def test_of_a_worker_that_stops_the_other_has_all_at_once_and_claims_only_what_it_did_not_have(
    servers: Servers, namespace: str
) -> None:
    """Both have names of their own, so that Kafka keeps their places: for minutes, here, if they did not leave."""
    settings = servers.settings(namespace, clock="wall", reconcile_seconds=0.1, session_timeout_ms=LONG_MS)
    await create_topics(settings)
    named = [settings.model_copy(update={"worker_id": name}) for name in ("first", "second")]
    async with build_parts(named[0], "first") as first, build_parts(named[1], "second") as second:
        catalogs = [Catalog(first), Catalog(second)]
        for catalog in catalogs:
            await catalog.start()
        stops = asyncio.Event(), asyncio.Event()
        duties = [
            asyncio.create_task(Owner(parts, catalog).run(stop))
            for parts, catalog, stop in zip((first, second), catalogs, stops, strict=True)
        ]

        def owned(parts: Parts) -> float:
            return float(parts.metrics.registry.get_sample_value("flipside_shards_owned") or 0)

        async def shared_out() -> bool:
            return owned(first) == owned(second) == PARTITIONS / 2

        async def all_with_the_second() -> bool:
            return owned(second) == PARTITIONS

        await eventually("both to own half of the shards", shared_out)
        before = await claims(settings)
        stops[0].set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await duties[0]
        await eventually("the second one to own all shards", all_with_the_second)
        after = await claims(settings)
        assert sum(after.values()) - sum(before.values()) == PARTITIONS / 2
        stops[1].set()
        await duties[1]
        for catalog in catalogs:
            await catalog.stop()
