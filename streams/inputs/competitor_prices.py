"""Rivals' prices: folded by unit and rival, with the rules of triggered experiments, and told on when a rule fires.

Prices come by the thousand and change little, so they are folded in memory, and what the rules remember is written to
the store a few times a second, with the position up to which prices were read, in one call that applies only at the
position where the last one ended. A trigger is acknowledged by the brokers before the position passes its price: a
crash in between reads some prices again, and tells the same triggers under the same ids, which their owners know.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from aiokafka import TopicPartition
from pydantic import ValidationError

from controller.decisions.triggers import RivalHistory
from controller.definition.parameters import Triggered
from controller.messages.codec import Record, encode
from controller.messages.control import State
from controller.messages.topics import TRIGGER
from streams.control.catalog import Catalog
from streams.control.overrides import life
from streams.inputs.competitor_fold import (
    HISTORY,
    Histories,
    Names,
    Priced,
    Watch,
    fold_rivals,
    readable,
    spelled,
    too_many,
)
from streams.kafka.dead_letters import Incoming
from streams.runtime.gather import all_of
from streams.store.restore_port import Damaged
from streams.store.trigger_port import PRICES
from streams.worker.services import Parts

#: how far ahead of our clock a rival's price may claim to be: one from next year would silence its rival until then
AHEAD = timedelta(minutes=5)
#: under the wall clock, how often definitions are asked for
LOOK_SECONDS = 0.1
#: under the wall clock, how often what is remembered goes to the store; so much is read again after a crash
KEEP_SECONDS = 0.25
#: between two partitions that are kept: meanwhile triggers have the event loop, and Redis
BETWEEN_SECONDS = 0.01
#: histories of a partition that are kept in memory, so that they need not be read back for each batch
HISTORIES_KEPT = 50_000
#: how long an end waits for what is on its way
STOP_SECONDS = 2.0
#: states in which rivals are watched
WATCHED: frozenset[State] = frozenset({"scheduled", "running", "paused"})


@dataclass(slots=True)
class Folded:
    """One partition as it is folded in memory: at ``position``, while the store stands at ``stored``."""

    stored: int
    position: int
    #: watch -> unit|rival -> what its rule remembers; None: nothing yet
    histories: dict[str, dict[str, RivalHistory | None]] = field(default_factory=dict)
    #: those that the store has not yet
    changed: Histories = field(default_factory=dict)
    #: watch -> the rivals that it knows
    names: dict[str, Names] = field(default_factory=dict)
    #: when the store was told last, in seconds of the event loop
    told_at: float = 0.0

    def take(self, changed: Histories, end: int) -> None:
        """Fold a batch in."""
        for watch, known in changed.items():
            self.histories[watch].update(known)
            self.changed.setdefault(watch, {}).update(known)
        self.position = end

    def unkept(self) -> tuple[int, Histories]:
        """Position and changes that the store has to learn; from here on changes are those that come after."""
        changed, self.changed = self.changed, {}
        return self.position, changed

    def kept(self, position: int) -> None:
        """The store has learnt what there was up to a position; what has become too much is forgotten."""
        self.stored = position
        if sum(map(len, self.histories.values())) > HISTORIES_KEPT:
            self.histories = {watch: dict(known) for watch, known in self.changed.items()}


class Rivals:
    """Folds rivals' prices, publishes the triggers that this leads to, and has the store remember."""

    def __init__(self, parts: Parts, catalog: Catalog) -> None:
        self._parts = parts
        self._catalog = catalog
        self._version, self._looked = -1, -LOOK_SECONDS
        self._watches: tuple[Watch, ...] = ()
        #: those of them that were to come or under way at the last look
        self._watched: Sequence[Watch] = ()
        self._folded: dict[int, Folded] = {}
        #: what has fired and was not told yet
        self._fired: list[Record] = []
        #: what is being told: no position passes it before the brokers have it
        self._telling: set[asyncio.Task[int | None]] = set()
        self._keeping: asyncio.Task[None] | None = None

    def begin(self, partition: int, position: int) -> None:
        """Fold a partition from where the store stands."""
        self._folded[partition] = Folded(position, position)

    def forget(self, partition: int) -> None:
        """The partition is somebody else's: who goes on where the store stands, and finds the same."""
        self._folded.pop(partition, None)

    def pass_over(self, partition: int, end: int) -> None:
        """Nothing is made of the record before ``end``: it was set aside."""
        folded = self._folded.get(partition)
        if folded is not None:
            folded.take({}, end)

    def stored(self, partition: int) -> int | None:
        """The position up to which a partition is in the store; None where it is not folded, or has to begin anew."""
        folded = self._folded.get(partition)
        return None if folded is None else folded.stored

    async def fold(self, partition: TopicPartition, records: Sequence[Incoming]) -> int:
        """Fold records that begin where the last ones ended; returns how many could be used.

        What it leads to is done by `go_on` or by `keep`.
        """
        parts, folded = self._parts, self._folded[partition.partition]
        now = parts.clock.now()
        # Under a simulated clock a whole day's prices may be published before it begins.
        latest_at = now + AHEAD if parts.settings.clock == "wall" else None
        usable, rejected = readable(records, self._catalog.known, latest_at)
        if await self._catalog.meet(rejected):
            usable, rejected = readable(records, self._catalog.known, latest_at)
        await parts.reject(rejected, now)
        watches = await self._watching(now)
        usable, gone = await self._admitted(partition.partition, folded, watches, usable)
        if gone:
            await parts.reject(too_many(records, gone, self._catalog.known), now)
        await self._recall(partition.partition, folded, watches, usable)
        changed, triggers = fold_rivals(usable, watches, folded.histories, self._catalog.known)
        fired = [encode(told, told.id, told.observed_at) for told in triggers]
        folded.take(changed, records[-1].offset + 1)
        # A rebalance may have taken it away meanwhile; its triggers are told all the same, by two under one id.
        self._fired += fired
        parts.metrics.triggers.labels("fired").inc(len(triggers))
        return len(usable)

    async def _admitted(
        self, number: int, folded: Folded, watches: Sequence[Watch], prices: Sequence[Priced]
    ) -> tuple[list[Priced], set[str]]:
        """The prices of rivals that there is room for, and the names (unit|competitor) of the others."""
        gone = set[str]()
        for watch in watches:
            names = folded.names.get(watch.name)
            if names is None:
                known = await self._parts.store.triggers.rivals(number, watch.name)
                names = folded.names[watch.name] = Names(known)
            gone |= {p.history for p in prices if p.unit in watch.cluster_of and not names.admit(p)}
        return [price for price in prices if price.history not in gone] if gone else list(prices), gone

    async def _recall(self, number: int, folded: Folded, watches: Sequence[Watch], prices: Sequence[Priced]) -> None:
        """Read from the store what the rules look back on and is not known yet."""
        unknown = {}
        for watch in watches:
            known, cluster_of = folded.histories.setdefault(watch.name, {}), watch.cluster_of
            unknown[watch.name] = sorted({p.history for p in prices if p.history not in known and p.unit in cluster_of})
        if not any(unknown.values()):
            return
        found = await self._parts.store.triggers.histories(number, unknown)
        for asked, missing in unknown.items():
            texts, known = found.get(asked, {}), folded.histories[asked]
            try:
                known.update((n, HISTORY.validate_json(texts[n]) if n in texts else None) for n in missing)
            except ValidationError as error:
                # Folded anew from the topic: the same prices make the same triggers, under the same ids.
                await self._parts.store.restoring.forget_input(PRICES, number)
                self.forget(number)
                raise Damaged(f"what is remembered of rivals for {asked}", error, (PRICES, number)) from error

    # --- what it leads to ---------------------------------------------------------------------------------------------

    def go_on(self) -> None:
        """See that triggers are told, and now and then that the store remembers, without waiting for it.

        What went wrong is raised the next time; all partitions then begin anew where the store stands.
        """
        done = {task for task in self._telling if task.done()}
        self._telling -= done
        if self._keeping is not None and self._keeping.done():
            done.add(self._keeping)
            self._keeping = None
        faults = [fault for task in done if (fault := task.exception()) is not None]
        if faults:
            self._begin_anew()
            raise faults[0]
        self._tell()
        if self._keeping is None and self._due():
            self._keeping = asyncio.create_task(self._rounds(), name="rivals-keep")

    async def keep(self) -> None:
        """Tell what has fired, and have the store remember all that is folded; returns when both is done."""
        await self._round(self._behind())

    async def stop(self) -> None:
        """Finish what is in flight; the next reader of the partitions begins at the store's position."""
        under_way = [*self._telling, *([] if self._keeping is None else [self._keeping])]
        if under_way:
            await asyncio.wait(under_way, timeout=STOP_SECONDS)
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    def _behind(self) -> list[int]:
        return [number for number, folded in self._folded.items() if folded.position > folded.stored]

    def _due(self) -> list[int]:
        """The partition that is to be kept next, if it is time: one by one, because a trigger waits for no more."""
        instant, behind = asyncio.get_running_loop().time(), self._behind()
        first = min(behind, key=lambda number: self._folded[number].told_at, default=None)
        return [] if first is None or instant - self._folded[first].told_at < KEEP_SECONDS else [first]

    def _tell(self) -> None:
        """A trigger waits for no other, and for no store."""
        records, self._fired = self._fired, []
        if records:
            self._telling.add(asyncio.create_task(self._parts.publish(TRIGGER, records), name="rivals-tell"))

    async def _rounds(self) -> None:
        while due := self._due():
            await self._round(due)
            # All partitions come to be due together.
            await asyncio.sleep(BETWEEN_SECONDS)

    async def _round(self, partitions: Sequence[int]) -> None:
        try:
            # All at one instant: whatever fired up to these positions is told before the store hears of them.
            self._tell()
            telling = list(self._telling)
            behind = {number: self._folded[number] for number in partitions}
            unkept = {number: folded.unkept() for number, folded in behind.items()}
            await asyncio.gather(*telling)
            await all_of(self._keep(number, behind[number], *what) for number, what in unkept.items())
        except BaseException:
            self._begin_anew()
            raise

    def _begin_anew(self) -> None:
        """It is unknown which calls in flight took effect: all partitions continue at the store's position."""
        self._folded.clear()
        self._fired.clear()
        for task in self._telling:
            task.cancel()
        self._telling.clear()

    async def _keep(self, number: int, folded: Folded, end: int, changed: Histories) -> None:
        folded.told_at = asyncio.get_running_loop().time()
        if await self._parts.store.triggers.fold(number, folded.stored, end, spelled(changed)):
            folded.kept(end)
        elif self._folded.get(number) is folded:
            self._parts.log.warning("refused: the store is elsewhere", topic="competitor-price", partition=number)
            self._parts.metrics.events.labels("competitor-price", "refused").inc(end - folded.stored)
            self.forget(number)

    async def _watching(self, now: datetime) -> Sequence[Watch]:
        """The triggered experiments that are to come or under way."""
        store, instant = self._parts.store, asyncio.get_running_loop().time()
        if self._parts.settings.clock == "wall" and instant - self._looked < LOOK_SECONDS:
            return self._watched
        self._looked = instant
        if await store.registrations_version(0) != self._version:
            self._version, found = await store.registrations(0)
            self._watches = tuple(
                Watch(registration, registration.experiment.cluster_by_unit())
                for _, registration in sorted(found.items())
                if isinstance(registration.experiment.design, Triggered)
            )
        self._watched = [watch for watch in self._watches if life(watch.registration, now).state in WATCHED]
        return self._watched
