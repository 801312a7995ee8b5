"""What is published about the messages is what the workers really accept and write."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from controller.definition.experiment import Arm, Experiment, PriceRule
from controller.definition.field_types import Message
from controller.messages.checkpoints import CHECKPOINT_TYPES
from controller.messages.codec import MODELS, encode
from controller.messages.control import CONTROL_TYPES
from controller.messages.events import (
    CE_TYPES,
    Assignment,
    EffectEstimate,
    Estimate,
    PeriodClosed,
    Reason,
    Registered,
    SaleCorrection,
    Tick,
    UnitDay,
)
from controller.messages.findings import FINDING_TYPES
from controller.messages.graphs import GRAPH_TYPES
from controller.messages.inputs import Blackout, Sale, Scope
from controller.messages.topics import TOPICS
from flipside.schemas import MESSAGES, NAMES, ROOT, asyncapi, files, json_schema, with_table
from tests.controller.messages.finding_examples import FINDING_EXAMPLES
from tests.controller.messages.graph_examples import GRAPH_EXAMPLES

AT = datetime(2026, 3, 1, 23, tzinfo=UTC)
EXPERIMENT = Experiment(
    name="spring",
    currency="EUR",
    units=("north/tea", "south/tea"),
    arms=(Arm(name="control"), Arm(name="low", price=PriceRule(percent=Decimal(-10)))),
    start=date(2026, 3, 2),
    days=14,
    seed="s",
)
WRITTEN: list[Message] = [
    Sale(id="s1", unit="north/tea", occurred_at=AT, quantity=2, price_minor=349, currency="EUR"),
    SaleCorrection(
        id="north/tea/0f",
        sale=Sale(id="s1", unit="north/tea", occurred_at=AT, quantity=2, price_minor=349, currency="EUR"),
        day=date(2026, 3, 1),
        closed_through=date(2026, 3, 9),
        partition=1,
        offset=4711,
    ),
    Blackout(id="audit", scope=Scope(kind="market", name="north"), starts_at=AT, ends_at=AT, reason="audit"),
    EXPERIMENT,
    Registered(id="r", experiment=EXPERIMENT, design_hash="0" * 64, registered_at=AT),
    Assignment(
        id="spring.1/2026-03-02/north/tea",
        unit="north/tea",
        cluster="north/tea",
        experiment="spring",
        experiment_version=1,
        design_hash="0" * 64,
        block=0,
        day=date(2026, 3, 2),
        arm="low",
        planned_arm="low",
        price_minor=None,
        currency="EUR",
        effective_at=AT,
        expires_at=None,
        decided_at=AT,
        epoch=4,
        sequence=1,
        reason=Reason(code="scheduled"),
    ),
    Tick(at=AT),
    UnitDay(
        unit="north/tea",
        day=date(2026, 3, 2),
        starts_at=AT,
        ends_at=AT,
        quantity=2,
        revenue_minor=698,
        cost_minor=None,
        currency="EUR",
        events=1,
        revision=0,
    ),
    PeriodClosed(
        market="north",
        day=date(2026, 3, 2),
        watermark=AT,
        offsets={"0": 17},
        unit_days=1,
        events=1,
        revised=0,
        revision=0,
    ),
    Estimate(
        experiment="spring",
        experiment_version=1,
        design_hash="0" * 64,
        metric="units",
        arm="low",
        estimator="difference",
        absolute=EffectEstimate(value=1.5, se=0.5, ci_low=0.5, ci_high=2.5),
        relative=None,
        reason_absent=None,
        confidence=0.95,
        through=None,
        clusters=2,
        days=1,
        cells=2,
        left_out={},
        blocked_cells=(),
        watermark=None,
        offsets={},
        revision=0,
        computed_at_event_time=None,
        code_version="0.1.0",
    ),
    *(message for message, _ in FINDING_EXAMPLES.values()),
    *(message for message, _ in GRAPH_EXAMPLES.values()),
]
SALE: dict[str, Any] = {
    "id": "s1",
    "unit": "north/tea",
    "occurred_at": "2026-03-01T23:00:00Z",
    "quantity": 2,
    "price_minor": 349,
    "currency": "EUR",
}


def test_the_files_are_what_the_models_say() -> None:
    there = {path.name: path.read_text() for path in (ROOT / "schemas").iterdir()}
    made = files()
    differing = sorted(name for name in there.keys() | made.keys() if there.get(name) != made.get(name))
    assert not differing, f"the models and schemas/ differ in {differing}: run `make schemas` and commit the result"


def test_the_table_of_topics_is_what_the_topics_say() -> None:
    document = (ROOT / "docs" / "contract.md").read_text()
    assert document == with_table(document), "the topics and docs/contract.md differ: run `make schemas`"


@pytest.mark.parametrize("model", NAMES, ids=lambda model: model.__name__)
def test_every_schema_is_a_json_schema(model: type[Message]) -> None:
    Draft202012Validator.check_schema(json_schema(model))


@pytest.mark.parametrize("message", WRITTEN, ids=lambda message: type(message).__name__)
def test_what_is_written_fits_its_schema(message: Message) -> None:
    value = json.loads(encode(message, "id", AT).value or b"")
    Draft202012Validator(json_schema(type(message))).validate(value)


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ({}, True),
        ({"version": 1}, True),
        ({"cost_minor": None}, True),
        ({"version": 2}, False),
        ({"quantity": -1}, False),
        ({"quantity": "2"}, False),
        ({"quantity": 2.5}, False),
        ({"price_minor": -1}, False),
        ({"unit": "tea"}, False),
        ({"currency": "euro"}, False),
        ({"colour": "red"}, False),
        ({"occurred_at": 0}, False),
        ({"id": ""}, False),
    ],
)
def test_the_schema_of_a_sale_and_the_worker_agree(change: dict[str, Any], accepted: bool) -> None:
    value = {**SALE, **change}
    assert Draft202012Validator(json_schema(Sale)).is_valid(value) is accepted
    if accepted:
        assert Sale.model_validate_json(json.dumps(value)).quantity == 2
    else:
        with pytest.raises(ValidationError):
            Sale.model_validate_json(json.dumps(value))


def test_every_message_has_a_topic_and_every_topic_is_described() -> None:
    assert set(MESSAGES) == set(TOPICS)
    assert {model for models in MESSAGES.values() for model in models} == set(NAMES) >= set(CE_TYPES)
    # The language of control is decoded, but no topic promises it before something writes it.
    written = set(CE_TYPES) | set(CONTROL_TYPES) | set(FINDING_TYPES) | set(CHECKPOINT_TYPES) | set(GRAPH_TYPES)
    assert set(MODELS.values()) == written


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = yaml.safe_load(files()["asyncapi.yaml"])
    assert document == asyncapi()
    references = list(_references(document))
    assert len(references) > len(NAMES)
    for reference in references:
        if reference.startswith("./"):
            assert reference.removeprefix("./") in files()
            continue
        found = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]


def test_every_topic_is_a_channel_with_its_configuration() -> None:
    channels = {channel["address"]: channel for channel in asyncapi()["channels"].values()}
    assert set(channels) == set(TOPICS)
    for name, topic in TOPICS.items():
        written = channels[name]["bindings"]["kafka"]["topicConfiguration"]
        assert {
            key: str(value[0] if isinstance(value, list) else value) for key, value in written.items()
        } == topic.config


def _references(node: Any) -> Any:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)
