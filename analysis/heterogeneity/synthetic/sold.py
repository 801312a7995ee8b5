"""Sales as arrays: what a synthetic history is made from, and what it is."""

from dataclasses import dataclass

import numpy as np

from analysis.panel_data.panel import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Sold:
    """T periods of U units; S stores, K products."""

    #: (U,) of each unit, numbered from 0
    store: IntArray
    product: IntArray
    #: (T, U) pieces, NaN where nothing is known
    quantity: FloatArray
    #: (T, U), NaN where nothing is known; None where there are none
    price: FloatArray | None
    #: days in a period: 1, or 7
    period_days: int
    #: weekday of the first period, 0 to 6, where periods are days
    first_weekday: int = 0

    @property
    def stores(self) -> int:
        """S"""
        return int(self.store.max()) + 1

    @property
    def products(self) -> int:
        """K"""
        return int(self.product.max()) + 1

    @property
    def weekdays(self) -> IntArray:
        """(T,) weekday of each period; zeros where periods are weeks."""
        days = (self.first_weekday + np.arange(len(self.quantity))) % 7
        return days if self.period_days == 1 else np.zeros(len(self.quantity), dtype=np.int64)

    @property
    def time(self) -> FloatArray:
        """(T, 1) number of the period, about its mean."""
        periods = len(self.quantity)
        return np.asarray(np.arange(periods, dtype=np.float64) - (periods - 1) / 2)[:, None]

    @property
    def log_quantity(self) -> FloatArray:
        """(T, U) logarithm of pieces and one half."""
        return np.log(self.quantity + 0.5)

    @property
    def log_price(self) -> FloatArray | None:
        """(T, U)"""
        if self.price is None:
            return None
        return np.log(np.where(self.price > 0, self.price, np.nan))


def mean_known(values: FloatArray, axis: int) -> FloatArray:
    """Mean of what is known; 0 where nothing is."""
    seen = np.isfinite(values)
    count = seen.sum(axis=axis)
    return np.asarray(np.where(seen, values, 0.0).sum(axis=axis) / np.maximum(count, 1))


def mean_by(values: FloatArray, label: IntArray, groups: int) -> FloatArray:
    """(T, U) -> (T, G) means of what is known."""
    return np.stack([mean_known(values[:, label == g], 1) for g in range(groups)], axis=1)


def sum_by_store(values: FloatArray, sold: Sold) -> FloatArray:
    """(T, U) -> (T, S)"""
    order = np.argsort(sold.store, kind="stable")
    starts = np.searchsorted(sold.store[order], np.arange(sold.stores))
    return np.asarray(np.add.reduceat(values[:, order], starts, axis=1))


def log_totals(z: FloatArray, known: np.ndarray, sold: Sold) -> FloatArray:
    """(T, S) logarithm of each store's sum of ``exp z`` over known cells; NaN where there is none."""
    total = sum_by_store(np.where(known, np.exp(np.where(known, z, 0.0)), 0.0), sold)
    return np.where(total > 0, np.log(np.where(total > 0, total, 1.0)), np.nan)


def without_means(values: FloatArray) -> FloatArray:
    """(T, S) less each period's and each store's mean of what is known; 0 where nothing is."""
    centred = values - mean_known(values, 1)[:, None]
    return np.nan_to_num(centred - mean_known(centred, 0))


def without_trend(values: FloatArray) -> FloatArray:
    """(T, n) complete series less their mean and slope."""
    time = np.arange(len(values))[:, None] - (len(values) - 1) / 2
    centred = values - values.mean(axis=0)
    found: FloatArray = centred - time * ((time * centred).sum(axis=0) / (time**2).sum())
    return found
