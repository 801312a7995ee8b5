"""Messages to records and back: CloudEvents 1.0 in Kafka's binary mode, keys and values as the contract says."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, Literal, Protocol, TypeVar, cast, get_args, get_origin, overload

from pydantic import TypeAdapter, ValidationError
from pydantic.config import ExtraValues
from typing_extensions import get_type_hints, is_typeddict

from controller.definition.error_messages import printable, shown
from controller.definition.experiment import Experiment
from controller.definition.field_types import Message, milliseconds
from controller.errors import UnknownVersion, UnreadableMessage
from controller.messages.checkpoints import CHECKPOINT_TYPES
from controller.messages.control import CONTROL_TYPES, ControlMessage, request_key
from controller.messages.events import (
    CE_TYPES,
    SOURCE,
    Assignment,
    BlackoutSet,
    Estimate,
    PeriodClosed,
    Refused,
    Registered,
    SaleCorrection,
    StopExperiment,
    Stopped,
    Undelivered,
    UnitDay,
    UnsoldUnits,
    Withheld,
)
from controller.messages.findings import FINDING_TYPES
from controller.messages.graphs import GRAPH_TYPES
from controller.messages.inputs import Applied, Blackout, CatalogEntry, CompetitorPrice, Sale

M = TypeVar("M", bound=Message)
#: headers as they were read: a value may be null, and a name that is no UTF-8 holds surrogates
GivenHeaders = Sequence[tuple[str, bytes | None]]
#: a message, or a mapping under the same rules
R = TypeVar("R")
Headers = list[tuple[str, bytes]]
#: a message, or why there is none
Decoded = Message | UnreadableMessage
#: characters of a field's name, and of the rule that it breaks, in the reason why a record is not read
LONGEST_NAME, LONGEST_RULE = 150, 300
#: records that are validated in one call
READ_AT_ONCE = 100

#: every model of the contract -> its CloudEvents type, and back
TYPES: dict[type[Message], str] = CE_TYPES | CONTROL_TYPES | FINDING_TYPES | CHECKPOINT_TYPES | GRAPH_TYPES
MODELS: dict[str, type[Message]] = {name: model for model, name in TYPES.items()}


@dataclass(frozen=True, slots=True)
class Record:
    """What goes to Kafka. The partition is murmur2(key) modulo the number of partitions."""

    key: bytes | None
    #: None is a tombstone
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


#: model -> the record key of a message; control messages know theirs, what else is missing has none
KEYS: Mapping[type[Message], Callable[[Any], str]] = {
    CatalogEntry: attrgetter("unit"),
    Sale: attrgetter("unit"),
    CompetitorPrice: attrgetter("unit"),
    Applied: attrgetter("unit"),
    Assignment: attrgetter("unit"),
    Experiment: attrgetter("name"),
    Blackout: attrgetter("id"),
    BlackoutSet: attrgetter("blackout"),
    Registered: attrgetter("experiment.name"),
    Refused: attrgetter("subject"),
    StopExperiment: lambda message: request_key(message.experiment),
    Stopped: attrgetter("experiment"),
    Undelivered: "{0.experiment}/{0.market}".format,
    Withheld: "{0.experiment}/{0.market}".format,
    UnitDay: "{0.unit}/{0.day}".format,
    PeriodClosed: "{0.market}/{0.day}".format,
    UnsoldUnits: "{0.market}/{0.day}/unsold/{0.part}".format,
    SaleCorrection: attrgetter("id"),
    Estimate: "{0.experiment}/{0.metric}/{0.arm}/{0.estimator}".format,
}


def key_of(message: Message) -> str | None:
    """The record key; None for ticks and ownership, which are written to a partition by number."""
    if isinstance(message, ControlMessage):
        return message.key
    key = KEYS.get(type(message))
    return None if key is None else key(message)


def encode(message: Message, identity: str, at: datetime) -> Record:
    """A record with CloudEvents headers; ``identity`` is the same whenever the same fact is published again."""
    key = key_of(message)
    headers = headers_of(type(message), identity, at)
    return Record(None if key is None else key.encode(), message.model_dump_json().encode(), headers)


def headers_of(model: type[Message], identity: str, at: datetime) -> Headers:
    """The CloudEvents headers of a message."""
    return [
        VERSION_HEADER,
        ("ce_id", identity.encode()),
        SOURCE_HEADER,
        _type_header(model),
        _time_header(at),
        JSON_HEADER,
    ]


VERSION_HEADER = ("ce_specversion", b"1.0")
SOURCE_HEADER = ("ce_source", SOURCE.encode())
JSON_HEADER = ("content-type", b"application/json")


@cache
def _type_header(model: type[Message]) -> tuple[str, bytes]:
    return "ce_type", TYPES[model].encode()


#: the instant by which the brokers must have a record. One that they stamped at it or after it is void: nobody can be
#: sure that every reader had it in time, so no reader takes it.
ANNOUNCE_BY = "ce_announceby"
#: `ConsumerRecord.timestamp_type` where the broker stamps what it appends
LOG_APPEND_TIME = 1
NEVER = float("inf")
#: bytes of an instant, however it is spelled: a longer text binds nobody, and is not remembered
LONGEST_INSTANT = 40


def announce_by(instant: datetime) -> tuple[str, bytes]:
    """The header that makes a record void unless the brokers have it before ``instant`` of their clocks."""
    return ANNOUNCE_BY, _spelled(instant)


class Stamped(Protocol):
    """What of a record as it was read says whether it is void."""

    @property
    def headers(self) -> GivenHeaders: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def timestamp_type(self) -> int: ...


def void(record: Stamped) -> bool:
    """Whether a record came to the brokers too late to count; never where their clocks did not stamp it."""
    if record.timestamp_type != LOG_APPEND_TIME:
        return False
    for name, value in record.headers:
        if name == ANNOUNCE_BY:
            return value is not None and len(value) <= LONGEST_INSTANT and record.timestamp >= _deadline_ms(value)
    return False


@lru_cache(maxsize=1000)
def _deadline_ms(spelled: bytes) -> float:
    try:
        instant = datetime.fromisoformat(spelled.decode())
    except ValueError:
        return NEVER
    # Without a time zone it is not ours either: it binds nobody.
    return NEVER if instant.tzinfo is None else milliseconds(instant)


@lru_cache(maxsize=1000)
def _time_header(at: datetime) -> tuple[str, bytes]:
    return "ce_time", _spelled(at)


def _spelled(at: datetime) -> bytes:
    return at.isoformat().replace("+00:00", "Z").encode()


def ce_type(headers: GivenHeaders) -> str | None:
    """The CloudEvents type of a record; None where it has no such header."""
    for name, value in headers:
        if name == "ce_type":
            return None if value is None else value.decode(errors="replace")
    return None


def told(headers: GivenHeaders) -> dict[str, bytes]:
    """Headers by name: of several of one name the first, of those without a value none."""
    return {name: value for name, value in reversed(headers) if value is not None}


def decode(headers: GivenHeaders, value: bytes) -> Message:
    """The message of a record that Flipside wrote; raises UnreadableMessage."""
    kind = ce_type(headers)
    model = MODELS.get(kind or "")
    if model is None:
        raise UnreadableMessage(_unknown_type(kind))
    return read(model, value)


def read_all(model: type[R], values: Sequence[bytes | None]) -> list[R] | None:
    """The messages of many records in one go; None where one of them is unreadable, and `read` says which.

    A call for each costs as much again. A value that is no object of its own (half of one, or two) cannot hide among
    its neighbours: every value begins with a brace, and there are just as many of them as the messages have objects.
    Two halves would need one more, for what is between them stands in a list that a repeated field makes void. Kinds
    that have now more objects, now fewer, are read one by one.

    Of mappings, unknown fields are found by counting: where nothing is escaped, each name and each text has two
    quotation marks, and nothing else has any. To have pydantic look for them costs a fifth more.
    """
    some, objects = cast("Sequence[bytes]", values), objects_of(cast("Any", model))
    try:
        if objects is None:
            return None
        if {value[0] for value in some} != BEGIN or {value[-1] for value in some} != END:
            return None
        joined = b"[" + b",\n".join(some) + b"]"
        if joined.count(b"{") != objects * len(some):
            return None
        texts = None if b"\\" in joined else texts_of(cast("Any", model))
        extra: ExtraValues | None = None if texts is None else "ignore"
        found: list[R] = _many(cast("Any", model)).validate_json(joined, extra=extra)
    except (ValidationError, TypeError, IndexError):  # a tombstone has no value, and an empty one no first byte
        return None
    if texts is not None:
        names = sum(map(len, cast("list[Mapping[str, object]]", found)))
        if joined.count(b'"') != 2 * (names + texts * len(found)):
            return None
    return found if len(found) == len(values) else None


@cache
def objects_of(model: Any) -> int | None:
    """How many objects the JSON of each message of a kind has, itself included; None where that differs."""
    if is_typeddict(model):
        return 1 if texts_of(model) is not None else None
    count = 1
    for field in model.model_fields.values():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Message) and field.is_required():
            inner = objects_of(kind)
            if inner is None:
                return None
            count += inner
        elif any(_bears_objects(part) for part in _parts(kind)):
            return None
    return count


def _bears_objects(kind: Any) -> bool:
    return kind in SEVERAL or (isinstance(kind, type) and issubclass(kind, Message))


def _parts(kind: Any) -> Iterator[Any]:
    """A type, and the types that it is made of."""
    yield get_origin(kind) or kind
    for part in get_args(kind):
        yield from _parts(part)


#: in JSON: an object of any names, or a list of whatever
SEVERAL = (dict, Mapping, list, tuple, Any)


@cache
def texts_of(model: Any) -> int | None:
    """How many texts each mapping of this kind has; None of a kind that is no mapping, or has now more, now fewer."""
    if not is_typeddict(model):
        return None
    kinds = get_type_hints(model)
    texts = {name for name, kind in kinds.items() if kind is str}
    plain = all(kind in PLAIN for kind in kinds.values()) and texts <= model.__required_keys__
    return len(texts) if plain else None


#: what bears no quotation mark, but for texts, which bear two
PLAIN = (str, int, int | None, Literal[1])

BEGIN, END = set(b"{"), set(b"}")


def read_many(model: type[M], values: Sequence[bytes]) -> list[M | UnreadableMessage]:
    """What `read` says of each, a hundred in one go: an unreadable one costs only its hundred."""
    found: list[M | UnreadableMessage] = []
    for first in range(0, len(values), READ_AT_ONCE):
        some = values[first : first + READ_AT_ONCE]
        found += read_all(model, some) or [_read_or_not(model, value) for value in some]
    return found


def decode_many(records: Sequence[tuple[GivenHeaders, bytes]]) -> list[Decoded]:
    """What `decode` says of each record that Flipside wrote, in their order."""
    places: dict[str | None, list[int]] = {}
    for place, (headers, _) in enumerate(records):
        places.setdefault(ce_type(headers), []).append(place)
    found: dict[int, Decoded] = {}
    for kind, where in places.items():
        model = MODELS.get(kind or "")
        if model is None:
            found |= {place: UnreadableMessage(_unknown_type(kind)) for place in where}
        else:
            found |= zip(where, read_many(model, [records[place][1] for place in where]), strict=True)
    return [found[place] for place in range(len(records))]


class Given(Protocol):
    """What of a record says what it means."""

    @property
    def headers(self) -> GivenHeaders: ...
    @property
    def value(self) -> bytes | None: ...


@overload
def message_of(record: Given, model: type[M]) -> M | UnreadableMessage: ...
@overload
def message_of(record: Given) -> Decoded: ...
def message_of(record: Given, model: type[Message] | None = None) -> Decoded:
    """The one way in: the message of any record of any topic, or why there is none. Never raises; O(record).

    ``model``: what a record of its topic is, where the topic alone says that; else its ce_type does. A tombstone is no
    message: who removes something by one looks at ``value`` first.
    """
    try:
        return decode(record.headers, record.value or b"") if model is None else read(model, record.value or b"")
    except UnreadableMessage as error:
        return error.with_traceback(None)


def _read_or_not(model: type[M], value: bytes) -> M | UnreadableMessage:
    try:
        return read(model, value)
    except UnreadableMessage as error:
        return error.with_traceback(None)


def _unknown_type(kind: str | None) -> str:
    return f"ce_type is {shown(kind)}, which is none of the contract's"


@cache
def _many(model: Any) -> TypeAdapter[Any]:
    return TypeAdapter(list[model])


def read(model: type[M], value: bytes) -> M:
    """A message of a known kind from its JSON; raises UnreadableMessage that names the first broken field.

    UnknownVersion where it is of another version: whatever else is unknown about it follows from that.
    """
    try:
        return model.model_validate_json(value)
    except ValidationError as error:
        broken = _first_broken(model, error)
    except (
        ValueError,
        ArithmeticError,
        RecursionError,
    ) as error:  # no rule foresaw it
        broken = UnreadableMessage(f"{TYPES[model]}: value: {printable(str(error), LONGEST_RULE)}")
    # Not from within: a ValidationError that is kept as a cause holds what its validators raised, those their frames,
    # and the frames of the callers, with all they had read. Python's collector does not see into it: nothing of it
    # would ever be freed, a batch for each record that breaks a rule of ours.
    raise broken


def _first_broken(model: type[Message], error: ValidationError) -> UnreadableMessage:
    errors = error.errors(include_url=False, include_input=False, include_context=False)
    first = next((e for e in errors if e["loc"] == ("version",)), errors[0])
    # The name of an unknown field is its sender's: as long as a record, and with any character in it.
    where = printable(".".join(str(part) for part in first["loc"]), LONGEST_NAME)
    kind = UnknownVersion if first["loc"] == ("version",) else UnreadableMessage
    return kind(f"{TYPES[model]}: {where or 'value'}: {printable(first['msg'], LONGEST_RULE)}")
