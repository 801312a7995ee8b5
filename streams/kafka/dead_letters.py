"""Dead letters: what could not be read or used, with its original bytes, the reason and where it came from.

One can always be written, whatever the record is: without a key, with a key of megabytes, with headers of any name and
of no value. What does not fit is cut, and a header says from how much.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from controller.definition.error_messages import printable
from controller.definition.field_types import within_bounds
from controller.errors import UnknownVersion, UnreadableMessage
from controller.messages.codec import GivenHeaders, Record, told
from controller.messages.events import SOURCE
from controller.messages.topics import MAX_RECORD_BYTES

DEAD_LETTER_TYPE = "flipside.dead-letter.v1"
#: what is kept of a key, and of headers: the topic takes no more than `MAX_RECORD_BYTES` of a record, all included
LARGEST_KEY = LARGEST_HEADERS = 1024 * 1024
#: our own headers, and what Kafka adds
OVERHEAD = 64 * 1024
#: what is kept of a value that has neither
LARGEST = MAX_RECORD_BYTES - 1024 * 1024
#: headers of the original record come back under this prefix; one whose name is no UTF-8 under the other, in base64
ORIGINAL, ORIGINAL_64 = "original_", "original64_"


class Incoming(Protocol):
    """What every consumer of ours calls a record."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> GivenHeaders: ...


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record and why it is not used: a code for counters, a sentence for people."""

    record: Incoming
    code: str
    reason: str


def unreadable(record: Incoming, error: UnreadableMessage) -> Rejected:
    """A record that is no message of the contract."""
    if isinstance(error, UnknownVersion):
        return Rejected(record, "version", str(error))
    return Rejected(record, "unreadable", str(error))


def dead_letter(rejected: Rejected, at: datetime) -> Record:
    """The dead letter of a record: value, key and headers as they were, reason and origin in headers of its own.

    Its id is made of topic, partition and offset: the same record rejected twice is the same dead letter. Of a record
    that does not fit into the topic only the beginning is kept, and headers say how much there was.
    """
    origin = rejected.record
    key = None if origin.key is None else origin.key[:LARGEST_KEY]
    kept, left_out = _originals(origin.headers)
    value = origin.value or b""
    room = MAX_RECORD_BYTES - OVERHEAD - len(key or b"") - sum(len(n) + len(v or b"") for n, v in kept)
    room = min(room, LARGEST)
    headers: list[tuple[str, bytes | None]] = [
        ("ce_specversion", b"1.0"),
        ("ce_id", f"{origin.topic}/{origin.partition}/{origin.offset}".encode()),
        ("ce_source", SOURCE.encode()),
        ("ce_type", DEAD_LETTER_TYPE.encode()),
        ("ce_time", at.isoformat().replace("+00:00", "Z").encode()),
        ("ce_reasoncode", rejected.code.encode()),
        ("ce_reason", _reason(rejected.reason).encode()),
        ("ce_origintopic", origin.topic.encode()),
        ("ce_originpartition", str(origin.partition).encode()),
        ("ce_originoffset", str(origin.offset).encode()),
    ]
    if origin.value is None:
        # Its value here is empty: a null would remove the key where the topic is compacted by somebody.
        headers.append(("ce_origintombstone", b"true"))
    if len(value) > room:
        headers.append(("ce_originbytes", str(len(value)).encode()))
    if origin.key is not None and len(origin.key) > LARGEST_KEY:
        headers.append(("ce_originkeybytes", str(len(origin.key)).encode()))
    if left_out:
        headers.append(("ce_originheadersleftout", str(left_out).encode()))
    return Record(key, value[:room], [*headers, *kept])


def _reason(reason: str) -> str:
    return "\n".join(printable(line, 2000) for line in reason[:2000].split("\n"))


def _originals(headers: GivenHeaders) -> tuple[list[tuple[str, bytes | None]], int]:
    """Headers under names that can be written, as many as there is room for, and how many there is none for."""
    kept: list[tuple[str, bytes | None]] = []
    size = 0
    for name, value in headers:
        spelled = _spelled(name)
        size += len(spelled.encode()) + len(value or b"") + 16
        if size > LARGEST_HEADERS:
            break
        kept.append((spelled, value))
    return kept, len(headers) - len(kept)


def _spelled(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        return ORIGINAL_64 + urlsafe_b64encode(name.encode(errors="surrogateescape")).decode()
    return ORIGINAL + name


def _original(spelled: str) -> str | None:
    """The name of a header of the original record; None of one that is the letter's own."""
    if spelled.startswith(ORIGINAL):
        return spelled.removeprefix(ORIGINAL)
    if not spelled.startswith(ORIGINAL_64):
        return None
    try:
        return urlsafe_b64decode(spelled.removeprefix(ORIGINAL_64)).decode(errors="surrogateescape")
    except ValueError:  # somebody else's
        return None


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter as it is read back."""

    id: str
    at: datetime
    code: str
    reason: str
    #: where the record came from
    topic: str
    partition: int
    offset: int
    key: bytes | None
    #: None for a tombstone
    value: bytes | None
    #: those of the record itself; of a name that is no UTF-8 the foreign bytes are surrogates
    headers: tuple[tuple[str, bytes | None], ...]
    #: how long the value was, where it is cut
    cut_from: int | None
    #: partition of the dead-letter topic
    shelf: int
    #: whether something of it is missing: value, key or headers
    cut: bool = False


def letter(record: Incoming) -> Letter | None:
    """The dead letter that a record of the topic is; None where it is something else."""
    said = told(record.headers)
    if said.get("ce_type") != DEAD_LETTER_TYPE.encode():
        return None

    def text(name: str) -> str:
        return said.get(name, b"").decode(errors="replace")

    try:
        at = within_bounds(datetime.fromisoformat(text("ce_time")[:40]))
        numbers = [int(text(name)[:20]) for name in ("ce_originpartition", "ce_originoffset")]
        cut_from = int(text("ce_originbytes")[:20]) if "ce_originbytes" in said else None
    except (ValueError, TypeError):  # not ours, though it says so
        return None
    return Letter(
        id=text("ce_id"),
        at=at,
        code=text("ce_reasoncode"),
        reason=text("ce_reason"),
        topic=text("ce_origintopic"),
        partition=numbers[0],
        offset=numbers[1],
        key=record.key,
        value=None if "ce_origintombstone" in said else record.value,
        headers=tuple((name, value) for spelled, value in record.headers if (name := _original(spelled)) is not None),
        cut_from=cut_from,
        shelf=record.partition,
        cut=any(name in said for name in ("ce_originbytes", "ce_originkeybytes", "ce_originheadersleftout")),
    )
