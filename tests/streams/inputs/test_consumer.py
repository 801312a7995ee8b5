"""The loop that folds sales, while the group moves partitions beside it: each sale counts once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import pytest
import structlog
from aiokafka import TopicPartition
from structlog.testing import capture_logs

from controller.messages.inputs import CatalogEntry
from controller.messages.topics import SALE
from streams.control.catalog import Catalog
from streams.inputs.consumer import Ingest
from streams.inputs.sales import Rules, fold
from streams.runtime.clock import TickClock
from streams.runtime.settings import Settings
from streams.store.memory.store import MemoryStore
from streams.worker.last_line import RECORDS_IN_A_ROW
from streams.worker.metrics import Metrics
from streams.worker.services import Parts
from tests.streams.builders import Batch, day_totals
from tests.streams.inputs.arrivals import CATALOG, MONDAY, PARTITIONS, Arrived, sale
from tests.streams.inputs.watched_store import Watched, begin_at_zero

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

    def __init__(self, polls: Sequence["Poll"]) -> None:
        self._polls = list(polls)
        self.stop_asked = asyncio.Event()
        self.listener: Any = None
        self.sought: list[int] = []
        #: where the next poll goes on
        self.next = 0

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
        self.next = offset

    async def position(self, _: TopicPartition) -> int:
        return self.next

    def highwater(self, _: TopicPartition) -> int:
        return 10

    async def getmany(self, **_: object) -> dict[TopicPartition, list[Arrived]]:
        if not self._polls:
            self.stop_asked.set()
            return {}
        records = await self._polls.pop(0)(self)
        self.next = records[-1].offset + 1
        return {HERE: list(records)} if records else {}

    async def rebalance(self) -> None:
        """The partition is taken away, and given back."""
        await self.listener.on_partitions_revoked([HERE])
        await self.listener.on_partitions_assigned([HERE])


Poll = Callable[[Group], Awaitable[Sequence[Arrived]]]


async def another_worker(store: MemoryStore, records: Sequence[Arrived]) -> None:
    """Folds these records for the partition's new owner."""
    start = await store.position("sale", HOME)
    batch, _ = fold(records, start, Rules(CATALOG, PARTITIONS, deduplicate=False))
    assert await store.fold_sales(HOME, batch.start, batch.end, batch.cells())


class Producer:
    """Whose brokers acknowledge everything at once."""

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, *_: object, **__: object) -> Awaitable[None]:
        return asyncio.sleep(0)


def parts(store: MemoryStore, **more: Any) -> Parts:
    # Ids are not compared: they would hide what this is about.
    given: dict[str, Any] = {"clock": "ticks", "partitions": PARTITIONS, "deduplicate": False} | more
    settings = Settings(**given)
    return Parts(settings, TickClock(), store, cast("Any", Producer()), Metrics(), structlog.get_logger(), "w", {})


async def events_after(store: MemoryStore, *polls: Poll) -> tuple[int, int, list[int]]:
    """Sales counted, the position, and where the consumer was sent."""
    group = Group(polls)
    shared = parts(store)
    await Ingest(shared, Known(shared), SALE, group, begin_at_zero(store)).run(group.stop_asked)
    _, events = await day_totals(store, "de", MONDAY)
    return events, await store.position("sale", HOME), group.sought


def polled(records: Sequence[Arrived]) -> Poll:
    async def poll(_: Group) -> Sequence[Arrived]:
        return records

    return poll


@pytest.fixture
def store() -> Watched:
    return Watched()


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


async def test_what_was_polled_while_the_store_was_away_is_never_taken_for_a_gap_of_the_log(store: Watched) -> None:
    """Twice the same records are fetched and not applied, and twice the next ones begin at the same offset."""

    async def three(group: Group) -> Sequence[Arrived]:
        return TEN[group.next : group.next + 3]

    async def but_away(group: Group) -> Sequence[Arrived]:
        store.away = 1
        return await three(group)

    events, position, _ = await events_after(store, three, but_away, three, but_away, three, three)
    assert (events, position) == (10, 10)


async def test_a_day_that_is_shut_between_two_looks_at_the_closings_takes_no_more_sales(store: Watched) -> None:
    """Under the wall clock closings are asked for once a second, however often records come."""

    async def shut(_: Group) -> Sequence[Arrived]:
        await store.shut({"de": MONDAY})
        return TEN[3:6]

    shared = parts(store, clock="wall", reconcile_seconds=60.0)
    owned = shared.shard_of("de")
    await store.claim(owned, 0)
    await store.restoring.stand(owned, 0, {"log:0": 1})
    group = Group([polled(TEN[:3]), shut, polled(TEN[3:6]), polled(TEN[6:])])
    await Ingest(shared, Known(shared), SALE, group, begin_at_zero(store)).run(group.stop_asked)
    assert await day_totals(store, "de", MONDAY) == (1, 3)
    assert await store.position("sale", HOME) == 10
    told = {"topic": "sale", "outcome": "corrected"}
    assert shared.metrics.registry.get_sample_value("flipside_events_total", told) == 7
    assert store.asked == 2, "at the start, and after the store had refused a batch"


async def test_nothing_is_counted_while_it_is_not_known_what_a_lost_shard_has_closed(store: Watched) -> None:
    """The store was emptied, and the input counted again from a panel to which a closing was still on its way."""

    async def mend(topic: str, partition: int, _: int | None) -> None:
        if not await store.restoring.with_position(topic, [partition]):
            await store.restoring.begin_input(topic, partition, "token")
            await store.restoring.finish_input(topic, partition, "token", 0, {}, {"de": MONDAY - 1})

    seen: list[int] = []

    async def poll(group: Group) -> Sequence[Arrived]:
        seen.append(await store.position("sale", HOME))
        return TEN[group.next :]

    async def rebuilt(group: Group) -> Sequence[Arrived]:
        shard = shared.shard_of("de")
        await store.set_closed(shard, 0, {"de": (MONDAY + 7, 0)})
        await store.restoring.stand(shard, 0, {"log:0": 1})
        return await poll(group)

    for shard in range(PARTITIONS):
        await store.claim(shard, 0)
    group, shared = Group([poll, poll, rebuilt]), parts(store)
    await Ingest(shared, Known(shared), SALE, group, mend).run(group.stop_asked)
    assert seen == [0, 0, 0]
    assert await store.position("sale", HOME) == 10
    assert await day_totals(store, "de", MONDAY) == (0, 0), "Monday was sealed by a closing of the Monday after"
    corrected = shared.metrics.registry.get_sample_value(
        "flipside_events_total", {"topic": "sale", "outcome": "corrected"}
    )
    assert corrected == 10


async def test_a_store_that_came_back_older_is_followed(store: Watched) -> None:
    async def poll(_: Group) -> Sequence[Arrived]:
        store.forget_inputs()
        return TEN[6:]

    events, position, sought = await events_after(store, polled(TEN[:6]), poll, polled(TEN))
    assert (events, position) == (10, 10)
    assert sought == [0, 0]


class Broken(Watched):
    """A store that takes nothing in but a position."""

    async def fold_sales(self, partition: int, start: int, end: int, cells: Any, *more: Any, **named: Any) -> bool:
        if cells:
            raise ZeroDivisionError
        return await super().fold_sales(partition, start, end, cells, *more, **named)


async def test_what_fails_for_every_record_is_no_records_fault_and_ends_the_reader() -> None:
    records = [sale(str(k), offset=k) for k in range(RECORDS_IN_A_ROW + 10)]
    store = Broken()
    with capture_logs() as log, pytest.raises(ZeroDivisionError):
        await events_after(store, polled(records))
    assert [line["offset"] for line in log if line["event"] == "set aside"] == list(range(RECORDS_IN_A_ROW))
    assert await store.position("sale", HOME) == RECORDS_IN_A_ROW
