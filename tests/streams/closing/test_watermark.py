"""The watermark of a worker: one reading for all of its shards."""

import asyncio
from datetime import timedelta
from typing import Any, cast

import structlog

from streams.closing.watermark import Watermarks
from streams.runtime.clock import TickClock
from streams.runtime.settings import Settings
from streams.store import CaughtUp, Store
from streams.store.memory.store import MemoryStore
from streams.worker.metrics import Metrics
from streams.worker.services import Parts
from tests.streams.builders import at

SHARDS = 2
LATENESS = timedelta(minutes=5)


class Asked:
    """A store that counts how often the watermark is read from it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.times = 0

    async def caught_up(self) -> list[CaughtUp]:
        self.times += 1
        return await self.store.caught_up()


def watermarks(store: Asked) -> Watermarks:
    settings = Settings(
        clock="ticks", partitions=SHARDS, lateness_seconds=int(LATENESS.total_seconds()), poll_seconds=10
    )
    return Watermarks(
        Parts(settings, TickClock(), cast(Store, store), cast(Any, None), Metrics(), structlog.get_logger(), "w", {})
    )


async def test_all_shards_of_a_worker_share_one_reading_until_it_is_old_or_no_longer_holds() -> None:
    asked = Asked(MemoryStore(SHARDS))
    shared = watermarks(asked)
    assert await asyncio.gather(*(shared.latest() for _ in range(64))) == [None] * 64
    assert asked.times == 1
    for partition in range(SHARDS):
        assert await asked.store.mark_caught_up(partition, 0, at(3 + partition))
    shared.forget()
    found = await asyncio.gather(*(shared.latest() for _ in range(64)))
    assert {None if one is None else one.at for one in found} == {at(3) - LATENESS}
    assert asked.times == 2


async def test_there_is_no_watermark_while_a_partition_has_not_been_folded() -> None:
    asked = Asked(MemoryStore(SHARDS))
    assert await asked.store.mark_caught_up(0, 0, at(3))
    assert await watermarks(asked).latest() is None
