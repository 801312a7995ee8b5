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

from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from analysis.randomised.cluster_weights import inflation
from analysis.sequential.block_differences import BlockDifferences

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
    #: what all clusters would have had under control: their forecasts, and how control's clusters differ from theirs
    control_mean: float
    cells: int
    reason: str | None = None
    #: squares of treated, of both and of control: ``parts[0] - 2 r parts[1] + r^2 parts[2]`` is the variance of
    #: (treated - r control)
    parts: tuple[float, float, float] = (0.0, 0.0, 0.0)
    #: how many clusters of equal weight would know control's, and treatment's, mean as well
    sizes: tuple[float, float] = (0.0, 0.0)


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
    plan: BlockPlan,
    value: FloatArray,
    in_arm: BoolArray,
    forecast: FloatArray,
    clusters: Clusters,
    weight: FloatArray | None = None,
) -> BlockSum:
    """Compare the arms on the days of one draw.

    ``value`` (k, U), NaN where a cell is under neither arm, missing or left out; ``in_arm`` (k, U) True where it is
    under the arm, False where under control; ``forecast`` (U,); ``weight`` (G,) what clusters count for, None where
    all count the same.
    """
    usable = np.isfinite(value)
    if len(value) == 1 and clusters.starts is None and clusters.order is None and weight is None:
        return _day_of_units(plan, value[0], usable[0], in_arm[0], forecast)
    return _of_metrics(plan, value[np.newaxis], usable, in_arm, forecast[np.newaxis], clusters, weight)[0]


def block_sums(
    plan: BlockPlan,
    values: list[FloatArray],
    in_arm: BoolArray,
    forecasts: list[FloatArray],
    clusters: Clusters,
    weight: FloatArray | None = None,
) -> list[BlockSum]:
    """:func:`block_sum` of each metric: at once where they are known in the same cells."""
    usable = np.isfinite(values[0])
    if len(in_arm) == 1 and clusters.starts is None and clusters.order is None and weight is None:
        alike = False
    else:
        alike = all(np.array_equal(usable, np.isfinite(value)) for value in values[1:])
    if alike:
        return _of_metrics(plan, np.stack(values), usable, in_arm, np.stack(forecasts), clusters, weight)
    each = zip(values, forecasts, strict=True)
    return [block_sum(plan, value, in_arm, forecast, clusters, weight) for value, forecast in each]


def _of_metrics(
    plan: BlockPlan,
    value: FloatArray,
    usable: BoolArray,
    in_arm: BoolArray,
    forecast: FloatArray,
    clusters: Clusters,
    weight: FloatArray | None,
) -> list[BlockSum]:
    """The same of M metrics: ``value`` (M, k, U); ``usable`` (k, U), where all are known; ``forecast`` (M, U)."""
    residual = np.where(usable, value - forecast[:, np.newaxis], 0.0)
    cells: list[BoolArray] = []
    means: list[FloatArray] = []
    for chosen in (usable & ~in_arm, usable & in_arm):
        units = clusters.sums(chosen)
        cells.append(units > 0)
        means.append(clusters.sums(np.where(chosen, residual, 0.0)) / np.maximum(units, 1))
    count = np.stack([present.sum(axis=1) for present in cells]).astype(np.float64)
    days: BoolArray = np.asarray((count >= 2).all(axis=0))
    first, last = int(plan.rows[0]), int(plan.rows[-1])
    if not days.any():
        return [BlockSum(plan.label, first, last, None, (0.0, 0.0), (0, 0), 0.0, 0, TOO_FEW)] * len(value)
    of = np.ones(cells[0].shape[1]) if weight is None else weight
    of_arms = np.stack([present @ of for present in cells])
    squares_of = np.stack([present @ of**2 for present in cells])
    of_days = np.where(days, of_arms.sum(axis=0), 0.0)
    of_days = of_days / of_days.sum()
    every = np.where(of_arms > 0, of_arms, 1.0)
    mean = [(part * of).sum(axis=2) / every[which] for which, part in enumerate(means)]
    influence = []
    for which, (present, part) in enumerate(zip(cells, means, strict=True)):
        share = of / every[which][:, np.newaxis]
        squares = (squares_of[which] / every[which] ** 2)[:, np.newaxis]
        scale = np.where(days[:, np.newaxis], of_days[:, np.newaxis] * share * inflation(share, squares) ** 0.5, 0.0)
        about = np.where(present, part - mean[which][:, :, np.newaxis], 0.0)
        influence.append((about * scale).sum(axis=1))
    in_control, in_treatment = (present[days].sum(axis=0) for present in cells)
    mostly = in_treatment > in_control
    rest = ~mostly & (in_control > 0)
    either = clusters.sums(usable)
    foretold = clusters.sums(np.where(usable, forecast[:, np.newaxis], 0.0)) / np.maximum(either, 1)
    both = (either > 0) @ of
    base = mean[0] + (foretold * of * (either > 0)).sum(axis=2) / np.where(both > 0, both, 1.0)
    counted = int((in_control > 0).sum()), int((in_treatment > 0).sum())
    sizes = every**2 / np.where(squares_of > 0, squares_of, 1.0)
    control_size, treated_size = (float(size @ of_days) for size in sizes)
    squares_by_part = (influence[1] ** 2, influence[1] * influence[0], influence[0] ** 2)
    square = squares_by_part[0] - 2.0 * squares_by_part[1] + squares_by_part[2]
    return [
        BlockSum(
            plan.label,
            first,
            last,
            float(of_days @ (mean[1][metric] - mean[0][metric])),
            (float(square[metric, rest].sum()), float(square[metric, mostly].sum())),
            counted,
            float(of_days @ base[metric]),
            int(usable[days].sum()),
            None,
            (
                float(squares_by_part[0][metric].sum()),
                float(squares_by_part[1][metric].sum()),
                float(squares_by_part[2][metric].sum()),
            ),
            (control_size, treated_size),
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
    foretold = float(np.einsum("u,u->", forecast, usable)) / cells
    base, sizes = mean[0] + centre + foretold, (float(counts[0]), float(counts[1]))
    variances, parts = (rest, mostly), (mostly, 0.0, rest)
    return BlockSum(plan.label, row, row, mean[1] - mean[0], variances, counts, base, cells, None, parts, sizes)


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
