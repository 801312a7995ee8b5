"""What the client makes of bytes: the contract, and everything that is not the contract."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from aiokafka.structs import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

import controller.messages.codec
from client.tests.builders import UNIT, at, published, wire
from flipside_client.errors import Unreadable
from flipside_client.fold import Fold
from flipside_client.record import LOG_APPEND_TIME, as_spelled, instant_ms, read, topic, void


def test_what_flipside_publishes_is_what_the_client_reads() -> None:
    message = published(14, "low", planned_arm="control", reason={"code": "blackout", "detail": "sale"})
    record = read(UNIT.encode(), message.model_dump_json().encode())
    assert (record.id, record.unit, record.arm, record.planned_arm) == (message.id, UNIT, "low", "control")
    assert (record.price_minor, record.currency, record.reason) == (900, "EUR", "blackout")
    assert record.version == (message.epoch, message.sequence)
    assert record.effective_at_ms == instant_ms(message.effective_at)
    assert record.expires_at_ms == instant_ms(at(15))
    assert record.decided_at_ms == instant_ms(message.decided_at)


def test_a_release_has_no_end_and_a_unit_without_list_price_has_no_price() -> None:
    record = read(None, wire(1, "control", expires_at=None, price_minor=None))
    assert record.expires_at_ms is None
    assert record.price_minor is None


@pytest.mark.parametrize("end", [at(15), None])
def test_what_flipside_publishes_is_read_without_a_json_reader(end: datetime | None) -> None:
    value = wire(14, "low", expires_at=end, price_minor=None if end is None else 5, block=-1)
    assert as_spelled(value) == read(None, b" " + value)
    assert as_spelled(b" " + value) is None


def test_a_field_added_later_is_left_alone() -> None:
    body = json.loads(wire(1)) | {"added_in_2027": {"deep": [1, 2]}}
    assert read(None, json.dumps(body).encode()) == read(None, wire(1))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"version": 2}, "version = 2: this client reads version 1"),
        ({"version": True}, "version = True"),
        ({"epoch": "7"}, "epoch = '7' is no int"),
        ({"epoch": True}, "epoch = True is no int"),
        ({"sequence": 1.0}, "sequence = 1.0 is no int"),
        ({"price_minor": "900"}, "price_minor = '900' is no int or NoneType"),
        ({"price_minor": 9.5}, "price_minor = 9.5"),
        ({"effective_at": None}, "effective_at = None is no str"),
        ({"effective_at": 0}, "effective_at = 0 is no str"),
        ({"effective_at": "2026-03-01T00:00:00"}, "has no time zone"),
        ({"expires_at": "tomorrow"}, "no instant"),
        ({"expires_at": "2026-03-02"}, "has no time zone"),
        ({"reason": {}}, "has no code"),
        ({"unit": "berlin/sku-2"}, "is not the unit 'berlin/sku-2'"),
    ],
)
def test_a_record_that_breaks_the_contract_is_refused_by_name_and_value(
    change: dict[str, object], complaint: str
) -> None:
    body = json.loads(wire(1)) | change
    with pytest.raises(Unreadable, match=complaint):
        read(UNIT.encode(), json.dumps(body).encode())


def test_a_version_to_come_is_named_even_where_its_fields_are_others() -> None:
    with pytest.raises(Unreadable, match="version = 9: this client reads version 1; update flipside-client"):
        read(None, b'{"version": 9, "price": "1.23 EUR"}')


#: none; white space; an instant that is none; between two milliseconds; no number, no whole one; a field more; no null;
#: an early year; no version
CHANGES = [
    (b"", b""), (b":", b": "), (b"Z", b""), (b"00Z", b"00.0015Z"), (b"1", b"01"), (b"1", b"1.0"), (b"}", b',"code":7}'),
    (b"null", b"nil"), (b"2026", b"26"), (b":1,", b":true,"),
]  # fmt: skip


@given(
    text=st.sampled_from(["x", "", "a b", "für 5 €", 'say "no"', "\\", "\n", "\x7f", "🍊"]),
    price=st.sampled_from([None, 0, 900, -1, 10**15, 10**20]),
    lease=st.booleans(),
    changed=st.sampled_from(CHANGES),
    at_most=st.sampled_from([1, -1]),
)
def test_a_record_reads_alike_whether_or_not_it_is_spelled_as_flipside_does(
    text: str, price: int | None, lease: bool, changed: tuple[bytes, bytes], at_most: int
) -> None:
    body = json.loads(wire(1, **({} if lease else {"expires_at": None})))
    body["price_minor"] = price
    body["reason"] = {"code": text or "scheduled", "detail": text}
    body["cluster"] = text
    value = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode().replace(*changed, at_most)
    spaced = b" " + value
    try:
        expected = read(None, spaced)
    except Unreadable as error:
        with pytest.raises(Unreadable, match=re.escape(str(error)) if "no JSON" not in str(error) else "no JSON"):
            read(None, value)
    else:
        assert read(None, value) == expected


def test_every_field_that_the_rules_need_is_required() -> None:
    for name in json.loads(wire(1)).keys() - {"design_hash", "block", "day"}:
        body = json.loads(wire(1))
        del body[name]
        with pytest.raises(Unreadable, match=name):
            read(None, json.dumps(body).encode())


@pytest.mark.parametrize(
    "value", [b"", b"nonsense", b"null", b"[]", b"7", b"\xff\xfe", b'{"version": 1', b"[" * 200_000], ids=repr
)
def test_bytes_that_are_no_object_are_unreadable_and_nothing_else(value: bytes) -> None:
    with pytest.raises(Unreadable):
        read(b"berlin/sku-1", value)


def test_an_arm_never_starts_early_nor_lasts_late_by_rounding() -> None:
    start, end = at(1) + timedelta(microseconds=1), at(2) + timedelta(microseconds=999)
    record = read(None, wire(1, effective_at=start, expires_at=end))
    assert record.effective_at_ms == instant_ms(at(1)) + 1
    assert record.expires_at_ms == instant_ms(at(2))


def test_an_instant_is_exact_to_the_millisecond_in_every_zone() -> None:
    for milliseconds in range(1000):  # a float of seconds times 1000 misses some of these by one
        instant = datetime(2026, 3, 29, 1, 0, 0, milliseconds * 1000, tzinfo=UTC)
        assert instant_ms(instant) == 1_774_746_000_000 + milliseconds
        assert instant_ms(instant.astimezone(timezone(timedelta(hours=5, minutes=45)))) == instant_ms(instant)


def test_what_is_no_instant_is_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match="has no time zone: write"):
        instant_ms(datetime(2026, 3, 1))  # noqa: DTZ001
    with pytest.raises(TypeError, match="milliseconds since 1970 as an int"):
        instant_ms(1_774_746_000.5)  # type: ignore[arg-type]


def test_a_namespace_stands_before_the_name_with_a_dot() -> None:
    assert topic("pricing.experiment.assignment.v1") == "pricing.experiment.assignment.v1"
    assert topic("pricing.experiment.assignment.v1", "eu") == "eu.pricing.experiment.assignment.v1"


NOON, NOON_MS = b"2026-03-01T12:00:00.500000Z", instant_ms(datetime(2026, 3, 1, 12, 0, 0, 500_000, tzinfo=UTC))


@pytest.mark.parametrize(
    ("header", "stamp_ms", "timestamp_type", "expected"),
    [
        (NOON, NOON_MS - 1, 1, False),
        (NOON, NOON_MS, 1, True),
        (b"2026-03-01T13:00:00.500+01:00", NOON_MS, 1, True),
        (NOON, NOON_MS + 1, 0, False),  # stamped by its sender
        (b"2026-03-01T12:00:00", NOON_MS, 1, False),  # no instant
        (b"noon", NOON_MS, 1, False),
        (b"\xff", NOON_MS, 1, False),
        (None, NOON_MS, 1, False),
    ],
)
def test_a_record_is_void_if_the_brokers_had_it_at_the_instant_that_it_names_or_later(
    header: bytes | None, stamp_ms: int, timestamp_type: int, expected: bool
) -> None:
    headers = [("ce_id", b"x"), *([("ce_announceby", header)] if header is not None else []), ("other", b"")]
    assert void(headers, stamp_ms, timestamp_type) is expected
    ours = ConsumerRecord("t", 0, 0, stamp_ms, timestamp_type, None, None, None, 0, 0, tuple(headers))
    assert controller.messages.codec.void(ours) is expected, "workers and clients agree"


@pytest.mark.parametrize(
    "changed",
    [
        {"price_minor": -1}, {"price_minor": 10**12 + 1}, {"price_minor": 10**400}, {"epoch": -1}, {"epoch": 2**63},
        {"sequence": 2**53 + 1}, {"decided_at": "9999-01-01T00:00:00Z"}, {"effective_at": "1969-12-31T00:00:00Z"},
        {"expires_at": "2200-01-01T00:00:00Z"}, {"unit": "berlin/\u202esku"}, {"unit": "berlin/\ud800"},
        {"id": "x" * 201}, {"arm": "x" * 100_000},
    ],
)  # fmt: skip
def test_what_no_decision_can_say_is_unreadable_and_evicts_nothing(changed: dict[str, Any]) -> None:
    """A record of epoch 2^63 would make every later one old; one decided in the year 9999 what holds long past."""
    fold = Fold()
    fold.take(UNIT.encode(), wire(1))
    body = json.loads(wire(2)) | changed
    for spelled in (json.dumps(body), json.dumps(body, separators=(",", ":"))):
        assert fold.take(None, spelled.encode())[0] == "unreadable"
    assert fold.arm(UNIT, at(1, 1)) == "low"
    assert fold.take(UNIT.encode(), wire(2, "high"))[0] == "applied"


def test_a_decision_that_lies_far_ahead_of_our_clock_evicts_nothing() -> None:
    fold = Fold()
    fold.take(UNIT.encode(), wire(1))
    ahead = wire(400, "high")
    assert fold.take(UNIT.encode(), ahead, latest_ms=instant_ms(at(2)))[0] == "unreadable"
    assert fold.arm(UNIT, at(1, 1)) == "low"


def test_a_header_without_a_value_makes_nothing_void() -> None:
    for value in (None, b"", b"\xff", b"9" * 1_000_000):
        assert void((("ce_announceby", value),), 2**62, LOG_APPEND_TIME) is False
