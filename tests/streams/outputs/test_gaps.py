"""Days that nobody decided: the log says so ahead of what comes after them, and of no other day."""

import asyncio
from collections.abc import Iterable
from typing import Any, cast

import structlog

from controller.decisions.roster import roster
from controller.messages.codec import Record, told
from controller.messages.events import CE_TYPES, Undelivered
from controller.messages.topics import ASSIGNMENT, ASSIGNMENT_LOG
from controller.schedule.due import MarketPlan
from streams.flips.market_state import granted_through
from streams.outputs.outbox_relay import Relay
from streams.runtime.clock import WallClock
from streams.runtime.settings import Settings
from streams.store import LogRecord, Store
from streams.worker.metrics import Metrics
from streams.worker.services import Parts
from tests.e2e.running import eventually
from tests.streams.builders import MIDNIGHT, at, experiment, flip

A, B = "de/a", "de/b"
FUTURE = 20_000
LAID_OUT = roster(experiment().model_copy(update={"units": (A, B)}))
GAP = Undelivered(
    id="juice.1/de/gap",
    experiment="juice",
    experiment_version=1,
    market="de",
    first_day=MIDNIGHT.date(),
    last_day=MIDNIGHT.date(),
    reason="nobody was there",
    decided_at=at(0),
)


def through(day: int) -> MarketPlan:
    return MarketPlan(at(day).date())


async def test_a_day_that_was_decided_and_not_settled_is_known_from_its_units(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1, B: 0}, day=3))
    held = await store.restoring.held(0)
    assert granted_through(LAID_OUT, "de", MarketPlan(), held) == through(3)
    assert granted_through(LAID_OUT, "de", through(1), held) == through(3)
    assert granted_through(LAID_OUT, "de", through(4), held) == through(4)


async def test_a_day_that_was_decided_by_half_is_not(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1, B: 0}, day=3))
    await store.flip(0, 1, flip({A: 1}, day=4))
    assert granted_through(LAID_OUT, "de", MarketPlan(), await store.restoring.held(0)) == through(3)


async def test_what_another_experiment_has_decided_says_nothing(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1, B: 0}, day=3, name="milk"))
    assert granted_through(LAID_OUT, "de", through(1), await store.restoring.held(0)) == through(1)


class Failing(Parts):
    """Brokers that acknowledge nothing, and what they were sent."""

    sent: list[str]

    async def publish(self, topic: str, records: Iterable[Record]) -> None:
        kinds = [told(record.headers)["ce_type"].decode() for record in records]
        self.sent.extend(kinds)
        if kinds:
            raise ConnectionError("no acknowledgement")


async def test_no_decision_is_sent_before_the_gap_ahead_of_it_is_acknowledged(store: Store) -> None:
    await store.tell(0, 1, [LogRecord(CE_TYPES[Undelivered], GAP.model_dump_json())])
    await store.flip(0, 1, flip({A: 1, B: 0}, day=FUTURE))
    none = cast(Any, None)
    parts = Failing(Settings(partitions=2), WallClock(), store, none, Metrics(), structlog.get_logger(), "one")
    object.__setattr__(parts, "sent", [])
    relay = asyncio.create_task(Relay(parts, 0, 1).run())
    await asyncio.wait([relay], timeout=10.0)
    assert isinstance(relay.exception(), ConnectionError)
    assert parts.sent == [CE_TYPES[Undelivered]]
    assert len(await store.outbox(0, 9)) == 2, "nothing is dropped"


class Jammed(Parts):
    """The topic of assignments is taken up once ``free``; what it and the log have taken up."""

    free: asyncio.Event
    taken: dict[str, list[Record]]

    async def publish(self, topic: str, records: Iterable[Record]) -> None:
        found = list(records)
        if topic == ASSIGNMENT:
            await self.free.wait()
        self.taken.setdefault(topic, []).extend(found)


async def test_what_the_log_has_pricing_systems_are_told_though_the_shard_is_let_go_meanwhile(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1, B: 0}, day=FUTURE))
    none = cast(Any, None)
    parts = Jammed(Settings(partitions=2), WallClock(), store, none, Metrics(), structlog.get_logger(), "one")
    free, taken = asyncio.Event(), dict[str, list[Record]]()
    object.__setattr__(parts, "free", free)
    object.__setattr__(parts, "taken", taken)
    relay = asyncio.create_task(Relay(parts, 0, 1).run())

    async def logged() -> bool:
        return len(taken.get(ASSIGNMENT_LOG, ())) == 2

    await eventually("both to be on the log", logged)
    relay.cancel()
    await asyncio.wait([relay], timeout=10.0)
    assert relay.cancelled()
    free.set()

    async def told() -> bool:
        return taken.get(ASSIGNMENT) == taken[ASSIGNMENT_LOG]

    await eventually("both to be told", told)
