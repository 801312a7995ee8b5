"""Any record of anybody's: it is counted, or a letter that can be written, read and sent again; nothing is raised."""

import gc
import json
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from controller.decisions.triggers import MOST_OBSERVED, Observation, RivalHistory, follow
from controller.definition.field_types import MOST_A_DAY, Message
from controller.definition.parameters import PriceDrop
from controller.errors import UnreadableMessage
from controller.messages.codec import MODELS, decode_many, message_of, read_many, told, void
from controller.messages.inputs import Applied, Sale
from controller.messages.topics import MAX_RECORD_BYTES
from flipside.topics.dead_letters import writable
from streams.control.catalog_entries import Entries
from streams.inputs.competitor_fold import MOST_RIVALS, Names, Priced, readable, too_many
from streams.inputs.sales import DAY_MS, Counted, Judged, Rules, fitted, fold, judge, judge_all
from streams.kafka.dead_letters import Rejected, dead_letter, letter
from tests.streams.inputs.arrivals import CATALOG, MONDAY, NOON, PARTITIONS, Arrived, sale

LIMITS: dict[str, Any] = {"future_ms": 300_000, "past_ms": 1100 * DAY_MS}


@dataclass(frozen=True)
class Written:
    """A dead letter as it is read back."""

    headers: Sequence[tuple[str, bytes | None]]
    value: bytes | None
    key: bytes | None
    topic: str = "pricing.experiment.dead-letter.v1"
    partition: int = 3
    offset: int = 0


# --- 2: dead letters --------------------------------------------------------------------------------------------------

header = st.tuples(
    st.binary(max_size=20).map(lambda name: name.decode(errors="surrogateescape")), st.none() | st.binary(max_size=20)
)


@given(st.none() | st.binary(max_size=50), st.none() | st.binary(max_size=50), st.lists(header, max_size=5), st.text())
def test_a_letter_of_any_record_can_be_written_and_says_what_the_record_was(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]], reason: str
) -> None:
    origin = Arrived(value, 7, 2, key=key, headers=tuple(headers))
    written = dead_letter(Rejected(origin, "unreadable", reason), NOON)
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    builder.append(0, timestamp=0, key=written.key, value=written.value, headers=list(written.headers))
    found = letter(Written(written.headers, written.value, written.key))
    assert found is not None
    assert (found.key, found.value, found.headers) == (key, value, tuple(headers))
    assert (found.topic, found.partition, found.offset, found.cut) == (origin.topic, 2, 7, False)
    assert all(ord(character) >= 32 for character in found.reason.replace("\n", ""))
    again = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    again.append(0, timestamp=0, key=key, value=value, headers=writable(found.headers))


def test_a_letter_of_the_largest_record_fits_into_its_topic_and_says_that_it_is_cut() -> None:
    large = Arrived(b"v" * MAX_RECORD_BYTES, 0, 0, key=b"k" * 5_000_000, headers=(("h", b"x" * 3_000_000), ("i", None)))
    written = dead_letter(Rejected(large, "unreadable", "r" * 5000), NOON)
    size = len(written.key or b"") + len(written.value or b"") + sum(len(n) + len(v or b"") for n, v in written.headers)
    assert size < MAX_RECORD_BYTES
    found = letter(Written(written.headers, written.value, written.key))
    assert found is not None
    assert (found.cut, found.cut_from) == (True, MAX_RECORD_BYTES)


@given(st.lists(header), st.sampled_from(["ce_time", "ce_originpartition", "ce_originoffset", "ce_originbytes"]))
def test_what_only_says_that_it_is_a_letter_is_none(headers: list[tuple[str, bytes | None]], name: str) -> None:
    written = dead_letter(Rejected(Arrived(b"", 0, 0), "unreadable", "why"), NOON)
    strange = [*headers, *((n, None if n == name else v) for n, v in written.headers), (name, b"\xff")]
    letter(Written(strange, b"", None))


# --- 9, 3: headers ----------------------------------------------------------------------------------------------------


def test_a_header_without_a_value_says_nothing_and_is_no_fault() -> None:
    headers = (("ce_type", None), ("ce_type", b"flipside.tick.v1"), ("ce_announceby", None), ("\udcff", b"x"))
    assert told(headers) == {"ce_type": b"flipside.tick.v1", "\udcff": b"x"}
    assert isinstance(message_of(Arrived(b"{}", 0, 0, headers=headers)), UnreadableMessage)


# --- the one way in ---------------------------------------------------------------------------------------------------

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["9999-12-31T23:59:59-14:00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = sorted({name for model in MODELS.values() for name in model.model_fields})
objects = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=8), anything, max_size=12)
values = st.none() | st.binary(max_size=60) | objects.map(lambda body: json.dumps(body).encode())


@given(st.sampled_from(sorted(MODELS)), values, st.lists(header, max_size=3))
def test_every_value_of_every_kind_is_a_message_or_a_reason(
    kind: str, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    for found in (
        message_of(Arrived(value, 0, 0, headers=(*headers, ("ce_type", kind.encode())))),
        message_of(Arrived(value, 0, 0), MODELS[kind]),
    ):
        assert isinstance(found, Message | UnreadableMessage)
        assert len(str(found)) < 2000 or isinstance(found, Message)


@pytest.mark.parametrize("kind", sorted(MODELS))
@pytest.mark.parametrize(
    "value",
    [
        b"[" * 200_000, b'{"a":' * 200_000, b'{"version":' + b"9" * 5000 + b"}", b'{"' + b"x" * 1_000_000 + b'":1}',
        b'{"id":"\\ud800"}', b'{"[/b]\\u001b[31m":1}', b"\xff\xfe", b"NaN", b'{"version":1e400}', b"\x00", b"{}" * 3,
    ],
    ids=["deep list", "deep object", "digits", "name", "surrogate", "markup", "bytes", "NaN", "1e400", "nul", "three"],
)  # fmt: skip
def test_what_is_no_message_has_a_short_reason_that_can_be_shown(kind: str, value: bytes) -> None:
    found = message_of(Arrived(value, 0, 0), MODELS[kind])
    assert isinstance(found, UnreadableMessage)
    assert len(str(found)) < 600
    assert str(found).isprintable()


# --- 21: batches ------------------------------------------------------------------------------------------------------

A_REPORT = Applied(id="a", unit="de/a", arm="low", price_minor=1, applied_at=NOON, assignment=None).model_dump_json()
HALF = ('{"assignment":[{}', "{}]," + A_REPORT[1:])


@pytest.mark.parametrize(
    "batch",
    [
        [f"{A_REPORT},{A_REPORT}", *HALF],
        [f"[{A_REPORT}", A_REPORT + "]"],
        [f"{A_REPORT}]", f"[{A_REPORT}"],
        [f"{A_REPORT},\n{A_REPORT}", *HALF, A_REPORT],
        [A_REPORT, A_REPORT.replace('"low"', '"{"'), A_REPORT],
    ],
)
def test_a_batch_says_of_each_record_what_it_is_alone(batch: list[str]) -> None:
    """Two and a half: valid together as three, and each of them no message."""
    every = [value.encode() for value in batch]
    together = [str(found) for found in read_many(Applied, every)]
    assert together == [str(message_of(Arrived(value, 0, 0), Applied)) for value in every]
    typed = [((("ce_type", b"flipside.applied.v1"),), value) for value in every]
    assert [str(found) for found in decode_many(typed)] == together


@pytest.mark.parametrize("path", ["alone", "in a batch"])
def test_a_record_that_is_refused_holds_nothing_of_the_batch_in_which_it_came(path: str) -> None:
    """Each reason kept its frames, those their callers, and those the batch: for good, at one bad instant a batch."""

    class Batch:
        pass

    def read_one() -> object:
        batch = Batch()
        record = sale(occurred_at="0001-01-01T00:00:00Z")
        reasons = [message_of(record, Sale)] if path == "alone" else list(read_many(Sale, [record.value or b""] * 3))
        assert all(isinstance(reason, UnreadableMessage) for reason in reasons)
        return weakref.ref(batch)

    held = read_one()
    gc.collect()
    assert callable(held)
    assert held() is None


# --- 4, 5: sales ------------------------------------------------------------------------------------------------------

RULES = Rules(CATALOG, PARTITIONS, **LIMITS)


def code(judged: Judged) -> str:
    return judged.code if isinstance(judged, Rejected) else type(judged).__name__


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"quantity": 10**9, "price_minor": 10**12}, "unreadable"),
        ({"quantity": 1000, "price_minor": 10**12}, "Counted"),
        ({"quantity": 1001, "price_minor": 10**12}, "unreadable"),
        ({"quantity": 10**9, "price_minor": 1, "cost_minor": 10**12}, "unreadable"),
        ({"quantity": 10**9, "price_minor": 10**6}, "Counted"),
        ({"occurred_at": "0001-01-01T00:00:00Z"}, "unreadable"),
        ({"occurred_at": "1970-01-01T23:59:59Z"}, "unreadable"),
        ({"occurred_at": "1970-01-02T00:00:00Z"}, "past"),
        ({"occurred_at": (NOON - timedelta(days=1101)).isoformat()}, "past"),
        ({"occurred_at": (NOON - timedelta(days=1099)).isoformat()}, "Counted"),
        ({"occurred_at": "2200-01-01T00:00:00Z"}, "unreadable"),
        ({"occurred_at": "9999-12-31T23:59:59-14:00"}, "unreadable"),
        ({"id": "a\x1bb"}, "Counted"),
    ],
)
def test_a_sale_that_cannot_be_added_up_or_is_too_old_is_a_letter_with_its_reason(
    changed: dict[str, object], expected: str
) -> None:
    record = sale(**changed)  # type: ignore[arg-type]
    assert code(judge(record, RULES)) == expected
    together = judge_all([sale("before"), record, sale("behind")], Rules(CATALOG, PARTITIONS, **LIMITS))
    assert [code(judged) for judged in together] == ["Counted", expected, "Counted"]


#: within the bounds and beyond them, and around one day
instants = (st.integers(-(2**31), 2**33) | st.integers(-2 * DAY_MS // 1000, 2 * DAY_MS // 1000)).map(
    lambda seconds: NOON + timedelta(seconds=seconds)
)


@given(
    st.lists(
        st.tuples(
            instants, st.sampled_from([0, 1, 1000, 1001, 10**9]), st.sampled_from([0, 1, 10**6, 10**12]),
            st.sampled_from([0, -1, -(10**14), int(NOON.timestamp() * 1000), 2**62]),
        ),
        min_size=1, max_size=8,
    )
)  # fmt: skip
def test_sales_that_are_judged_together_are_judged_as_alone(sold: list[tuple[datetime, int, int, int]]) -> None:
    records = [
        replace(sale(str(n), at=at, quantity=quantity, price_minor=price), timestamp=stamp)
        for n, (at, quantity, price, stamp) in enumerate(sold)
    ]
    together = judge_all(records, Rules(CATALOG, PARTITIONS, **LIMITS))
    assert together == [judge(record, RULES) for record in records]


def test_of_sales_that_a_unit_day_cannot_hold_those_are_counted_that_fit_in_their_order() -> None:
    amounts = (4 * 10**14, 7 * 10**14, 5 * 10**14, 2 * 10**14, 10**14)
    records = [
        sale(str(n), offset=n, quantity=1000, price_minor=amount // 1000) for n, amount in enumerate(amounts)
    ] + [sale("other", "de/b", offset=9)]
    rules = Rules(CATALOG, PARTITIONS)
    batch, _ = fold(records, 0, rules)
    kept, rejected = fitted(batch, records, rules, {("de/a", MONDAY): (0, 0, 0)})
    assert [found.code for found in rejected] == ["sum", "sum"]
    assert [found.record.offset for found in rejected] == [1, 3]
    assert sum(one.quantity * one.price_minor for one in kept.counted if one.place[0] == "de/a") == MOST_A_DAY
    assert len(kept.counted) + len(rejected) == len(records)
    assert all(isinstance(one, Counted) for one in kept.counted)


# --- 6: rivals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "1969-12-31T00:00:00+00:00"])
def test_a_rivals_price_of_no_instant_that_can_be_meant_is_a_letter(at: str) -> None:
    body = {"id": "r", "unit": "de/a", "competitor": "x", "observed_at": at, "price_minor": 1, "currency": "EUR"}
    found, rejected = readable([Arrived(json.dumps(body).encode(), 0, 0)], CATALOG, None)
    assert (found, [one.code for one in rejected]) == ([], ["unreadable"])


def test_a_rival_of_eight_thousand_prices_a_day_is_remembered_in_bounds_and_still_fires() -> None:
    rule, history = PriceDrop(kind="price_drop", share="1/2", within_hours=24), RivalHistory()
    for number in range(8000):
        seen = Observation(NOON + timedelta(seconds=number), str(number), 1000 + number % 2)
        history, fires = follow(rule, history, seen, 1000)
        assert not fires
    assert len(history.observations) == MOST_OBSERVED
    _, fires = follow(rule, history, Observation(NOON + timedelta(hours=3), "drop", 500), 1000)
    assert fires


def test_a_unit_has_so_many_rivals_and_no_more_whoever_names_them() -> None:
    names = Names()
    priced = [Priced("de/a", str(n), Observation(NOON, "e", 1), f"de/a|{n}") for n in range(MOST_RIVALS + 5)]
    assert sum(names.admit(price) for price in priced) == MOST_RIVALS
    assert names.admit(priced[0])
    assert names.admit(priced[0]._replace(unit="de/b", history="de/b|0"))
    body = {
        "id": "r",
        "unit": "de/a",
        "competitor": "new",
        "observed_at": NOON.isoformat(),
        "price_minor": 1,
        "currency": "EUR",
    }
    record = Arrived(json.dumps(body).encode(), 0, 0)
    assert [found.code for found in too_many([record, Arrived(b"{", 1, 0)], {"de/a|new"}, CATALOG)] == ["competitors"]


# --- 1: the catalog ---------------------------------------------------------------------------------------------------


def entry(unit: str, zone: str, offset: int, stamp: int, partition: int = 0) -> Arrived:
    body = {"unit": unit, "time_zone": zone, "currency": "EUR", "list_price_minor": 1}
    return Arrived(json.dumps(body).encode(), offset, partition, stamp, "pricing.catalog.v1", unit.encode())


@pytest.mark.parametrize("zone", ["Europe/Berln", "../../etc/passwd", "America", "/etc/localtime", ""])
def test_an_entry_of_a_zone_that_there_is_not_is_a_letter_and_the_next_entry_counts(zone: str) -> None:
    entries = Entries()
    refused = entries.take(entry("de/a", zone, 0, 1), NOON, NOON)
    assert refused is not None
    assert refused.code == "unreadable"
    assert entries.take(entry("de/a", "Europe/Berlin", 1, 2), NOON, NOON) is None
    entries.settle()
    assert entries.zones == {"de": "Europe/Berlin"}


@given(st.permutations(range(6)), st.integers(1, 6))
def test_the_latest_entry_says_the_zone_of_a_market_in_whatever_order_partitions_are_read(
    order: list[int], cut: int
) -> None:
    said = [
        ("de/a", "Europe/Berlin", 0, 10, 0), ("de/b", "Europe/London", 0, 20, 1), ("de/a", "Europe/Paris", 1, 20, 0),
        ("de/c", "UTC", 0, 20, 2), ("de/b", "Europe/Rome", 1, 15, 1), ("de/d", "Asia/Tokyo", 3, 2**62, 1),
    ]  # fmt: skip
    entries = Entries()
    for number, place in enumerate(order):
        assert entries.take(entry(*said[place]), NOON, NOON) is None
        if number == cut:
            entries.settle()
    entries.settle()
    assert entries.zones == {"de": "UTC"}, "of three at one instant that of the last partition"
    assert {found.time_zone for found in entries.known.values()} == {"UTC"}


def test_a_zone_that_changes_is_told_once_and_an_entry_under_another_key_is_a_letter() -> None:
    entries = Entries()
    entries.take(entry("de/a", "Europe/Berlin", 0, 1), NOON, NOON)
    assert entries.settle() == []
    entries.take(entry("de/b", "Europe/Paris", 1, 2), NOON, NOON)
    assert [(change.before, change.after) for change in entries.settle()] == [("Europe/Berlin", "Europe/Paris")]
    assert entries.settle() == []
    wrong = entries.take(replace(entry("de/a", "UTC", 2, 3), key=None), NOON, NOON)
    assert wrong is not None
    assert wrong.code == "key"
    assert entries.zones == {"de": "Europe/Paris"}


# --- 8: timestamps ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deadline", [None, b"", b"soon", b"\xff", b"9" * 1_000_000, b"0001-01-01T00:00:00+14:00"])
def test_a_deadline_of_any_bytes_raises_nothing(deadline: bytes | None) -> None:
    @dataclass
    class Stamped:
        headers: tuple[tuple[str, bytes | None], ...] = (("ce_announceby", deadline),)
        timestamp: int = -(7 * 10**13)
        timestamp_type: int = 1

    assert void(Stamped()) is False
