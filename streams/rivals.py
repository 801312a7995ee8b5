"""Rivals' prices: folded by unit and rival, with the rules of triggered experiments, and told on when a rule fires.

What a rule remembers of a rival lies in the store beside the position up to which prices were read. It is read, folded
in memory and written back in one call that applies only at the position it was read at, so no event is seen twice.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from aiokafka import TopicPartition
from pydantic import TypeAdapter

from controller.codec import TYPES, encode, read, read_all
from controller.control import State, TriggerFired
from controller.errors import UnreadableMessage
from controller.events import CatalogEntry, CompetitorPrice
from controller.experiment import Experiment
from controller.parameters import Triggered
from controller.topics import TRIGGER
from controller.triggers import RivalHistory, fired, observe
from controller.wire import milliseconds
from streams.catalog import Catalog
from streams.dead_letters import Incoming, Rejected
from streams.orders import life
from streams.parts import Parts
from streams.store import Registration, RivalPrice

#: how far ahead of our clock a rival's price may claim to be: one from next year would silence its rival until then
AHEAD = timedelta(minutes=5)
TRIGGERS_PER_ROUND = 100
#: records that are read in one go; where one is unreadable, all of these are read one by one
RECORDS_PER_READ = 100
#: histories of a partition that are kept in memory, so that they need not be read back for each batch
HISTORIES_KEPT = 100_000
#: states in which rivals are watched
WATCHED: frozenset[State] = frozenset({"scheduled", "running", "paused"})
HISTORY = TypeAdapter(RivalHistory)


@dataclass(frozen=True, slots=True)
class Watch:
    """A triggered experiment whose rule looks at rivals."""

    registration: Registration
    cluster_of: Mapping[str, str]

    @property
    def experiment(self) -> Experiment:
        return self.registration.experiment

    @property
    def name(self) -> str:
        return f"{self.experiment.name}.{self.experiment.version}"


@dataclass(slots=True)
class RivalBatch:
    """Rivals' prices of one partition, folded but not yet applied."""

    latest: dict[tuple[str, str], RivalPrice] = field(default_factory=dict)
    #: watch -> unit|rival -> what its rule remembers
    histories: dict[str, dict[str, RivalHistory]] = field(default_factory=dict)
    fired: list[TriggerFired] = field(default_factory=list)

    def spelled(self) -> dict[str, dict[str, str]]:
        """The histories as the store keeps them."""
        return {
            watch: {name: HISTORY.dump_json(history).decode() for name, history in histories.items()}
            for watch, histories in self.histories.items()
        }


@dataclass(slots=True)
class Remembered:
    """Histories of one partition as they are in the store while its position is ``position``, as far as we know them.

    Whoever else folds the partition moves the position, and then these are of no use any more.
    """

    position: int = -1
    #: watch -> unit|rival -> what its rule remembers; None: the store has nothing
    histories: dict[str, dict[str, RivalHistory | None]] = field(default_factory=dict)

    def at(self, position: int) -> None:
        """Forget what was known at another position, and what has become too much."""
        if position != self.position or sum(map(len, self.histories.values())) > HISTORIES_KEPT:
            self.histories.clear()
        self.position = position


def readable(
    records: Sequence[Incoming], catalog: Mapping[str, CatalogEntry], latest_at: datetime | None
) -> tuple[list[CompetitorPrice], list[Rejected]]:
    """The prices that can be used, and why the others cannot. ``latest_at``: no price may be observed after it."""
    found: list[CompetitorPrice] = []
    rejected: list[Rejected] = []
    for record, event in _read(records):
        if isinstance(event, UnreadableMessage):
            rejected.append(Rejected(record, "unreadable", str(event)))
            continue
        entry = catalog.get(event.unit)
        if entry is None:
            rejected.append(Rejected(record, "unknown-unit", f"{event.unit} is not in the catalog"))
        elif event.currency != entry.currency:
            reason = f"{event.unit} is priced in {entry.currency}, this rival's price is in {event.currency}"
            rejected.append(Rejected(record, "currency", reason))
        elif latest_at is not None and event.observed_at > latest_at:
            reason = f"observed at {event.observed_at}, which lies ahead of our clock; mend the clock of its source"
            rejected.append(Rejected(record, "future", reason))
        else:
            found.append(event)
    return found, rejected


def _read(records: Sequence[Incoming]) -> Iterator[tuple[Incoming, CompetitorPrice | UnreadableMessage]]:
    for first in range(0, len(records), RECORDS_PER_READ):
        some = records[first : first + RECORDS_PER_READ]
        events = read_all(CompetitorPrice, [record.value for record in some])
        yield from zip(some, map(_read_one, some) if events is None else events, strict=True)


def _read_one(record: Incoming) -> CompetitorPrice | UnreadableMessage:
    try:
        return read(CompetitorPrice, record.value or b"")
    except UnreadableMessage as error:
        return error


def fold_rivals(
    events: Iterable[CompetitorPrice],
    watches: Sequence[Watch],
    histories: Mapping[str, Mapping[str, RivalHistory | None]],
    catalog: Mapping[str, CatalogEntry],
) -> RivalBatch:
    """Fold prices in the order in which they were read. Pure. O(events x experiments that watch the unit)."""
    batch = RivalBatch()
    for event in events:
        price = RivalPrice(event.unit, event.competitor, milliseconds(event.observed_at), event.price_minor)
        held = batch.latest.get((event.unit, event.competitor))
        if held is None or price.observed_ms >= held.observed_ms:
            batch.latest[event.unit, event.competitor] = price
        for watch in watches:
            cluster = watch.cluster_of.get(event.unit)
            if cluster is None:
                continue
            design = watch.experiment.design
            assert isinstance(design, Triggered)
            known, name = batch.histories.setdefault(watch.name, {}), history_name(event)
            before = known.get(name) or histories.get(watch.name, {}).get(name) or RivalHistory()
            known[name], fires = observe(design.rule, before, event, catalog[event.unit].list_price_minor)
            if fires:
                batch.fired.append(fired(watch.experiment, cluster, event))
    return batch


def history_name(event: CompetitorPrice) -> str:
    """Where a rival's history of a unit is kept; a unit has no ``|``."""
    return f"{event.unit}|{event.competitor}"


class Rivals:
    """Applies rivals' prices to the store, and publishes the triggers that this leads to."""

    def __init__(self, parts: Parts, catalog: Catalog) -> None:
        self._parts = parts
        self._catalog = catalog
        self._version = -1
        self._watches: tuple[Watch, ...] = ()
        self._remembered: dict[int, Remembered] = {}
        #: partitions whose triggers were not all told yet
        self._owing: set[int] = set()

    async def apply(self, partition: TopicPartition, start: int, records: Sequence[Incoming]) -> tuple[int, bool]:
        """Fold records that begin at the stored position; returns how many could be used, and whether they applied.

        What has fired is told by `publish_owed`.
        """
        parts, number, end = self._parts, partition.partition, records[-1].offset + 1
        now, known = parts.clock.now(), self._catalog.known
        if any(key.decode(errors="replace") not in known for key in {record.key or b"" for record in records}):
            # Perhaps the entry is on its way: the catalog is caught up before a price is called a stranger's.
            await self._catalog.catch_up()
        # Under a simulated clock a whole day's prices may be published before it begins.
        latest_at = now + AHEAD if parts.settings.clock == "wall" else None
        events, rejected = readable(records, self._catalog.known, latest_at)
        await parts.reject(rejected, now)
        watches = await self._watching(now)
        wanted = {
            watch.name: sorted({history_name(event) for event in events if event.unit in watch.cluster_of})
            for watch in watches
        }
        remembered = self._remembered.setdefault(number, Remembered())
        remembered.at(start)
        await self._recall(number, remembered, wanted)
        batch = fold_rivals(events, watches, remembered.histories, self._catalog.known)
        told = [(TYPES[TriggerFired], trigger.model_dump_json()) for trigger in batch.fired]
        prices = list(batch.latest.values())
        applied = await parts.store.triggers.fold(number, start, end, prices, batch.spelled(), told)
        if applied:
            for watch, changed in batch.histories.items():
                remembered.histories[watch].update(changed)
            remembered.position = end
        else:
            self._remembered.pop(number)
        if applied and told:
            parts.metrics.triggers.labels("fired").inc(len(told))
            self._owing.add(number)
        return len(events), applied

    async def _recall(self, number: int, remembered: Remembered, wanted: Mapping[str, Sequence[str]]) -> None:
        """Read from the store what is wanted and not known yet."""
        unknown = {}
        for watch, names in wanted.items():
            known = remembered.histories.setdefault(watch, {})
            unknown[watch] = [name for name in names if name not in known]
        if not any(unknown.values()):
            return
        found = await self._parts.store.triggers.histories(number, unknown)
        for watch, names in unknown.items():
            texts, known = found.get(watch, {}), remembered.histories[watch]
            for name in names:
                text = texts.get(name)
                known[name] = None if text is None else HISTORY.validate_json(text)

    async def publish_owed(self) -> None:
        """Tell what has fired since it was last asked, of all partitions at once."""
        await asyncio.gather(*map(self.publish, sorted(self._owing)))

    async def publish(self, partition: int) -> None:
        """Tell the owners of the markets what has fired and was not told yet; a crash repeats it under the same id."""
        store, entries = self._parts.store.triggers, None
        while entries is None or len(entries) == TRIGGERS_PER_ROUND:
            entries = await store.owed(partition, TRIGGERS_PER_ROUND)
            records = [
                encode(trigger, trigger.id, trigger.observed_at)
                for entry in entries
                for _, body in entry.records
                for trigger in (read(TriggerFired, body.encode()),)
            ]
            await self._parts.publish(TRIGGER, records)
            await store.published(partition, [entry.id for entry in entries])
        self._owing.discard(partition)

    async def _watching(self, now: datetime) -> list[Watch]:
        """The triggered experiments that are to come or under way."""
        store = self._parts.store
        if await store.registrations_version(0) != self._version:
            self._version, found = await store.registrations(0)
            self._watches = tuple(
                Watch(registration, registration.experiment.cluster_by_unit())
                for _, registration in sorted(found.items())
                if isinstance(registration.experiment.design, Triggered)
            )
        return [watch for watch in self._watches if life(watch.registration, now).state in WATCHED]
