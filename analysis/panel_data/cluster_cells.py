"""Unit-days read a few clusters at a time: the residuals that a comparison of arms by cluster and day adds up.

What is worked on stays in the processor's cache and nothing of the panel's size is kept: memory that was not used
before costs ten times what is computed on it. Sums and squares are taken about each day's mean, which is known from the
first reading, so that they can be taken in the second one before the arms' means are known. M metrics that are known in
the same cells are read together: which cells are used is found out once for all.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from analysis.panel_data.cell_counts import by_day, by_unit
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from controller.errors import NotEstimable

#: unit-days worked on at once: a quarter of a megabyte of numbers
CHUNK_CELLS = 1 << 15

#: some units, as a slice or by number
Units = slice | IntArray
#: (M, T, n) outcomes, 0 where a cell must not be used; (T, n) which cells may, and where they were in the arm
ReadCells = tuple[FloatArray, BoolArray, BoolArray]
#: some units -> their cells; the outcomes are written over
Reader = Callable[[Units], ReadCells]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some clusters and all of their units."""

    units: Units
    #: where each cluster begins among these units; None where each unit is one
    starts: IntArray | None
    #: (g,) which clusters these are
    clusters: IntArray

    def count(self, cells: BoolArray) -> NDArray[np.integer]:
        """(T, clusters) how many units are."""
        numbers = cells.view(np.uint8)
        if self.starts is None:
            return numbers
        return np.asarray(np.add.reduceat(numbers, self.starts, axis=1, dtype=np.int32))

    def sums(self, cells: FloatArray) -> FloatArray:
        """(M, T, clusters)."""
        return cells if self.starts is None else np.asarray(np.add.reduceat(cells, self.starts, axis=2))


@dataclass(frozen=True, slots=True)
class Totals:
    """What the first reading adds up."""

    #: (M, T) sums and (T,) counts over the observed cells
    day_sum: FloatArray
    day_count: IntArray
    #: (2, T) clusters with a usable cell, control first
    clusters: IntArray
    #: (T,) usable cells
    cells: IntArray
    #: what days in the arm count for in a forecast: half the share that days with a draw have of all observed cells.
    #: It must not depend on the draw, or cells that are missing would bias the effect
    treated_share: float
    no_other_day: int
    #: (M,) whether all usable cells hold the same number
    constant: BoolArray

    @property
    def day_mean(self) -> FloatArray:
        """(M, T) 0 on days of which nothing was observed."""
        return self.day_sum / np.maximum(self.day_count, 1)


@dataclass(frozen=True, slots=True)
class Moments:
    """What the second reading adds up; residuals are those about their day's mean, all arms together."""

    #: (2, M, T) weighted residuals of the clusters in each arm, and their plain squares; control first
    sums: FloatArray
    squares: FloatArray
    #: (M, T) weighted forecasts of the clusters in each arm, added up
    forecast: FloatArray
    #: (2, T) weights of the clusters in each arm, and their squares; 0 where all weigh the same
    weight: FloatArray
    weight_squares: FloatArray
    #: units, and clusters, with a cell on one of the days that are compared
    units: int
    clusters: int
    #: whether some cluster is in both arms on one day
    overlapping: bool

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.sums + other.sums,
            self.squares + other.squares,
            self.forecast + other.forecast,
            self.weight + other.weight,
            self.weight_squares + other.weight_squares,
            self.units + other.units,
            self.clusters + other.clusters,
            self.overlapping or other.overlapping,
        )


@dataclass(frozen=True, slots=True)
class Part:
    """The residuals of one chunk: (M, T, clusters) of each arm, control first; 0 where a cluster is not present.

    ``present``: (T, clusters).
    """

    present: tuple[BoolArray, BoolArray]
    residual: tuple[FloatArray, FloatArray]


class Sharing:
    """Which days share a draw: ``own`` adds up, for each day, the days that do (itself included)."""

    def __init__(self, draws: BoolArray | None, days: int) -> None:
        self.drawn: BoolArray = np.ones(days, dtype=np.bool_) if draws is None else np.asarray(draws.any(axis=1))
        #: whether something was drawn on every day
        self.every = bool(self.drawn.all())
        self._factors: tuple[sparse.csr_array, ...] = ()
        #: whether each day has a draw of its own
        self.alone = draws is None or bool(
            draws.sum(axis=0).max(initial=0) <= 1 and draws.sum(axis=1).max(initial=0) <= 1
        )
        if self.alone or draws is None:
            self.group: IntArray = np.arange(days)
            return
        each = sparse.csr_array(draws.astype(np.float64))
        shared = sparse.csr_array(each @ each.T)
        self.group = connected_components(shared, directed=False)[1]
        once = int(draws.sum(axis=1).max(initial=0)) <= 1
        self._factors = (sparse.csr_array(each.T), each) if once else (sparse.csr_array(shared.sign()),)

    def own(self, cells: FloatArray) -> FloatArray:
        """(..., T, n) -> (..., T, n), 0 on days on which nothing was drawn."""
        if cells.ndim > 2:
            return np.stack([self.own(part) for part in cells])
        for factor in self._factors:
            cells = np.asarray(factor @ cells)
        return cells


def chunks_of(cluster: IntArray, days: int) -> Iterator[Chunk]:
    """All units, whole clusters at a time, about ``CHUNK_CELLS`` unit-days each."""
    if len(cluster) * days > CHUNK_CELLS:
        return _cut(cluster, days)
    return iter(_whole(cluster.tobytes(), cluster.dtype.str))


@lru_cache(maxsize=1024)
def _whole(cluster: bytes, kind: str) -> tuple[Chunk, ...]:
    """One chunk: asked for with every refresh, by thousands of experiments."""
    return tuple(_cut(np.frombuffer(cluster, dtype=kind), 1))


def _cut(cluster: IntArray, days: int) -> Iterator[Chunk]:
    ordered = bool((np.diff(cluster) >= 0).all())
    order = np.arange(len(cluster)) if ordered else np.argsort(cluster, kind="stable")
    bounds = np.flatnonzero(np.r_[True, np.diff(cluster[order]) > 0, True])
    alone = len(bounds) == len(cluster) + 1
    size = max(1, CHUNK_CELLS // max(days, 1))
    first = 0
    while first < len(bounds) - 1:
        last = max(first + 1, int(np.searchsorted(bounds, bounds[first] + size, side="right")) - 1)
        begin, end = int(bounds[first]), int(bounds[last])
        units: Units = slice(begin, end) if ordered else order[begin:end]
        clusters = cluster[order[bounds[first:last]]]
        yield Chunk(units, None if alone else bounds[first:last] - begin, clusters)
        first = last


def _seen_elsewhere(observed: BoolArray, sharing: Sharing) -> tuple[FloatArray, BoolArray]:
    """Days of other draws on which each unit was seen, (T, n) or (1, n), and the cells that have one and were drawn.

    Where each day is a draw of its own that is one number a unit, as far as its usable cells are concerned.
    """
    usable = observed if sharing.every else observed & sharing.drawn[:, np.newaxis]
    if sharing.alone:
        if observed.all():
            others = np.full((1, observed.shape[1]), len(observed) - 1.0)
        else:
            others = by_unit(observed)[np.newaxis] - 1.0
        return others, usable if bool((others > 0).all()) else usable & (others > 0)
    seen = observed.astype(np.float64)
    others = seen.sum(axis=0) - sharing.own(seen)
    return others, usable & (others > 0)


def first_reading(read: Reader, chunks: list[Chunk], sharing: Sharing, days: int, metrics: int) -> Totals:
    """Sums by day.

    Raises:
        NotEstimable: an arm never seen.
    """
    day_sum, day_count = np.zeros((metrics, days)), np.zeros(days, dtype=np.int64)
    clusters, cells = np.zeros((2, days), dtype=np.int64), np.zeros(days, dtype=np.int64)
    drawn = 0
    low, high, no_other_day = np.full(metrics, np.inf), np.full(metrics, -np.inf), 0
    seen = [False, False]
    for chunk in chunks:
        outcome, observed, treated = read(chunk.units)
        day_sum += outcome.sum(axis=2)
        observed_count = by_day(observed)
        day_count += observed_count
        usable = observed if sharing.every else observed & sharing.drawn[:, np.newaxis]
        if (low >= high).any():  # until something is seen to vary
            low = np.minimum(low, np.min(outcome, axis=(1, 2), initial=np.inf, where=usable))
            high = np.maximum(high, np.max(outcome, axis=(1, 2), initial=-np.inf, where=usable))
        _, kept = _seen_elsewhere(observed, sharing)
        if kept is not usable:
            no_other_day += int(usable.sum()) - int(kept.sum())
        kept_count = observed_count if kept is observed else by_day(kept)
        cells += kept_count
        under = kept & treated
        drawn += int(np.count_nonzero(usable))
        if chunk.starts is None:
            in_arm = by_day(under)
            clusters += np.stack([kept_count - in_arm, in_arm])
        else:
            units, treated_units = chunk.count(kept), chunk.count(under)
            clusters += np.stack([by_day(units > treated_units), by_day(treated_units > 0)])
        if not all(seen):
            seen[1] |= bool((usable & treated).any())
            seen[0] |= bool((usable & ~treated).any())
    for there, name in zip(seen[::-1], ("the arm", "control"), strict=True):
        if not there:
            raise NotEstimable(f"{name} has no usable cell yet")
    treated_share = 0.5 * drawn / max(int(day_count.sum()), 1)
    return Totals(day_sum, day_count, clusters, cells, treated_share, no_other_day, low == high)


def moments_of(
    read: Reader,
    chunk: Chunk,
    sharing: Sharing,
    totals: Totals,
    days: BoolArray,
    weight: FloatArray | None = None,
) -> Moments:
    """The sums of a chunk; ``days`` (T,): those that are compared; ``weight`` (G,): of clusters, None where equal."""
    residual, forecast, kept, under = _residuals(read, chunk, sharing, totals.day_mean, totals.treated_share)
    if chunk.starts is not None or weight is not None:
        return _moments_of_clusters(chunk, residual, forecast, kept, under, days, weight)
    if not kept.all():
        residual *= kept
        forecast *= kept
    in_arm = residual * under
    sums, squares = in_arm.sum(axis=2), np.einsum("mtu,mtu->mt", in_arm, residual)
    units = _ever(kept, days)
    none = np.zeros((2, len(kept)))
    return Moments(
        np.stack([residual.sum(axis=2) - sums, sums]),
        np.stack([np.einsum("mtu,mtu->mt", residual, residual) - squares, squares]),
        forecast.sum(axis=2),
        none,
        none,
        units,
        units,
        overlapping=False,
    )


def _moments_of_clusters(
    chunk: Chunk,
    residual: FloatArray,
    forecast: FloatArray,
    kept: BoolArray,
    under: BoolArray,
    days: BoolArray,
    weight: FloatArray | None,
) -> Moments:
    part = _part(chunk, residual, kept, under)
    foretold = _part(chunk, forecast, kept, under)
    either, none = part.present[0] | part.present[1], np.zeros((2, len(kept)))
    squares = np.stack([np.einsum("mtg,mtg->mt", cells, cells) for cells in part.residual])
    residuals, forecasts = part.residual, foretold.residual
    of_arms, of_squares = none, none
    if weight is not None:
        of = weight[chunk.clusters]
        residuals, forecasts = (residuals[0] * of, residuals[1] * of), (forecasts[0] * of, forecasts[1] * of)
        of_arms = np.stack([present @ of for present in part.present])
        of_squares = np.stack([present @ of**2 for present in part.present])
    return Moments(
        np.stack([cells.sum(axis=2) for cells in residuals]),
        squares,
        forecasts[0].sum(axis=2) + forecasts[1].sum(axis=2),
        of_arms,
        of_squares,
        _ever(kept, days),
        _ever(either, days),
        overlapping=bool((part.present[0] & part.present[1]).any()),
    )


def part_of(read: Reader, chunk: Chunk, sharing: Sharing, totals: Totals) -> Part:
    """The residuals of a chunk themselves: for squares of sums over days."""
    residual, _, kept, under = _residuals(read, chunk, sharing, totals.day_mean, totals.treated_share)
    return _part(chunk, residual, kept, under)


def _residuals(
    read: Reader, chunk: Chunk, sharing: Sharing, day_mean: FloatArray, treated_share: float
) -> tuple[FloatArray, FloatArray, BoolArray, BoolArray]:
    """(M, T, n) outcomes less their day's mean and forecast, the forecasts, the cells to be used, and those in the arm.

    Forecast of a unit-day: what it would be by the unit's days that share no draw with it, each centred on its day's
    mean: the mean of those under control and of those in the arm, mixed in the same proportion for every unit. Mixed
    as each unit happens to have them, an effect would move forecasts by how often a unit was treated.
    """
    outcome, observed, treated = read(chunk.units)
    _, kept = _seen_elsewhere(observed, sharing)
    outcome -= day_mean[:, :, np.newaxis]
    if not observed.all():
        outcome *= observed
    under = kept & treated
    forecast = (_forecast_alone if sharing.alone else _forecast)(outcome, observed, treated, sharing, treated_share)
    outcome -= forecast
    return outcome, forecast, kept, under


def _mixed(control: FloatArray, in_arm: FloatArray, share: float) -> tuple[FloatArray, FloatArray]:
    """What each day under control, and each in the arm, counts for, given how many of them there are."""
    of_arm = np.where(control > 0, share, 1.0) * (in_arm > 0)
    of_control = np.where(in_arm > 0, 1.0 - share, 1.0) * (control > 0)
    return of_control / np.maximum(control, 1.0), of_arm / np.maximum(in_arm, 1.0)


def _forecast_alone(
    outcome: FloatArray, observed: BoolArray, treated: BoolArray, sharing: Sharing, share: float
) -> FloatArray:
    """Where each day is a draw of its own: all other days of the unit, from sums over all its days."""
    shown = observed & treated
    in_arm = by_unit(shown)[np.newaxis].astype(np.float64)
    control = by_unit(observed)[np.newaxis] - in_arm
    sum_arm = np.einsum("mtu,tu->mu", outcome, shown)[:, np.newaxis]
    sum_control = outcome.sum(axis=1, keepdims=True) - sum_arm
    control_t, arm_t = _mixed(control, in_arm - 1.0, share)
    control_c, arm_c = _mixed(control - 1.0, in_arm, share)
    forecast = np.where(treated, control_t * sum_control + arm_t * sum_arm, control_c * sum_control + arm_c * sum_arm)
    forecast -= np.where(treated, arm_t, control_c) * outcome
    return np.asarray(forecast)


def _forecast(
    outcome: FloatArray, observed: BoolArray, treated: BoolArray, sharing: Sharing, share: float
) -> FloatArray:
    """Where days share draws."""
    shown = (observed & treated).astype(np.float64)
    seen = observed.astype(np.float64)
    in_arm = shown.sum(axis=0) - sharing.own(shown)
    control = seen.sum(axis=0) - sharing.own(seen) - in_arm
    part = outcome * shown
    sum_arm = part.sum(axis=1, keepdims=True) - sharing.own(part)
    sum_control = outcome.sum(axis=1, keepdims=True) - sharing.own(outcome) - sum_arm
    of_control, of_arm = _mixed(control, in_arm, share)
    return np.asarray(of_control * sum_control + of_arm * sum_arm)


def _part(chunk: Chunk, cells: FloatArray, kept: BoolArray, under: BoolArray) -> Part:
    """The clusters' means over their units in each arm."""
    if chunk.starts is None:
        alone: BoolArray = kept & ~under
        return Part((alone, under), (cells * alone, cells * under))
    units, in_arm = chunk.count(kept), chunk.count(under)
    in_control = units - in_arm
    control, treated = in_control > 0, in_arm > 0
    if not kept.all():
        cells = cells * kept
    if not (control & treated).any():
        mean = chunk.sums(cells) / np.maximum(units, 1)
        return Part((control, treated), (mean * control, mean * treated))
    sums = chunk.sums(cells * under)
    rest = chunk.sums(cells * ~under)
    return Part((control, treated), (rest / np.maximum(in_control, 1), sums / np.maximum(in_arm, 1)))


def _ever(cells: BoolArray, days: BoolArray) -> int:
    """How many columns have a cell on one of the days."""
    if cells[int(days.argmax())].all():
        return int(cells.shape[1])
    return int((cells if days.all() else cells[days]).any(axis=0).sum())
