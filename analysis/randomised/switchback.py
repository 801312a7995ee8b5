"""Effects of switchbacks: inverse propensities over held windows, and blocks with a burn-in.

Arrays are (N, T): N clusters in rows, T periods in columns, NaN where an outcome is missing, ``arm`` 1 for treatment, 0
for control, anything else for neither. Centre the outcomes on a pre-period forecast first
(analysis/randomised/forecast.py): the
estimand does not move, and the variance of inverse propensity weighting falls with the square of the level.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.panel_data.eligibility import held, inverse_weights
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from analysis.randomised.contrasts import Contrast, arm_contrast
from controller.errors import NotEstimable

ArmArray = NDArray[Any]


@dataclass(frozen=True, slots=True)
class ClusterEffects:
    """One effect per cluster, and their plain mean."""

    effect: float
    #: (N,) effect of each cluster, NaN where it has none
    by_cluster: FloatArray
    #: cells that entered, and observed cells that no arm held long enough
    cells_used: int
    cells_washed_out: int


def horvitz_thompson(
    outcome: FloatArray,
    arm: ArmArray,
    treated_propensity: FloatArray,
    control_propensity: FloatArray,
    carryover_order: int,
) -> ClusterEffects:
    """``tau_c = mean over t > m of Y_t (1{window treated} / p1_t - 1{window control} / p0_t)``, averaged over clusters.

    Unbiased over the draws for treatment held m + 1 days, whatever the outcomes (Bojinov, Simchi-Levi and Zhao,
    equation 5), if the carryover really ends after m days. Propensities: (T,) or (N, T), see ``windows.propensities``.
    Missing cells leave numerator and denominator: harmless only where missingness does not depend on the arm.

    Raises:
        NotEstimable: no observed period lies behind the first ``carryover_order`` ones, or no window was held.
    """
    observed, cells_1, cells_0 = _held_cells(outcome, arm, carryover_order)
    weight = inverse_weights(cells_1, treated_propensity) - inverse_weights(cells_0, control_propensity)
    counted = observed.copy()
    counted[:, :carryover_order] = False
    periods = counted.sum(axis=1)
    if not periods.any():
        raise NotEstimable(
            f"{outcome.shape[1]} periods and a carryover order of {carryover_order}:"
            " no observed period is left; run longer"
        )
    total = (np.where(observed, outcome, 0.0) * weight).sum(axis=1)
    by_cluster = np.divide(total, periods, out=np.full(len(total), np.nan), where=periods > 0)
    used = int(cells_1.sum() + cells_0.sum())
    if used == 0:
        raise NotEstimable(f"no arm was held for {carryover_order + 1} observed days: all cells are washed out")
    return ClusterEffects(float(np.nanmean(by_cluster)), by_cluster, used, int(observed.sum()) - used)


def hajek(
    outcome: FloatArray,
    arm: ArmArray,
    carryover_order: int,
    treated_propensity: FloatArray | float = 1.0,
    control_propensity: FloatArray | float = 1.0,
    *,
    relative: bool = False,
) -> Contrast:
    """Weighted mean over held treated windows minus that over held control windows, weights 1 / propensity.

    Shifting every outcome does not move it, unlike :func:`horvitz_thompson`; it is consistent instead of unbiased.
    Equal propensities (exact halves in every block) may be left at 1: they cancel.
    """
    _, cells_1, cells_0 = _held_cells(outcome, arm, carryover_order)
    return arm_contrast(
        outcome,
        np.ones_like(outcome),
        inverse_weights(cells_1, treated_propensity),
        inverse_weights(cells_0, control_propensity),
        relative=relative,
    )


def _held_cells(outcome: FloatArray, arm: ArmArray, carryover_order: int) -> tuple[BoolArray, BoolArray, BoolArray]:
    if outcome.shape != arm.shape or outcome.ndim != 2:
        raise ValueError(f"outcome {outcome.shape} and arm {arm.shape} must be clusters x periods alike")
    observed = np.isfinite(outcome)
    return observed, held(arm == 1, carryover_order) & observed, held(arm == 0, carryover_order) & observed


@dataclass(frozen=True, slots=True)
class BlockMeans:
    """Per cluster and block: the arm, and mean outcomes of the burn-in days and of the days after them; all (N, K)."""

    arm: ArmArray
    burn_in: FloatArray
    after: FloatArray
    #: burn-in days b of every block
    days_burnt: int
    #: (K,) days l of each block
    length: IntArray


def block_means(outcome: FloatArray, arm: ArmArray, block: NDArray[Any], burn_in: int) -> BlockMeans:
    """Cut (N, T) arrays into blocks. ``block``: (T,) label of each period's block, in order of time.

    Raises:
        NotEstimable: the burn-in leaves no day in some block.
        ValueError: an arm changes inside a block.
    """
    starts = np.flatnonzero(np.r_[True, block[1:] != block[:-1]])
    length = np.diff(np.r_[starts, len(block)])
    if burn_in < 0 or (length <= burn_in).any():
        raise NotEstimable(
            f"burn-in of {burn_in} days, and the shortest block has {length.min()}: all of its days are washed out"
        )
    at_start = arm[:, starts]
    if (np.repeat(at_start, length, axis=1) != arm).any():
        raise ValueError("an arm changes inside a block: blocks are the periods that share one draw")
    day = np.arange(len(block)) - np.repeat(starts, length)
    return BlockMeans(
        at_start,
        _mean_by_block(outcome, starts, day < burn_in),
        _mean_by_block(outcome, starts, day >= burn_in),
        burn_in,
        length,
    )


def _mean_by_block(outcome: FloatArray, starts: IntArray, days: BoolArray) -> FloatArray:
    cells = np.isfinite(outcome) & days
    total = np.add.reduceat(np.where(cells, outcome, 0.0), starts, axis=1)
    count = np.add.reduceat(cells.astype(np.int64), starts, axis=1)
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))


def burn_in_effect(blocks: BlockMeans, kept: BoolArray | None = None) -> FloatArray:
    """(N,) ``mean(after | treated blocks) - mean(after | control blocks)`` per cluster, NaN without both arms.

    Hu and Wager, arXiv 2209.00197, the estimator with a fixed burn-in. ``kept``: (K,) or (N, K) blocks to use (the
    jackknife leaves some out).
    """
    return _difference(blocks.after, blocks.arm, np.ones(blocks.arm.shape, bool) if kept is None else kept)


def bias_corrected_effect(blocks: BlockMeans, kept: BoolArray | None = None) -> FloatArray:
    """(N,) ``(b / l) tau_burn + ((l - b) / l) tau_after`` per cluster (Hu and Wager, arXiv 2209.00197).

    tau_burn compares the burn-in days of blocks whose previous block had the same arm: there, no other arm's effect
    lingers, so that these days count too. Needs blocks of one length.
    """
    if (blocks.length != blocks.length[0]).any():
        raise NotEstimable(
            f"blocks of {blocks.length.min()} to {blocks.length.max()} days: the bias correction weighs burn-in days"
            " by their share of a block, and needs one length; use the plain burn-in estimate"
        )
    after = burn_in_effect(blocks, kept)
    if blocks.days_burnt == 0:
        return after
    settled = np.zeros(blocks.arm.shape, dtype=bool)
    settled[:, 1:] = blocks.arm[:, 1:] == blocks.arm[:, :-1]
    if kept is not None:
        settled &= kept
    share = blocks.days_burnt / float(blocks.length[0])
    return np.asarray(share * _difference(blocks.burn_in, blocks.arm, settled) + (1.0 - share) * after)


def _difference(value: FloatArray, arm: ArmArray, kept: BoolArray) -> FloatArray:
    means = []
    for which in (1, 0):
        cells = (arm == which) & kept & np.isfinite(value)
        total = np.where(cells, value, 0.0).sum(axis=1)
        count = cells.sum(axis=1)
        means.append(np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0))
    return np.asarray(means[0] - means[1])
