"""What a unit's own history and its arm's price rule let expect of its sales: pieces a sale, and money a piece."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.panel_data.cell_counts import by_unit
from analysis.panel_data.panel import FloatArray, IntArray
from analysis.panel_data.study import State, UnitDays
from controller.definition.experiment import PriceRule

#: sale events that the mean of all units counts for in a unit's own pieces a sale
SHRINKAGE = 10.0
#: a mean price this close to a whole minor unit is one price
WHOLE = 1e-9


@dataclass(frozen=True, slots=True)
class Expected:
    """(U,) from the days before the start, which know no arm; NaN where the unit sold nothing then."""

    #: pieces a sale event, shrunk to the mean; without any history that of all sales since, whatever the arm
    pieces: FloatArray
    #: money a piece at list price
    price: FloatArray


def expected(days: UnitDays) -> Expected:
    """Read the history."""
    units = days.state.shape[1]
    quantity, events, revenue = np.zeros((3, units))
    if days.before:
        rows = slice(0, days.before)
        free = days.observed[rows] & (days.state[rows] == State.PRE_PERIOD)
        if by_unit(free).any():
            quantity, events, revenue = (
                np.add.reduce(part[rows], axis=0, dtype=np.float64, where=free)
                for part in (days.quantity, days.events, days.revenue)
            )
    mean = quantity.sum() / events.sum() if events.any() else _since_the_start(days)
    pieces = (quantity + SHRINKAGE * mean) / (events + SHRINKAGE)
    price = np.divide(revenue, quantity, out=np.full(units, np.nan), where=quantity > 0)
    return Expected(pieces, price)


def _since_the_start(days: UnitDays) -> float:
    """Pieces a sale event over all arms: a scale, so that the check's gap is a share and not a number of pieces."""
    rows = slice(days.before, None)
    quantity, events = (
        float(np.sum(part[rows], dtype=np.float64, where=days.observed[rows])) for part in (days.quantity, days.events)
    )
    return quantity / events if quantity > 0 and events > 0 else 1.0


def charged(rule: PriceRule, price: FloatArray) -> FloatArray:
    """(U,) what a rule makes of list prices; to the minor unit, halves up, where the history knows one price."""
    if rule.absolute_minor is not None:
        return np.where(np.isfinite(price), float(rule.absolute_minor), np.nan)
    asked = price * (1.0 if rule.percent is None else 1.0 + float(rule.percent) / 100.0)
    whole = np.abs(price - np.rint(price)) < WHOLE
    return np.where(whole, np.floor(asked + 0.5 + WHOLE), asked)


def prices_by_arm(rules: Sequence[PriceRule], known: Expected, units: slice | IntArray) -> list[FloatArray]:
    """For each arm, the expected price of some units, 0 where it is not known."""
    price = known.price[units]
    return [np.nan_to_num(charged(rule, price)) for rule in rules]
