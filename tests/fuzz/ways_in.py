"""The ways in of records, by kind of message: the plain one, and every fast path beside it that has to say the same."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from controller.definition.field_types import Message
from controller.errors import UnreadableMessage
from controller.messages.codec import MODELS, TYPES, decode_many, message_of, read_all, read_many
from controller.messages.events import Assignment
from controller.messages.inputs import CatalogEntry, CompetitorPrice, Sale
from flipside_client.errors import Unreadable
from flipside_client.record import _read, as_spelled
from flipside_client.record import read as read_by_client
from streams.control.catalog_entries import Entries
from streams.inputs.competitor_fold import readable
from streams.inputs.sales import DAY_MS, Judged, Rules, judge, judge_all
from tests.streams.inputs.arrivals import CATALOG, NOON, PARTITIONS, Arrived

#: a reason is shown in a line of a terminal, a log and a header
LONGEST_REASON = 600


@dataclass(frozen=True, slots=True)
class WayIn:
    """How records of a kind come in: ``told`` says what they are, and raises AssertionError where two paths differ."""

    kind: type[Message]
    told: Callable[[Sequence[Arrived]], list[object]]


def ways_in() -> dict[str, WayIn]:
    """Name of each message of the contract -> its ways in."""
    more = {Sale: sales, CompetitorPrice: rivals, CatalogEntry: entries, Assignment: client}
    return {kind.__name__: WayIn(kind, _told(kind, more.get(kind))) for kind in MODELS.values()}


def _told(
    kind: type[Message], more: Callable[[Sequence[Arrived]], None] | None
) -> Callable[[Sequence[Arrived]], list[object]]:
    def told(records: Sequence[Arrived]) -> list[object]:
        alone = plain(kind, records)
        if more is not None:
            more(records)
        return alone

    return told


def plain(kind: type[Message], records: Sequence[Arrived]) -> list[object]:
    """What the one way in says of each record, and that the batches say no other."""
    alone: list[object] = [message_of(record, kind) for record in records]
    for found in alone:
        assert isinstance(found, Message | UnreadableMessage), f"{found!r} is neither a message nor a reason"
        if isinstance(found, UnreadableMessage):
            assert len(str(found)) <= LONGEST_REASON, f"a reason of {len(str(found))} characters"
            assert str(found).isprintable(), f"a reason that cannot be shown: {found!r}"
    values = [record.value or b"" for record in records]
    same("read_many", read_many(kind, values), alone)
    some = read_all(kind, [record.value for record in records])
    if some is not None:
        same("read_all", some, alone)
    header = ("ce_type", TYPES[kind].encode())
    typed = [replace(record, headers=(*record.headers, header)) for record in records]
    same("decode_many", decode_many([(r.headers, r.value or b"") for r in typed]), [message_of(r) for r in typed])
    return alone


def same(path: str, found: Sequence[object], alone: Sequence[object]) -> None:
    """Messages by value, reasons by their words."""
    shown = [str(one) if isinstance(one, Exception) else one for one in found]
    expected = [str(one) if isinstance(one, Exception) else one for one in alone]
    assert shown == expected, f"{path} says {shown!r:.1500}, one by one it is {expected!r:.1500}"


def sales(records: Sequence[Arrived]) -> None:
    """A batch of sales is judged as each alone."""
    limits: dict[str, Any] = {"future_ms": 300_000, "past_ms": 1100 * DAY_MS}
    together: list[Judged] = judge_all(records, Rules(CATALOG, PARTITIONS, **limits))
    alone = [judge(record, Rules(CATALOG, PARTITIONS, **limits)) for record in records]
    assert together == alone, f"judge_all says {together!r:.1500}, judge {alone!r:.1500}"


def rivals(records: Sequence[Arrived]) -> None:
    """A batch of rivals' prices is read as each alone."""
    priced, rejected = readable(records, CATALOG, NOON)
    each = [readable([record], CATALOG, NOON) for record in records]
    assert priced == [one for found, _ in each for one in found]
    assert rejected == [one for _, refused in each for one in refused]


def entries(records: Sequence[Arrived]) -> None:
    """An entry is taken, or a letter; and afterwards the next one is taken all the same."""
    held = Entries()
    for record in records:
        held.take(record, NOON, NOON)
    held.settle()


def client(records: Sequence[Arrived]) -> None:
    """The client takes a record or says that it cannot be read; what its fast path reads, its slow one reads so."""
    for record in records:
        value = record.value or b""
        reason = unreadable_by_client(record.key, value)
        assert len(reason) <= LONGEST_REASON, f"the client's reason has {len(reason)} characters"
        fast = as_spelled(value)
        if fast is not None:
            assert fast == _read(value), f"as_spelled says {fast!r}, json {_read(value)!r}"


def unreadable_by_client(key: bytes | None, value: bytes) -> str:
    """Why the client cannot read a record; empty where it can."""
    try:
        read_by_client(key, value)
    except Unreadable as error:
        return str(error)
    return ""
