"""What was published of the sale topic: rows and closings of the panel, corrections, and letters about rejected sales.

A recount of a sale partition needs it, and a rebuild of a shard needs its closings: it is read once for both, and read
on from where the last reading ended.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from aiokafka import AIOKafkaConsumer, TopicPartition

from controller.definition.field_types import market_of, milliseconds
from controller.errors import UnreadableMessage
from controller.messages.codec import READ_AT_ONCE, ce_type, message_of, read_many
from controller.messages.events import CE_TYPES, PeriodClosed, SaleCorrection, UnitDay, UnsoldUnits
from controller.messages.topics import DEAD_LETTER, PANEL, SALE, SALE_CORRECTION
from controller.outcomes.unit_days import last_closed_day
from controller.time.periods import day_start
from streams.closing.unsold_restore import PanelDays
from streams.control.catalog import Catalog
from streams.inputs.sales import Arrived
from streams.kafka.dead_letters import letter
from streams.kafka.reading import partitions_of, read_up_to, seek_within
from streams.worker.services import Parts, partition_of

#: so many days more than those that may still change are read: mostly none will do, or else workers were away
SPARE_DAYS = (0, 7)
#: by so much the publisher's clock may have been wrong
MARGIN = timedelta(hours=6)
#: for how long what was read is kept after it was used last
KEEP_SECONDS = 30.0
RECORDS_PER_POLL = 5000
UNIT_DAY, UNSOLD, CLOSING = CE_TYPES[UnitDay], CE_TYPES[UnsoldUnits], CE_TYPES[PeriodClosed]


@dataclass(slots=True)
class Published:
    """What panel, dead letters and corrections say of the sale topic."""

    #: (market, day) -> unit -> its rows as they were read: most of them are of days that nobody asks for any more
    raw: dict[tuple[bytes, bytes], dict[bytes, list[bytes]]] = field(default_factory=dict)
    #: closed days, beside their rows
    days: PanelDays = field(default_factory=PanelDays)
    #: market -> its last closed day (ordinal), and the greatest revision of a closing
    closed: dict[str, int] = field(default_factory=dict)
    revisions: dict[str, int] = field(default_factory=dict)
    #: sale partition -> from where days that may still change can be counted again
    starts: dict[int, int] = field(default_factory=dict)
    #: (market, sale partition) -> what the market's closed days sold before this offset is in rows, or was set aside
    vouched: dict[tuple[str, int], int] = field(default_factory=dict)
    #: partition and offset of sales that were rejected, or kept as corrections
    set_aside: set[tuple[int, int]] = field(default_factory=set)
    records: int = 0
    #: of the panel's, those that no worker wrote
    unreadable: int = 0

    def take_panel(self, record: Arrived) -> None:
        kind = ce_type(record.headers)
        if kind == UNIT_DAY:
            unit, _, date_text = (record.key or b"").rpartition(b"/")
            if not _is_text(unit):  # no worker wrote it
                return
            place = (unit.partition(b"/")[0], date_text)
            self.raw.setdefault(place, {}).setdefault(unit, []).append(record.value or b"")
        elif kind == UNSOLD:
            self.unreadable += not self.days.take_unsold(record.key or b"", record.value or b"")
        elif kind == CLOSING:
            closing = message_of(record, PeriodClosed)
            if isinstance(closing, UnreadableMessage):
                self.unreadable += 1
                return
            market, day = closing.market, closing.day.toordinal()
            self.days.take_closing(closing)
            self.closed[market] = max(day, self.closed.get(market, day))
            self.revisions[market] = max(closing.revision, self.revisions.get(market, 0))
            for partition, offset in closing.offsets.items():
                here = (market, int(partition))
                self.vouched[here] = max(offset, self.vouched.get(here, 0))
            for partition, offset in closing.recount.items():
                # Days only ever stop changing: the latest word is the highest.
                self.starts[int(partition)] = max(offset, self.starts.get(int(partition), 0))

    def take_dead_letter(self, record: Arrived, topic: str) -> None:
        found = letter(record)
        if found is not None and found.topic == topic:
            self.set_aside.add((found.partition, found.offset))

    def take_correction(self, record: Arrived) -> None:
        kept = message_of(record, SaleCorrection)
        if isinstance(kept, SaleCorrection):
            self.set_aside.add((kept.partition, kept.offset))

    def row(self, unit: str, day: int) -> UnitDay | None:
        """The row of a unit-day (ordinal) that holds: the one with the highest revision."""
        return _last(self.raw.get((market_of(unit).encode(), _text(day)), {}).get(unit.encode(), ()))

    def sold(self, market: str, day: int) -> list[str]:
        """The units of a market's day (ordinal) that have a row."""
        return [unit.decode() for unit in self.raw.get((market.encode(), _text(day)), ())]

    def rows(self, partition: int, partitions: int, sealed: Mapping[str, int]) -> dict[tuple[str, int], UnitDay]:
        """The rows of days that are not sealed, of the units of one sale partition, by unit and day (ordinal)."""
        last = {market.encode(): _text(day) for market, day in sealed.items() if day > 0}
        alone, found = list[bytes](), list[UnitDay | None]()
        for (market, day), units in self.raw.items():
            # As text, days compare like days.
            for unit, rows in units.items() if day > last.get(market, b"") else ():
                if partition_of(unit, partitions) != partition:
                    continue
                if len(rows) == 1:
                    alone.append(rows[0])
                else:
                    found.append(_last(rows))
        for first in range(0, len(alone), READ_AT_ONCE):
            some = alone[first : first + READ_AT_ONCE]
            found += [row for row in read_many(UnitDay, some) if isinstance(row, UnitDay)]
        return {(row.unit, row.day.toordinal()): row for row in found if row is not None}

    def dealt_with(self, sale: SaleCorrection) -> bool:
        """Whether a sale of a day that is sealed by now is in what was published.

        If not, a store that is lost counted it after the last row of its day, or never: it comes too late now.
        """
        if sale.offset < self.vouched.get((market_of(sale.sale.unit), sale.partition), 0):
            return True
        row = self.row(sale.sale.unit, sale.day.toordinal())
        return row is not None and (row.offset is None or sale.offset < row.offset)


def _is_text(key: bytes) -> bool:
    try:
        return bool(key.decode())
    except UnicodeDecodeError:
        return False


def _text(day: int) -> bytes:
    return date.fromordinal(day).isoformat().encode()


def _last(rows: Iterable[bytes]) -> UnitDay | None:
    readable = [row for row in read_many(UnitDay, list(rows)) if isinstance(row, UnitDay)]
    return max(readable, key=lambda row: (row.revision, row.offset or 0), default=None)


def begins(closed: Mapping[str, date], time_zones: Mapping[str, str], revision_days: int) -> datetime:
    """The first instant of the days that each market's last closed day leaves open to revisions. Pure.

    Of a day nothing is published before it begins: no row, no closing, and no correction of what came in it.
    """
    last = {(day, time_zones[market]) for market, day in closed.items()}
    return min(day_start(day - timedelta(days=revision_days - 1), time_zone) for day, time_zone in last)


def reaches_back(found: Published, time_zones: Mapping[str, str], revision_days: int, since: datetime) -> bool:
    """Whether what was published from an instant on tells all of the days that may still change. Pure."""
    closed = {market: date.fromordinal(found.closed[market]) for market in time_zones if market in found.closed}
    return (
        bool(closed) and len(closed) == len(time_zones) and since + MARGIN <= begins(closed, time_zones, revision_days)
    )


class Publications:
    """Reads it for one worker."""

    def __init__(self, parts: Parts, catalog: Catalog) -> None:
        self._parts = parts
        self._catalog = catalog
        self._lock = asyncio.Lock()
        #: what was read, and up to where in each topic
        self._held: tuple[Published, dict[TopicPartition, int]] | None = None
        self._whole = False
        self._forget: asyncio.TimerHandle | None = None

    async def read(self, consumer: AIOKafkaConsumer, *, whole: bool = False) -> Published:
        """All that is published by now of days that may still change, or of all days where ``whole``.

        ``consumer`` is assigned other partitions by it.
        """
        async with self._lock:
            found, reached = self._held or (None, {})
            if found is None or (whole and not self._whole):
                self._whole = whole
                found = await self._anew(consumer, reached)
            else:
                await self._read(consumer, found, reached, None)
            self._held = found, reached
            if self._forget is not None:
                self._forget.cancel()
            self._forget = asyncio.get_running_loop().call_later(KEEP_SECONDS, self._let_go)
            return found

    def _let_go(self) -> None:
        self._held = self._forget = None

    async def _anew(self, consumer: AIOKafkaConsumer, reached: dict[TopicPartition, int]) -> Published:
        """From an instant before which nothing was published of days that may still change: the closings show which."""
        settings, zones = self._parts.settings, self._catalog.time_zones
        watermark = self._parts.clock.now() - timedelta(seconds=settings.lateness_seconds)
        closed = {market: last_closed_day(watermark, zone) for market, zone in zones.items()}
        for spare in SPARE_DAYS if settings.clock == "wall" and closed and not self._whole else ():
            found, days = Published(), {market: day - timedelta(days=spare) for market, day in closed.items()}
            since = begins(days, zones, settings.revision_days) - MARGIN
            reached.clear()
            await self._read(consumer, found, reached, milliseconds(since))
            if reaches_back(found, zones, settings.revision_days, since):
                return found
        # Away for longer, or a market that has never closed: from the beginning.
        found = Published()
        reached.clear()
        await self._read(consumer, found, reached, None)
        return found

    async def _read(
        self, consumer: AIOKafkaConsumer, found: Published, reached: dict[TopicPartition, int], since_ms: int | None
    ) -> None:
        """Read on from where was ``reached``, or else from an instant on (rejected sales: from the beginning)."""
        parts = self._parts
        takes: dict[str, Callable[[Arrived], None]] = {
            parts.topic(PANEL): found.take_panel,
            parts.topic(SALE_CORRECTION): found.take_correction,
            parts.topic(DEAD_LETTER): lambda record: found.take_dead_letter(record, parts.topic(SALE)),
        }
        places = [place for topic in takes for place in partitions_of(topic, parts.settings)]
        ends = await consumer.end_offsets(places)
        if all(reached.get(place) == end for place, end in ends.items()):
            return
        consumer.assign(places)
        starts = await consumer.beginning_offsets(places)
        if since_ms is not None:
            recent = [place for place in places if place.topic != parts.topic(DEAD_LETTER)]
            for place, at in (await consumer.offsets_for_times(dict.fromkeys(recent, since_ms))).items():
                starts[place] = ends[place] if at is None else at.offset
        for place in places:
            seek_within(consumer, place, reached.get(place, 0), starts[place], ends[place])
        async for batches in read_up_to(consumer, ends, RECORDS_PER_POLL):
            for place, records in batches.items():
                take = takes[place.topic]
                for record in records:
                    take(record)
                found.records += len(records)
            parts.pulse.beat("sale")
        for place in places:
            reached[place] = await consumer.position(place)
        if found.unreadable:
            parts.log.warning("records skipped", topic=parts.topic(PANEL), unreadable=found.unreadable)
