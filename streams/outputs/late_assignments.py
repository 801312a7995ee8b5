"""Assignments that were not out before they took effect: an arm must not change for an instant that is over.

A relay that was away over a midnight finds in its outbox what should have been announced before it. Part of it may have
been published by an owner that died before it could drop it: the topic shows that. The rest would change prices in the
middle of a day, for each pricing system when the record happens to arrive; it becomes control, which all of them show
by then, with the reason `late`. That is a decision with a version of its own: a paused owner may resume and publish
what it had decided, and no reader may take that for newer, or for the same.

What is sent in time may still reach the brokers too late: it says by when they must have it, and is void to every
reader if their stamp is not before that (`controller.messages.codec.void`). The acknowledgement bears that stamp, so a
void announcement is known, and decided anew, as soon as it is acknowledged: hours before its midnight where a broker's
clock is ahead by as much.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from aiokafka import TopicPartition

from controller.definition.field_types import from_milliseconds, milliseconds
from controller.errors import UnreadableMessage
from controller.messages.codec import read, void
from controller.messages.events import Assignment
from controller.messages.topics import ASSIGNMENT
from streams.kafka.connection import stop_client
from streams.kafka.reading import begin, read_up_to, reader
from streams.store import OutboxEntry
from streams.store.encoding import arms
from streams.worker.services import Parts, partition_of

#: by which instant, of their clocks, the brokers must have what takes effect at one; None where nothing says so
Deadline = Callable[[datetime], datetime | None]


def announced_ahead(entry: OutboxEntry) -> bool:
    """Whether an entry gives out arms that wait for their boundary; records that were told have no header at all."""
    h = entry.header
    return bool(h) and not h.get("urgent") and not h.get("release")


def put_back_before(entry: OutboxEntry) -> bool:
    """Whether an entry is one half of what was put back: control in the place of what was late, which may be said at
    any time, or the rest, which the topic has shown to be in time. Neither is void, whenever it comes."""
    return entry.again or (bool(entry.granted) and all(granted.code == "late" for granted in entry.granted))


def void_by_stamp(
    entries: Iterable[OutboxEntry], stamp_ms: int | None, deadline: Deadline
) -> dict[str, tuple[str, ...]]:
    """Entries of which a record may be void, because the brokers stamped some record of their round at ``stamp_ms``.

    The same as `overdue`: entry -> its units that are not on control. Pure.
    """
    if stamp_ms is None:
        return {}
    found = {}
    for entry in entries:
        if announced_ahead(entry) and not put_back_before(entry):
            by = deadline(from_milliseconds(int(str(entry.header["effective"]))))
            if by is not None and stamp_ms >= milliseconds(by):
                found[entry.id] = _not_on_control(entry)
    return found


def _not_on_control(entry: OutboxEntry) -> tuple[str, ...]:
    control = arms(entry.header)[0]
    return tuple(granted.unit for granted in entry.granted if granted.arm != control)


def overdue(entries: Iterable[OutboxEntry], now_ms: int) -> dict[str, tuple[str, ...]]:
    """Entries whose arms began before ``now_ms`` -> their units that are not on control: that may be said at any time.
    Pure."""
    found = {}
    for entry in entries:
        if announced_ahead(entry) and int(str(entry.header["effective"])) <= now_ms:
            found[entry.id] = _not_on_control(entry)
    return found


def unannounced(
    entry: OutboxEntry, units: Sequence[str], published: Mapping[str, Sequence[Assignment]]
) -> tuple[str, ...]:
    """Those of an entry's units that do not show its arm by what was published: not this grant, nor one that it goes
    on with. Pure."""
    effective = int(str(entry.header["effective"]))
    arm_of = {granted.unit: (granted.arm, (entry.epoch, granted.sequence)) for granted in entry.granted}

    def shows(unit: str) -> bool:
        arm, version = arm_of[unit]
        begun = [a for a in published.get(unit, ()) if milliseconds(a.effective_at) <= effective]
        holds = max(begun, key=lambda a: (a.epoch, a.sequence), default=None)
        if holds is None:
            return False
        lasts = holds.expires_at is not None and milliseconds(holds.expires_at) > effective
        return (holds.epoch, holds.sequence) >= version or (lasts and holds.arm == arm)

    return tuple(unit for unit in units if not shows(unit))


async def published(parts: Parts, units: Iterable[str]) -> dict[str, list[Assignment]]:
    """Every assignment of these units that is on the topic now and not void. Reads their partitions whole: for rare
    occasions."""
    wanted = set(units)
    topic, shards = parts.topic(ASSIGNMENT), parts.settings.partitions
    partitions = [TopicPartition(topic, n) for n in sorted({partition_of(unit.encode(), shards) for unit in wanted})]
    consumer = reader(parts.connection, parts.settings)
    found: dict[str, list[Assignment]] = {}
    await consumer.start()
    try:
        await begin(consumer, partitions)
        async for batches in read_up_to(consumer, await consumer.end_offsets(partitions)):
            for records in batches.values():
                for record in records:
                    unit = (record.key or b"").decode(errors="replace")
                    if unit in wanted and record.value is not None and not void(record):
                        found.setdefault(unit, []).extend(_read(record.value))
    finally:
        await stop_client(consumer)
    return found


def _read(value: bytes) -> list[Assignment]:
    try:
        return [read(Assignment, value)]
    except UnreadableMessage:  # not ours: no reader takes it either
        return []


NOT_OUT = "it was not published before it took effect"


async def put_back(
    parts: Parts,
    shard: int,
    epoch: int,
    entries: Sequence[OutboxEntry],
    found: Mapping[str, Sequence[str]],
    why: str = NOT_OUT,
) -> bool:
    """Put back those units of entries, ``found`` by `overdue` or `void_by_stamp`, that are not published; whether there
    were any."""
    asked = {unit for units in found.values() for unit in units}
    if not asked:
        return False
    out = await published(parts, asked)
    changed = False
    for entry in (entry for entry in entries if entry.id in found):
        units = unannounced(entry, found[entry.id], out)
        if units:
            changed = True
            parts.metrics.flips.labels("late").inc(len(units))
            parts.log.error("late", shard=shard, entry=entry.id, units=len(units), why=why)
            await parts.store.put_back(shard, epoch, entry.id, units, why)
    return changed
