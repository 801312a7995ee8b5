"""Which producer writes what, and in which portions an evening is decided."""

from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import structlog
from aiokafka.producer.message_accumulator import BatchBuilder

from controller.messages.codec import Record
from controller.messages.topics import ASSIGNMENT, ASSIGNMENT_LOG, PANEL
from streams.flips.decider import portions
from streams.runtime.clock import TickClock
from streams.runtime.settings import Settings
from streams.store.memory.store import MemoryStore
from streams.worker.metrics import Metrics
from streams.worker.services import Parts, partition_of
from tests.streams.builders import flip


@dataclass
class Producer:
    """Takes batches, and acknowledges them when it is flushed."""

    sent: list[tuple[str, int, int]] = field(default_factory=list)
    flushed: int = 0

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(1000, 0)

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> Any:
        self.sent.append((topic, partition, batch.record_count()))

        async def acknowledged() -> None:
            assert batch.closed()

        return acknowledged()

    async def flush(self) -> None:
        self.flushed += 1


def parts(producer: Producer, packing: Producer | None) -> Parts:
    return Parts(
        Settings(partitions=2), TickClock(), MemoryStore(1), cast(Any, producer), Metrics(), structlog.get_logger(),
        "one", packing=cast(Any, packing),
    )  # fmt: skip


async def test_a_topic_has_one_producer_so_that_its_records_keep_their_order() -> None:
    plain, packing = Producer(), Producer()
    both = parts(plain, packing)
    for topic in (ASSIGNMENT_LOG, ASSIGNMENT, PANEL):
        await both.publish(topic, [Record(b"de/a", b"{}", [])])
    assert {topic for topic, _, _ in packing.sent} == {ASSIGNMENT_LOG}
    assert {topic for topic, _, _ in plain.sent} == {ASSIGNMENT, PANEL}
    await both.flush()
    assert (plain.flushed, packing.flushed) == (1, 1), "what is on its way counts with what is on the log"


async def test_without_a_packing_producer_the_other_one_writes_all() -> None:
    plain = Producer()
    await parts(plain, None).publish(ASSIGNMENT_LOG, [Record(b"de/a", b"{}", [])])
    assert len(plain.sent) == 1


async def test_every_record_goes_to_the_partition_of_its_key_in_batches_that_are_full() -> None:
    plain = Producer()
    records = [Record(f"de/{k}".encode(), b"x" * 300, []) for k in range(40)]
    await parts(plain, None).publish(ASSIGNMENT, records)
    homes = [partition_of(record.key or b"", 2) for record in records]
    for home in (0, 1):
        assert sum(count for _, partition, count in plain.sent if partition == home) == homes.count(home) > 3
    assert max(count for _, _, count in plain.sent) == 2, "as many as have room"


async def test_a_record_without_a_key_has_no_partition() -> None:
    with pytest.raises(AssertionError, match="by number"):
        await parts(Producer(), None).publish(ASSIGNMENT, [Record(None, b"{}", [])])


@pytest.mark.parametrize(("units", "sizes"), [(1, [1, 1, 1, 1, 1]), (2, [2, 1, 2]), (3, [3, 2]), (100, [5])])
def test_portions_are_all_flips_in_their_order(units: int, sizes: list[int]) -> None:
    flips = [flip({"de/a": 1, **({"de/b": 0} if day == 3 else {})}, day=day) for day in range(1, 6)]
    found = list(portions(flips, units))
    assert [one for some in found for one in some] == flips
    assert [len(some) for some in found] == sizes


def test_nothing_has_no_portions() -> None:
    assert list(portions([])) == []
