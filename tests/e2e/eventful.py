"""Twelve days in which things happen: a blackout over one store, poison among the sales, and one sale that comes late.

Replayed once for all tests of this folder, which look at it from different sides.
"""

import json
from dataclasses import dataclass
from datetime import date, timedelta

from aiokafka.structs import ConsumerRecord

from controller.definition.field_types import Message
from controller.messages.codec import Record
from controller.messages.events import Estimate
from controller.messages.inputs import Blackout, Sale, Scope
from controller.messages.topics import ASSIGNMENT_LOG, DEAD_LETTER, ESTIMATE, PANEL, SALE
from controller.time.periods import day_start, period
from flipside.replay.plan import FIRST_DAY, Plan
from flipside.replay.progress import Result
from flipside.replay.replay import Replayer, replayer
from flipside.sales_history.history import CURRENCY, TIME_ZONE
from flipside.simulated_shop.shop import plain
from flipside.topics.reader import Reader
from streams.runtime.settings import Settings
from tests.e2e.running import eventually, market, plan, records, running

STORES, PRODUCTS, DAYS = 6, 3, 12
BLACKOUT_STORE = "store-3"
#: a week, [first, last)
BLACKOUT_DAYS = (FIRST_DAY + timedelta(days=3), FIRST_DAY + timedelta(days=10))
BLACKOUT = Blackout(
    id="stock-taking",
    scope=Scope(kind="market", name=BLACKOUT_STORE),
    starts_at=day_start(BLACKOUT_DAYS[0], TIME_ZONE),
    ends_at=day_start(BLACKOUT_DAYS[1], TIME_ZONE),
    reason="inventory",
)
UNIT = "store-1/product-1"
LATE_DAY = FIRST_DAY + timedelta(days=1)
POISONED_PERIOD = 4


def sale(identity: str, day: date) -> Sale:
    """A sale like any other."""
    return Sale(
        id=identity,
        unit=UNIT,
        occurred_at=period(day, TIME_ZONE).start,
        quantity=5,
        price_minor=100,
        cost_minor=50,
        currency=CURRENCY,
    )


_JSON = sale("poisoned", FIRST_DAY).model_dump(mode="json")
#: what is wrong -> the bytes that were sent
POISON = {
    "bad JSON": b'{"id": "poisoned", "unit": ',
    "unknown version": json.dumps({**_JSON, "version": 99}).encode(),
    "1 MB in a field": json.dumps({**_JSON, "id": "x" * 1_000_000}).encode(),
}


async def poison(replayer: Replayer, number: int) -> None:
    """Send the poison between two days' sales."""
    if number == POISONED_PERIOD:
        sent = [Record(UNIT.encode(), value, [("trace", what.encode())]) for what, value in POISON.items()]
        await replayer.send(SALE, sent)


def eventful_plan() -> Plan:
    """The same plan whenever it is asked for."""
    return plan(market(STORES, PRODUCTS, DAYS), blackouts=(BLACKOUT,), on_period=poison)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the replay said at its end, and what lay in the topics after the late sale."""

    settings: Settings
    result: Result
    #: topic -> its records, as bytes
    records: dict[str, tuple[ConsumerRecord, ...]]
    #: panel and estimates as messages, in the order of their partitions
    messages: dict[str, tuple[Message, ...]]


async def happen(settings: Settings) -> Outcome:
    """Replay, then send the late sale and wait until it has changed the number."""
    async with running(settings), replayer(settings, eventful_plan()) as shop:
        result = await shop.run()
        estimates = Reader(settings, [ESTIMATE])
        await estimates.start()
        try:
            await shop.send(SALE, [plain(sale("late", LATE_DAY))])

            async def revised() -> bool:
                await estimates.poll()
                last = (DAYS - 1) * timedelta(days=1) + FIRST_DAY
                return {"units", "revenue", "margin"} == {
                    m.metric for m in estimates.messages if isinstance(m, Estimate) and m.through == last and m.revision
                }

            # Time goes on: a closing waits for the clock, and the clock of a replay is its ticks.
            await shop.tick(period(FIRST_DAY + timedelta(days=DAYS), TIME_ZONE).end)
            await eventually("the late sale to revise the estimates", revised)
        finally:
            await estimates.stop()
        panel = Reader(settings, [PANEL])
        await panel.start()
        try:
            await panel.drain()
        finally:
            await panel.stop()
        topics = (ASSIGNMENT_LOG, DEAD_LETTER)
        return Outcome(
            settings,
            result,
            {topic: tuple(await records(settings, topic)) for topic in topics},
            {PANEL: tuple(panel.messages), ESTIMATE: tuple(estimates.messages)},
        )
