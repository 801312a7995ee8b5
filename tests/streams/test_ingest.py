"""The loop that folds sales, while the group moves partitions beside it: each sale counts once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import pytest
import structlog
from aiokafka import TopicPartition

from controller.events import CatalogEntry
from controller.topics import SALE
from streams.catalog import Catalog
from streams.clock import TickClock
from streams.folding import Rules, fold
from streams.ingest import Ingest
from streams.metrics import Metrics
from streams.parts import Parts
from streams.settings import Settings
from streams.store.memory import MemoryStore
from tests.streams.arrivals import CATALOG, MONDAY, PARTITIONS, Arrived, sale

HOME = sale().partition
HERE = TopicPartition(SALE, HOME)
TEN = [sale(str(k), offset=k) for k in range(10)]


class Known(Catalog):
    """A catalog that has been read."""

    @property
    def known(self) -> dict[str, CatalogEntry]:
        return CATALOG

    async def catch_up(self) -> None:
        """Nothing comes any more."""


class Group:
    """A consumer whose polls, and what happens beside them, a test has written down."""

    def __init__(self, polls: Sequence[Callable[["Group"], Awaitable[Sequence[Arrived]]]], stop: asyncio.Event) -> None:
        self._polls = list(polls)
        self._stop = stop
        self.listener: Any = None
        self.sought: list[int] = []
        self._next = 0

    def __call__(self, **_: object) -> "Group":
        return self

    def subscribe(self, _: list[str], listener: Any) -> None:
        self.listener = listener

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def assignment(self) -> set[TopicPartition]:
        return {HERE}

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 10)

    async def committed(self, _: TopicPartition) -> None: ...

    async def commit(self, _: dict[TopicPartition, int]) -> None: ...

    def seek(self, _: TopicPartition, offset: int) -> None:
        self.sought.append(offset)
        self._next = offset

    async def position(self, _: TopicPartition) -> int:
        return self._next

    def highwater(self, _: TopicPartition) -> int:
        return 10

    async def getmany(self, **_: object) -> dict[TopicPartition, list[Arrived]]:
        if not self._polls:
            self._stop.set()
            return {}
        records = await self._polls.pop(0)(self)
        self._next = records[-1].offset + 1
        return {HERE: list(records)} if records else {}

    async def rebalance(self) -> None:
        """The partition is taken away, and given back."""
        await self.listener.on_partitions_revoked([HERE])
        await self.listener.on_partitions_assigned([HERE])


class Watched(MemoryStore):
    """A store in which something happens once, after a batch has been folded and before its caller hears of it."""

    def __init__(self) -> None:
        super().__init__(PARTITIONS)
        self.beside: Callable[[], Awaitable[None]] | None = None

    async def fold_sales(self, *batch: Any, **named: Any) -> bool:
        applied = await super().fold_sales(*batch, **named)
        beside, self.beside = self.beside, None
        if beside is not None:
            await beside()
        return applied

    def forget_inputs(self) -> None:
        """As a server that lost its file."""
        MemoryStore.__init__(self, PARTITIONS)


async def another_worker(store: MemoryStore, records: Sequence[Arrived]) -> None:
    """Folds these records for the partition's new owner."""
    start = await store.position("sale", HOME)
    batch, _ = fold(records, start, Rules(CATALOG, PARTITIONS, deduplicate=False))
    assert await store.fold_sales(HOME, batch.start, batch.end, batch.cells())


def begin_at_zero(store: MemoryStore) -> Callable[[str, int, int | None], Awaitable[None]]:
    """A new installation."""

    async def mend(topic: str, partition: int, _: int | None) -> None:
        if not await store.restoring.has_input(topic, partition):
            await store.restoring.begin_input(topic, partition, "token")
            await store.restoring.finish_input(topic, partition, "token", 0)

    return mend


@pytest.fixture
def store() -> Watched:
    return Watched()


async def events_after(
    store: MemoryStore, *polls: Callable[[Group], Awaitable[Sequence[Arrived]]]
) -> tuple[int, int, list[int]]:
    """Sales counted, the position, and where the consumer was sent."""
    stop = asyncio.Event()
    # Ids are not compared: they would hide what this is about.
    settings = Settings(clock="ticks", partitions=PARTITIONS, deduplicate=False)
    parts = Parts(settings, TickClock(), store, cast("Any", None), Metrics(), structlog.get_logger(), "w", {})
    group = Group(polls, stop)
    await Ingest(parts, Known(parts), SALE, group, begin_at_zero(store)).run(stop)
    _, events = await store.day_totals("de", MONDAY)
    return events, await store.position("sale", HOME), group.sought


def polled(records: Sequence[Arrived]) -> Callable[[Group], Awaitable[Sequence[Arrived]]]:
    async def poll(_: Group) -> Sequence[Arrived]:
        return records

    return poll


async def test_records_polled_before_a_rebalance_are_not_counted_twice_after_it(store: Watched) -> None:
    """They come once more behind the position, because Kafka's own position had not moved on."""
    assert await events_after(store, polled(TEN[:6]), polled(TEN[2:10])) == (10, 10, [0])


async def test_what_another_worker_has_folded_in_the_meantime_is_passed_over(store: Watched) -> None:
    async def poll(group: Group) -> Sequence[Arrived]:
        await group.rebalance()
        await another_worker(store, TEN[:5])
        return TEN

    events, position, sought = await events_after(store, poll, polled(TEN))
    assert (events, position) == (10, 10)
    assert sought == [0, 5], "the position is read anew from the store"


async def test_a_partition_that_moves_away_and_back_within_a_batch_is_counted_once(store: Watched) -> None:
    """The batch is written, the partition leaves before the loop hears of it, its next owner goes on, it is back."""
    group: list[Group] = []

    async def beside() -> None:
        await group[0].rebalance()
        await another_worker(store, TEN[6:8])

    async def poll(found: Group) -> Sequence[Arrived]:
        group.append(found)
        store.beside = beside
        return TEN[:6]

    events, position, sought = await events_after(store, poll, polled(TEN[:9]), polled(TEN[6:]))
    assert (events, position) == (10, 10)
    assert sought == [0, 8]


async def test_a_gap_is_read_again_and_then_believed(store: Watched) -> None:
    """Ahead of the position: perhaps another poll took the records. Not there when read again, they never were."""
    events, position, sought = await events_after(store, polled(TEN[:3]), polled(TEN[5:]), polled(TEN[5:]))
    assert (events, position, sought) == (8, 10, [0, 3])


async def test_a_store_that_came_back_older_is_followed(store: Watched) -> None:
    async def poll(_: Group) -> Sequence[Arrived]:
        store.forget_inputs()
        return TEN[6:]

    events, position, sought = await events_after(store, polled(TEN[:6]), poll, polled(TEN))
    assert (events, position) == (10, 10)
    assert sought == [0, 0]
