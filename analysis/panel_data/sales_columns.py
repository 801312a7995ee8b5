"""A market's sales as columns: one array a day, one slot a unit; what was read last of a unit-day stands.

24 bytes of money and counts and 12 of bookkeeping a cell. Order of arrival does not matter: a row replaces what is
there only if its (revision, events) is higher, and everything that is added up is an integer. A unit-day that the panel
names as unsold has no row: it is a zero, or missing with a reason, until a row of it is read.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from analysis.panel_data.panel import IntArray

#: in the cost column: not every sale of the unit-day has a known cost
UNKNOWN = -1
#: in the revision column: nothing was read of the unit-day
NO_ROW = -1
#: slots that a day gets beyond the units known so far
SPARE = 64

Column = IntArray | NDArray[np.int32]


class Unseen(IntEnum):
    """Why no outcome of a unit-day is known."""

    #: it is known
    OBSERVED = 0
    #: nothing was read of it, and its closing does not say why: it was written before zeros were
    UNOBSERVED = 1
    #: its feed said nothing at all on a day on which it sells for certain
    FEED_SILENT = 2
    #: its catalog entry says that it could not be bought
    CLOSED = 3
    #: the catalog did not list it for the whole day
    UNLISTED = 4


#: reasons of the panel's records, in the order by which the revision column spells them
MISSING: tuple[Unseen, ...] = (Unseen.FEED_SILENT, Unseen.CLOSED)


def spelled_missing(reason: Unseen, revision: int) -> int:
    """What the revision column holds of a unit-day that a record of this revision names as missing: under NO_ROW."""
    return -2 - (len(MISSING) * revision + MISSING.index(reason))


def unseen(revision: NDArray[np.int32], otherwise: Unseen) -> NDArray[np.int8]:
    """(n,) `Unseen` of each cell of a revision column; ``otherwise``: what it is where nothing was read."""
    found = np.zeros(len(revision), dtype=np.int8)
    absent = revision < 0
    if absent.any():
        found[absent] = otherwise
        named = revision < NO_ROW
        found[named] = np.array(MISSING, dtype=np.int8)[(-2 - revision[named]) % len(MISSING)]
    return found


@dataclass(slots=True)
class Day:
    """The unit-days of one market and day; every array has one slot a unit, in the order of the market's units."""

    quantity: IntArray
    revenue: IntArray
    #: UNKNOWN where not every cost is known
    cost: IntArray
    #: sale events folded in
    events: NDArray[np.int32]
    #: of the row, or of the record that names the zero (``events`` is 0); below NO_ROW where one names it as missing
    revision: NDArray[np.int32]
    #: events that arrived after the day had been closed
    late: NDArray[np.int32]
    #: how many slots hold a row, their events, and how many hold a zero, or a reason why nothing is known: what the
    #: day's closing is held against
    rows: int = 0
    total_events: int = 0
    zeros: int = 0
    missing: int = 0

    def columns(self) -> tuple[Column, ...]:
        """The six arrays, in the order of a snapshot."""
        return self.quantity, self.revenue, self.cost, self.events, self.revision, self.late

    def count_unsold(self) -> None:
        """Count zeros and missing unit-days from the columns."""
        self.zeros = int(((self.revision >= 0) & (self.events == 0)).sum())
        self.missing = int((self.revision < NO_ROW).sum())


def empty_day(units: int) -> Day:
    """A day of which nothing was read."""
    return Day(
        np.zeros(units, dtype=np.int64),
        np.zeros(units, dtype=np.int64),
        np.full(units, UNKNOWN, dtype=np.int64),
        np.zeros(units, dtype=np.int32),
        np.full(units, NO_ROW, dtype=np.int32),
        np.zeros(units, dtype=np.int32),
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

    def slots_of(self, units: Iterable[str]) -> IntArray:
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
        late: int = 0,
    ) -> bool:
        """Take a row in; False where one as new is there already.

        A worker that died between publishing and noting it counts on under the same revision: then more events win.
        """
        slot = self.slots.get(unit)
        if slot is None:
            slot = self.slot(unit)
        held = self._room(day, slot)
        before, counted = held.revision.item(slot), held.events.item(slot)
        if before >= 0 and counted:
            if (before, counted) >= (revision, events):
                return False
            held.total_events -= counted
        else:
            held.rows += 1
            held.zeros -= before >= 0
            held.missing -= before < NO_ROW
        held.quantity[slot] = quantity
        held.revenue[slot] = revenue_minor
        held.cost[slot] = UNKNOWN if cost_minor is None else cost_minor
        held.events[slot] = events
        held.revision[slot] = revision
        held.late[slot] = late
        held.total_events += events
        return True

    def put_unsold(self, units: Iterable[str], day: date, revision: int, reason: Unseen = Unseen.OBSERVED) -> bool:
        """Take in units that the panel names as unsold: zeros, or missing for a reason; False where nothing is new.

        A row stands above them, whatever its revision; of two such records that of the higher revision.
        """
        slots = self.slots_of(units)
        if not len(slots):
            return False
        held = self._room(day, int(slots.max()))
        found = held.revision[slots]
        # The revision of what is there: a row's counts as the highest.
        standing = np.where(found >= 0, found, (-2 - found) // len(MISSING))
        newer = (found == NO_ROW) | (standing < revision)
        newer &= held.events[slots] == 0
        taken = slots[newer]
        if not len(taken):
            return False
        held.revision[taken] = revision if reason is Unseen.OBSERVED else spelled_missing(reason, revision)
        held.cost[taken] = 0 if reason is Unseen.OBSERVED else UNKNOWN
        held.zeros -= int((found[newer] >= 0).sum())
        held.missing -= int((found[newer] < NO_ROW).sum())
        if reason is Unseen.OBSERVED:
            held.zeros += len(taken)
        else:
            held.missing += len(taken)
        return True

    def _room(self, day: date, slot: int) -> Day:
        """The columns of a day, with room for a slot."""
        held = self.days.get(day)
        if held is None:
            held = self.days[day] = empty_day(max(len(self.slots), slot + 1) + SPARE)
        elif slot >= len(held.revision):
            held = self.days[day] = _grown(held, max(len(self.slots) + SPARE, 2 * len(held.revision)))
        return held

    def met(self, day: date, unit_days: int, events: int, zeros: int = 0, missing: int = 0) -> bool:
        """Whether all that a closing promises of a day was read."""
        held = self.days.get(day)
        if held is None:
            return unit_days == events == zeros == missing == 0
        observed = held.rows + held.zeros
        return (
            held.rows >= unit_days
            and held.total_events >= events
            and observed >= unit_days + zeros
            and observed + held.missing >= unit_days + zeros + missing
        )

    def read(self, day: date, slots: IntArray) -> Day:
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
    larger.rows, larger.total_events, larger.zeros, larger.missing = day.rows, day.total_events, day.zeros, day.missing
    return larger
