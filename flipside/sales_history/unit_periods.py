"""Rows summed into a grid of units and periods: what was sold, at which mean price, at which mean cost."""

from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np

from analysis.panel_data.panel import FloatArray, IntArray
from controller.definition.field_types import market_of
from flipside.sales_history.faults import UnreadableSales, first_few
from flipside.sales_history.sales_table import SalesTable

EPOCH = date(1970, 1, 1)
DAYS_IN_A_WEEK = 7
#: with fewer distinct days it cannot be told whether they are days or weeks
LEAST_PERIODS = 2


@dataclass(frozen=True, slots=True)
class UnitPeriods:
    """T periods, U units. A period without a row of a unit, after its first and in a period with any, sold nothing."""

    units: tuple[str, ...]
    #: (T, U) pieces; NaN before a unit's first row, and where no unit of its store has a row
    quantity: FloatArray
    #: (T, U) mean price and cost of a piece in major units, NaN where nothing is known; None where no row has any
    price: FloatArray | None
    cost: FloatArray | None
    #: local day of each period (the first of a week); None where the owner's count has no calendar
    days: tuple[date, ...] | None
    labels: tuple[str, ...]
    #: 1, or 7
    period_days: int
    currency: dict[str, str]
    notes: tuple[str, ...]

    def only(self, units: set[str]) -> "UnitPeriods":
        """A part of the units; periods stay."""
        kept = [k for k, unit in enumerate(self.units) if unit in units]
        return replace(
            self,
            units=tuple(self.units[k] for k in kept),
            quantity=self.quantity[:, kept],
            price=None if self.price is None else self.price[:, kept],
            cost=None if self.cost is None else self.cost[:, kept],
            currency={unit: code for unit, code in self.currency.items() if unit in units},
        )


def summed(table: SalesTable) -> UnitPeriods:
    """Several rows of a unit and period are summed, prices and costs weighted by pieces; all of it said in notes.

    Raises:
        UnreadableSales: one period alone, or days that are neither daily nor weekly.
    """
    first, step, calendar = _steps(table)
    period = (table.days.number - first) // step
    shape = (int(period.max()) + 1, len(table.units))
    cell = period * shape[1] + table.unit
    rows = np.bincount(cell, minlength=shape[0] * shape[1]).astype(np.int64).reshape(shape)
    quantity = _sum(cell, table.quantity, shape)
    notes = list(table.notes)
    period_days = DAYS_IN_A_WEEK if step == DAYS_IN_A_WEEK else table.days.step_days
    word = "week" if period_days == DAYS_IN_A_WEEK else "day"
    several = int((rows > 1).sum())
    if several:
        notes.append(
            f"{table.rows:,} rows are summed to {int((rows > 0).sum()):,} unit-{word}s: {several:,} of them have"
            " several rows"
        )
    quantity, said = _unsold(quantity, rows, table.units, word)
    notes += said
    days = tuple(EPOCH + timedelta(days=int(first + step * k)) for k in range(shape[0])) if calendar else None
    labels = tuple(str(day) for day in days) if days else tuple(f"{word} {first + step * k}" for k in range(shape[0]))
    notes.append(f"{len(table.units):,} units over {shape[0]:,} {word}s, {labels[0]} to {labels[-1]}")
    return UnitPeriods(
        table.units,
        quantity,
        _mean(cell, table.price, table.quantity, shape),
        _mean(cell, table.cost, table.quantity, shape),
        days,
        labels,
        period_days,
        table.currency,
        tuple(notes),
    )


def _steps(table: SalesTable) -> tuple[int, int, bool]:
    """The first number, and how many numbers a period takes: 7 where calendar days lie whole weeks apart."""
    distinct = np.unique(table.days.number)
    if len(distinct) < LEAST_PERIODS:
        raise UnreadableSales(
            f"{table.path} has sales of one period alone: a rehearsal needs weeks of history; give a longer file"
        )
    span = int(distinct[-1] - distinct[0]) + 1
    if span > 40 * 366:
        raise UnreadableSales(
            f"{table.path}: days go from {EPOCH + timedelta(days=int(distinct[0]))} to"
            f" {EPOCH + timedelta(days=int(distinct[-1]))}: one of them is mistyped; mend it"
            if table.days.calendar
            else f"{table.path}: periods go from {distinct[0]} to {distinct[-1]}: one of them is mistyped; mend it"
        )
    weekly = table.days.calendar and bool((np.diff(distinct) % DAYS_IN_A_WEEK == 0).all())
    return int(distinct[0]), DAYS_IN_A_WEEK if weekly else 1, table.days.calendar


def _sum(cell: IntArray, values: FloatArray, shape: tuple[int, int]) -> FloatArray:
    found = np.bincount(cell, weights=values, minlength=shape[0] * shape[1]).astype(np.float64)
    return found.reshape(shape)


def _mean(cell: IntArray, values: FloatArray | None, weights: FloatArray, shape: tuple[int, int]) -> FloatArray | None:
    """Weighted by pieces; a row of no pieces weighs nothing."""
    if values is None:
        return None
    known = np.isfinite(values)
    weighted = _sum(cell, np.where(known, values * weights, 0.0), shape)
    pieces = _sum(cell, np.where(known, weights, 0.0), shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pieces > 0, weighted / pieces, np.nan)


def _unsold(quantity: FloatArray, rows: IntArray, units: tuple[str, ...], word: str) -> tuple[FloatArray, list[str]]:
    """Zeros where a unit has no row, NaN where its store was closed or the unit not yet sold."""
    notes = []
    names = [market_of(unit) for unit in units]
    number = {name: k for k, name in enumerate(sorted(set(names)))}
    stores = np.array([number[name] for name in names], dtype=np.int64)
    open_ = np.zeros((rows.shape[0], len(number)), dtype=np.bool_)
    for store in range(open_.shape[1]):
        open_[:, store] = rows[:, stores == store].any(axis=1)
    begun = np.maximum.accumulate(rows > 0, axis=0)
    absent = rows == 0
    unknown = absent & (~begun | ~open_[:, stores])
    zeros = int((absent & ~unknown).sum())
    if zeros:
        notes.append(f"{zeros:,} unit-{word}s have no row in a {word} on which their store sold: counted as zero")
    opened = np.maximum.accumulate(open_, axis=0)
    shut = opened & ~open_
    if shut.any():
        closed = [name for name, k in number.items() if shut[:, k].any()]
        notes.append(
            f"warning: on {int(shut.any(axis=1).sum()):,} of {rows.shape[0]:,} {word}s a store has no row at all"
            f" ({first_few(closed)}): taken as closed and left out; an experiment counts them as zeros unless the"
            " catalog says closed_weekdays or closed_on"
        )
    late = [units[k] for k in np.flatnonzero(~begun[0])]
    if late:
        notes.append(f"not sold from the first {word} on: {first_few(late)}; unknown until the first row")
    return np.where(unknown, np.nan, quantity), notes
