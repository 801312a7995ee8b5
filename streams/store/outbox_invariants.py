"""What must be true of every entry of an outbox: checked on its way out, apart from what decided it."""

from collections.abc import Iterator

from streams.store import OutboxEntry

#: rule -> what is wrong where it is broken
RULES = {
    "sequence": "an assignment is not newer than one that was published before it",
    "late": "a boundary's assignment was decided after the boundary",
    "lease": "a lease ends before it begins",
}

Newest = tuple[int, int]


def newest(entry: OutboxEntry) -> Newest:
    """The greatest (epoch, sequence) of an entry; (0, 0) where it grants nothing."""
    return (entry.epoch, max(_sequences(entry))) if entry.granted else (0, 0)


def broken(entry: OutboxEntry, before: Newest) -> Iterator[str]:
    """The rules that an entry breaks, given the newest that went out before it."""
    if not entry.granted:
        return
    if not entry.again and (entry.epoch, min(_sequences(entry))) <= before:
        yield "sequence"
    effective, decided = int(str(entry.header["effective"])), int(str(entry.header["decided"]))
    if not entry.header.get("urgent") and decided > effective:
        yield "late"
    if any(end is not None and end <= effective for end in {granted.expires_ms for granted in entry.granted}):
        yield "lease"


def _sequences(entry: OutboxEntry) -> list[int]:
    return [granted.sequence for granted in entry.granted]
