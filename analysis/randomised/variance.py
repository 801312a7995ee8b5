"""Conservative variances: of inverse propensity weighting (U1, U2), of blocks and of clusters (jackknives).

Each function answers a variance; ``inference.t_interval`` turns its root into an interval, and :func:`cluster_interval`
does both for a contrast.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.panel_data.eligibility import coins_in_windows, held
from analysis.panel_data.panel import BoolArray, FloatArray
from analysis.randomised.contrasts import Contrast, contrast_of_sums
from analysis.randomised.intervals import Inference, t_interval
from analysis.randomised.switchback import BlockMeans, bias_corrected_effect, burn_in_effect
from controller.errors import NotEstimable


def optimal_points(periods: int, carryover_order: int) -> tuple[int, ...]:
    """The minimax randomisation points, 0-based: {0, 2m, 3m, ..., (n-2)m} of n m periods; every period where m = 0.

    Bojinov, Simchi-Levi and Zhao, Theorem 2. The variances U1 and U2 hold for this schedule and no other.
    """
    m = carryover_order
    if m == 0:
        return tuple(range(periods))
    if periods % m or periods < 4 * m:
        raise NotEstimable(
            f"{periods} periods at carryover order {m}: the optimal schedule needs a multiple of m, at least 4 m;"
            " for another schedule use variance_any_schedule"
        )
    return (0, *range(2 * m, periods - m, m))


def u1(outcome: FloatArray, arm: NDArray[Any], carryover_order: int) -> FloatArray:
    """(N,) variance bound of each cluster's Horvitz-Thompson estimate under the optimal schedule, fair coins.

    ``[8 Y_0^2 + sum over k = 1 .. n-3 of 32 Y_k^2 1{coins of block k equal} + 8 Y_{n-2}^2] / (T - m)^2`` with Y_k the
    sum over block k (Bojinov, Simchi-Levi and Zhao, Corollary 1). Where m = 0: ``4 sum Y^2 / T^2``.
    """
    m = carryover_order
    block, coin = _blocks(outcome, arm, m)
    if m == 0:
        return np.asarray(4.0 * (block**2).sum(axis=1) / outcome.shape[1] ** 2)
    same = coin[:, :-1] == coin[:, 1:]
    ends = 8.0 * (block[:, 0] ** 2 + block[:, -1] ** 2)
    middle = (32.0 * block[:, 1:-1] ** 2 * same).sum(axis=1)
    return np.asarray((ends + middle) / (outcome.shape[1] - m) ** 2)


def u2(outcome: FloatArray, arm: NDArray[Any], carryover_order: int) -> FloatArray:
    """(N,) the tighter bound: ``E[U1] >= E[U2] >= Var``.

    ``[6 Y_0^2 + sum 24 Y_k^2 1{=} + 6 Y_{n-2}^2 + sum over k = 0 .. n-3 of 2 * 2^c_k Y_k Y_{k+1} 1{=}] / (T - m)^2``,
    c_k the coins touching blocks k and k + 1, 1{=} where all of them are equal. It can be negative in one draw where
    neighbouring blocks have opposite signs: outcomes are centred on a forecast, not on a level they cannot reach.
    """
    m = carryover_order
    block, coin = _blocks(outcome, arm, m)
    if m == 0:
        return u1(outcome, arm, 0)
    same = coin[:, :-1] == coin[:, 1:]
    own = 6.0 * (block[:, 0] ** 2 + block[:, -1] ** 2) + (24.0 * block[:, 1:-1] ** 2 * same).sum(axis=1)
    # Block k >= 1 touches coins k - 1 and k; the first block the first coin alone, the last one the last coin alone.
    neighbours = block[:, :-1] * block[:, 1:]
    cross = 8.0 * neighbours[:, 0] * same[:, 0] + 8.0 * neighbours[:, -1] * same[:, -1]
    cross = cross + (16.0 * neighbours[:, 1:-1] * (same[:, :-1] & same[:, 1:])).sum(axis=1)
    return np.asarray((own + cross) / (outcome.shape[1] - m) ** 2)


def _blocks(outcome: FloatArray, arm: NDArray[Any], m: int) -> tuple[FloatArray, NDArray[Any]]:
    """Sums over blocks, (N, n-1), and the arm at each coin, (N, n-2); for m = 0 the outcomes and arms themselves."""
    if not np.isfinite(outcome).all():
        raise NotEstimable("U1 and U2 need every period's outcome: with missing cells use variance_any_schedule")
    starts = np.array(optimal_points(outcome.shape[1], m))
    ends = np.r_[starts[1:], outcome.shape[1]]
    if (np.repeat(arm[:, starts], ends - starts, axis=1) != arm).any():
        raise ValueError("arms change off the optimal schedule's points: use variance_any_schedule")
    if m == 0:
        return outcome, arm
    return outcome[:, m:].reshape(len(outcome), -1, m).sum(axis=2), arm[:, starts]


def variance_any_schedule(
    outcome: FloatArray,
    arm: NDArray[Any],
    points: Sequence[int],
    carryover_order: int,
    probability: float = 0.5,
) -> FloatArray:
    """(N,) variance bound of each cluster's Horvitz-Thompson estimate under any schedule of independent coins.

    With A_t = 1{window t treated} / p1_t, B_t the same for control, a = A Y, b = B Y, and O_ts = 1{windows t and s
    share a coin}: ``Var = E[a'Oa + b'Ob] - (y1 - y0)'O(y1 - y0)`` over the squared number of periods, y1 and y0 the
    potential outcomes. The last term is never observed. Where O has no negative eigenvalue it may be dropped; where
    its least eigenvalue is -l, ``2 l sum Y^2 (A + B)`` makes up for it. So
    ``U = [a'Oa + b'Ob + 2 l sum Y^2 (A + B)] / (periods used)^2`` has ``E[U] >= Var``. (Aronow and Samii 2017 bound
    cell by cell, which is wider; this form is ours.) Missing cells are left out.

    Raises:
        NotEstimable: a single randomisation point: one draw has nothing to compare itself with.
    """
    if len(points) < 2:
        raise NotEstimable("one block: a single draw per cluster; compare clusters, or run more blocks")
    periods = outcome.shape[1]
    coins = coins_in_windows(points, periods, carryover_order).astype(np.float64)
    first = np.searchsorted(np.asarray(points), np.arange(periods) - carryover_order, side="right") - 1
    last = np.searchsorted(np.asarray(points), np.arange(periods), side="right") - 1
    inside = coins > 0
    shared = (np.maximum(first[:, None], first[None]) <= np.minimum(last[:, None], last[None])) & np.outer(
        inside, inside
    )
    least = float(np.linalg.eigvalsh(shared[np.ix_(inside, inside)].astype(np.float64))[0])
    shift = max(0.0, -least)
    observed = np.isfinite(outcome)
    value = np.where(observed, outcome, 0.0)
    result = np.zeros(len(outcome))
    for which, chance in ((1, probability), (0, 1.0 - probability)):
        weight = np.where(held(arm == which, carryover_order), chance**-coins, 0.0)
        weighted = value * weight
        result += ((weighted @ shared) * weighted).sum(axis=1) + 2.0 * shift * (value**2 * weight).sum(axis=1)
    used = (observed & inside).sum(axis=1)
    return np.asarray(np.divide(result, used**2, out=np.full(len(outcome), np.nan), where=used > 0))


def mean_of_clusters(variance: FloatArray) -> float:
    """Variance of the mean over clusters whose coins are independent: ``sum of variances / N^2``."""
    return float(variance.sum() / len(variance) ** 2)


def between_clusters(effects: FloatArray) -> float:
    """Variance of the mean of independent cluster effects, from their spread: ``s^2 / N``, N >= 2."""
    effects = effects[np.isfinite(effects)]
    if len(effects) < 2:
        raise NotEstimable(f"{len(effects)} cluster with an effect: the spread between clusters needs at least 2")
    return float(effects.var(ddof=1) / len(effects))


def burn_in_jackknife(blocks: BlockMeans) -> FloatArray:
    """(N,) ``(K - 1) mean over blocks of (tau without the block - tau)^2`` (Hu and Wager, the fixed burn-in)."""
    count = blocks.arm.shape[1]
    drops = ~np.eye(count, dtype=bool)
    return _leave_out(burn_in_effect, blocks, drops, count - 1.0)


def bias_corrected_jackknife(blocks: BlockMeans) -> FloatArray:
    """(N,) ``(K - 3)^2 / (2 (K - 2)) mean over adjacent pairs of (tau without both - tau)^2`` (Hu and Wager).

    Pairs, because a block's burn-in days also depend on the arm of the block before. The first block has none before
    it, so the pairs run over blocks 2 to K.
    """
    count = blocks.arm.shape[1]
    if count < 5:
        raise NotEstimable(f"{count} blocks: the bias-corrected jackknife leaves pairs out and needs at least 5")
    drops = np.ones((count - 2, count), dtype=bool)
    for row in range(count - 2):
        drops[row, row + 1 : row + 3] = False
    return _leave_out(bias_corrected_effect, blocks, drops, (count - 3.0) ** 2 / (2.0 * (count - 2.0)))


def _leave_out(
    effect: Callable[[BlockMeans, BoolArray], FloatArray], blocks: BlockMeans, drops: BoolArray, factor: float
) -> FloatArray:
    """NaN for a cluster where leaving some block out leaves an arm empty: one block says nothing about an error."""
    whole = effect(blocks, np.ones(blocks.arm.shape[1], dtype=bool))
    without = np.stack([effect(blocks, kept) for kept in drops])
    return np.asarray(factor * ((without - whole) ** 2).mean(axis=0))


def cluster_linearised(contrast: Contrast) -> float:
    """``G / (G - 1) sum psi_c^2``: the delta method over clusters, for each cluster in both arms over time."""
    clusters = _clusters(contrast)
    return _above_rounding(clusters / (clusters - 1.0) * (contrast.influence**2).sum(), contrast)


def cluster_jackknife(contrast: Contrast) -> float:
    """``(G - 1) / G sum over clusters of (effect without it - effect)^2``, closed form from the sums that add.

    Somewhat wider than :func:`cluster_linearised` with few clusters, and safer there.

    Raises:
        NotEstimable: fewer than two clusters, or an arm that one cluster holds up alone.
    """
    clusters = _clusters(contrast)
    without = contrast.sums.sum(axis=0) - contrast.sums
    effect, _, _ = contrast_of_sums(without, relative=contrast.relative)
    return _above_rounding((clusters - 1.0) / clusters * ((effect - contrast.effect) ** 2).sum(), contrast)


def cluster_interval(contrast: Contrast, *, alpha: float = 0.05) -> Inference:
    """``effect +- t sqrt(cluster jackknife)``: G - 1 degrees of freedom where every cluster was under both arms, as in
    a switchback (one effect per cluster); else G - 2 (one mean per arm).
    """
    clusters = _clusters(contrast)
    used = contrast.sums[:, [1, 3]] != 0.0
    within = bool(used[used.any(axis=1)].all())
    degrees = clusters - 1.0 if within else clusters - 2.0
    se = cluster_jackknife(contrast) ** 0.5
    method = f"cluster jackknife, t({'G - 1' if within else 'G - 2'})"
    return t_interval(contrast.effect, se, clusters=clusters, method=method, alpha=alpha, degrees=degrees)


def _above_rounding(variance: float, contrast: Contrast) -> float:
    """0 for a variance that is nothing but the rounding of means of this size (constant outcomes)."""
    scale = 1.0 if contrast.relative else max(abs(contrast.mean_treated), abs(contrast.mean_control))
    return float(variance) if variance > (1e-13 * scale) ** 2 else 0.0


def _clusters(contrast: Contrast) -> int:
    clusters = int((contrast.sums[:, [1, 3]] != 0.0).any(axis=1).sum())
    if clusters < 2:
        raise NotEstimable(
            f"{clusters} cluster with usable cells: an error between clusters needs more; randomise more clusters"
        )
    return clusters
