"""One experiment's unit-days as integer arrays: what was sold, and under which arm, or why a cell cannot be used."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from analysis.by_design import method_of
from analysis.panel import BoolArray, FloatArray, IntArray
from controller.periods import period
from controller.roster import Roster

#: days before the start that are kept, to measure changes against: eight weeks, older ones tell little of today
PRE_PERIOD_DAYS = 56
#: in the cost array: not every sale of the unit-day has a known cost
UNKNOWN = -1


class Sold(NamedTuple):
    """A unit-day's sales."""

    quantity: int
    revenue_minor: int
    cost_minor: int | None
    events: int
    revision: int


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
    state: IntArray
    #: whether the panel has a row
    observed: BoolArray
    quantity: IntArray
    revenue: IntArray
    #: UNKNOWN where not every cost is known
    cost: IntArray


class Study:
    """A registered experiment and its unit-days."""

    def __init__(self, registered: Roster, registered_at: datetime) -> None:
        experiment = registered.experiment
        self.roster = registered
        self.registered_at = registered_at
        self.key = (experiment.name, experiment.version)
        self.arms = {arm.name: index for index, arm in enumerate(experiment.arms)}
        self.first_day, self.last_day = experiment.start, experiment.end - timedelta(days=1)
        self._first_row = self.first_day - timedelta(days=PRE_PERIOD_DAYS)
        self._method = method_of(experiment)
        #: sorted by market, then by name: every market is one run of columns
        self.units = tuple(unit for market in sorted(registered.units) for unit in registered.units[market])
        self._columns: dict[str, slice] = {}
        begin = 0
        for market in sorted(registered.units):
            self._columns[market] = slice(begin, begin + len(registered.units[market]))
            begin += len(registered.units[market])
        numbers = {cluster: number for number, cluster in enumerate(registered.clusters)}
        self.cluster = np.array([numbers[registered.cluster_of[unit]] for unit in self.units], dtype=np.int64)
        self._settled: defaultdict[str, set[date]] = defaultdict(set)
        #: revisions of the rows and the closing of each market's day, added up; and these by day
        self._revisions: dict[tuple[str, date], int] = {}
        self._revised: defaultdict[date, int] = defaultdict(int)
        self._arrays = np.zeros((5, 0, len(self.units)), dtype=np.int64)

    def _row(self, day: date) -> int:
        return (day - self._first_row).days

    def unsettle(self, market: str, day: date) -> None:
        """Something was read that touches a market's day."""
        self._settled[market].discard(day)

    def unsettle_from(self, market: str, day: date) -> None:
        """Something was read that may touch every day of a market from ``day`` on."""
        settled = self._settled[market]
        if settled and max(settled) >= day:
            self._settled[market] = {other for other in settled if other < day}

    def unsettled(self, through: date, sold: Collection[tuple[str, date]]) -> Iterator[tuple[str, date]]:
        """The market-days up to ``through`` that must be written (again); of the pre-period only those in ``sold``."""
        wanted = {self._first_row + timedelta(days=row) for row in range(self._row(through) + 1)}
        for market in self.roster.units:
            for day in sorted(wanted - self._settled[market]):
                if day >= self.first_day or (market, day) in sold:
                    yield market, day

    def write(self, market: str, day: date, states: Sequence[int], sold: Sequence[Sold | None], revision: int) -> None:
        """Settle a market's day: the arm or State and the sales of its units, in the roster's order."""
        row, columns = self._row(day), self._columns[market]
        if row >= self._arrays.shape[1]:
            grown = np.zeros((5, max(2 * row, row + 8), len(self.units)), dtype=np.int64)
            grown[0] = State.UNSETTLED
            grown[:, : self._arrays.shape[1]] = self._arrays
            self._arrays = grown
        nothing = Sold(0, 0, None, 0, 0)
        rows = [one or nothing for one in sold]
        self._arrays[:, row, columns] = (
            states,
            [one is not None for one in sold],
            [one.quantity for one in rows],
            [one.revenue_minor for one in rows],
            [UNKNOWN if one.cost_minor is None else one.cost_minor for one in rows],
        )
        revised = revision + sum(one.revision for one in rows)
        self._revised[day] += revised - self._revisions.get((market, day), 0)
        self._revisions[market, day] = revised
        self._settled[market].add(day)

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
        upto = self._arrays[:, : self._row(through) + 1]
        read = upto[1, :PRE_PERIOD_DAYS].any(axis=1)
        before = PRE_PERIOD_DAYS - int(read.argmax()) if read.any() else 0
        state, observed, quantity, revenue, cost = upto[:, PRE_PERIOD_DAYS - before :]
        during = state[before:]
        washed = (during >= 0) & self._method.washout(self.roster.experiment, during)
        state = np.vstack([state[:before], np.where(washed, State.WASHOUT, during)])
        first_day = self.first_day - timedelta(days=before)
        return UnitDays(first_day, before, self.cluster, state, observed.astype(np.bool_), quantity, revenue, cost)


def outcome(days: UnitDays, metric: str) -> FloatArray:
    """(T, U): a metric per unit-day, NaN where it was not observed or its cost is not known. Money in minor units."""
    if metric == "units":
        value, known = days.quantity, days.observed
    elif metric == "revenue":
        value, known = days.revenue, days.observed
    else:
        value, known = days.revenue - days.cost, days.observed & (days.cost != UNKNOWN)
    return np.where(known, value.astype(np.float64), np.nan)
