"""Records on the wire: CloudEvents as the official SDK reads and writes them, and round trips of every message."""

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, to_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from controller.definition.field_types import (
    INSTANT_PATTERN,
    Instant,
    Message,
    SpelledInstant,
    from_milliseconds,
    instant_of,
    milliseconds,
)
from controller.errors import UnreadableMessage
from controller.messages.codec import (
    MODELS,
    GivenHeaders,
    ce_type,
    decode,
    decode_many,
    encode,
    key_of,
    read,
    read_all,
    told,
)
from controller.messages.control import Kill, LifecycleRequest
from controller.messages.events import (
    StopExperiment,
    UnitDay,
)
from controller.messages.inputs import (
    CompetitorPrice,
    CompetitorPriceRow,
    Sale,
    SaleRow,
)
from controller.messages.topics import TOPICS
from tests.controller.builders import an_experiment, instants
from tests.controller.messages.control_examples import CONTROL_EXAMPLES
from tests.controller.messages.examples import A_SALE, AT, EXAMPLES

everything = pytest.mark.parametrize("model", EXAMPLES, ids=lambda model: model.__name__)


def test_every_message_of_the_contract_has_an_example_here() -> None:
    assert set(EXAMPLES) == set(MODELS.values())


@everything
def test_what_is_encoded_is_decoded_to_the_same_message(model: type[Message]) -> None:
    message, key = EXAMPLES[model]
    record = encode(message, "id-1", AT)
    assert decode(record.headers, record.value or b"") == message
    assert record.key == (None if key is None else key.encode())
    assert key_of(message) == key


@everything
def test_the_official_sdk_reads_our_records(model: type[Message]) -> None:
    message, key = EXAMPLES[model]
    record = encode(message, "id-1", AT)
    event = from_binary(KafkaMessage(told(record.headers), record.key, record.value or b""), JSONFormat(), CloudEvent)
    assert (event.get_id(), event.get_source(), event.get_specversion()) == ("id-1", "/flipside", "1.0")
    assert event.get_type() == ce_type(record.headers)
    assert event.get_time() == AT
    assert event.get_datacontenttype() == "application/json"
    assert event.get_extension("partitionkey") == key
    assert model.model_validate_json(record.value or b"").model_dump(mode="json") == event.get_data()


@everything
def test_we_read_records_that_the_official_sdk_wrote(model: type[Message]) -> None:
    message, _ = EXAMPLES[model]
    attributes: dict[str, Any] = {
        "id": "id-1", "source": "/shop", "type": ce_type(encode(message, "x", AT).headers), "specversion": "1.0",
        "time": AT, "datacontenttype": "application/json",
    }  # fmt: skip
    written = to_binary(CloudEvent(attributes, message.model_dump(mode="json")), JSONFormat())
    assert isinstance(written.value, bytes)
    assert decode(list(written.headers.items()), written.value) == message
    ours = dict(encode(message, "id-1", AT).headers) | {"ce_source": b"/shop"}
    assert written.headers == ours


@pytest.mark.parametrize(
    ("headers", "value", "named"),
    [
        ([], b"{}", "ce_type is None"),
        ([("ce_type", b"flipside.sale.v9")], b"{}", "flipside.sale.v9"),
        ([("ce_type", b"\xff\xfe")], b"{}", "none of the contract's"),
        ([("ce_type", b"flipside.tick.v1")], b"{", "flipside.tick.v1: value"),
        ([("ce_type", b"flipside.tick.v1")], b"\xff\xfe", "flipside.tick.v1: value"),
        ([("ce_type", b"flipside.tick.v1")], b'{"at":0}', "at"),
        ([("ce_type", b"flipside.tick.v1")], b'{"at":"2026-01-01T00:00:00"}', "at"),
        ([("ce_type", b"flipside.tick.v1")], b'{"at":"2026-01-01T00:00:00Z","why":1}', "why"),
        ([("ce_type", b"flipside.sale.v1")], b'{"version":2}', "version"),
    ],
)
def test_bytes_that_are_no_event_of_the_contract_are_refused_by_name(
    headers: list[tuple[str, bytes]], value: bytes, named: str
) -> None:
    with pytest.raises(UnreadableMessage, match=named):
        decode(headers, value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("quantity", "2"),
        ("quantity", 2.5),
        ("price_minor", -1),
        ("currency", "usd"),
        ("unit", "m0"),
        ("unit", "m0/p\u0430"),
    ],
)
def test_a_sale_is_not_guessed_at(field: str, value: object) -> None:
    sale = EXAMPLES[Sale][0].model_dump(mode="json") | {field: value}
    with pytest.raises(UnreadableMessage, match=field):
        read(Sale, json.dumps(sale).encode())


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_and_never_raise_anything_else(value: bytes) -> None:
    for kind in ("flipside.sale.v1", "flipside.experiment.v1"):
        with pytest.raises(UnreadableMessage):
            decode([("ce_type", kind.encode())], value)


@given(instants(1990, 2090))
def test_an_instant_survives_as_milliseconds(instant: datetime) -> None:
    back = from_milliseconds(milliseconds(instant))
    assert abs((back - instant).total_seconds()) <= 0.000_501
    assert from_milliseconds(milliseconds(back)) == back


def test_topics_are_versioned_and_say_who_writes_and_reads_them() -> None:
    assert all(name.endswith(".v1") and topic.writers and topic.readers for name, topic in TOPICS.items())
    assert {t.name for t in TOPICS.values() if t.config["cleanup.policy"] == "compact"} >= {"pricing.catalog.v1"}


def test_a_day_is_a_date_and_not_an_instant() -> None:
    assert EXAMPLES[UnitDay][0].model_dump(mode="json")["day"] == date(2026, 3, 2).isoformat()


def test_compaction_never_puts_a_request_in_the_place_of_a_definition() -> None:
    """On the topic of definitions the last record of each key stays: the definition must be one of them."""
    definition = key_of(an_experiment())
    stop = StopExperiment(experiment="oj-2026", reason="why", requested_at=AT)
    requests = [stop, *(CONTROL_EXAMPLES[kind][0] for kind in (LifecycleRequest, Kill))]
    assert definition == "oj-2026"
    assert all("/" in (key_of(request) or "") for request in requests), "no name of an experiment has a slash"
    assert key_of(stop) == "oj-2026/request", "requests of one experiment stay in order, in one partition"


@pytest.mark.parametrize(
    ("model", "row", "instant"),
    [(Sale, SaleRow, "occurred_at"), (CompetitorPrice, CompetitorPriceRow, "observed_at")],
)
def test_an_input_as_a_mapping_has_the_rules_of_its_model_and_a_narrower_instant(
    model: Any, row: Any, instant: str
) -> None:
    """Two spellings of one contract: whatever is said of a field of the one must be said of the other's."""
    wanted, found = model.model_json_schema(), TypeAdapter(row).json_schema()
    for name, field in wanted["properties"].items():
        field.pop("default", None)
        if name != instant:
            assert found["properties"][name] == field, name
    assert set(found["properties"]) == set(wanted["properties"])
    for rule in ("required", "additionalProperties"):
        assert found[rule] == wanted[rule]


@given(st.from_regex(INSTANT_PATTERN, fullmatch=True) | st.datetimes(timezones=st.timezones()).map(datetime.isoformat))
@example("2024-02-29T23:59:59.9Z")
@example("2023-02-29T00:00:00Z")
@example("2024-01-01T00:00:60Z")
@example("2024-01-01T24:00:00Z")
@example("0001-01-01T00:00:00+01:00")
@example("9999-12-31T23:59:59-00:01")
@example("0000-01-01T00:00:00Z")
@example("2024-01-01T00:00:00-00:00")
@example("2024-01-01T00:00:00+24:00")
@example("2024-01-01T00:00:00-00:60")
def test_an_instant_that_is_spelled_as_usual_is_what_the_model_reads_or_none(text: str) -> None:
    """Where the quick reading gives an instant it is the model's; where it gives none, the model has the last word."""
    try:
        quick = instant_of(TypeAdapter(SpelledInstant).validate_python(text))
    except (ValueError, OverflowError):
        return
    assert quick == TypeAdapter(Instant).validate_json(json.dumps(text))
    assert quick.tzinfo is UTC


@pytest.mark.parametrize(
    "values",
    [
        [b'{"id":"1"', b'"x":1}'], [b"", b"{}"], [None, b"{}"], [b"{} ", b"{}"], [b"[{}]", b"{}"],
        [A_SALE.model_dump_json().encode() + b",\n" + A_SALE.model_dump_json().encode()],
        [A_SALE.model_dump_json().encode()[:-20], A_SALE.model_dump_json().encode()[-20:]],
    ],
)  # fmt: skip
def test_what_is_no_object_of_its_own_cannot_hide_among_its_neighbours(values: list[bytes | None]) -> None:
    good = A_SALE.model_dump_json().encode()
    assert read_all(Sale, [good, *values, good]) is None
    assert read_all(SaleRow, [good, *values, good]) is None
    found = read_all(SaleRow, [good, good])
    assert found is not None
    assert [row["id"] for row in found] == ["s1", "s1"]


@given(
    st.lists(
        st.sampled_from(
            [
                ("", ""),
                ('"id"', '"id" '),
                ('"id":"s1"', '"id" : "s:1,2{"'),
                ('"id":"s1"', '"id":"s\\u0031"'),
                ('"id":"s1"', '"id":"\\"x\\":1"'),
                ('"id":"s1"', '"id":"größe"'),
                ('"id":"s1"', '"id":"s1","id":"s2"'),
                ('"id":"s1"', '"id":"s1","new":1'),
                ('"id":"s1"', '"id":"s1","new" : {"version":[{}]}'),
                ('"id":"s1"', '"id":"s1\\u0022","new":1'),
                ('"cost_minor":null', '"cost_minor":"7"'),
                ('"cost_minor":null', '"new":null'),
                (',"cost_minor":null', ""),
                ('"version":1,', ""),
                ('"version":1,', '"":1,'),
                ('"version":1,', "1,"),
            ]
        ),
        min_size=1,
        max_size=4,
    )
)
def test_what_many_mappings_may_have_is_what_each_may_have(changes: list[tuple[str, str]]) -> None:
    """Unknown fields are found by counting, and none gets by: a field that nobody knows is a mistake of the sender."""
    good = A_SALE.model_dump_json()
    values = [good.replace(*change).encode() for change in changes]
    assert all(old in good for old, _ in changes)
    one_by_one: list[SaleRow | None] = []
    for value in values:
        try:
            one_by_one.append(TypeAdapter(SaleRow).validate_json(value))
        except ValidationError:
            one_by_one.append(None)
    found = read_all(SaleRow, values)
    # Where a name comes twice, or a text has a brace, `read` may be asked.
    asked = found is None and any('"id":"s1","id":' in new or "{" in new for _, new in changes)
    assert asked or found == (None if None in one_by_one else one_by_one)


def test_many_records_at_once_are_read_as_one_by_one_and_a_broken_one_spoils_no_other() -> None:
    examples = [example[0] for example in EXAMPLES.values()] * 60
    records: list[tuple[GivenHeaders, bytes]] = [
        (record.headers, record.value or b"") for record in (encode(one, "id", AT) for one in examples)
    ]
    records[7] = (records[7][0], b"{}")
    records[300] = (records[300][0], records[300][1] + b"," + records[300][1])
    records[11] = ([("ce_type", b"unheard.of")], b"{}")
    broken = [7, 11, 300]
    found = decode_many(records)
    assert len(found) == len(records) > 600
    assert [place for place, message in enumerate(found) if isinstance(message, UnreadableMessage)] == broken
    for place, (headers, value) in enumerate(records):
        if place not in broken:
            assert found[place] == decode(headers, value)
    for place in broken:
        with pytest.raises(UnreadableMessage) as refused:
            decode(*records[place])
        assert str(refused.value) == str(found[place])
