"""What a synthetic history keeps of its source, and what it loses: moments side by side, and nearness."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.heterogeneity.synthetic.parts import elasticities
from analysis.heterogeneity.synthetic.sold import Sold
from analysis.panel_data.panel import FloatArray

#: a moment that differs by more is lost
ALLOWED = 0.10


@dataclass(frozen=True, slots=True)
class Moment:
    """One number of both histories."""

    name: str
    source: float
    synthetic: float
    #: what the difference is measured by: the source's size, or a scale of its own where that may be near zero
    scale: float

    @property
    def error(self) -> float:
        """Difference over the source's size."""
        return abs(self.synthetic - self.source) / self.scale

    @property
    def kept(self) -> bool:
        """Within `ALLOWED`."""
        return self.error <= ALLOWED


def moments(source: Sold, synthetic: Sold) -> tuple[Moment, ...]:
    """All moments of both; each difference is a share of the source's size, of a share of zeros of .01 at least."""
    first, second = _moments(source), _moments(synthetic)
    return tuple(
        Moment(name, value, second[name], max(abs(value), floor)) for (name, floor), value in first.items_with_floor()
    )


class _Numbers(dict[str, float]):
    """Moments by name; `floor` of each scale."""

    def __init__(self) -> None:
        super().__init__()
        self.floors: dict[str, float] = {}

    def put(self, name: str, value: Any, floor: float = 1e-9) -> None:
        self[name] = float(value)
        self.floors[name] = floor

    def items_with_floor(self) -> list[tuple[tuple[str, float], float]]:
        return [((name, self.floors[name]), value) for name, value in self.items()]


def _moments(sold: Sold) -> _Numbers:
    z = sold.log_quantity
    periods = len(z)
    time = np.arange(periods) - (periods - 1) / 2
    level = np.nanmean(z, axis=0)
    centred = z - level
    seen = np.isfinite(centred)
    slope = np.where(seen, centred * time[:, None], 0.0).sum(axis=0) / np.where(seen, time[:, None] ** 2, 0.0).sum(
        axis=0
    )
    detrended = centred - slope * time[:, None]
    found = _Numbers()
    found.put("level, mean of logs", level.mean())
    found.put("level, spread between units", level.std())
    found.put("trend over the history, spread between units", (slope * periods).std())
    found.put("spread within units", np.sqrt(np.nanmean(detrended**2)))
    for lag in (1, 2, 4):
        found.put(f"autocorrelation at lag {lag}", _autocorrelation(detrended, lag))
    if sold.period_days == 1:
        days = (sold.first_weekday + np.arange(periods)) % 7
        pattern = [float(np.nanmean(detrended[days == day])) for day in range(7)]
        found.put("weekdays, spread between them", np.std(pattern))
    found.put("correlation within a store", _correlation(detrended, sold.store))
    found.put("correlation within a product", _correlation(detrended, sold.product))
    found.put("share of zeros", float((sold.quantity[np.isfinite(sold.quantity)] == 0).mean()), 0.01)
    tails = np.nanquantile(detrended, (0.01, 0.99))
    found.put("low tail, 1 % quantile", tails[0])
    found.put("high tail, 99 % quantile", tails[1])
    p = sold.log_price
    # prices that never move have no response
    if p is not None and float(np.nanmax(np.nanstd(p, axis=0))) > 1e-6:
        within = p - np.nanmean(p, axis=0)
        found.put("price, spread within units", np.sqrt(np.nanmean(within**2)))
        slopes = elasticities(sold)
        found.put("price response, mean over products", slopes.mean())
        found.put("price response, spread between products", slopes.std())
    return found


def _autocorrelation(values: FloatArray, lag: int) -> float:
    ahead, behind = values[lag:], values[:-lag]
    both = np.isfinite(ahead) & np.isfinite(behind)
    product = np.where(both, ahead * behind, 0.0).sum(axis=0) / np.maximum(both.sum(axis=0), 1)
    variance = np.nanmean(values**2, axis=0)
    return float(np.mean(product[variance > 0] / variance[variance > 0]))


def _correlation(values: FloatArray, label: np.ndarray) -> float:
    """Mean correlation of pairs of units of one label, over the periods in which both are known."""
    filled = np.nan_to_num(values)
    scaled = filled / np.maximum(np.sqrt((filled**2).sum(axis=0)), 1e-12)
    total, pairs = 0.0, 0
    for one in np.unique(label):
        part = scaled[:, label == one]
        n = part.shape[1]
        total += float((part.sum(axis=1) ** 2).sum() - (part**2).sum())
        pairs += n * (n - 1)
    return total / max(pairs, 1)


def closest(of: Sold, among: Sold, units: np.ndarray, others: np.ndarray) -> FloatArray:
    """(n,) root mean square distance of each unit's whole series to the closest one among others, in log pieces.

    Over the periods in which both are known; a pair that shares fewer than half of the periods is not compared.
    """
    one, two = of.log_quantity[:, units].T, among.log_quantity[:, others].T
    seen_one, seen_two = np.isfinite(one).astype(np.float64), np.isfinite(two).astype(np.float64)
    one, two = np.nan_to_num(one), np.nan_to_num(two)
    shared = seen_one @ seen_two.T
    squares = (one**2) @ seen_two.T - 2 * one @ two.T + seen_one @ (two**2).T
    distance = np.sqrt(np.maximum(squares, 0.0) / np.maximum(shared, 1.0))
    distance[shared < 0.5 * one.shape[1]] = np.inf
    found: FloatArray = distance.min(axis=1)
    return found
