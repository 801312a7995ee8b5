"""An entry that begins within a day is begun with the answer to its trigger, and once, whatever happens in between."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import structlog

from controller.decisions.decide import decide
from controller.decisions.roster import roster
from controller.definition.experiment import Arm, Experiment, Market, PriceRule, design_hash
from controller.definition.parameters import Triggered, Undercut
from controller.messages.codec import encode
from controller.messages.control import TriggerFired
from controller.messages.inputs import CatalogEntry
from controller.messages.topics import TRIGGER
from controller.schedule.due import MarketPlan
from streams.flips.intraday_entries import anything_begins, begin, begin_at_once, mark_begun
from streams.flips.shard import Shard, key_of_plan
from streams.flips.trigger_answers import answer
from streams.runtime.settings import Settings
from streams.store import LogRecord, Registration
from streams.store.memory.store import MemoryStore
from streams.worker.last_line import Suspended
from streams.worker.metrics import Metrics
from streams.worker.services import Parts
from tests.streams.flips.doubles import Rec, Stopped, Topics

START = date(2026, 3, 2)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
UNITS = ("de/a", "de/b", "fr/a")
CATALOG = {u: CatalogEntry(unit=u, time_zone="Etc/UTC", currency="EUR", list_price_minor=1000) for u in UNITS}
EXPERIMENT = Experiment(
    name="juice", currency="EUR", units=UNITS, start=START, days=14, seed="7",
    markets=(Market(name="de", time_zone="Etc/UTC"), Market(name="fr", time_zone="Etc/UTC")),
    arms=(Arm(name="control"), Arm(name="cheap", price=PriceRule.model_validate_json('{"percent": "-10"}'))),
    design=Triggered(kind="triggered", rule=Undercut(kind="undercut"), treatment_days=2, delay_minutes=90),
)  # fmt: skip


@dataclass
class Woken:
    """A relay that only notes that it was woken."""

    times: int = 0

    def wake(self) -> None:
        self.times += 1


async def an_owner() -> tuple[Parts, Shard]:
    """The owner of both markets at noon of the first day, whose arms are given out."""
    store = MemoryStore(1)
    quiet = structlog.wrap_logger(structlog.PrintLogger(), wrapper_class=structlog.make_filtering_bound_logger(50))
    settings = Settings.model_validate({"partitions": 1})
    producer: Any = Topics(1)
    parts = Parts(settings, Stopped(NOON), store, producer, Metrics(), quiet, "test")
    registration = Registration(EXPERIMENT, design_hash(EXPERIMENT))
    await store.put_registration(registration)
    await store.claim(0, 1)
    relay: Any = Woken()
    shard = Shard(0, 1, 0, relay, relay, [], Suspended(0, 1))
    laid_out = roster(EXPERIMENT)
    shard.registrations, shard.rosters = {"juice": registration}, {"juice": laid_out}
    plans = {market: MarketPlan() for market in laid_out.units}
    decisions = list(decide(laid_out, plans, NOON - timedelta(hours=13), CATALOG))
    await store.flip_all(0, 1, [decision.flip for decision in decisions])
    shard.plans = {key_of_plan(laid_out, decision.market): decision.state for decision in decisions}
    return parts, shard


def fired(unit: str, offset: int) -> Rec:
    market = unit.partition("/")[0]
    trigger = TriggerFired(
        id=f"juice.1/{unit}/e{offset}", experiment="juice", experiment_version=1, market=market, cluster=unit,
        unit=unit, competitor="rival", event=f"e{offset}", rule="undercut", observed_at=NOON,
    )  # fmt: skip
    record = encode(trigger, trigger.id, NOON)
    return Rec(TRIGGER, 0, offset, record.key, record.value, tuple(record.headers))


async def begun_units(parts: Parts) -> list[str]:
    """The units of which an assignment from the entry's instant on is owed to the topics, in order."""
    starts_ms = int((NOON + timedelta(minutes=90)).timestamp() * 1000)
    entries = await parts.store.outbox(0, 1000)
    return [granted.unit for e in entries if e.header.get("effective") == starts_ms for granted in e.granted]


async def test_an_answer_begins_its_entry_and_leaves_other_markets_alone() -> None:
    parts, shard = await an_owner()
    markets = await answer(parts, shard, [fired("de/a", 0), fired("de/b", 1)])
    assert markets == {"de"}
    assert await begun_units(parts) == []
    relay: Any = shard.relay
    await begin_at_once(parts, shard, markets, CATALOG)
    assert await begun_units(parts) == ["de/a", "de/b"]
    assert relay.times, "the relay is told"
    assert not anything_begins(parts, shard, shard.rosters["juice"], NOON, CATALOG)

    assert await answer(parts, shard, [fired("de/a", 0), fired("de/b", 1)]) == set(), "answered before"
    assert await answer(parts, shard, [fired("fr/a", 2)]) == {"fr"}
    await begin_at_once(parts, shard, {"de"}, CATALOG)
    assert await begun_units(parts) == ["de/a", "de/b"], "nothing of a market that was not asked for"


async def test_a_crash_after_the_flips_leaves_the_entry_to_the_next_tick_which_begins_it_no_second_time() -> None:
    parts, shard = await an_owner()
    await answer(parts, shard, [fired("de/a", 0)])
    records: list[LogRecord] = []
    await begin(parts, shard, NOON, CATALOG, records)
    assert (await begun_units(parts), records) == (["de/a"], [])
    # Here the owner dies: nobody has marked it as begun.
    laid_out = shard.rosters["juice"]
    assert anything_begins(parts, shard, laid_out, NOON, CATALOG)
    later = NOON + timedelta(minutes=5)
    again = await begin(parts, shard, later, CATALOG, records)
    await mark_begun(parts, shard, again)
    assert await begun_units(parts) == ["de/a"], "the store makes nothing of it"
    assert not anything_begins(parts, shard, laid_out, later, CATALOG)
