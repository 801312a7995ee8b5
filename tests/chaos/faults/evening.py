"""Two days of five markets on one worker without Kafka: sales, rivals' prices, decisions, announcements, closings.

The duties are those of the product, asked in the order of a day; the store is the one in memory.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from typing import Any

import structlog
from aiokafka import TopicPartition
from structlog.testing import LogCapture

from controller.definition.experiment import Arm, Experiment, Market, PriceRule, design_hash
from controller.definition.field_types import Message, market_of
from controller.definition.parameters import Limits, Triggered, Undercut
from controller.errors import FlipsideError
from controller.messages.codec import decode
from controller.messages.control import Kill, SetAside
from controller.messages.events import Assignment, PeriodClosed, UnitDay
from controller.messages.inputs import CatalogEntry
from controller.messages.topics import ASSIGNMENT, ASSIGNMENT_LOG, COMPETITOR_PRICE, DEAD_LETTER, PANEL, SALE, TRIGGER
from controller.outcomes.listing import Listed
from streams.closing.day_close import Closing
from streams.closing.watermark import Watermark
from streams.control.catalog import Catalog
from streams.flips.decider import Deciding
from streams.flips.intraday_entries import begin_at_once
from streams.flips.shard import Shard
from streams.flips.trigger_answers import answer
from streams.inputs.consumer import Ingest
from streams.outputs.outbox_relay import Relay
from streams.runtime.clock import TickClock
from streams.runtime.settings import Settings
from streams.store import Registration
from streams.store.memory.store import MemoryStore
from streams.worker.last_line import Suspended
from streams.worker.metrics import Metrics
from streams.worker.services import Parts
from tests.chaos.faults.strikes import STRUCK, BitingParts, BitingPort, Strike, biting_map
from tests.streams.flips.doubles import Rec, Topics
from tests.streams.inputs.watched_store import begin_at_zero

DAY = date(2026, 3, 2)
MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
MARKETS = tuple(f"m{k}" for k in range(5))
ARMS = (Arm(name="control"), Arm(name="cheap", price=PriceRule.model_validate_json('{"percent": "-10"}')))


def definition(name: str, products: str, markets: Iterable[str] = MARKETS, **more: Any) -> Experiment:
    units = tuple(f"{market}/{product}" for market in markets for product in products)
    zones = tuple(Market(name=market, time_zone="Etc/UTC") for market in markets)
    return Experiment(
        name=name, currency="EUR", units=units, start=DAY, days=14, seed="7", markets=zones, arms=ARMS, **more
    )


EXPERIMENTS = (
    definition("north", "ab", limits=Limits(max_changes_a_week=7)),
    definition("south", "cd", design=Triggered(kind="triggered", rule=Undercut(kind="undercut"), treatment_days=2,
                                                delay_minutes=90)),
    #: what is struck in a definition is struck here
    definition("local", "ef", (STRUCK,)),
)  # fmt: skip
UNITS = tuple(f"{market}/{product}" for market in MARKETS for product in "abcdef")
CATALOG = {u: CatalogEntry(unit=u, time_zone="Etc/UTC", currency="EUR", list_price_minor=1000) for u in UNITS}


class Known(Catalog):
    """A catalog that has been read, and bites."""

    def __init__(self, strike: Strike) -> None:
        self._biting = biting_map(CATALOG, strike)
        self._zones = biting_map(dict.fromkeys(MARKETS, "Etc/UTC"), strike)
        since = MIDNIGHT - timedelta(days=30)
        self._listings = biting_map({unit: Listed(since) for unit in UNITS}, strike)

    @property
    def entries(self) -> Any:
        return self._biting

    last = known = entries

    @property
    def listings(self) -> Any:
        return self._listings

    @property
    def time_zones(self) -> dict[str, str]:
        return self._zones

    async def catch_up(self) -> None:
        """Nothing comes any more."""


@dataclass
class Evening:
    """What was published and told."""

    topics: Topics
    log: list[Any]
    metrics: Metrics
    struck: int
    suspended: Suspended

    def messages(self, topic: str) -> list[Message]:
        found = []
        for (name, _), records in sorted(self.topics.logs.items()):
            for record in records if name == topic else ():
                try:
                    found.append(decode(record.headers, record.value or b""))
                except FlipsideError:  # dead letters are no message
                    continue
        return found

    def of_others(self) -> dict[str, set[str]]:
        """What every market but the struck one has got: rows, closings, assignments."""
        found = defaultdict(set)
        for message in (*self.messages(PANEL), *self.messages(ASSIGNMENT)):
            market = message.market if isinstance(message, PeriodClosed) else market_of(getattr(message, "unit", "/"))
            if market in MARKETS and market != STRUCK:
                found[type(message).__name__].add(_spelled(message))
        return dict(found)

    def letters(self) -> list[Rec]:
        return [r for (topic, _), log in self.topics.logs.items() if topic == DEAD_LETTER for r in log]

    def failed_letters(self) -> list[Rec]:
        return [r for r in self.letters() if dict(r.headers)["ce_reasoncode"] == b"failed"]

    def set_aside(self) -> list[SetAside]:
        return [m for m in self.messages(ASSIGNMENT_LOG) if isinstance(m, SetAside)]

    def shown(self, market: str, at: datetime) -> dict[str, str]:
        """Unit -> the arm that pricing systems show at an instant, by what was published."""
        latest: dict[str, Assignment] = {}
        for message in self.messages(ASSIGNMENT):
            if isinstance(message, Assignment) and market_of(message.unit) == market and message.effective_at <= at:
                held = latest.get(message.unit)
                if held is None or (message.epoch, message.sequence) > (held.epoch, held.sequence):
                    latest[message.unit] = message
        alive = {u: m.arm for u, m in latest.items() if m.expires_at is None or m.expires_at > at}
        return {u: alive.get(u, "control") for u in UNITS if market_of(u) == market}


def _spelled(message: Message) -> str:
    if isinstance(message, UnitDay):
        return f"{message.unit}/{message.day}/{message.quantity}/{message.events}"
    if isinstance(message, Assignment):
        return f"{message.unit}/{message.effective_at}/{message.arm}/{message.expires_at}"
    assert isinstance(message, PeriodClosed)
    return f"{message.market}/{message.day}/{message.unit_days}/{message.events}/{message.zeros}"


class Input:
    """A consumer of one partition that has these records, and then ends its reader."""

    def __init__(self, records: list[Rec], stop: Any) -> None:
        self._records, self._stop = records, stop
        self._here = TopicPartition(records[0].topic, 0)

    def __call__(self, **_: object) -> "Input":
        return self

    def subscribe(self, _: list[str], listener: Any) -> None: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def commit(self, _: object) -> None: ...

    def assignment(self) -> set[TopicPartition]:
        return {self._here}

    async def beginning_offsets(self, partitions: Any) -> dict[Any, int]:
        return dict.fromkeys(partitions, 0)

    async def end_offsets(self, partitions: Any) -> dict[Any, int]:
        return dict.fromkeys(partitions, len(self._records))

    async def committed(self, _: object) -> None: ...

    def seek(self, _: object, offset: int) -> None:
        self._next = offset

    async def position(self, _: object) -> int:
        return self._next

    def highwater(self, _: object) -> int:
        return len(self._records)

    async def getmany(self, **_: object) -> dict[TopicPartition, list[Rec]]:
        records = self._records[self._next :]
        self._next = len(self._records)
        if not records:
            self._stop.set()
            return {}
        return {self._here: records}


def sales(day: datetime) -> list[Rec]:
    """Two of each unit: one that counts, and one in the wrong currency."""
    found: list[Rec] = []
    for unit in UNITS:
        for currency in ("EUR", "USD"):
            body = {
                "id": f"{unit}/{day.date()}/{currency}", "unit": unit, "quantity": 2, "price_minor": 1000,
                "occurred_at": (day + timedelta(hours=12)).isoformat().replace("+00:00", "Z"), "currency": currency,
            }  # fmt: skip
            found.append(Rec(SALE, 0, len(found), unit.encode(), json.dumps(body).encode()))
    return found


def prices(at: datetime) -> list[Rec]:
    """A rival that undercuts every unit."""
    found: list[Rec] = []
    for minute, price in ((0, 1100), (1, 900)):
        for unit in UNITS:
            body = {
                "id": f"{unit}/{minute}", "unit": unit, "competitor": "rival", "price_minor": price, "currency": "EUR",
                "observed_at": (at + timedelta(minutes=minute)).isoformat(),
            }  # fmt: skip
            found.append(Rec(COMPETITOR_PRICE, 0, len(found), unit.encode(), json.dumps(body).encode()))
    return found


async def evening(strike: Strike | None = None) -> Evening:
    """Two days; the strike bites wherever its function meets its market."""
    strike = strike or Strike()
    store: Any = BitingPort(MemoryStore(1), strike)
    topics: Any = Topics(1)
    capture = LogCapture()
    log = structlog.wrap_logger(None, processors=[capture])
    settings = Settings.model_validate({"partitions": 1, "clock": "ticks", "revision_days": 5})
    clock = TickClock()
    plain = Parts(settings, clock, store, topics, Metrics(), log, "w1", {})
    parts = BitingParts(**{f.name: getattr(plain, f.name) for f in fields(plain)})
    object.__setattr__(parts, "strike", strike)
    catalog = Known(strike)
    for experiment in EXPERIMENTS:
        await store.put_registration(Registration(experiment, design_hash(experiment),
                                                  listed=dict.fromkeys(experiment.units, (1000, None))))  # fmt: skip
    await store.claim(0, 1)
    suspended = Suspended(0, 1)
    relay, closing = Relay(parts, 0, 1, suspended), Closing(parts, catalog, 0, 1, suspended)
    shard = Shard(0, 1, 0, relay, closing, [], suspended)
    deciding = Deciding(parts, catalog, {0: shard})

    async def tick(at: datetime) -> None:
        clock.advance(at)
        await deciding.tick(shard, at, shard.tick + 1)
        await announced()

    async def announced() -> None:
        """Let the relay run until it has nothing that it could publish."""
        while await relay._round():
            pass

    async def read(topic: str, records: list[Rec]) -> None:
        stop = asyncio.Event()
        given: Any = Input(records, stop)
        await Ingest(parts, catalog, topic, given, begin_at_zero(store)).run(stop)

    async def close(at: datetime) -> None:
        assert await store.mark_caught_up(0, await store.position("sale", 0), at)
        (found,) = await store.caught_up()
        await closing.begin()
        await closing.close_each(Watermark(at, {0: found.position}, {0: found.counting}))

    await tick(MIDNIGHT - timedelta(minutes=30))
    clock.advance(MIDNIGHT + timedelta(hours=1))
    await read(COMPETITOR_PRICE, prices(MIDNIGHT + timedelta(hours=1)))
    fired = topics.logs.get((TRIGGER, 0), [])
    await deciding.refresh(shard)
    markets = await answer(parts, shard, fired)
    await deciding.spared(shard, lambda some: begin_at_once(parts, some, markets, catalog.last))
    await announced()
    await read(SALE, sales(MIDNIGHT))
    await tick(MIDNIGHT + timedelta(hours=23, minutes=30))
    await close(MIDNIGHT + timedelta(hours=30))
    await tick(MIDNIGHT + timedelta(hours=31))
    kill = Kill(id="all", scope="all", who="a test", why="the end", requested_at=MIDNIGHT)
    await store.put_kill(kill)
    await tick(MIDNIGHT + timedelta(hours=32))
    return Evening(topics, capture.entries, parts.metrics, strike.times, suspended)
