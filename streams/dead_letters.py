"""Dead letters: what could not be read or used, with its original bytes, the reason and where it came from."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from controller.codec import Headers, Record
from controller.events import SOURCE
from controller.topics import MAX_RECORD_BYTES

DEAD_LETTER_TYPE = "flipside.dead-letter.v1"
#: what is kept of a value: the topic takes no more, headers included
LARGEST = MAX_RECORD_BYTES - 1024 * 1024
#: headers of the original record come back under this prefix
ORIGINAL = "original_"


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
    def headers(self) -> tuple[tuple[str, bytes], ...]: ...


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record and why it is not used: a code for counters, a sentence for people."""

    record: Incoming
    code: str
    reason: str


def dead_letter(rejected: Rejected, at: datetime) -> Record:
    """The dead letter of a record: value and key untouched, reason and origin in the headers.

    Its id is made of topic, partition and offset: the same record rejected twice is the same dead letter. Of a record
    that does not fit into the topic only the beginning is kept, and a header says how long it was.
    """
    origin = rejected.record
    value = origin.value or b""
    headers: Headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", f"{origin.topic}/{origin.partition}/{origin.offset}".encode()),
        ("ce_source", SOURCE.encode()),
        ("ce_type", DEAD_LETTER_TYPE.encode()),
        ("ce_time", at.isoformat().replace("+00:00", "Z").encode()),
        ("ce_reasoncode", rejected.code.encode()),
        ("ce_reason", rejected.reason[:2000].encode()),
        ("ce_origintopic", origin.topic.encode()),
        ("ce_originpartition", str(origin.partition).encode()),
        ("ce_originoffset", str(origin.offset).encode()),
    ]
    if origin.value is None:
        # Its value here is empty: a null would remove the key where the topic is compacted by somebody.
        headers.append(("ce_origintombstone", b"true"))
    if len(value) > LARGEST:
        headers.append(("ce_originbytes", str(len(value)).encode()))
    return Record(
        origin.key, value[:LARGEST], [*headers, *((ORIGINAL + name, value) for name, value in origin.headers)]
    )


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
    #: those of the record itself
    headers: tuple[tuple[str, bytes], ...]
    #: how long the value was, where it is cut
    cut_from: int | None
    #: partition of the dead-letter topic
    shelf: int


def letter(record: Incoming) -> Letter | None:
    """The dead letter that a record of the topic is; None where it is something else."""
    told = dict(record.headers)
    if told.get("ce_type") != DEAD_LETTER_TYPE.encode():
        return None

    def text(name: str) -> str:
        return told.get(name, b"").decode(errors="replace")

    return Letter(
        id=text("ce_id"),
        at=datetime.fromisoformat(text("ce_time")),
        code=text("ce_reasoncode"),
        reason=text("ce_reason"),
        topic=text("ce_origintopic"),
        partition=int(text("ce_originpartition")),
        offset=int(text("ce_originoffset")),
        key=record.key,
        value=None if "ce_origintombstone" in told else record.value,
        headers=tuple(
            (name.removeprefix(ORIGINAL), value) for name, value in record.headers if name.startswith(ORIGINAL)
        ),
        cut_from=int(text("ce_originbytes")) if "ce_originbytes" in told else None,
        shelf=record.partition,
    )
