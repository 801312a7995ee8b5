"""Dead letters: what could not be read or used, with its original bytes, the reason and where it came from."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from controller.codec import Headers, Record
from controller.events import SOURCE

DEAD_LETTER_TYPE = "flipside.dead-letter.v1"
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

    Its id is made of topic, partition and offset: the same record rejected twice is the same dead letter.
    """
    origin = rejected.record
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
        *((ORIGINAL + name, value) for name, value in origin.headers),
    ]
    # A tombstone that was rejected keeps an empty value: its headers still tell the story.
    return Record(origin.key, origin.value or b"", headers)
