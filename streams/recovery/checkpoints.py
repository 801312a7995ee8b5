"""Checkpoints: what a shard holds, put down beside the log now and then, so that a rebuild reads on from there.

A checkpoint is the shard's note (how much of the log and the panel its state holds), together with that state, where an
emptied store does not reach it. Both are of a moment in which the shard owed the log nothing: a decision that nobody
has heard of must not come back as made.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from controller.definition.error_messages import shown
from controller.definition.experiment import withheld
from controller.errors import UnreadableMessage
from controller.messages.checkpoints import CHECKPOINT_TYPES, Checkpoint, HeldRow, KnownExperiment, shard_key
from controller.messages.codec import Record, ce_type, encode, message_of
from controller.messages.topics import CHECKPOINT, MAX_RECORD_BYTES
from streams.kafka.connection import connection, stop_client
from streams.kafka.reading import begin, partitions_of, read_up_to
from streams.runtime.settings import Settings
from streams.store import Registration
from streams.store.restore_port import HeldUnit, LogPositions, Still
from streams.worker.services import Parts, partition_of

CHECKPOINT_TYPE, EXPERIMENT_TYPE = CHECKPOINT_TYPES[Checkpoint], CHECKPOINT_TYPES[KnownExperiment]
#: one is worth its while when a rebuild would read at least one record in so many units without it
UNITS_PER_RECORD = 10
#: what a record has beside its value
OVERHEAD_BYTES = 64 * 1024


@dataclass(slots=True)
class Summed:
    """The last checkpoint of every shard, and the experiments that they lean on."""

    shards: dict[int, Checkpoint] = field(default_factory=dict)
    experiments: dict[str, KnownExperiment] = field(default_factory=dict)

    def missing(self, shards: int, ends: LogPositions) -> str | None:
        """Why they do not add up to a place in the log; None where they do."""
        absent = [str(number) for number in range(shards) if number not in self.shards]
        if absent:
            return f"there is none of shard {', '.join(absent)}"
        for found in self.shards.values():
            if any(found.positions.get(name, 0) > end for name, end in ends.items()):
                return f"that of shard {found.shard} is of a longer log"
            for name, said in found.experiments.items():
                known = self.experiments.get(name)
                if known is None or (known.experiment.version, len(known.history)) < said:
                    return f"that of shard {found.shard} leans on {name}, which is not there"
        return None

    def starts(self) -> dict[str, int]:
        """Up to where all of them hold the log, by partition."""
        names = {name for found in self.shards.values() for name in found.positions}
        return {name: min(found.positions.get(name, 0) for found in self.shards.values()) for name in names}


async def read_checkpoints(parts: Parts, consumer: AIOKafkaConsumer) -> Summed:
    """What there is of them; ``consumer`` is assigned other partitions by it."""
    places = partitions_of(parts.topic(CHECKPOINT), parts.settings)
    await begin(consumer, places)
    last: dict[bytes | None, Any] = {}
    async for batches in read_up_to(consumer, await consumer.end_offsets(places)):
        last.update((record.key, record) for records in batches.values() for record in records)
    found = Summed()
    for record in last.values():
        kind = ce_type(record.headers)
        if record.value is None or kind not in (CHECKPOINT_TYPE, EXPERIMENT_TYPE):
            continue
        message = message_of(record)
        if isinstance(message, Checkpoint) and message.key.encode() == record.key:
            found.shards[message.shard] = message
        elif isinstance(message, KnownExperiment) and message.key.encode() == record.key:
            found.experiments[message.experiment.name] = message
        else:  # of a newer worker, or not ours: as if it were not there
            why = str(message) if isinstance(message, UnreadableMessage) else "its key is another one's"
            parts.log.warning("checkpoint unreadable", key=shown(record.key), error=why)
    return found


class Summing:
    """Makes the checkpoints of one shard while its worker owns it."""

    def __init__(self, parts: Parts, shard: int, epoch: int) -> None:
        self._parts = parts
        self._shard = shard
        self._epoch = epoch
        self._made_at = asyncio.get_running_loop().time()
        self._positions: LogPositions | None = None
        self._units = 0
        #: experiments as they were told: version and number of changes
        self._told: dict[str, tuple[int, int]] = {}

    async def follow(self, ends: LogPositions) -> None:
        """Make one if it is time. ``ends``: of log and panel, read before; the store has noted them. Raises Fenced."""
        seconds, now = self._parts.settings.checkpoint_seconds, asyncio.get_running_loop().time()
        if not seconds or now - self._made_at < seconds or not self._worth_it(ends):
            return
        if await self.make(ends):
            self._made_at = now

    def _worth_it(self, ends: LogPositions) -> bool:
        if self._positions is None:
            return True
        grown = sum(end - self._positions.get(name, 0) for name, end in ends.items())
        return grown * UNITS_PER_RECORD > self._units * self._parts.settings.partitions

    async def make(self, ends: LogPositions) -> bool:
        """Sum the shard up; False where it did not keep still meanwhile, and where it is too large. Raises Fenced."""
        restoring = self._parts.store.restoring
        before = await restoring.still(self._shard, self._epoch)
        if before is None:
            return False
        found, experiments = await self._read(before, ends)
        # Nothing was decided while it was read, all that was decided before is on the log, and the store is the one of
        # which the positions were noted.
        if await restoring.still(self._shard, self._epoch) != before:
            return False
        await restoring.stand(self._shard, self._epoch)
        record = await asyncio.to_thread(encode, found, f"{self._epoch}/{found.key}/{before.last}", found.made_at)
        if len(record.value or b"") > MAX_RECORD_BYTES - OVERHEAD_BYTES:
            self._parts.log.warning("checkpoint too large", shard=self._shard, way_out="more partitions")
            return False
        await self._parts.publish(CHECKPOINT, self._experiments(experiments, found))
        await self._parts.publish(CHECKPOINT, [record])
        self._told |= found.experiments
        self._positions, self._units = dict(ends), len(found.units)
        self._parts.log.info("checkpoint", shard=self._shard, units=self._units)
        return True

    async def _read(self, still: Still, ends: LogPositions) -> tuple[Checkpoint, Mapping[str, Registration]]:
        store = self._parts.store
        held = await store.restoring.held(self._shard)
        plans = await store.plans(self._shard)
        _, clusters = await store.triggers.enrolments(self._shard)
        # One shard has them for all: agents write each registration to every shard, then to the log.
        experiments = (await store.registrations(self._shard))[1] if self._shard == 0 else {}
        closed = await store.closed_through(self._shard)
        found = Checkpoint(
            shard=self._shard,
            epoch=self._epoch,
            made_at=self._parts.clock.now(),
            positions=dict(ends),
            sequence=still.sequence,
            tick=still.tick,
            units={name: row_of(unit) for name, unit in held.items()},
            plans={
                key: (-1 if plan.decided_through is None else plan.decided_through.toordinal(), plan.released)
                for key, plan in plans.items()
            },
            closed=closed,
            kills=tuple((await store.kills(self._shard)).values()),
            clusters=clusters,
            listing={market: await store.notes(self._shard, "listing", market) for market in closed},
            history={market: await store.notes(self._shard, "history", market) for market in closed},
            experiments={name: (r.experiment.version, len(r.history)) for name, r in experiments.items()},
        )
        return found, experiments

    def _experiments(self, experiments: Mapping[str, Registration], found: Checkpoint) -> Iterable[Record]:
        """Those that have changed since they were told."""
        for name, registration in experiments.items():
            if self._told.get(name) != found.experiments[name]:
                known = known_experiment(registration)
                version, changes = found.experiments[name]
                yield encode(known, f"{name}.{version}/{changes}", found.made_at)


async def drop_checkpoints(settings: Settings, shards: Iterable[int]) -> None:
    """Remove those of some shards: a rebuild then reads the whole log. Raises CannotReach."""
    producer = AIOKafkaProducer(**connection(settings), acks="all", enable_idempotence=True)
    await producer.start()
    try:
        for shard in shards:
            key = shard_key(shard).encode()
            home = partition_of(key, settings.partitions)
            await producer.send_and_wait(settings.prefixed(CHECKPOINT), None, key, home)
    finally:
        await stop_client(producer)


def row_of(held: HeldUnit) -> HeldRow:
    return (
        held.owner, held.day, held.arm, held.on_control, held.effective_ms, held.expires_ms, held.price_minor,
        held.sequence, held.epoch,
    )  # fmt: skip


def known_experiment(registration: Registration) -> KnownExperiment:
    """Whoever reads topics must not be able to draw tomorrow's arms: of a committed seed only the hash is told."""
    found = registration.experiment
    return KnownExperiment(
        experiment=withheld(found) if found.seed_disclosure == "committed" else found,
        design_hash=registration.design_hash,
        state=registration.state,
        frozen=registration.frozen,
        history=registration.history,
        listed=dict(registration.listed),
    )


def registration_of(known: KnownExperiment) -> Registration:
    return Registration(
        known.experiment, known.design_hash, known.state, known.frozen, known.history, dict(known.listed)
    )
