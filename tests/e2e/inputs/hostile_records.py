"""Records that nobody should write: one good record of each kind, and what may be wrong with it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from controller.definition.field_types import Message
from controller.messages.codec import encode
from streams.kafka.dead_letters import Rejected, dead_letter
from streams.worker.services import partition_of
from tests.controller.messages.examples import AT, EXAMPLES
from tests.streams.inputs.arrivals import Arrived

DAY_MS = 86_400_000
#: spelled into JSON where a Python value cannot stand
RAW = "@raw@"
#: what is tried in the place of a number, an instant, a text
NUMBERS: Mapping[str, str] = {
    "0": "0", "-1": "-1", "1.5": "1.5", "2^31": str(2**31), "2^63": str(2**63), "2^64": str(2**64), "NaN": "NaN",
    "1e400": "1e400", "5,000 digits": "9" * 5000, "a text": '"7"', "null": "null",
}  # fmt: skip
YEARS = ("0001", "1969", "1970", "2201", "9999")
TEXTS: Mapping[str, str] = {
    "empty": '""', "200 characters": json.dumps("x" * 200), "500 characters": json.dumps("x" * 500),
    "501 characters": json.dumps("x" * 501), "a megabyte": json.dumps("x" * 1_000_000),
    "control characters": r'"a\u0000\u001b[31m\u0007b"', "a lone surrogate": r'"a\ud800"', "markup": '"[/b] x [/nope]"',
    "two lines": r'"a\nb"', "a number": "7", "null": "null", "a list": "[]",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spoilt:
    """One record, and what is wrong with it."""

    what: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[bytes, bytes | None], ...]
    partition: int
    timestamp: int


class Foreign(str):
    """A header's name as bytes: aiokafka's builder asks it to encode itself."""

    __slots__ = ("given",)
    given: bytes

    def __new__(cls, given: bytes) -> "Foreign":
        made = super().__new__(cls, given.decode(errors="replace"))
        made.given = given
        return made

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return self.given


class Written:
    """A batch of records of any kind, as aiokafka's producer takes one that is finished."""

    def __init__(self, records: list[Spoilt]) -> None:
        builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, -1, 1 << 30)
        for number, record in enumerate(records):
            headers: Any = [(Foreign(name), value) for name, value in record.headers]
            builder.append(number, record.timestamp, record.key, record.value, headers)
        self._data: bytearray = builder.build()
        self._count = len(records)

    def close(self) -> None: ...

    def closed(self) -> bool:
        return True

    def record_count(self) -> int:
        return self._count

    def size(self) -> int:
        return len(self._data)

    def _build(self) -> bytearray:
        return self._data


async def write(producer: AIOKafkaProducer, topic: str, record: Spoilt) -> bool:
    """Put one record into its partition; False where the broker refuses it, as one without a key where keys compact.

    ``producer`` is not idempotent, or it would change the batch.
    """
    try:
        await (await producer.send_batch(Written([record]), topic, partition=record.partition))
    except KafkaError:
        return False
    return True


def good(model: type[Message], partitions: int, now_ms: int, **changed: Any) -> Spoilt:
    """A record of a kind as its writer writes it."""
    message = EXAMPLES[model][0].model_copy(update=changed)
    written = encode(message, f"good/{model.__name__}", AT)
    home = 0 if written.key is None else partition_of(written.key, partitions)
    headers = tuple((name.encode(), value) for name, value in written.headers)
    return Spoilt("as it should be", written.key, written.value, headers, home, now_ms)


def a_letter(record: Spoilt) -> Spoilt:
    """The dead letter of a record, as a worker writes it."""
    headers = [(name.decode(), value) for name, value in record.headers]
    origin = Arrived(record.value, 3, record.partition, record.timestamp, key=record.key, headers=tuple(headers))
    written = dead_letter(Rejected(origin, "unreadable", "a test"), AT)
    named = tuple((name.encode(), value) for name, value in written.headers)
    return replace(record, key=written.key, value=written.value, headers=named)


def spoilt(record: Spoilt, partitions: int) -> Iterator[Spoilt]:
    """Every way in which a record may be wrong."""
    yield from _outside(record, partitions)
    assert record.value is not None
    body = json.loads(record.value)
    for what, text in _values(body):
        yield replace(record, what=what, value=text.encode())


def _outside(record: Spoilt, partitions: int) -> Iterator[Spoilt]:
    """Key, partition, headers, timestamp, and values that are no object."""
    for what, key in (("no key", None), ("another key", b"another"), ("a key that is no UTF-8", b"\xff\xfe"),
                      ("an empty key", b""), ("a key of 200 KB", b"k" * 200_000)):  # fmt: skip
        yield replace(record, what=what, key=key)
    yield replace(record, what="no key, and garbage", key=None, value=b"garbage")
    yield replace(record, what="a tombstone without a key", key=None, value=None)
    yield replace(record, what="another partition", partition=(record.partition + 1) % partitions)
    more: list[tuple[str, tuple[tuple[bytes, bytes | None], ...]]] = [
        ("a null header", ((b"trace", None), *record.headers)),
        ("a header that is no UTF-8", ((b"trace", b"\xff\xfe"), *record.headers)),
        ("a header's name that is no UTF-8", ((b"\xff\xfe", b"x"), *record.headers)),
        ("a name that is no UTF-8, and null", ((b"\xff\xfe", None),)),
        ("no header", ()),
        ("a thousand headers", tuple((b"h%d" % n, b"x") for n in range(1000))),
    ]
    for name, _ in record.headers:
        more.append((f"without {name.decode()}", tuple(h for h in record.headers if h[0] != name)))
        more.append((f"{name.decode()} null", tuple((n, None if n == name else v) for n, v in record.headers)))
        more.append(
            (f"{name.decode()} strange", tuple((n, b"\xff\x00" if n == name else v) for n, v in record.headers))
        )
    more.append(("ce_announceby null", ((b"ce_announceby", None), *record.headers)))
    for what, headers in more:
        yield replace(record, what=what, headers=headers)
    stamps = {"0": 0, "-1": -1, "long ago": -70_000_000_000_000, "tomorrow": record.timestamp + DAY_MS, "late": 2**62}
    for what, stamp in stamps.items():
        yield replace(record, what=f"timestamp {what}", timestamp=stamp)
    values: dict[str, bytes | None] = {
        "empty": b"", "a tombstone": None, "no JSON": b"garbage", "no UTF-8": b"\xff\xfe{}", "half": b'{"version":1,',
        "an empty object": b"{}", "a list": b"[]", "a number": b"7", "null": b"null", "a text": b'"x"',
        "200,000 deep": b"[" * 200_000, "objects 200,000 deep": b'{"a":' * 200_000, "a megabyte": b"x" * 1_000_000,
        "a megabyte of JSON": b'{"x":"' + b"y" * 1_000_000 + b'"}', "two objects": b"{},{}", "a null byte": b"\x00",
    }  # fmt: skip
    for what, value in values.items():
        yield replace(record, what=what, value=value)


def _values(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """JSON in which one thing is wrong."""
    yield "an unknown field", _spelled({**body, "why": 1})
    yield "an unknown field with a strange name", _spelled({**body, "[/b]\u001b[31m" + "x" * 5000: 1})
    yield "version 2", _spelled({**body, "version": 2})
    yield "version 3000000000", _spelled({**body, "version": 3_000_000_000})
    text = _spelled(body)
    for name in body:
        spelled = json.dumps(name)
        yield f"without {name}", _spelled({k: v for k, v in body.items() if k != name})
        yield f"{name} twice", "{" + f"{spelled}:[{{}}]," + text[1:]
    for path, value in _leaves(body):
        where = ".".join(map(str, path))
        for what, raw in _instead(value):
            yield f"{where} = {what}", _with(body, path, raw)


def _instead(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, bool):
        yield from (("7", "7"), ("null", "null"))
    elif isinstance(value, int | float):
        yield from NUMBERS.items()
    elif isinstance(value, str) and _is_instant(value):
        yield from ((year, json.dumps(f"{year}-01-01T00:00:00Z")) for year in YEARS)
        yield from ((f"{year}, far west", json.dumps(f"{year}-12-31T23:59:59-14:00")) for year in YEARS)
        yield from (("no zone", '"2026-03-01T00:00:00"'), ("no instant", '"soon"'), ("a number", "0"))
    elif isinstance(value, str):
        yield from TEXTS.items()
        yield from ((f"the day {year}", json.dumps(f"{year}-01-01")) for year in YEARS)
    elif value is None:
        yield from (("-1", "-1"), ("2^64", str(2**64)), ("a text", '"x"'), ("an object", "{}"))


def _is_instant(text: str) -> bool:
    return len(text) > 18 and text[4:5] == "-" and "T" in text[10:11]


def _leaves(body: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(body, dict):
        for name, value in body.items():
            yield from _leaves(value, (*path, name))
    elif isinstance(body, list):
        for number, value in list(enumerate(body))[:1]:
            yield from _leaves(value, (*path, number))
    else:
        yield path, body


def _with(body: Any, path: tuple[Any, ...], raw: str) -> str:
    changed = json.loads(json.dumps(body))
    inner = changed
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = RAW
    return _spelled(changed).replace(json.dumps(RAW), raw)


def _spelled(body: Any) -> str:
    return json.dumps(body, separators=(",", ":"))
