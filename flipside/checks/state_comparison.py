"""Whether log, compacted topic, panel and Redis tell the same: folded apart from the workers, and compared."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import date
from typing import Any, Literal

from controller.errors import UnreadableMessage
from controller.messages.codec import message_of, read, void
from controller.messages.events import Assignment, UnitDay
from controller.messages.inputs import Blackout
from controller.messages.topics import ASSIGNMENT, ASSIGNMENT_LOG, BLACKOUT, PANEL, SALE
from flipside.checks.closed_days import differing
from flipside.topics.reader import Reader
from streams.inputs.published_sales import Published
from streams.kafka.connection import reach_kafka
from streams.recovery.log_fold import Remembered
from streams.runtime.settings import Settings
from streams.store import OutboxEntry
from streams.store.redis.store import RedisStore
from streams.store.restore_port import CountedDay, Damaged, HeldUnit
from streams.worker.services import partition_of

Where = Literal["redis", "assignment topic", "panel"]
#: what is under way while it is looked at looks different the next time; what is wrong does not
LOOKS = 3
PAUSE_SECONDS = 1.0
TOPICS = (ASSIGNMENT_LOG, ASSIGNMENT, PANEL, BLACKOUT, SALE)


@dataclass(frozen=True, slots=True, order=True)
class StateDifference:
    """Something that is not as the log has it."""

    where: Where
    #: unit, plan, market, experiment, switch or window; or a part of Redis
    subject: str
    #: what is said of it
    field: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.where}: {self.subject}: {self.field} is {self.found}, the log says {self.expected}"


@dataclass(slots=True)
class _Told:
    """What the topics say."""

    log: Remembered
    panel: Published
    #: unit -> the last record of the compacted topic, as a reader that starts now gets it
    last: dict[str, Assignment]
    windows: dict[str, Blackout | None]
    sales_end: dict[int, int]


class Comparison:
    """Reads on at every look, so that a system that runs can be looked at."""

    def __init__(self, settings: Settings, store: RedisStore) -> None:
        self._settings = settings
        self._store = store
        self._readers = {topic: Reader(settings, [topic]) for topic in TOPICS}
        self._told = _Told(Remembered(), Published(), {}, {}, {})
        self.records = 0

    async def start(self) -> None:
        for reader in self._readers.values():
            await reader.start()

    async def stop(self) -> None:
        for reader in self._readers.values():
            await reader.stop()

    async def look(self) -> set[StateDifference]:
        """Every difference of this moment."""
        # The store first: what it has, the log has by the time that it is read, or the outbox still owes it.
        held = [await self._shard(shard) for shard in range(self._settings.partitions)]
        counted = [await self._input(partition) for partition in range(self._settings.partitions)]
        await self._read()
        found = {d for shard, state in enumerate(held) for d in self._of_shard(shard, state)}
        found |= {d for partition, state in enumerate(counted) for d in self._of_input(partition, state)}
        return found | set(self._of_compacted())

    # --- reading ------------------------------------------------------------------------------------------------------

    async def _shard(self, shard: int) -> Any:
        store = self._store
        try:
            return (
                await store.restoring.held(shard),
                await store.outbox(shard, 100_000),
                await store.plans(shard),
                (await store.registrations(shard))[1],
                await store.kills(shard),
                await store.blackouts(shard),
                await self._closed(shard),
            )
        except Damaged as damage:
            return damage
        except ValueError as error:
            return error

    async def _closed(self, shard: int) -> dict[str, tuple[int, dict[str, str], dict[str, str]]]:
        """Market -> its last closed day, what silence is judged by, and unsold units."""
        store = self._store
        return {
            market: (day, await store.notes(shard, "history", market), await store.notes(shard, "unsold", market))
            for market, (day, _) in (await store.closed_through(shard)).items()
        }

    async def _input(self, partition: int) -> Any:
        store = self._store
        try:
            begun = await store.restoring.with_position("sale", [partition])
            return (
                await store.restoring.days(partition),
                await store.position("sale", partition) if begun else None,
                await store.sealed(partition),
            )
        except Damaged as damage:
            return damage
        except ValueError as error:
            return error

    async def _read(self) -> None:
        told = self._told
        for topic, reader in self._readers.items():
            ends = await reader.ends()
            if topic == SALE:
                told.sales_end = {place.partition: end for place, end in ends.items()}
                continue
            while not await reader.reached(ends):
                for record in await reader.records(100):
                    self._take(topic, record)

    def _take(self, topic: str, record: Any) -> None:
        told = self._told
        self.records += 1
        if topic == ASSIGNMENT_LOG:
            told.log.take(record)
        elif topic == PANEL:
            told.log.take(record)
            told.panel.take_panel(record)
        elif topic == ASSIGNMENT:
            if void(record):
                return
            unit = (record.key or b"").decode(errors="replace")
            assignment = None if record.value is None else message_of(record, Assignment)
            if isinstance(assignment, UnreadableMessage):  # no reader takes it
                return
            told.last.pop(unit, None)
            if assignment is not None:
                told.last[unit] = assignment
        else:
            name = (record.key or b"").decode(errors="replace")
            told.windows[name] = None if record.value is None else _window(record.value)

    # --- comparing ----------------------------------------------------------------------------------------------------

    def _of_shard(self, shard: int, state: Any) -> Iterator[StateDifference]:
        if isinstance(state, Exception):
            yield StateDifference("redis", f"shard {shard}", "state", "readable", str(state))
            return
        held, outbox, plans, registrations, kills, windows, closed = state
        log = self._told.log
        mine = frozenset(m for m in log.markets() if partition_of(m.encode(), self._settings.partitions) == shard)
        yield from self._of_units(log.held_units(mine), held, outbox)
        for key, plan in log.plans(mine).items():
            there = plans.get(key)
            if there is None or (there.decided_through or date.min) < (plan.decided_through or date.min):
                yield StateDifference("redis", key, "plan", str(plan), str(there))
        for name, known in log.registrations.items():
            there = registrations.get(name)
            said = (known.design_hash, len(known.history))
            if there is None or (there.design_hash, len(there.history)) < said or there.design_hash != said[0]:
                found = None if there is None else (there.design_hash, len(there.history))
                yield StateDifference("redis", f"{name} in shard {shard}", "hash and changes", str(said), str(found))
        for id, kill in log.kills.items():
            if kills.get(id) != kill:
                yield StateDifference("redis", f"{id} in shard {shard}", "kill switch", str(kill), str(kills.get(id)))
        live = {name: window for name, window in self._told.windows.items() if window is not None}
        for name in sorted(live.keys() | windows.keys()):
            if live.get(name) != windows.get(name):
                where = f"{name} in shard {shard}"
                yield StateDifference("redis", where, "blackout", str(live.get(name)), str(windows.get(name)))
        for market, (day, _) in log.closed.items():
            found = closed.get(market)
            if market in mine and (found is None or found[0] < day):
                there = _day(found[0]) if found else "none"
                yield StateDifference("redis", market, "last closed day", _day(day), there)
            elif market in mine and found is not None:
                days, revision_days = log.closed_days, self._settings.revision_days
                for found_there in differing(days, market, day, revision_days, found[1], found[2]):
                    yield StateDifference("redis", *found_there)

    @staticmethod
    def _of_units(
        expected: list[HeldUnit], held: Mapping[str, HeldUnit], outbox: list[OutboxEntry]
    ) -> Iterator[StateDifference]:
        owed = {row.unit: (entry.epoch, row.sequence) for entry in outbox for row in entry.granted}
        known = {unit.unit: unit for unit in expected}
        for name in sorted(known.keys() | held.keys()):
            said, there = known.get(name), held.get(name)
            if there is None:
                yield StateDifference("redis", name, "unit", f"{said}", "missing")
            elif said is None or there.order > said.order:
                if owed.get(name) != there.order:
                    yield StateDifference("redis", name, "order", f"{said and said.order}", f"{there.order}, not owed")
            else:
                for field in fields(HeldUnit):
                    left, right = getattr(said, field.name), getattr(there, field.name)
                    if left != right and (field.name != "day" or right < left):
                        yield StateDifference("redis", name, field.name, f"{left}", f"{right}")

    def _of_compacted(self) -> Iterator[StateDifference]:
        last = self._told.last
        log = self._told.log
        for said in sorted(log.held_units(frozenset(log.markets())), key=lambda held: held.unit):
            name = said.unit
            there = last.get(name)
            if there is None:
                yield StateDifference("assignment topic", name, "record", f"{said.order}", "missing")
            elif (there.epoch, there.sequence) != said.order:
                yield StateDifference(
                    "assignment topic", name, "order", f"{said.order} ({said.arm})",
                    f"{(there.epoch, there.sequence)} ({there.arm})",
                )  # fmt: skip
            elif there.arm != said.arm:
                yield StateDifference("assignment topic", name, "arm", said.arm, there.arm)

    def _of_input(self, partition: int, state: Any) -> Iterator[StateDifference]:
        where = f"sale {partition}"
        if isinstance(state, Exception):
            yield StateDifference("redis", where, "state", "readable", str(state))
            return
        days, position, sealed = state
        if position is None:
            yield StateDifference("redis", where, "position", "there", "missing")
            return
        end = self._told.sales_end.get(partition, 0)
        if position > end:
            yield StateDifference("redis", where, "position", f"at most {end}", str(position))
        counted: dict[tuple[str, int], CountedDay] = {(d.unit, d.day): d for d in days}
        for place, row in self._told.panel.rows(partition, self._settings.partitions, sealed).items():
            yield from _of_day(row, counted.get(place))


def _of_day(row: UnitDay, there: CountedDay | None) -> Iterator[StateDifference]:
    name = f"{row.unit} {row.day}"
    if there is None:
        yield StateDifference("redis", name, "events", str(row.events), "missing")
    elif there.events < row.events:
        yield StateDifference("redis", name, "events", f"at least {row.events}", str(there.events))
    elif there.events == row.events:
        for field in ("quantity", "revenue_minor"):
            if getattr(row, field) != getattr(there, field):
                yield StateDifference("redis", name, field, str(getattr(row, field)), str(getattr(there, field)))
        if there.published == row.events and there.late != row.late:
            yield StateDifference("redis", name, "late", str(row.late), str(there.late))


def _window(body: bytes) -> Blackout | None:
    try:
        window = read(Blackout, body)
    except UnreadableMessage:  # refused when it came: it binds nobody
        return None
    return window if window.ends_at > window.starts_at else None


def _day(ordinal: int) -> str:
    return str(date.fromordinal(ordinal))


async def differences(
    settings: Settings, progress: Callable[[int, int], None] = lambda look, of: None
) -> tuple[list[StateDifference], int]:
    """What log, topics and Redis disagree on, at every one of a few looks; and how many records were read.

    Raises CannotReach.
    """
    await reach_kafka(settings)
    store = RedisStore(settings.redis.get_secret_value(), settings.namespace, settings.partitions)
    comparison = Comparison(settings, store)
    try:
        await store.reach(settings.connect_timeout_seconds)
        await comparison.start()
        found = await comparison.look()
        for look in range(1, LOOKS):
            progress(look, LOOKS)
            if not found:
                break
            await asyncio.sleep(PAUSE_SECONDS)
            found &= await comparison.look()
        return sorted(found), comparison.records
    finally:
        await comparison.stop()
        await store.close()
