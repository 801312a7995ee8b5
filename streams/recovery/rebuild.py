"""Shards that the store has lost, or holds older than the log, are folded from the log again before anybody decides.

Each shard notes in the store up to where in the log (and in the panel, for its closings) its state holds everything.
Whoever takes it over reads on from there: normally nothing, or the last seconds. A store that came back older has an
older note, an empty one none, and so what is missing is read, and merged. Meanwhile nothing is decided; what was
published stays valid until its leases end.
"""

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition

from controller.definition.experiment import COMMITMENT, Experiment
from controller.definition.field_types import market_of
from controller.errors import UnreadableMessage
from controller.messages.codec import ce_type, message_of, read
from controller.messages.events import CE_TYPES, Ownership, Tick, UnitDay
from controller.messages.inputs import Blackout
from controller.messages.topics import ASSIGNMENT_LOG, BLACKOUT, DEFINITION, PANEL, TICK
from streams.closing.unsold_restore import restore_notes
from streams.inputs.published_sales import RECORDS_PER_POLL, Publications
from streams.kafka.connection import stop_client
from streams.kafka.dead_letters import Incoming
from streams.kafka.reading import begin, partitions_of, read_up_to, reader, seek_within
from streams.recovery.checkpoints import Summing, read_checkpoints, registration_of
from streams.recovery.entries import restore_enrolments
from streams.recovery.log_fold import Remembered
from streams.recovery.unannounced import Told, say_again
from streams.store import DirtyCell, TopicPlace
from streams.store.restore_port import LogPositions, ShardRest
from streams.worker.services import Parts, partition_of

#: topic -> what its partitions are called in a shard's note
LOG = "log"
NOTED = {ASSIGNMENT_LOG: LOG, PANEL: "panel"}
#: for how long what was read of a whole log is kept for the next shard
KEEP_SECONDS = 30.0
#: how often a shard's note moves on
NOTE_SECONDS = 5.0
OUTBOX_READ = 1000


class Rebuild:
    """Reads the log for the shards of one worker."""

    def __init__(self, parts: Parts, publications: Publications) -> None:
        self._parts = parts
        self._publications = publications
        self._consumer: AIOKafkaConsumer | None = None
        self._lock = asyncio.Lock()
        self._connecting = asyncio.Lock()
        #: a fold of the whole log, how far it went, and when it was used last
        self._whole: tuple[Remembered, LogPositions, float] | None = None
        self._told = Told(parts)
        #: windows as their topic has them, and how far that was read
        self._windows: dict[str, tuple[TopicPlace, bytes | None]] = {}
        self._windows_read: dict[TopicPartition, int] = {}

    async def stop(self) -> None:
        if self._consumer is not None:
            await stop_client(self._consumer)

    async def _connected(self) -> AIOKafkaConsumer:
        async with self._connecting:
            if self._consumer is None:
                consumer = reader(self._parts.connection, self._parts.settings)
                await consumer.start()
                self._consumer = consumer
            return self._consumer

    def _places(self) -> dict[str, TopicPartition]:
        topics, partitions = self._parts.topic, range(self._parts.settings.partitions)
        return {f"{name}:{p}": TopicPartition(topics(topic), p) for topic, name in NOTED.items() for p in partitions}

    async def ends(self) -> LogPositions:
        """Where the log and the panel end now."""
        consumer, places = await self._connected(), self._places()
        found = await consumer.end_offsets(list(places.values()))
        return {name: found[place] for name, place in places.items()}

    async def succeeded(self, shard: int, epoch: int) -> bool:
        """Whether somebody has claimed a shard after this epoch: a store that has come back older does not know."""
        consumer, place = await self._connected(), TopicPartition(self._parts.topic(TICK), shard)
        # Mostly there is nothing to read, and so nothing to wait for while another shard is mended.
        end = (await consumer.end_offsets([place]))[place]
        if end <= epoch + 1:
            return False
        async with self._lock:
            consumer.assign([place])
            consumer.seek(place, epoch + 1)
            kinds = set[str | None]()
            async for batches in read_up_to(consumer, {place: end}):
                kinds.update(ce_type(record.headers) for record in batches.get(place, ()))
            return CE_TYPES[Ownership] in kinds

    async def mend(self, shard: int, epoch: int) -> None:
        """Make a claimed shard hold all that the log says of it, and note so; raises Fenced and CannotReach."""
        async with self._lock:
            await self._mend(shard, epoch)

    async def _mend(self, shard: int, epoch: int) -> None:
        parts, restoring = self._parts, self._parts.store.restoring
        damage = await restoring.shard_damage(shard)
        if damage is not None:
            parts.log.error("damaged", shard=shard, error=str(damage))
            await restoring.forget_shard(shard)
        noted = await restoring.log_positions(shard)
        if not noted:
            # What an owner before us, in this process, has sent counts with what is on the log.
            await parts.flush()
        ends = await self.ends()
        behind = sum(ends[name] - min(noted.get(name, 0), ends[name]) for name in ends)
        why = "damaged" if damage is not None else "lost" if not noted else "older"
        if behind or not noted:
            began = asyncio.get_running_loop().time()
            found = await self._read(shard, noted, ends)
            mine = frozenset(market for market in found.markets() if parts.shard_of(market) == shard)
            written = await self._write_back(shard, epoch, found, mine, lost=not noted)
            if written or not noted:
                await say_again(parts, self._told, await self._connected(), found, mine)
            # A shard of which nothing was ever said has nothing to lose: it is new.
            if written or (not noted and mine):
                seconds = asyncio.get_running_loop().time() - began
                parts.metrics.rebuilds.labels("shard", why).inc()
                parts.log.warning(
                    "rebuilt",
                    shard=shard,
                    why=why,
                    records=found.records,
                    published=found.published,
                    units=written,
                    seconds=round(seconds, 2),
                )
        await restoring.stand(shard, epoch, ends)

    async def _read(self, shard: int, noted: LogPositions, ends: LogPositions) -> Remembered:
        now = asyncio.get_running_loop().time()
        if noted:
            found = Remembered()
            _, known = await self._parts.store.registrations(shard)
            found.given(known.values())
            await self._fold(found, noted, ends)
            return found
        # What is lost for one shard is mostly lost for all of them: the whole log is read once, and so is the panel,
        # for recounts of sales as well.
        found, reached, _ = self._whole or (*await self._begin(ends), now)
        await self._fold(found, reached, {name: end for name, end in ends.items() if name.startswith(LOG)})
        # Without checkpoints, only the closings tell of the weeks by which silence is judged.
        published = await self._publications.read(await self._connected(), whole=not found.shards)
        for market, day in published.closed.items():
            found.close(market, day, published.revisions[market])
        found.published = published.records
        found.closed_days = published.days
        found.sold |= {(unit, day) for market, day in published.closed.items() for unit in published.sold(market, day)}
        self._whole = found, ends, asyncio.get_running_loop().time()
        return found

    async def _begin(self, ends: LogPositions) -> tuple[Remembered, LogPositions]:
        """What checkpoints hold, and up to where in the log that is; nothing, where one of them is not to be had."""
        summed, found = await read_checkpoints(self._parts, await self._connected()), Remembered()
        missing = summed.missing(self._parts.settings.partitions, ends)
        if missing is not None:
            self._parts.log.info("no checkpoints", why=missing, way_out="the whole log is read")
            return found, {}
        found.given(registration_of(known) for known in summed.experiments.values())
        for checkpoint in summed.shards.values():
            found.begin(checkpoint)
        return found, summed.starts()

    def let_go(self) -> None:
        """What was kept for the next shard is not needed for ever."""
        if self._whole is None or asyncio.get_running_loop().time() - self._whole[2] > KEEP_SECONDS:
            self._whole, self._told = None, Told(self._parts)

    async def _fold(self, found: Remembered, starts: LogPositions, ends: LogPositions) -> None:
        consumer, all_places = await self._connected(), self._places()
        places = {name: all_places[name] for name, end in ends.items() if end > starts.get(name, 0)}
        if not places:
            return
        consumer.assign(list(places.values()))
        beginnings = await consumer.beginning_offsets(list(places.values()))
        for name, place in places.items():
            seek_within(consumer, place, starts.get(name, 0), beginnings[place], ends[name])
        async for batches in read_up_to(consumer, {p: ends[n] for n, p in places.items()}, RECORDS_PER_POLL):
            for records in batches.values():
                for record in records:
                    found.take(record)
            self._parts.pulse.beat("owner")

    # --- writing back -------------------------------------------------------------------------------------------------

    async def _write_back(self, shard: int, epoch: int, found: Remembered, mine: frozenset[str], *, lost: bool) -> int:
        """Merge what was read of some markets into their shard; returns the number of units that were behind."""
        parts, store, restoring = self._parts, self._parts.store, self._parts.store.restoring
        await self._reveal(found)
        await restoring.restore_registrations(shard, list(found.registrations.values()))
        await restoring.restore_kills(shard, list(found.kills.values()))
        if lost or found.blackouts:
            await self._blackouts(shard)
        units = found.held_units(mine)
        written = await restoring.restore_units(shard, epoch, units)
        # Whoever wrote these rows may have ended before the store knew of them: a day that its closing has closed would
        # look as if sales had come late.
        rows = (row for row in found.rows.values() if market_of(row.unit) in mine)
        await store.cleaned([_cell(row, parts.settings.partitions) for row in rows])
        closed = {market: closed for market, closed in found.closed.items() if market in mine}
        sequence, begun = found.sequence(shard, units), found.shards.get(shard)
        tick = await self._first_undecided(shard, epoch, found, mine) if lost or written else 0
        if begun is not None:
            tick = max(tick, begun.tick)
            await self._parts.store.triggers.begun(shard, epoch, begun.clusters)
        await restoring.restore_rest(shard, epoch, ShardRest(found.plans(mine, units), closed, sequence, tick))
        last = {market: day for market, (day, _) in closed.items()}
        sold = found.sold | {(unit, day.toordinal()) for unit, day in found.rows}
        await restore_notes(parts, shard, epoch, found.closed_days, last, sold, begun)
        answers = [answer for answer in found.answers.values() if answer.market in mine]
        await restore_enrolments(self._parts, shard, epoch, answers, found.registrations)
        if written:
            await self._drop_said(shard, found)
        return written

    async def _drop_said(self, shard: int, found: Remembered) -> None:
        """An older store owes the log what the log has had long since: said again, it would be the last word."""
        gone = []
        for entry in await self._parts.store.outbox(shard, OUTBOX_READ):
            orders = [(entry.epoch, row.sequence, found.grants.get(row.unit.encode())) for row in entry.granted]
            if orders and all(held is not None and (epoch, n) <= held.order for epoch, n, held in orders):
                gone.append(entry.id)
        await self._parts.store.published(shard, gone)

    async def _first_undecided(self, shard: int, epoch: int, found: Remembered, mine: frozenset[str]) -> int:
        """The first tick that is not older than the last decision; that one may be decided by half."""
        last = found.decided_at(mine)
        if last is None:
            return 0
        consumer, place = await self._connected(), TopicPartition(self._parts.topic(TICK), shard)
        await begin(consumer, [place])
        async for batches in read_up_to(consumer, {place: epoch}):
            for record in batches.get(place, ()):
                tick = message_of(record, Tick) if ce_type(record.headers) == CE_TYPES[Tick] else None
                if isinstance(tick, Tick) and tick.at >= last:
                    return int(record.offset)
        return epoch

    async def _reveal(self, found: Remembered) -> None:
        """Committed seeds are not on the log: their definitions, which only workers read, have them."""
        wanted = [name for name, held in found.registrations.items() if COMMITMENT.match(held.experiment.seed)]
        if not wanted:
            return
        consumer = await self._connected()
        places = partitions_of(self._parts.topic(DEFINITION), self._parts.settings)
        await begin(consumer, places)
        seeds = dict[str, str]()
        async for batches in read_up_to(consumer, await consumer.end_offsets(places)):
            for records in batches.values():
                for record in records:
                    if (record.key or b"").decode(errors="replace") in wanted:
                        seeds |= _seed(record)
        for name in found.reveal(seeds):
            self._parts.log.error("seed lost", experiment=name, way_out="submit its definition again")

    async def _blackouts(self, shard: int) -> None:
        """Windows as their topic has them; read on where somebody has set one meanwhile.

        What was set or removed after that is later, and stays.
        """
        consumer, store = await self._connected(), self._parts.store
        topic = self._parts.topic(BLACKOUT)
        places = partitions_of(topic, self._parts.settings)
        bodies, reached = self._windows, self._windows_read
        while (ends := await consumer.end_offsets(places)) != reached:
            consumer.assign(places)
            for place, beginning in (await consumer.beginning_offsets(places)).items():
                seek_within(consumer, place, reached.get(place, 0), beginning, ends[place])
            async for batches in read_up_to(consumer, ends):
                for records in batches.values():
                    for r in records:
                        bodies[(r.key or b"").decode(errors="replace")] = TopicPlace(r.partition, r.offset), r.value
            reached.update(ends)
        for name, (place, body) in bodies.items():
            window = _window(body)
            if window is not None:
                await store.put_blackout(window, place)
            elif body is None:
                await store.remove_blackout(name, place)
        for name in (await store.blackouts(shard)).keys() - bodies.keys():
            # Its removal was so long ago that the topic has forgotten it.
            home = partition_of(name.encode(), self._parts.settings.partitions)
            await store.remove_blackout(name, TopicPlace(home, reached[TopicPartition(topic, home)] - 1))


def _cell(row: UnitDay, partitions: int) -> DirtyCell:
    """The unit-day that a row was made of."""
    return DirtyCell(
        partition=partition_of(row.unit.encode(), partitions),
        market=market_of(row.unit),
        day=row.day.toordinal(),
        unit=row.unit,
        quantity=row.quantity,
        revenue_minor=row.revenue_minor,
        cost_minor=row.cost_minor or 0,
        costed=0 if row.cost_minor is None else row.events,
        events=row.events,
        revision=row.revision,
        offset=row.offset or 0,
        late=row.late,
    )


def _seed(record: Incoming) -> dict[str, str]:
    """Name and seed of a definition; requests stand on the same topic."""
    definition = message_of(record, Experiment)
    return {definition.name: definition.seed} if isinstance(definition, Experiment) else {}


def _window(body: bytes | None) -> Blackout | None:
    """A window that was accepted."""
    if body is None:
        return None
    try:
        window = read(Blackout, body)
    except UnreadableMessage:
        return None
    return window if window.ends_at > window.starts_at else None


class Watch:
    """Asks once a second whether the store still holds a shard as its owner knows it, and moves its note on."""

    def __init__(self, parts: Parts, rebuild: Rebuild, shard: int, epoch: int) -> None:
        self._parts = parts
        self._rebuild = rebuild
        self._shard = shard
        self._epoch = epoch

    async def run(self) -> None:
        """Watch until cancelled; raises Fenced where the store came back older, or belongs to a newer owner."""
        loop = asyncio.get_running_loop()
        noted, summing = loop.time(), Summing(self._parts, self._shard, self._epoch)
        seconds, shards = self._parts.settings.reconcile_seconds, self._parts.settings.partitions
        # Not all shards of a worker at one instant: what comes just then would wait for all of them.
        await asyncio.sleep(seconds * self._shard / shards)
        while True:
            await asyncio.sleep(seconds)
            ends: LogPositions | None = None
            if loop.time() - noted > NOTE_SECONDS:
                # Read before the store is asked: what the log has now, the store has had before.
                ends, noted = await self._rebuild.ends(), loop.time()
                self._rebuild.let_go()
            await self._parts.store.restoring.stand(self._shard, self._epoch, ends)
            if ends is not None:
                await summing.follow(ends)
