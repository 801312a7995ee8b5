"""Single ordinary records that ended a worker or the analysis for good, by their numbers in docs/faults.md.

What is asked here can be asked of any version: what becomes of the record, by the functions that every reader uses. The
records that need a broker are in tests/e2e/inputs/test_attacks.py; what a client takes is in
client/tests/test_record.py (16).
"""

import json
import tracemalloc
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from aiokafka import TopicPartition

from analysis.panel_data.ledger import Ledger
from analysis.worker.worker import Tally, _messages
from controller.decisions.triggers import Observation, RivalHistory, follow
from controller.definition.experiment import Experiment, design_hash
from controller.definition.field_types import Message
from controller.definition.parameters import PriceDrop
from controller.errors import FlipsideError, UnreadableMessage
from controller.messages.codec import TYPES, ce_type, decode, encode, read, read_many
from controller.messages.control import Kill, LifecycleRequest
from controller.messages.inputs import Applied, CatalogEntry, CompetitorPrice, Sale
from controller.messages.topics import APPLIED, DEAD_LETTER, DEFINITION
from controller.validation.quotas import MOST_SWITCHES
from streams.control.catalog import Catalog
from streams.control.control_agents import Heard, on_definition
from streams.inputs.competitor_fold import HISTORY
from streams.kafka.dead_letters import Rejected
from streams.runtime.settings import Settings
from streams.store import Registration
from streams.store.memory.store import MemoryStore
from streams.worker.metrics import Metrics
from streams.worker.services import Parts
from tests.controller.builders import an_experiment
from tests.streams.flips.doubles import Rec, Stopped, Topics

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SALE: dict[str, Any] = {
    "id": "s", "unit": "de/a", "occurred_at": NOON.isoformat(), "quantity": 1, "price_minor": 1, "currency": "EUR",
}  # fmt: skip
ENTRY = {"unit": "de/a", "time_zone": "Europe/Berlin", "currency": "EUR", "list_price_minor": 1}
APPLY = {
    "id": "a",
    "unit": "de/a",
    "arm": "cheap",
    "price_minor": 1,
    "applied_at": NOON.isoformat(),
    "assignment": None,
}
RIVAL = {"id": "r", "unit": "de/a", "competitor": "c", "price_minor": 1, "currency": "EUR",
         "observed_at": NOON.isoformat()}  # fmt: skip


def spelled(body: dict[str, Any], **changed: object) -> bytes:
    return json.dumps({**body, **changed}).encode()


@pytest.mark.parametrize(
    ("model", "body", "changed"),
    [
        pytest.param(CatalogEntry, ENTRY, {"time_zone": "Europe/Berln"}, id="1: a zone that there is not"),
        pytest.param(CatalogEntry, ENTRY, {"time_zone": "../../etc/passwd"}, id="1: a zone that is a path"),
        pytest.param(Sale, SALE, {"quantity": 10**9, "price_minor": 10**12}, id="4: a product beyond 64 bits"),
        pytest.param(Sale, SALE, {"occurred_at": "0001-01-01T00:00:00Z"}, id="5: a sale of the year 1"),
        pytest.param(CompetitorPrice, RIVAL, {"observed_at": "0001-01-01T00:00:00Z"}, id="6: a price of the year 1"),
        pytest.param(Applied, APPLY, {"applied_at": "0001-01-01T00:00:00Z"}, id="7: a report of the year 1"),
        pytest.param(Experiment, json.loads(an_experiment().model_dump_json()), {"version": 3_000_000_000},
                     id="12: a version beyond 32 bits"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_unreadable(
    model: type[Message], body: dict[str, Any], changed: dict[str, object]
) -> None:
    read(model, spelled(body))
    with pytest.raises(UnreadableMessage):
        read(model, spelled(body, **changed))


def parts_of(store: MemoryStore, topics: Topics) -> Parts:
    quiet = structlog.wrap_logger(structlog.PrintLogger(), wrapper_class=structlog.make_filtering_bound_logger(50))
    producer: Any = topics
    return Parts(Settings.model_validate({"partitions": 1}), Stopped(NOON), store, producer, Metrics(), quiet, "test")


async def test_2_a_record_without_a_key_is_a_dead_letter() -> None:
    topics = Topics(1)
    record = Rec("pricing.sale.v1", 0, 7, None, b"garbage")
    await parts_of(MemoryStore(1), topics).reject([Rejected(record, "unreadable", "no JSON")], NOON)
    assert [letter.value for letter in topics.logs[DEAD_LETTER, 0]] == [b"garbage"]


async def test_the_metric_names_the_topic_of_a_letter_and_no_topic_that_is_not_ours() -> None:
    parts = parts_of(MemoryStore(1), Topics(1))
    records = [Rec(topic, 0, 7, None, b"garbage") for topic in ("pricing.sale.v1", "pricing.sale.v1", "made up")]
    await parts.reject([Rejected(record, "unreadable", "no JSON") for record in records], NOON)
    registry = parts.metrics.registry
    counted = {
        topic: registry.get_sample_value("flipside_dead_letters_total", {"topic": topic, "reason": "unreadable"})
        for topic in ("pricing.sale.v1", "pricing.catalog.v1", "made up", "other")
    }
    assert counted == {"pricing.sale.v1": 2.0, "pricing.catalog.v1": 0.0, "made up": None, "other": 1.0}


async def test_behind_a_flood_of_switches_a_new_name_is_refused_and_everything_can_still_be_killed() -> None:
    store, topics = MemoryStore(1), Topics(1)
    parts = parts_of(store, topics)

    async def pull(id: str, scope: str, name: str, offset: int) -> None:
        said = {"id": id, "scope": scope, "name": name, "who": "eve", "why": "flood", "requested_at": NOON}
        record = encode(kill := Kill.model_validate(said), id, NOON)
        headers = (("ce_type", TYPES[Kill].encode()),)
        await on_definition(
            parts, Nothing(parts), Heard(DEFINITION, 0, offset, kill.key.encode(), record.value, headers)
        )

    for number in range(MOST_SWITCHES):
        await store.put_kill(
            Kill(id=f"m{number}", scope="market", name=f"m{number}", who="e", why="f", requested_at=NOON)
        )
    with pytest.raises(FlipsideError, match=f"{MOST_SWITCHES} are the most"):
        await pull("one-more", "market", "nowhere", 1)
    await pull("all", "all", "", 2)
    held = await store.kills(0)
    assert (len(held), held["all"].lifted) == (MOST_SWITCHES + 1, False)


@dataclass(frozen=True)
class Stamped:
    """A record with any timestamp."""

    value: bytes
    timestamp: int
    offset: int = 0
    timestamp_type: int = 0
    key: bytes | None = b"de/a"
    headers: tuple[tuple[str, bytes | None], ...] = ()


def test_8_a_timestamp_of_long_ago_is_no_reason_to_end_the_analysis() -> None:
    record = Stamped(spelled(APPLY), -7 * 10**13)
    found = _messages({TopicPartition(APPLIED, 0): [record]}, Tally())
    assert len(found) == 1


def test_9_a_header_without_a_value_says_nothing() -> None:
    headers: Any = (("trace", None), ("ce_type", None))
    assert ce_type(headers) is None
    with pytest.raises(UnreadableMessage):
        decode(headers, b"{}")


def test_10_eight_thousand_prices_of_a_competitor_in_a_day_are_remembered_in_bounds() -> None:
    rule, history = PriceDrop(kind="price_drop", share="1/2", within_hours=24), RivalHistory()
    for k in range(8000):
        history, _ = follow(rule, history, Observation(NOON + timedelta(seconds=k), str(k), 1000 + k % 2), 1000)
    assert len(HISTORY.dump_json(history)) < 100_000


def test_11_reports_of_units_that_nobody_has_cost_no_memory() -> None:
    ledger = Ledger()
    reports = [read(Applied, spelled(APPLY, unit=f"nobody{k}/p{k}")) for k in range(50_000)]
    tracemalloc.start()
    try:
        for report in reports:
            ledger.fold(report)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 20_000_000


class Nothing(Catalog):
    """No entry at all."""

    async def catch_up(self) -> None: ...


async def test_14_a_clock_that_shows_the_year_9999_moves_no_experiment() -> None:
    store, experiment = MemoryStore(1), an_experiment(start=NOON.date() + timedelta(days=30))
    await store.put_registration(Registration(experiment, design_hash(experiment)))
    for shard in range(1):
        await store.claim(shard, 1)
    parts = parts_of(store, Topics(1))
    at = datetime(2199, 12, 31, tzinfo=UTC)
    request = LifecycleRequest(
        id="x/begin", experiment=experiment.name, action="begin", role="clock", who="a clock", why="time",
        requested_at=at,
    )  # fmt: skip
    record = encode(request, request.id, at)
    heard = Heard(DEFINITION, 0, 0, record.key, record.value, (("ce_type", TYPES[LifecycleRequest].encode()),))
    with pytest.raises(FlipsideError):
        await on_definition(parts, Nothing(parts), heard)
    _, held = await store.registrations(0)
    assert held[experiment.name].state == "scheduled"


def test_21_a_batch_says_of_each_record_what_it_is_alone() -> None:
    one = spelled(APPLY)
    for given in ([one + b"," + one, b'{"assignment":[{}', b"{}]," + one[1:]], [b"[" + one, one + b"]"]):
        alone = [read_many(Applied, [value])[0] for value in given]
        assert [type(m) for m in read_many(Applied, given)] == [type(m) for m in alone]
