"""What a running sequence adds up: for each closed draw, the difference between its arms and the variance of that.

A draw's sums rest on its own unit-days and on a forecast of each unit from days before the draw, so that a day that
closes costs its own cells, and a late sale those of its draw and of the later ones. On each of a draw's days, the mean
over treated clusters of the mean residual of their units, minus that over control clusters; then the mean over days,
weighted by clusters. Given what came before the draw, its forecast is a constant: the difference is unbiased, and

``s_k = sum over clusters (sum over days w_t / n_t sqrt(n_t / (n_t - 1)) (r_tg - mean))^2``

(treated days less control days) is its variance by the draw; with all cells there, ``s_T^2 / n_T + s_C^2 / n_C`` of
the clusters' means (Ham, Bojinov, Lindon and Tingley, arXiv 2210.08639).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.blocks import BlockDifferences
from analysis.panel import BoolArray, FloatArray, IntArray

#: days that a unit's level is shrunk by: with n days of history it is ``sum / (n + 1)``
SHRINKAGE = 1.0
#: squares about a mean that are less than this part of what they were taken from are rounding
ROUNDING = 1e-13
#: units of an experiment of which it is remembered which cluster each is of
REMEMBERED = 4096
TOO_FEW = "an arm had fewer than two clusters with usable cells"


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """A draw and the days that it decides, as rows counted from the first day of the experiment."""

    label: int
    rows: IntArray
    #: forecasts may use the days before this row only
    known_before: int


class BlockSum(NamedTuple):
    """One closed draw; a tuple, because each is handed to another process and back with every refresh."""

    label: int
    #: first and last row
    first: int
    last: int
    #: None where it gives no difference; `reason` says why
    difference: float | None
    #: what the clusters that were mostly under control, and mostly under treatment, add to the variance
    arm_variance: tuple[float, float]
    #: clusters with a usable cell under control, and under treatment
    clusters: tuple[int, int]
    #: mean of control's outcomes
    control_mean: float
    cells: int
    reason: str | None = None


@dataclass(slots=True)
class Levels:
    """(U,) sums and counts of each unit's outcomes, less their day's mean, over the days before a row."""

    total: FloatArray
    count: IntArray
    #: the first row that is not in yet
    row: int

    def add(self, value: FloatArray) -> None:
        """Take in (k, U) days, NaN where a cell must not be used."""
        seen = np.isfinite(value)
        count = seen.sum(axis=1)
        mean = np.where(seen, value, 0.0).sum(axis=1) / np.maximum(count, 1)
        self.total += np.where(seen, value - mean[:, np.newaxis], 0.0).sum(axis=0)
        self.count += seen.sum(axis=0)
        self.row += len(value)

    def forecast(self) -> FloatArray:
        """(U,)."""
        return np.asarray(self.total / (self.count + SHRINKAGE))


@dataclass(frozen=True, slots=True)
class Clusters:
    """Units by cluster."""

    #: units in the order of their clusters; None where they already are
    order: IntArray | None
    #: where each cluster begins; None where each unit is one
    starts: IntArray | None

    def sums(self, cells: NDArray[np.generic]) -> FloatArray:
        """(..., U) -> (..., G)."""
        values = np.asarray(cells, dtype=np.float64)
        if self.order is not None:
            values = values[..., self.order]
        return values if self.starts is None else np.asarray(np.add.reduceat(values, self.starts, axis=-1))


def clusters_of(cluster: IntArray) -> Clusters:
    """``cluster`` (U,): the cluster of each unit."""
    if len(cluster) <= REMEMBERED:
        return _remembered(cluster.tobytes(), cluster.dtype.str)
    return _clusters_of(cluster)


@lru_cache(maxsize=1024)
def _remembered(cluster: bytes, kind: str) -> Clusters:
    """Asked for several times a refresh, by thousands of experiments."""
    return _clusters_of(np.frombuffer(cluster, dtype=kind))


def _clusters_of(cluster: IntArray) -> Clusters:
    ordered = bool((np.diff(cluster) >= 0).all())
    order = np.argsort(cluster, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(cluster[order]) > 0])
    return Clusters(None if ordered else order, None if len(starts) == len(cluster) else starts)


def block_sum(
    plan: BlockPlan, value: FloatArray, in_arm: BoolArray, forecast: FloatArray, clusters: Clusters
) -> BlockSum:
    """Compare the arms on the days of one draw.

    ``value`` (k, U), NaN where a cell is under neither arm, missing or left out; ``in_arm`` (k, U) True where it is
    under the arm, False where under control; ``forecast`` (U,).
    """
    usable = np.isfinite(value)
    if len(value) == 1 and clusters.starts is None and clusters.order is None:
        return _day_of_units(plan, value[0], usable[0], in_arm[0], forecast)
    return _of_metrics(plan, value[np.newaxis], usable, in_arm, forecast[np.newaxis], clusters)[0]


def block_sums(
    plan: BlockPlan, values: list[FloatArray], in_arm: BoolArray, forecasts: list[FloatArray], clusters: Clusters
) -> list[BlockSum]:
    """:func:`block_sum` of each metric: at once where they are known in the same cells."""
    usable = np.isfinite(values[0])
    if len(in_arm) == 1 and clusters.starts is None and clusters.order is None:
        alike = False
    else:
        alike = all(np.array_equal(usable, np.isfinite(value)) for value in values[1:])
    if alike:
        return _of_metrics(plan, np.stack(values), usable, in_arm, np.stack(forecasts), clusters)
    each = zip(values, forecasts, strict=True)
    return [block_sum(plan, value, in_arm, forecast, clusters) for value, forecast in each]


def _of_metrics(
    plan: BlockPlan,
    value: FloatArray,
    usable: BoolArray,
    in_arm: BoolArray,
    forecast: FloatArray,
    clusters: Clusters,
) -> list[BlockSum]:
    """The same of M metrics: ``value`` (M, k, U); ``usable`` (k, U), where all are known; ``forecast`` (M, U)."""
    residual = np.where(usable, value - forecast[:, np.newaxis], 0.0)
    cells: list[BoolArray] = []
    means: list[FloatArray] = []
    raw = np.zeros(value.shape[:2])
    for chosen in (usable & ~in_arm, usable & in_arm):
        units = clusters.sums(chosen)
        cells.append(units > 0)
        means.append(clusters.sums(np.where(chosen, residual, 0.0)) / np.maximum(units, 1))
        if len(cells) == 1:
            raw = (clusters.sums(np.where(chosen, value, 0.0)) / np.maximum(units, 1)).sum(axis=2)
    count = np.stack([present.sum(axis=1) for present in cells]).astype(np.float64)
    days = (count >= 2).all(axis=0)
    first, last = int(plan.rows[0]), int(plan.rows[-1])
    if not days.any():
        return [BlockSum(plan.label, first, last, None, (0.0, 0.0), (0, 0), 0.0, 0, TOO_FEW)] * len(value)
    weight = np.where(days, count.sum(axis=0), 0.0)
    weight = weight / weight.sum()
    mean = [part.sum(axis=2) / np.maximum(count[which], 1) for which, part in enumerate(means)]
    influence = []
    for which, (present, part) in enumerate(zip(cells, means, strict=True)):
        n = np.maximum(count[which], 2)
        scale = weight / n * (n / (n - 1)) ** 0.5
        about = np.where(present, part - mean[which][:, :, np.newaxis], 0.0)
        influence.append((about * scale[:, np.newaxis]).sum(axis=1))
    squares = (influence[1] - influence[0]) ** 2
    in_control, in_treatment = (present[days].sum(axis=0) for present in cells)
    mostly = in_treatment > in_control
    rest = ~mostly & (in_control > 0)
    control = raw / np.maximum(count[0], 1)
    counted = int((in_control > 0).sum()), int((in_treatment > 0).sum())
    return [
        BlockSum(
            plan.label,
            first,
            last,
            float(weight @ (mean[1][metric] - mean[0][metric])),
            (float(squares[metric, rest].sum()), float(squares[metric, mostly].sum())),
            counted,
            float(weight @ control[metric]),
            int(usable[days].sum()),
        )
        for metric in range(len(value))
    ]


def _day_of_units(
    plan: BlockPlan, value: FloatArray, usable: BoolArray, in_arm: BoolArray, forecast: FloatArray
) -> BlockSum:
    """The same of one day, each unit a cluster of its own: a mean and a variance for each arm."""
    row, every = int(plan.rows[0]), bool(usable.all())
    treated = in_arm if every else in_arm & usable
    cells = int(np.count_nonzero(usable))
    in_treatment = int(np.count_nonzero(treated))
    counts = cells - in_treatment, in_treatment
    if min(counts) < 2:
        return BlockSum(plan.label, row, row, None, (0.0, 0.0), (0, 0), 0.0, 0, TOO_FEW)
    residual = value - forecast
    if not every:
        residual[~usable] = 0.0
    centre = float(residual.sum()) / cells
    residual -= centre
    if not every:
        residual[~usable] = 0.0
    under = residual * treated
    sums = [float(residual.sum()), float(under.sum())]
    squares = [float(np.einsum("u,u->", residual, residual)), float(np.einsum("u,u->", under, residual))]
    sums[0] -= sums[1]
    squares[0] -= squares[1]
    mean = [total / n for total, n in zip(sums, counts, strict=True)]
    about = [square - total**2 / n for square, total, n in zip(squares, sums, counts, strict=True)]
    rest, mostly = (
        left / (n * (n - 1)) if left > ROUNDING * square else 0.0
        for left, square, n in zip(about, squares, counts, strict=True)
    )
    foretold = float(np.einsum("u,u->", forecast, usable & ~treated)) / counts[0]
    return BlockSum(plan.label, row, row, mean[1] - mean[0], (rest, mostly), counts, mean[0] + centre + foretold, cells)


@dataclass(slots=True)
class BlockSums:
    """The draws of one metric and arm that have closed, and the levels with which the next one will be foretold."""

    levels: Levels
    done: list[BlockSum] = field(default_factory=list)


def differences(sums: Iterable[BlockSum]) -> BlockDifferences:
    """As the sequences take them; draws without a difference are named in ``left_out``."""
    every = list(sums)
    kept = [one for one in every if one.difference is not None]
    arm_variance = np.array([one.arm_variance for one in kept]).reshape(len(kept), 2).T
    control = np.array([one.control_mean for one in kept])
    difference = np.array([one.difference for one in kept], dtype=np.float64)
    count = np.array([one.clusters for one in kept], dtype=np.int64).reshape(len(kept), 2)
    return BlockDifferences(
        np.array([one.label for one in kept]),
        difference,
        arm_variance.sum(axis=0),
        count[:, 1],
        count[:, 0],
        np.stack([control, control + difference]),
        arm_variance,
        tuple(one.label for one in every if one.difference is None),
    )
