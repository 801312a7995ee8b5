"""Records of the graph's topic, folded."""

from collections.abc import Iterable
from typing import Protocol

from controller.errors import UnreadableMessage
from controller.messages.codec import GivenHeaders, decode, key_of
from controller.messages.graphs import PublishedGraphs


class GraphRecord(Protocol):
    """What is read of a record."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> GivenHeaders: ...


def take_records(graphs: PublishedGraphs, records: Iterable[GraphRecord], *, pairs: bool = True) -> int:
    """Take records in; returns how many are unreadable.

    An unreadable record counts as a tombstone of its key: what it was a part of is not whole any more. Without
    ``pairs`` those are passed over: registration needs clusters alone.
    """
    unreadable = 0
    for record in records:
        key = (record.key or b"").decode(errors="replace")
        if not pairs and "/pairs/" in key:
            continue
        message = None
        if record.value is not None:
            try:
                message = decode(record.headers, record.value)
            except UnreadableMessage:
                unreadable += 1
            if message is not None and key_of(message) != key:
                message, unreadable = None, unreadable + 1
        graphs.take(key, message)
    return unreadable
