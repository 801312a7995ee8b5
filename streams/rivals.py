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
from controller.parameters import Triggered, TriggerRule
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
#: under the wall clock, how often definitions are asked for
LOOK_SECONDS = 0.1
#: records that are read in one go; where one is unreadable, all of these are read one by one
RECORDS_PER_READ = 100
#: histories of a partition that are kept in memory, so that they need not be read back for each batch
HISTORIES_KEPT = 50_000
#: states in which rivals are watched
WATCHED: frozenset[State] = frozenset({"scheduled", "running", "paused"})
HISTORY = TypeAdapter(RivalHistory)
NOTHING_SEEN = RivalHistory()


@dataclass(frozen=True, slots=True)
class Watch:
    """A triggered experiment whose rule looks at rivals."""

    registration: Registration
    cluster_of: Mapping[str, str]

    @property
    def experiment(self) -> Experiment:
        return self.registration.experiment

    @property
    def rule(self) -> TriggerRule:
        design = self.experiment.design
        assert isinstance(design, Triggered)
        return design.rule

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
    looking = [
        (w.experiment, w.rule, w.cluster_of, histories.get(w.name, {}), dict[str, RivalHistory]()) for w in watches
    ]
    for event in events:
        unit, rival = event.unit, event.competitor
        observed_ms = milliseconds(event.observed_at)
        held = batch.latest.get((unit, rival))
        if held is None or observed_ms >= held.observed_ms:
            batch.latest[unit, rival] = RivalPrice(unit, rival, observed_ms, event.price_minor)
        name = history_name(event)
        for experiment, rule, cluster_of, stored, known in looking:
            cluster = cluster_of.get(unit)
            if cluster is None:
                continue
            before = known.get(name) or stored.get(name) or NOTHING_SEEN
            known[name], fires = observe(rule, before, event, catalog[unit].list_price_minor)
            if fires:
                batch.fired.append(fired(experiment, cluster, event))
    batch.histories = {w.name: known for w, (*_, known) in zip(watches, looking, strict=True) if known}
    return batch


def history_name(event: CompetitorPrice) -> str:
    """Where a rival's history of a unit is kept; a unit has no ``|``."""
    return f"{event.unit}|{event.competitor}"


class Rivals:
    """Applies rivals' prices to the store, and publishes the triggers that this leads to."""

    def __init__(self, parts: Parts, catalog: Catalog) -> None:
        self._parts = parts
        self._catalog = catalog
        self._version, self._looked = -1, -LOOK_SECONDS
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
        remembered = self._remembered.setdefault(number, Remembered())
        remembered.at(start)
        await self._recall(number, remembered, watches, events)
        batch = fold_rivals(events, watches, remembered.histories, self._catalog.known)
        told = [(TYPES[TriggerFired], trigger.model_dump_json()) for trigger in batch.fired]
        prices = list(batch.latest.values())
        applied = await parts.store.triggers.fold(number, start, end, prices, batch.spelled(), told)
        if applied:
            for watch, changed in batch.histories.items():
                remembered.histories[watch].update(changed)
            remembered.position = end
        else:
            self._remembered.pop(number, None)
        if applied and told:
            parts.metrics.triggers.labels("fired").inc(len(told))
            self._owing.add(number)
        return len(events), applied

    async def _recall(
        self, number: int, remembered: Remembered, watches: Sequence[Watch], events: Sequence[CompetitorPrice]
    ) -> None:
        """Read from the store what the rules look back on and is not known yet."""
        unknown = {}
        for watch in watches:
            known, cluster_of = remembered.histories.setdefault(watch.name, {}), watch.cluster_of
            names = {history_name(event) for event in events if event.unit in cluster_of}
            unknown[watch.name] = sorted(name for name in names if name not in known)
        if not any(unknown.values()):
            return
        found = await self._parts.store.triggers.histories(number, unknown)
        for asked, missing in unknown.items():
            texts, known = found.get(asked, {}), remembered.histories[asked]
            for name in missing:
                text = texts.get(name)
                known[name] = None if text is None else HISTORY.validate_json(text)

    def forget(self, partition: int) -> None:
        """The partition is somebody else's."""
        self._remembered.pop(partition, None)
        self._owing.discard(partition)

    async def publish(self, partition: int) -> None:
        """Tell what a partition may still owe: whoever read it before may have ended before the topic had it."""
        self._owing.add(partition)
        await self.publish_owed()

    async def publish_owed(self) -> None:
        """Tell the owners of the markets what has fired and was not told yet; a crash repeats it under the same id."""
        store = self._parts.store.triggers
        while self._owing:
            numbers = sorted(self._owing)
            owed = await asyncio.gather(*(store.owed(number, TRIGGERS_PER_ROUND) for number in numbers))
            records = [
                encode(trigger, trigger.id, trigger.observed_at)
                for entries in owed
                for entry in entries
                for _, body in entry.records
                for trigger in (read(TriggerFired, body.encode()),)
            ]
            await self._parts.publish(TRIGGER, records)
            for number, entries in zip(numbers, owed, strict=True):
                await store.published(number, [entry.id for entry in entries])
                if len(entries) < TRIGGERS_PER_ROUND:
                    self._owing.discard(number)

    async def _watching(self, now: datetime) -> list[Watch]:
        """The triggered experiments that are to come or under way."""
        store, instant = self._parts.store, asyncio.get_running_loop().time()
        if self._parts.settings.clock == "wall" and instant - self._looked < LOOK_SECONDS:
            return [watch for watch in self._watches if life(watch.registration, now).state in WATCHED]
        self._looked = instant
        if await store.registrations_version(0) != self._version:
            self._version, found = await store.registrations(0)
            self._watches = tuple(
                Watch(registration, registration.experiment.cluster_by_unit())
                for _, registration in sorted(found.items())
                if isinstance(registration.experiment.design, Triggered)
            )
        return [watch for watch in self._watches if life(watch.registration, now).state in WATCHED]
