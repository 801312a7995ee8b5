"""A market's sales as columns: one array a day, one slot a unit; what was read last of a unit-day stands.

24 bytes of money and counts and 8 of bookkeeping a cell. Order of arrival does not matter: a row replaces what is there
only if its (revision, events) is higher, and everything that is added up is an integer.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

#: in the cost column: not every sale of the unit-day has a known cost
UNKNOWN = -1
#: in the revision column: no row was read
NO_ROW = -1
#: slots that a day gets beyond the units known so far
SPARE = 64

Column = NDArray[np.int64] | NDArray[np.int32]


@dataclass(slots=True)
class Day:
    """The unit-days of one market and day; every array has one slot a unit, in the order of the market's units."""

    quantity: NDArray[np.int64]
    revenue: NDArray[np.int64]
    #: UNKNOWN where not every cost is known
    cost: NDArray[np.int64]
    #: sale events folded in
    events: NDArray[np.int32]
    #: NO_ROW where nothing was read
    revision: NDArray[np.int32]
    #: how many slots hold a row, and their events: what the day's closing is held against
    rows: int = 0
    total_events: int = 0

    def columns(self) -> tuple[Column, ...]:
        """The five arrays, in the order of a snapshot."""
        return self.quantity, self.revenue, self.cost, self.events, self.revision


def empty_day(units: int) -> Day:
    """A day of which nothing was read."""
    return Day(
        np.zeros(units, dtype=np.int64),
        np.zeros(units, dtype=np.int64),
        np.full(units, UNKNOWN, dtype=np.int64),
        np.zeros(units, dtype=np.int32),
        np.full(units, NO_ROW, dtype=np.int32),
    )


class Rows:
    """All unit-days read of a market."""

    def __init__(self) -> None:
        #: unit -> its slot
        self.slots: dict[str, int] = {}
        self.days: dict[date, Day] = {}

    def slot(self, unit: str) -> int:
        """The slot of a unit; a new one gets the next."""
        return self.slots.setdefault(unit, len(self.slots))

    def slots_of(self, units: Iterable[str]) -> NDArray[np.int64]:
        """(U,) the slots of units."""
        wanted = tuple(units)
        found = [slot for unit in wanted if (slot := self.slots.get(unit)) is not None]
        if len(found) < len(wanted):
            found = [self.slot(unit) for unit in wanted]
        return np.array(found, dtype=np.int64)

    def put(
        self,
        unit: str,
        day: date,
        quantity: int,
        revenue_minor: int,
        cost_minor: int | None,
        events: int,
        revision: int,
    ) -> bool:
        """Take a row in; False where one as new is there already.

        A worker that died between publishing and noting it counts on under the same revision: then more events win.
        """
        slot = self.slots.get(unit)
        if slot is None:
            slot = self.slot(unit)
        held = self.days.get(day)
        if held is None:
            held = self.days[day] = empty_day(len(self.slots) + SPARE)
        elif slot >= len(held.revision):
            held = self.days[day] = _grown(held, max(len(self.slots) + SPARE, 2 * len(held.revision)))
        before, counted = held.revision.item(slot), held.events.item(slot)
        if before != NO_ROW:
            if (before, counted) >= (revision, events):
                return False
            held.total_events -= counted
        else:
            held.rows += 1
        held.quantity[slot] = quantity
        held.revenue[slot] = revenue_minor
        held.cost[slot] = UNKNOWN if cost_minor is None else cost_minor
        held.events[slot] = events
        held.revision[slot] = revision
        held.total_events += events
        return True

    def met(self, day: date, unit_days: int, events: int) -> bool:
        """Whether all that a closing promises of a day was read."""
        held = self.days.get(day)
        return (held.rows >= unit_days and held.total_events >= events) if held else unit_days == 0 and events == 0

    def read(self, day: date, slots: NDArray[np.int64]) -> Day:
        """The day's columns for some units, in their order; empty where nothing was read."""
        held = self.days.get(day)
        if held is None:
            return empty_day(len(slots))
        if len(slots) and int(slots.max()) >= len(held.revision):
            held = self.days[day] = _grown(held, len(self.slots) + SPARE)
        return Day(*(column[slots] for column in held.columns()))  # type: ignore[arg-type]


def _grown(day: Day, units: int) -> Day:
    larger = empty_day(units)
    for new, old in zip(larger.columns(), day.columns(), strict=True):
        new[: len(old)] = old
    larger.rows, larger.total_events = day.rows, day.total_events
    return larger
