"""Folding sales: what becomes of each record of a batch, before anything of it is written."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from operator import itemgetter
from typing import NamedTuple, Protocol

from xxhash import xxh3_128_digest

from controller.definition.field_types import EARLIEST, LATEST, MOST_A_DAY, instant_of, market_of, stamped_at
from controller.errors import UnreadableMessage
from controller.messages.codec import READ_AT_ONCE, read, read_all
from controller.messages.events import SaleCorrection
from controller.messages.inputs import CatalogEntry, Sale, SaleRow
from controller.outcomes.unit_days import UnitDayTotal
from controller.time.periods import local_day, period_at
from streams.closing.late_corrections import late_correction
from streams.kafka.dead_letters import Incoming, Rejected, unreadable
from streams.store import DIGEST_BYTES, Cell
from streams.worker.services import partition_of

#: unit-days, and ids, after which a batch takes no more reads: keeps a script to a few milliseconds
CELLS_PER_CALL = 1000
IDS_PER_CALL = 4000
#: unit, and proleptic ordinal of its local day
Place = tuple[str, int]
NOWHERE: Place = ("", 0)
#: of a row, what every sale has
NEEDED = itemgetter("unit", "currency", "occurred_at", "id", "quantity", "price_minor")
LONG_AGO, DAY_MS = datetime(1, 1, 2, tzinfo=UTC), 86_400_000


class Arrived(Incoming, Protocol):
    """A record with the instant at which the broker got it, in milliseconds."""

    @property
    def timestamp(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides whether a sale is counted, and where: the same answer whenever it is asked again."""

    #: the last entry of every unit that ever was
    catalog: Mapping[str, CatalogEntry]
    #: partitions of the sale topic
    partitions: int
    #: market -> the last local day (ordinal) that takes no more sales
    sealed: Mapping[str, int] = field(default_factory=dict)
    #: market -> the last closed day (ordinal); corrections tell it
    closed: Mapping[str, int] = field(default_factory=dict)
    #: whether ids are compared
    deduplicate: bool = True
    #: how far a sale's instant may lie ahead of its arrival, and before it; None: anywhere
    future_ms: int | None = None
    past_ms: int | None = None
    #: what was found out about units before, kept from batch to batch
    homes: dict[str, "Home"] = field(default_factory=dict)


@dataclass(slots=True)
class Home:
    """What does not change from sale to sale of a unit, and the local day of its latest."""

    entry: CatalogEntry
    currency: str
    market: str
    partition: int
    start: datetime = LONG_AGO
    end: datetime = LONG_AGO
    place: Place = NOWHERE
    #: the same bounds as text in UTC, as far as its seconds
    since: str = ""
    until: str = ""

    def turn_to(self, at: datetime) -> None:
        """Turn to the local day that holds an instant; raises OverflowError where the calendar ends."""
        today = period_at(at, self.entry.time_zone)
        self.start, self.end = max(today.start, EARLIEST), min(today.end, LATEST)
        self.place = (self.entry.unit, today.day.toordinal())
        # Between the 28th of February and the 1st of March there is text that is no day at all.
        whole = self.start.month == self.end.month
        self.since, self.until = (in_utc(self.start), in_utc(self.end)) if whole else ("", "")


def in_utc(instant: datetime) -> str:
    """An instant of UTC as text, as far as its seconds: what is spelled so, and ends in Z, sorts as instants do."""
    return instant.isoformat()[:19]


class Counted(NamedTuple):
    """A sale that is to be counted, without the fields that are not needed any more."""

    place: Place
    #: None where ids are not compared
    id: bytes | None
    quantity: int
    price_minor: int
    cost_minor: int | None


@dataclass(slots=True)
class SaleBatch:
    """Records of one partition, judged but not yet applied. ``end`` is the offset after the last of them."""

    start: int
    end: int
    counted: list[Counted] = field(default_factory=list)
    #: sales that repeat an id
    doubled: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    corrections: list[SaleCorrection] = field(default_factory=list)

    def cells(self) -> list[Cell]:
        """What the counted sales add to unit-days."""
        totals = dict[Place, UnitDayTotal]()
        for place, _, quantity, price_minor, cost_minor in self.counted:
            total = totals.get(place)
            if total is None:
                total = totals[place] = UnitDayTotal()
            total.add(quantity, price_minor, cost_minor)
        return [
            Cell(market_of(unit), day, unit, t.quantity, t.revenue_minor, t.cost_minor, t.costed, t.events)
            for (unit, day), t in totals.items()
        ]

    def ids(self) -> list[tuple[int, bytes]]:
        """Day and digest of each counted sale, in its order; empty where ids are not compared."""
        return [(place[1], identity) for place, identity, _, _, _ in self.counted if identity is not None]

    def without(self, which: Iterable[int]) -> "SaleBatch":
        """The batch without the counted sales at these places: they were counted before."""
        gone = frozenset(which)
        left = [counted for place, counted in enumerate(self.counted) if place not in gone]
        return replace(self, counted=left, doubled=self.doubled + len(gone))


Judged = Counted | Rejected | SaleCorrection


def digest(unit: str, id: str) -> bytes:
    """What is remembered of a sale's id. With its unit, because a till may number the lines of a receipt alike."""
    # Shortens, protects nothing: a cryptographic one takes four times as long.
    return xxh3_128_digest(f"{unit}\n{id}".encode())[:DIGEST_BYTES]


def fold(records: Sequence[Arrived], start: int, rules: Rules) -> tuple[SaleBatch, int]:
    """Judge records until the batch is full; returns it with the number of records used. O(records).

    Records before ``start`` are passed over: they are counted already.
    """
    batch, seen, places = SaleBatch(start, start), set[bytes](), set[Place]()
    counted = batch.counted
    used = next((place for place, record in enumerate(records) if record.offset >= start), len(records))
    while used < len(records) and len(places) < CELLS_PER_CALL and len(seen) < IDS_PER_CALL:
        some = records[used : used + READ_AT_ONCE]
        for judged in judge_all(some, rules):
            if type(judged) is Counted:
                place, identity, _, _, _ = judged
                if identity in seen:
                    batch.doubled += 1
                    continue
                if identity is not None:
                    seen.add(identity)
                places.add(place)
                counted.append(judged)
            elif isinstance(judged, SaleCorrection):
                batch.corrections.append(judged)
            elif isinstance(judged, Rejected):
                batch.rejected.append(judged)
        used += len(some)
        batch.end = some[-1].offset + 1
    return batch, used


def judge_all(records: Sequence[Arrived], rules: Rules) -> list[Judged]:
    """What becomes of each record, but for whether its id was counted before."""
    found: list[Judged] = []
    for start in range(0, len(records), READ_AT_ONCE):
        some = records[start : start + READ_AT_ONCE]
        rows = read_all(SaleRow, [record.value for record in some])
        found += (judge(record, rules) for record in some) if rows is None else _judge_rows(rows, some, rules)
    return found


def _judge_rows(rows: Sequence[SaleRow], records: Sequence[Arrived], rules: Rules) -> list[Judged]:
    """What `judge` says of sales, by a few comparisons of those that are as they nearly always are."""
    latest, oldest = LATEST, -1
    if rules.future_ms is not None or rules.past_ms is not None:
        stamps = [record.timestamp for record in records]
        first, last = stamped_at(min(stamps)), stamped_at(max(stamps))
        if first is None or last is None:
            return [judge(record, rules) for record in records]
        if rules.future_ms is not None:
            latest = min(first + timedelta(milliseconds=rules.future_ms), LATEST)
        if rules.past_ms is not None:
            # Days that begin after it in every zone are not too old; of the others each sale is asked.
            oldest = last.toordinal() - rules.past_ms // DAY_MS + 2
    soon = in_utc(latest)
    homes, catalog, sealed, deduplicate = rules.homes, rules.catalog, rules.sealed, rules.deduplicate
    last_sealed = max(max(sealed.values(), default=-1), oldest)
    found: list[Judged] = []
    # A named tuple made by its own constructor takes twice as long.
    new, add = tuple.__new__, found.append
    for row, record in zip(rows, records, strict=True):
        unit, currency, spelled, id, quantity, price_minor = NEEDED(row)
        home = homes.get(unit)
        if home is None or home.entry is not catalog.get(unit):
            home = _settle(unit, rules)
        if home is not None and currency == home.currency and record.partition == home.partition:
            # Three comparisons of text cost a third of reading it; what they cannot decide is read.
            if not (home.since <= spelled < home.until and spelled < soon and spelled[-1] == "Z"):
                try:
                    # Instants of one zone object compare ten times as fast as those of two.
                    at = instant_of(spelled)
                    if not home.start <= at < home.end:
                        home.turn_to(at)
                except (ValueError, OverflowError):  # no instant, or the calendar ends there
                    add(judge(record, rules))
                    continue
                if at > latest:
                    add(judge(record, rules))
                    continue
            day = (place := home.place)[1]
            cost_minor = row.get("cost_minor")
            # A price is at most 10**12.
            fits = quantity <= 1000 or quantity * max(price_minor, cost_minor or 0) <= MOST_A_DAY
            if fits and (day > last_sealed or (day > oldest and day > sealed.get(home.market, -1))):
                identity = digest(unit, id) if deduplicate else None
                add(new(Counted, (place, identity, quantity, price_minor, cost_minor)))
                continue
        add(judge(record, rules))
    return found


def _settle(unit: str, rules: Rules) -> Home | None:
    entry = rules.catalog.get(unit)
    if entry is None:
        return None
    home = Home(entry, entry.currency, market_of(unit), partition_of(unit.encode(), rules.partitions))
    rules.homes[unit] = home
    return home


def judge(record: Arrived, rules: Rules) -> Judged:
    """What becomes of one record, but for whether its id was counted before."""
    try:
        sale = read(Sale, record.value or b"")
    except UnreadableMessage as error:
        return unreadable(record, error)
    entry = rules.catalog.get(sale.unit)
    if entry is None:
        return Rejected(record, "unknown-unit", f"{sale.unit} is not in the catalog")
    if sale.currency != entry.currency:
        return Rejected(
            record, "currency", f"{sale.unit} is priced in {entry.currency}, this sale is in {sale.currency}"
        )
    home = partition_of(sale.unit.encode(), rules.partitions)
    if home != record.partition:
        said = f"sales of {sale.unit} belong into partition {home} (murmur2), this one lies in {record.partition}"
        return Rejected(record, "partition", said)
    if rules.future_ms is not None and sale.occurred_at.timestamp() * 1000 > record.timestamp + rules.future_ms:
        ahead = sale.occurred_at.timestamp() - record.timestamp / 1000
        return Rejected(record, "future", f"occurred_at {sale.occurred_at} lies {ahead:.0f} s ahead of its arrival")
    if rules.past_ms is not None and sale.occurred_at.timestamp() * 1000 < record.timestamp - rules.past_ms:
        said = f"occurred_at {sale.occurred_at} lies more than {rules.past_ms // DAY_MS} days before its arrival"
        return Rejected(record, "past", f"{said}; if it is meant, raise FLIPSIDE_PAST_DAYS and redrive it")
    day = local_day(sale.occurred_at, entry.time_zone).toordinal()
    market = market_of(sale.unit)
    if day <= rules.sealed.get(market, -1):
        closed_through, identity = rules.closed.get(market, day), digest(sale.unit, sale.id)
        return late_correction(sale, identity, day, closed_through, record.partition, record.offset)
    compared = digest(sale.unit, sale.id) if rules.deduplicate else None
    return Counted((sale.unit, day), compared, sale.quantity, sale.price_minor, sale.cost_minor)


def fitted(
    batch: SaleBatch, records: Sequence[Arrived], rules: Rules, held: Mapping[Place, tuple[int, int, int]]
) -> tuple[SaleBatch, list[Rejected]]:
    """The batch without the sales that their unit-day cannot hold, and those sales.

    One after the other, in their order: what fits is counted, and the answer does not depend on where a batch ends.
    ``records``: those of the batch; ``held``: quantity, revenue and cost of the unit-days that are full.
    """
    of = dict[Counted, list[Arrived]]()
    for record, judged in zip(records, judge_all(records, rules), strict=True):
        if record.offset >= batch.start and isinstance(judged, Counted) and judged.place in held:
            of.setdefault(judged, []).append(record)
    sums, gone, rejected = dict(held), list[int](), list[Rejected]()
    for number, counted in enumerate(batch.counted):
        place, _, quantity, price_minor, cost_minor = counted
        if place not in sums:
            continue
        more = (quantity, quantity * price_minor, quantity * (cost_minor or 0))
        after = tuple(a + b for a, b in zip(sums[place], more, strict=True))
        if max(after) <= MOST_A_DAY:
            sums[place] = (after[0], after[1], after[2])
            continue
        gone.append(number)
        unit, day = place
        said = f"with it, {unit} would have sold, taken or cost more than {MOST_A_DAY} on {date.fromordinal(day)}"
        rejected.append(Rejected(of[counted].pop(0), "sum", f"{said}; correct what was said before, or this"))
    left = frozenset(gone)
    kept = [counted for number, counted in enumerate(batch.counted) if number not in left]
    return replace(batch, counted=kept), rejected
