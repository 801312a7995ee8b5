"""A rebalance may come between any two steps of a duty: it must not end the worker, nor leave it what is another's."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from controller.messages.topics import SALE
from streams.app import build_parts
from streams.control.catalog import Catalog
from streams.inputs.consumer import Ingest
from streams.kafka.topics import create_topics
from streams.ownership.claims import Lost
from streams.ownership.owner import Owner
from streams.worker.services import Parts
from tests.e2e.running import PATIENCE_SECONDS, Servers, eventually

pytestmark = pytest.mark.broker


class Slow:
    """A store of which one method, once asked, waits until partitions were taken away."""

    def __init__(self, store: Any, method: str) -> None:
        self._store = store
        self._method = method
        self.asked = asyncio.Event()
        self.taken_away = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)
        return self._waiting(real) if name == self._method else real

    def _waiting(self, real: Callable[..., Any]) -> Callable[..., Any]:
        async def slow(*args: Any) -> Any:
            self.asked.set()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self.taken_away.wait()
            return await real(*args)

        return slow


def told(kind: type, store: Slow) -> Any:
    """A duty of this kind that lets its store go on when the group takes partitions away."""

    class Told(kind):  # type: ignore[misc]
        async def on_partitions_revoked(self, revoked: Any) -> None:
            await super().on_partitions_revoked(revoked)
            if revoked:
                store.taken_away.set()

    return Told


async def test_partitions_taken_away_while_the_store_is_told_how_far_they_are_end_no_duty(
    servers: Servers, namespace: str
) -> None:
    settings = servers.settings(namespace, clock="wall", reconcile_seconds=0.1)
    await create_topics(settings)
    stop = asyncio.Event()
    async with build_parts(settings, "first") as first, build_parts(settings, "second") as second:
        store = Slow(first.store, "mark_caught_up")
        duty = asyncio.create_task(told(Ingest, store)(replace(first, store=store), Catalog(first), SALE).run(stop))
        await store.asked.wait()
        other = asyncio.create_task(Ingest(second, Catalog(second), SALE).run(stop))

        async def all_told() -> bool:
            if duty.done():
                await duty
            return all(found.at is not None for found in await second.store.caught_up())

        await eventually("all partitions to be caught up", all_told)
        stop.set()
        await asyncio.gather(duty, other)


@asynccontextmanager
async def catalog_of(parts: Parts) -> AsyncIterator[Catalog]:
    catalog = Catalog(parts)
    await catalog.start()
    try:
        yield catalog
    finally:
        await catalog.stop()


async def test_a_shard_taken_away_while_it_is_claimed_is_not_held_beside_its_next_owner(
    servers: Servers, namespace: str
) -> None:
    settings = servers.settings(namespace, clock="wall", reconcile_seconds=0.1)
    await create_topics(settings)
    stop = asyncio.Event()
    async with (
        build_parts(settings, "first") as first,
        build_parts(settings, "second") as second,
        catalog_of(first) as one,
        catalog_of(second) as two,
    ):
        store = Slow(first.store, "plans")
        duty = asyncio.create_task(told(Owner, store)(replace(first, store=store), one).run(stop))
        await store.asked.wait()
        other = asyncio.create_task(Owner(second, two).run(stop))

        def owned(parts: Parts) -> float:
            return float(parts.metrics.registry.get_sample_value("flipside_shards_owned") or 0)

        async def shared_out() -> bool:
            for task in (duty, other):
                if task.done():
                    await task
            return owned(first) > 0 and owned(second) > 0 and owned(first) + owned(second) >= settings.partitions

        await eventually("both to own shards", shared_out)
        assert owned(first) + owned(second) == settings.partitions
        stop.set()
        await asyncio.gather(duty, other)


async def test_what_a_newer_owner_has_is_left_to_it_until_the_group_would_have_missed_it() -> None:
    lost = Lost(patience=3600.0)
    lost.add(1)
    assert (1 in lost, 2 in lost) == (True, False)
    lost.clear()
    assert 1 not in lost
    at_once = Lost(patience=0.0)
    at_once.add(1)
    assert 1 not in at_once
