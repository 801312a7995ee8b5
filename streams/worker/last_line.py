"""The last line: an unforeseen error sets aside what it concerns, and the rest goes on.

Work is done for many at once. Only where that fails, it is done again for each alone, which every step allows because
all of them may be repeated; those that fail alone are set aside, and nothing else pays for it:

- a record becomes a dead letter with the code ``failed``, and its offset moves on;
- a market, or an experiment in one, is suspended for as long as this owner holds its shard: nothing more is drawn for
  it, its units go back to control, and a `controller.messages.control.SetAside` on the log says why.

What is foreseen is raised to its handler. So does what concerns all.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeVar

from aiokafka.errors import KafkaError

from controller.errors import CannotReach
from controller.messages.codec import encode
from controller.messages.control import SetAside
from controller.messages.faults import Fault, fault_of
from controller.messages.topics import ASSIGNMENT_LOG
from streams.kafka.dead_letters import Incoming, Rejected
from streams.store import Fenced
from streams.worker.services import Parts

T = TypeVar("T")
R = TypeVar("R", bound=Incoming)
Duty = Literal["deciding", "closing", "relay"]
#: what is waited for, given up or raised elsewhere: parts that are away, fences, files, memory
FORESEEN = (CannotReach, Fenced, KafkaError, OSError, MemoryError)
#: so many markets are set aside whatever their share; of more than these, more than half are a fault that concerns all
FEW_MARKETS = 2
#: as many records of one input, one after the other
RECORDS_IN_A_ROW = 100


class Place(NamedTuple):
    """A market, of all experiments or of one."""

    market: str
    experiment: str = ""


@dataclass(slots=True)
class Suspended:
    """What the owner of one shard goes on without."""

    shard: int
    epoch: int
    faults: dict[tuple[Duty, Place], Fault] = field(default_factory=dict)
    #: those whose units were not yet put on control
    to_release: dict[Place, Fault] = field(default_factory=dict)

    def holds(self, market: str, experiment: str) -> bool:
        """Whether nothing more is decided there, whatever duty has failed."""
        return bool(self.faults) and any(
            place.market == market and place.experiment in ("", experiment) for _, place in self.faults
        )

    def markets(self, *duties: Duty) -> frozenset[str]:
        """Markets that are set aside, by any of these duties, or at all."""
        return frozenset(place.market for duty, place in self.faults if not duties or duty in duties)

    async def add(self, parts: Parts, duty: Duty, found: Mapping[Place, Exception]) -> None:
        """Set markets aside: log line, metric and a message of the log, which is safe before anything is left out."""
        for place, error in found.items():
            if (duty, place) in self.faults:
                continue
            fault, now = fault_of(error), parts.clock.now()
            said = SetAside(
                id=f"{self.shard}/{self.epoch}/{duty}/{place.market}/{place.experiment}",
                market=place.market,
                experiment=place.experiment,
                duty=duty,
                place=fault.place,
                error=fault.error,
                shard=self.shard,
                epoch=self.epoch,
                worker=parts.name,
                set_aside_at=now,
            )
            parts.log.error(
                "set aside", kind="experiment" if place.experiment else "market", duty=duty, market=place.market,
                experiment=place.experiment, place=fault.place, error=fault.error, exc_info=error,
                way_out="see the place; the shard's next owner tries again: restart the worker",
            )  # fmt: skip
            parts.metrics.set_aside.labels("experiment" if place.experiment else "market", duty).inc()
            await parts.publish(ASSIGNMENT_LOG, [encode(said, said.id, now)])
            self.faults[duty, place] = fault
            self.to_release[place] = fault
            parts.metrics.suspended.set(self.shard, len({found for _, found in self.faults}))


def unforeseen(error: BaseException) -> bool:
    """Whether only the last line handles an error."""
    return isinstance(error, Exception) and not isinstance(error, FORESEEN)


async def alone(pieces: Iterable[T], work: Callable[[T], Awaitable[None]]) -> dict[T, Exception]:
    """Do pieces of work that failed together, each alone; returns those that fail alone, with their errors."""
    failed: dict[T, Exception] = {}
    for piece in pieces:
        try:
            await work(piece)
        except Exception as error:
            if not unforeseen(error):
                raise
            failed[piece] = error
    return failed


def concerns_all(failed: Iterable[Place], tried: Iterable[Place]) -> bool:
    """Whether a fault is no one market's, and no one experiment's: more than half of the markets that were tried fail,
    more than `FEW_MARKETS` of them, unless all of that is of one experiment while another one goes well. Pure."""
    bad, all_tried = set(failed), set(tried)
    markets = {place.market for place in bad}
    if len(markets) <= FEW_MARKETS or 2 * len(markets) <= len({place.market for place in all_tried}):
        return False
    others = {place.experiment for place in all_tried - bad} - {place.experiment for place in bad}
    return len({place.experiment for place in bad}) > 1 or not others


@dataclass(slots=True)
class Spared:
    """Records of one input of which the one that fails is set aside."""

    parts: Parts
    #: partition -> records that were set aside since one was good
    in_a_row: dict[int, int] = field(default_factory=dict)

    async def each(
        self,
        records: Sequence[R],
        work: Callable[[Sequence[R]], Awaitable[None]],
        left: Callable[[Sequence[R]], Sequence[R]],
        pass_over: Callable[[R], Awaitable[None]],
    ) -> None:
        """Do work on records; where it fails, on each half, down to the one record that it fails for. O(log n) tries
        for a record that fails.

        ``left``: those of some records that are still to do; ``pass_over``: goes on behind one that was set aside.
        Raises where `RECORDS_IN_A_ROW` fail: that is no record's fault.
        """
        fault: Exception | None = None
        try:
            await work(records)
        except Exception as error:
            if not unforeseen(error):
                raise
            fault = error
        # Outside of the handler: else each half would carry the errors of all that it is a half of.
        if fault is None:
            if self.in_a_row and records:
                self.in_a_row.pop(records[0].partition, None)
            return
        rest = left(records)
        if len(rest) > 1:
            middle = len(rest) // 2
            for half in (rest[:middle], rest[middle:]):
                await self.each(half, work, left, pass_over)
        elif rest:
            await self._set_aside(rest[0], fault)
            await pass_over(rest[0])

    async def _set_aside(self, record: Incoming, error: Exception) -> None:
        number = record.partition
        before = self.in_a_row.get(number, 0)
        if before >= RECORDS_IN_A_ROW:
            raise error
        await failed(self.parts, record, error)
        self.in_a_row[number] = before + 1


async def failed(parts: Parts, record: Incoming, error: Exception) -> None:
    """Set a record aside: a dead letter that says where it failed."""
    fault = fault_of(error)
    parts.log.error(
        "set aside", kind="record", topic=record.topic, partition=record.partition, offset=record.offset,
        place=fault.place, error=fault.error, exc_info=error,
    )  # fmt: skip
    parts.metrics.set_aside.labels("record", record.topic.removeprefix(parts.topic(""))).inc()
    said = f"it cannot be used: {fault}; please report this, and redrive it once that is mended"
    await parts.reject([Rejected(record, "failed", said)], parts.clock.now())
