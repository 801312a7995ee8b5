"""One experiment's unit-days as integer arrays: what was sold, and under which arm, or why a cell cannot be used."""

from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import IntEnum
from functools import lru_cache
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from analysis.panel_data.design_facts import method_of
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from analysis.panel_data.sales_columns import UNKNOWN, Rows, Unseen
from controller.decisions.roster import Roster
from controller.definition.metrics import METRICS, Metric
from controller.time.periods import period

Cells = NDArray[Any]
#: days before the start that are kept, to measure changes against: eight weeks, older ones tell little of today
PRE_PERIOD_DAYS = 56
#: live arm of a unit-day: none was reported; an arm of another experiment, or none for most of the day
NOT_REPORTED, OTHER_ARM = -1, 100

#: what stands in a cell of which nothing was read, by array; amounts get twice the room where one needs it
EMPTY: dict[str, np.generic] = {
    "state": np.int8(-6),
    "observed": np.bool_(False),
    "unseen": np.int8(Unseen.UNOBSERVED),
    "quantity": np.int32(0),
    "revenue": np.int32(0),
    "cost": np.int32(0),
    "events": np.int16(0),
    "late": np.int16(0),
    "corrected": np.bool_(False),
    "live": np.int8(NOT_REPORTED),
    "out_of_stock": np.int8(-1),
    "stale_hours": np.float32(np.nan),
}

#: kinds of numbers that an array is widened from where one of its values needs it
NARROW = (np.int16, np.int32)

__all__ = [
    "METRICS", "NOT_REPORTED", "OTHER_ARM", "PRE_PERIOD_DAYS", "UNKNOWN", "Metric", "State", "Study", "UnitDays",
    "Unseen", "number_of", "numbers", "outcome",
]  # fmt: skip


@lru_cache(maxsize=1 << 16)
def number_of(name: str) -> int:
    """A name as a number that does not depend on what was read before it."""
    return crc32(name.encode())


class State(IntEnum):
    """Why a unit-day has no arm that may be counted. Arms themselves are 0 (control) and up."""

    UNDELIVERED = -1
    PARTIAL = -2
    BLACKOUT = -3
    RELEASED = -4
    WASHOUT = -5
    UNSETTLED = -6
    LIMIT = -7
    DROPPED = -8
    #: before the start, at list price: nothing to compare, but to forecast from
    PRE_PERIOD = -9
    #: before the start, while another experiment held the unit
    OTHER_EXPERIMENT = -10
    #: out of stock at some time of the day, where the definition leaves such unit-days out
    SOLD_OUT = -11


@dataclass(frozen=True, slots=True)
class UnitDays:
    """The unit-days of an experiment up to a day: arrays of shape (T, U), days in order, units sorted.

    They begin with the pre-period, as far back as anything was read of it.
    """

    #: the day of row 0
    first_day: date
    #: rows of the pre-period
    before: int
    #: (U,), 0 to G - 1
    cluster: IntArray
    #: index of the arm, or a State
    state: NDArray[np.int8]
    #: the same before washout is marked: what was assigned
    assigned: NDArray[np.int8]
    #: whether an outcome is known: the panel has a row, or names the unit-day as a zero
    observed: BoolArray
    #: `Unseen`: why not
    unseen: NDArray[np.int8]
    quantity: NDArray[np.integer]
    revenue: NDArray[np.integer]
    #: UNKNOWN where not every cost is known
    cost: NDArray[np.integer]
    #: sale events; 0 in an observed cell is a day without a sale
    events: NDArray[np.integer]
    #: those of them that arrived after the day had been closed
    late: NDArray[np.integer]
    #: whether the row replaced one that had been published, or a zero
    corrected: BoolArray
    #: arm that was live, OTHER_ARM or NOT_REPORTED
    live: NDArray[np.int8]
    #: 1 where out of stock at some time of the day, 0 where not, -1 where the catalog said nothing
    out_of_stock: NDArray[np.int8]
    #: age of the newest price of a rival, NaN where none is known
    stale_hours: NDArray[np.float32]

    def until(self, day: date) -> "UnitDays":
        """The rows up to a day."""
        rows = (day - self.first_day).days + 1
        per_day = (
            "state",
            "assigned",
            "observed",
            "unseen",
            "quantity",
            "revenue",
            "cost",
            "events",
            "late",
            "corrected",
            "live",
            "out_of_stock",
            "stale_hours",
        )
        return replace(self, **{name: getattr(self, name)[:rows] for name in per_day})


class Study:
    """A registered experiment and its unit-days: 26 bytes a cell, more where an amount needs it."""

    def __init__(self, registered: Roster, registered_at: datetime) -> None:
        experiment = registered.experiment
        self.roster = registered
        self.registered_at = registered_at
        self.key = (experiment.name, experiment.version)
        #: as assignments name it and its arms
        self.number = number_of(experiment.plan_name)
        self.arm_numbers = {number_of(arm.name): index for index, arm in enumerate(experiment.arms)}
        self.arms = {arm.name: index for index, arm in enumerate(experiment.arms)}
        self.first_day, self.last_day = experiment.start, experiment.end - timedelta(days=1)
        self._first_row = self.first_day - timedelta(days=PRE_PERIOD_DAYS)
        self._method = method_of(experiment)
        #: sorted by market, then by name: every market is one run of columns
        self.units = tuple(unit for market in sorted(registered.units) for unit in registered.units[market])
        #: market -> where its units stand
        self.columns: dict[str, slice] = {}
        begin = 0
        for market in sorted(registered.units):
            self.columns[market] = slice(begin, begin + len(registered.units[market]))
            begin += len(registered.units[market])
        numbers = {cluster: number for number, cluster in enumerate(registered.clusters)}
        self.cluster = np.array([numbers[registered.cluster_of[unit]] for unit in self.units], dtype=np.int64)
        self._slots: dict[str, IntArray] = {}
        #: the day of each row
        self._days: list[date] = []
        self._settled: defaultdict[str, set[date]] = defaultdict(set)
        #: everything that was sold in the rows before this one is settled in all markets
        self._settled_rows = 0
        #: revisions of the rows and the closing of each market's day, added up; and these by day
        self._revisions: dict[tuple[str, date], int] = {}
        self._revised: defaultdict[date, int] = defaultdict(int)
        #: market and day -> seconds from midnight to each activation
        self.lags: dict[tuple[str, date], NDArray[np.float32]] = {}
        #: what its running sequences added up so far: `BlockSums` of the room above, kept with the days they rest on
        self.sums: dict[tuple[Metric, int], Any] = {}
        #: earliest row written since `changed_since_asked`
        self._changed: int | None = None
        #: rows from the first to the last day of which anything was read; memory of the others is never touched
        self._held = range(PRE_PERIOD_DAYS, PRE_PERIOD_DAYS)
        #: earliest row with a unit-day
        self._first_seen = PRE_PERIOD_DAYS
        shape = (PRE_PERIOD_DAYS + experiment.days, len(self.units))
        self._arrays: dict[str, NDArray[Any]] = {name: np.empty(shape, type(empty)) for name, empty in EMPTY.items()}

    def slots(self, market: str, rows: Rows) -> IntArray:
        """(n,) where the units of a market stand in its rows."""
        if market not in self._slots:
            self._slots[market] = rows.slots_of(self.roster.units[market])
        return self._slots[market]

    def _row(self, day: date) -> int:
        return (day - self._first_row).days

    def unsettle(self, market: str, day: date) -> None:
        """Something was read that touches a market's day."""
        self._settled[market].discard(day)
        self._settled_rows = min(self._settled_rows, max(self._row(day), 0))

    def unsettle_from(self, market: str, day: date) -> None:
        """Something was read that may touch every day of a market from ``day`` on."""
        settled = self._settled[market]
        if settled and max(settled) >= day:
            self._settled[market] = {other for other in settled if other < day}
            self._settled_rows = min(self._settled_rows, max(self._row(day), 0))

    def settled_through(self, day: date) -> None:
        """All that was :meth:`unsettled` up to a day is written: the rows before it are not gone through again."""
        self._settled_rows = max(self._settled_rows, self._row(day) + 1)

    def unsettled(self, through: date, sold: Callable[[str], Container[date]]) -> Iterator[tuple[str, date]]:
        """The market-days up to ``through`` that must be written (again); of the pre-period only those ``sold``."""
        while len(self._days) <= self._row(through):
            self._days.append(self._first_row + timedelta(days=len(self._days)))
        days = self._days[self._settled_rows : self._row(through) + 1]
        if not days:
            return
        for market in self.roster.units:
            settled, before = self._settled[market], sold(market)
            for day in days:
                if day not in settled and (day >= self.first_day or day in before):
                    yield market, day

    def write(self, day: date, columns: slice, cells: Mapping[str, NDArray[Any]]) -> None:
        """Settle a day of one market, or of all: the arms or States, the sales and the live arms of its units."""
        row = self._row(day)
        self._hold(row, columns.stop - columns.start == len(self.units))
        if row < self._first_seen and cells["observed"].any():
            self._first_seen = row
        for name, values in cells.items():
            self._room(name, values)[row, columns] = values
        self._changed = row if self._changed is None else min(row, self._changed)

    def note(self, market: str, day: date, revised: int, lags: NDArray[np.float32]) -> None:
        """A market's day is settled: how often its rows and its closing were revised, and how late its arms came."""
        if len(lags):
            self.lags[market, day] = lags
        else:
            self.lags.pop((market, day), None)
        self._revised[day] += revised - self._revisions.get((market, day), 0)
        self._revisions[market, day] = revised
        self._settled[market].add(day)

    def _hold(self, row: int, written: bool = False) -> None:
        """Empty the rows up to one that were not held before; not that one where all of it will be ``written``."""
        if row in self._held:
            return
        begin, end = min(self._held.start, row), max(self._held.stop, row + 1)
        if written:
            begin, end = (begin + 1, end) if row == begin else (begin, end - 1)
        for name, array in self._arrays.items():
            array[begin : self._held.start] = EMPTY[name]
            array[self._held.stop : end] = EMPTY[name]
        self._held = range(min(begin, row), max(end, row + 1))

    def _room(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        """The array, with as much more room as the values need."""
        held = self._arrays[name]
        if held.dtype in NARROW and values.dtype != held.dtype and values.size:
            least = np.result_type(held.dtype, np.min_scalar_type(values.min()), np.min_scalar_type(values.max()))
            if least != held.dtype:
                larger = np.empty(held.shape, dtype=np.int64 if least.itemsize > 4 else np.int32)
                rows = slice(self._held.start, self._held.stop)
                larger[rows] = held[rows]
                held = self._arrays[name] = larger
        return held

    def changed_since_asked(self) -> date | None:
        """The earliest day that was written since this was asked last; None where none was."""
        changed, self._changed = self._changed, None
        return None if changed is None else self._first_row + timedelta(days=changed)

    def lags_until(self, through: date) -> NDArray[np.float32]:
        """Seconds from midnight to each change that took a unit to its arm, up to a day."""
        found = [lags for (_, day), lags in sorted(self.lags.items()) if self.first_day <= day <= through]
        return np.concatenate(found) if found else np.zeros(0, dtype=np.float32)

    def days(self, after: date | None, through: date) -> Iterator[date]:
        """The days after one and up to another that exist in at least one market."""
        day = self.first_day if after is None else max(self.first_day, after + timedelta(days=1))
        while day <= through:
            if any(period(day, zone).exists for zone in self.roster.time_zones.values()):
                yield day
            day += timedelta(days=1)

    def revision(self, through: date) -> int:
        """How often the unit-days and closings up to a day were revised: a function of the data, not of its order."""
        return sum(count for day, count in self._revised.items() if day <= through)

    def unit_days(self, through: date) -> UnitDays:
        """The unit-days up to a day, washed-out ones marked; settle them first."""
        self._hold(self._row(through))
        before = PRE_PERIOD_DAYS - self._first_seen
        upto = {name: array[self._first_seen : self._row(through) + 1] for name, array in self._arrays.items()}
        state = upto["state"]
        washed = self._method.washout(self.roster.experiment, state[before:])
        if washed.any():
            state = state.copy()
            during = state[before:]
            np.copyto(during, np.int8(State.WASHOUT), where=washed & (during >= 0))
        return UnitDays(
            first_day=self.first_day - timedelta(days=before),
            before=before,
            cluster=self.cluster,
            assigned=upto["state"],
            **{**upto, "state": state},
        )


def numbers(
    days: UnitDays, metric: str, units: slice | IntArray = slice(None), rows: slice | IntArray = slice(None)
) -> tuple[FloatArray, BoolArray]:
    """(T, U): a metric per unit-day, money in minor units, and where it is known: observed, and its cost as well.

    The numbers are the caller's to write over.
    """

    def cells(array: Cells) -> Cells:
        return array[rows][:, units]

    if metric == "units":
        return cells(days.quantity).astype(np.float64), cells(days.observed)
    if metric == "revenue":
        return cells(days.revenue).astype(np.float64), cells(days.observed)
    cost = cells(days.cost)
    margin = np.subtract(cells(days.revenue), cost, dtype=np.float64)
    return margin, cells(days.observed) & (cost != UNKNOWN)


def outcome(
    days: UnitDays, metric: str, units: slice | IntArray = slice(None), rows: slice | IntArray = slice(None)
) -> FloatArray:
    """(T, U): a metric per unit-day, NaN where it is not known."""
    values, known = numbers(days, metric, units, rows)
    values[~known] = np.nan
    return values
