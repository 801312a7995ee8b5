"""What the log has, and pricing systems were never told: an announcement that was cut off between the two.

A relay writes each decision to the log and to the topic of assignments, and drops it from the outbox when both have it.
Whoever ends in between leaves it in the outbox. Where the store is lost as well, only the log is left to say that
something is missing, and only of the last round of a shard: a round begins when all of the one before is there.
"""

import re
from collections.abc import Iterable, Mapping

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from controller.definition.field_types import market_of
from controller.messages.codec import Record, announce_by, headers_of, read_many, void
from controller.messages.events import Assignment
from controller.messages.topics import ASSIGNMENT
from streams.kafka.reading import partitions_of, read_up_to
from streams.outputs.outbox_relay import ENTRIES_PER_ROUND
from streams.recovery.log_fold import Grant, Remembered, order_of
from streams.worker.services import Parts

DECIDED = re.compile(rb'"decided_at":"([^"]+)"')
#: so much earlier than the log the topic may have had a decision; said twice, it bears the same version
AHEAD_MS = 1_000
#: longer than the brokers take to have one round, whatever they have to retry
ROUND_MS = 300_000


def last_round(grants: Mapping[bytes, Grant]) -> dict[bytes, Grant]:
    """The grants of one shard that may have been in the last round of its relay. Pure."""
    found, entries = dict[bytes, Grant](), set[tuple[str, str, bytes]]()
    since = max((grant.stamp for grant in grants.values()), default=0) - ROUND_MS
    for unit, grant in sorted(grants.items(), key=lambda item: item[1].order, reverse=True):
        entry = (grant.owner, market_of(unit.decode()), _decided(grant))
        if grant.stamp < since or (entry not in entries and len(entries) == ENTRIES_PER_ROUND):
            break
        entries.add(entry)
        found[unit] = grant
    return found


def _decided(grant: Grant) -> bytes:
    match = DECIDED.search(grant.value)
    assert match is not None, "it was an assignment when it was read from the log"
    return match[1]


async def say_again(
    parts: Parts, told: "Told", consumer: AIOKafkaConsumer, found: Remembered, mine: frozenset[str]
) -> None:
    """Tell pricing systems what is only on the log of the last round of some markets' shard.

    An arm that has begun is not republished: it would change prices in the middle of a day.
    """
    last = last_round({unit: held for unit, held in found.grants.items() if market_of(unit.decode()) in mine})
    if not last:
        return
    out = await told.since(min(held.stamp for held in last.values()), consumer)
    unheard = [held for unit, held in last.items() if held.order > out.get(unit, NEVER)]
    whole = zip(read_many(Assignment, [held.value for held in unheard]), unheard, strict=True)
    missing = [(assignment, held) for assignment, held in whole if isinstance(assignment, Assignment)]
    if not missing:
        return
    now = parts.clock.now()
    records = [
        _record(parts, assignment, held, ahead=assignment.effective_at > now)
        for assignment, held in missing
        if assignment.effective_at > now
        or found.on_control(held.owner, assignment.arm, for_good=assignment.expires_at is None)
    ]
    await parts.publish(ASSIGNMENT, records)
    never = len(missing) - len(records)
    parts.log.error("only on the log", units=len(missing), said_again=len(records), begun_and_never_said=never)


NEVER = (-1, -1)


def _record(parts: Parts, assignment: Assignment, held: Grant, *, ahead: bool) -> Record:
    headers = headers_of(Assignment, assignment.id, assignment.decided_at)
    by = parts.clock.at_brokers(assignment.effective_at) if ahead else None
    return Record(assignment.unit.encode(), held.value, headers if by is None else [*headers, announce_by(by)])


class Told:
    """What is on the topic of assignments since some instant: read once, and then read on for the next shard."""

    def __init__(self, parts: Parts) -> None:
        self._places = partitions_of(parts.topic(ASSIGNMENT), parts.settings)
        self._begun_ms: int | None = None
        self._reached: dict[TopicPartition, int] = {}
        #: the newest version of each unit that is not void
        self._newest: dict[bytes, tuple[int, int]] = {}

    async def since(self, stamp_ms: int, consumer: AIOKafkaConsumer) -> Mapping[bytes, tuple[int, int]]:
        """The newest version of each unit that the brokers have had since then, by their stamp."""
        ends = await consumer.end_offsets(self._places)
        if self._begun_ms is None or stamp_ms < self._begun_ms:
            self._newest, self._begun_ms = {}, max(0, stamp_ms - AHEAD_MS)
            starts = await consumer.offsets_for_times(dict.fromkeys(self._places, self._begun_ms))
            self._reached = {place: ends[place] if at is None else at.offset for place, at in starts.items()}
        behind = {place: end for place, end in ends.items() if end > self._reached[place]}
        if behind:
            consumer.assign(list(behind))
            for place in behind:
                consumer.seek(place, self._reached[place])
            async for batches in read_up_to(consumer, behind):
                for records in batches.values():
                    self._take(records)
            self._reached = ends
        return self._newest

    def _take(self, records: Iterable[ConsumerRecord]) -> None:
        newest = self._newest
        for record in records:
            order = order_of(record.value or b"")
            if order is not None and not void(record):
                newest[record.key] = max(newest.get(record.key, NEVER), order)
