"""What was folded from the sale topic, in this process's memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from controller.definition.field_types import MOST_A_DAY, from_milliseconds, milliseconds
from streams.store import CaughtUp, Cell, CountedBefore, DayFull, DirtyCell
from streams.store.restore_port import CountedDay


@dataclass(slots=True)
class Total:
    """A unit-day; ``published`` is its ``events`` when it was last published."""

    quantity: int = 0
    revenue_minor: int = 0
    cost_minor: int = 0
    costed: int = 0
    events: int = 0
    published: int = -1
    revision: int = 0
    late: int = 0

    def counted(self, market: str, day: int, unit: str) -> CountedDay:
        return CountedDay(
            market, day, unit,
            self.quantity, self.revenue_minor, self.cost_minor, self.costed, self.events, self.published, self.revision,
            self.late,
        )  # fmt: skip


class MemoryInputs:
    """The inputs of `streams.store.memory.store.MemoryStore`."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self.positions: dict[tuple[str, int], int] = {}
        #: what is remembered of rivals, by partition and experiment.version
        self.histories: dict[tuple[int, str], dict[str, str]] = {}
        #: inputs that are written back -> who may
        self.rebuilding: dict[tuple[str, int], str] = {}
        self.caught_up_at: dict[int, datetime] = {}
        self.counts: dict[int, str] = {}
        #: by market, day, unit and sale partition
        self.totals: dict[tuple[str, int, str, int], Total] = {}
        self.owed: set[tuple[str, int, str, int]] = set()
        #: by sale partition and day
        self.seen_ids: dict[tuple[int, int], set[bytes]] = {}
        #: by sale partition: (market, day) -> the offset from which it can be counted anew
        self.firsts: dict[int, dict[tuple[str, int], int]] = {}
        self.sealed_days: dict[int, dict[str, int]] = {}

    async def position(self, topic: str, partition: int) -> int:
        return self.positions.get((topic, partition), 0)

    def _advance(self, topic: str, partition: int, start: int, end: int) -> bool:
        """Compare and set: whether records [start, end) are the next ones."""
        if self.positions.get((topic, partition), 0) != start:
            return False
        self.positions[topic, partition] = end
        return True

    async def fold_sales(
        self, partition: int, start: int, end: int, cells: Sequence[Cell], ids: Sequence[tuple[int, bytes]] = ()
    ) -> bool:
        if self.positions.get(("sale", partition), 0) == start:
            if ("sale", partition) in self.rebuilding:
                return False
            sealed = self.sealed_days.get(partition, {})
            if any(cell.day <= sealed.get(cell.market, -1) for cell in cells):
                return False
            known = [place for place, (day, id) in enumerate(ids) if id in self.seen_ids.get((partition, day), ())]
            if known:
                raise CountedBefore(known)
            full = self._full(partition, cells)
            if full:
                raise DayFull(full)
        if self._advance("sale", partition, start, end):
            for day, id in ids:
                self.seen_ids.setdefault((partition, day), set()).add(id)
            for cell in cells:
                self.firsts.setdefault(partition, {}).setdefault((cell.market, cell.day), start)
                key = (cell.market, cell.day, cell.unit, partition)
                total = self.totals.setdefault(key, Total())
                total.quantity += cell.quantity
                total.revenue_minor += cell.revenue_minor
                total.cost_minor += cell.cost_minor
                total.costed += cell.costed
                total.events += cell.events
                self.owed.add(key)
        return await self.position("sale", partition) == end

    def _full(self, partition: int, cells: Sequence[Cell]) -> dict[tuple[str, int], tuple[int, int, int]]:
        found = {}
        for cell in cells:
            held = self.totals.get((cell.market, cell.day, cell.unit, partition), Total())
            sums = held.quantity, held.revenue_minor, held.cost_minor
            if max(a + b for a, b in zip(sums, (cell.quantity, cell.revenue_minor, cell.cost_minor), strict=True)) > (
                MOST_A_DAY
            ):
                found[cell.unit, cell.day] = sums
        return found

    def _seal(self, partition: int, last: Mapping[str, int]) -> None:
        sealed = self.sealed_days.setdefault(partition, {})
        sealed.update({market: max(day, sealed.get(market, day)) for market, day in last.items()})

    async def shut(self, last: Mapping[str, int]) -> None:
        for partition in range(self._partitions):
            self._seal(partition, last)

    async def seal(self, partition: int, last: Mapping[str, int]) -> None:
        self._seal(partition, last)
        firsts = self.firsts.setdefault(partition, {})
        owed = {(market, day) for market, day, _, p in self.owed if p == partition}
        gone = [(m, day) for m, day in firsts if day <= last.get(m, -1) and (m, day) not in owed]
        for place in gone:
            del firsts[place]
        for key in [key for key in self.totals if key[3] == partition and key[:2] in gone]:
            del self.totals[key]
        for day in {day for _, day in gone} - {day for _, day in firsts}:
            self.seen_ids.pop((partition, day), None)

    async def sealed(self, partition: int) -> dict[str, int]:
        return dict(self.sealed_days.get(partition, {}))

    async def recount_from(self) -> list[int]:
        return [
            min([self.positions.get(("sale", p), 0), *self.firsts.get(p, {}).values()]) for p in range(self._partitions)
        ]

    async def mark_caught_up(self, partition: int, position: int, at: datetime) -> bool:
        if self.positions.get(("sale", partition), 0) != position:
            return False
        self.caught_up_at[partition] = from_milliseconds(milliseconds(at))
        return True

    async def caught_up(self) -> list[CaughtUp]:
        return [
            CaughtUp(self.caught_up_at.get(p), self.positions.get(("sale", p), 0), self.counts.get(p, ""))
            for p in range(self._partitions)
        ]

    async def dirty(self, markets: Mapping[str, int]) -> list[DirtyCell]:
        found = []
        for key in sorted(self.owed):
            market, day, unit, partition = key
            if market in markets and day <= markets[market]:
                t = self.totals[key]
                found.append(
                    DirtyCell(
                        partition, market, day, unit,
                        t.quantity, t.revenue_minor, t.cost_minor, t.costed, t.events, t.revision,
                        self.positions.get(("sale", partition), 0), t.published, t.late,
                    )
                )  # fmt: skip
        return found

    async def cleaned(self, cells: Sequence[DirtyCell]) -> None:
        for cell in cells:
            key = (cell.market, cell.day, cell.unit, cell.partition)
            total = self.totals.get(key)
            if total is None:
                continue
            if total.published < cell.events:
                total.published = cell.events
                total.revision = max(total.revision, cell.revision) + 1
                total.late = cell.late
            if total.events == cell.events:
                self.owed.discard(key)

    async def unit_days(self, market: str, day: int) -> list[CountedDay]:
        return [total.counted(m, d, unit) for (m, d, unit, _), total in self.totals.items() if (m, d) == (market, day)]
