"""Differences between arms within randomisation blocks: what the running sequence and its fixed cousin add up."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from analysis.randomised.intervals import Inference, must_vary, t_interval
from controller.errors import NotEstimable

NO_USABLE_BLOCK = (
    "no block has two clusters or more in each arm with usable cells: all are missing, washed out or left out,"
    " or too few clusters were randomised"
)


@dataclass(frozen=True, slots=True)
class BlockDifferences:
    """K closed blocks, each with its own draw: mean of the treated clusters minus mean of the control clusters."""

    #: (K,) label of each block, in order of time
    block: NDArray[Any]
    #: (K,) ``D_k``
    difference: FloatArray
    #: (K,) ``s_k = s_T^2 / n_T + s_C^2 / n_C``, at least the variance of D_k on average
    variance: FloatArray
    #: (K,) clusters with a usable mean, by arm
    clusters_treated: IntArray
    clusters_control: IntArray
    #: (2, K) mean and variance of the mean of each arm, control first
    arm_mean: FloatArray
    arm_variance: FloatArray
    #: labels of the blocks that give no difference: an arm with fewer than two usable clusters
    left_out: tuple[Any, ...]


def block_differences(
    outcome: FloatArray,
    arm: NDArray[Any],
    block: NDArray[Any],
    *,
    clean: BoolArray | None = None,
    forecast: FloatArray | None = None,
) -> BlockDifferences:
    """Compare the arms inside each block on cluster means of clean days.

    ``outcome`` (N, T), NaN where missing; ``arm`` (N, T), one arm per cluster and block; ``block`` (T,) label of each
    period's block in order of time; ``clean`` (N, T) False where a cell is washed out or left out; ``forecast`` (N, T)
    is taken off first and must have been known before the block began.

    Raises:
        NotEstimable: no block has two usable clusters in each arm; the usable outcomes are all the same number.
    """
    usable = np.isfinite(outcome) if clean is None else np.isfinite(outcome) & clean
    must_vary(outcome[usable])
    value = outcome if forecast is None else outcome - forecast
    usable = usable & np.isfinite(value)
    starts = np.flatnonzero(np.r_[True, block[1:] != block[:-1]])
    total = np.add.reduceat(np.where(usable, value, 0.0), starts, axis=1)
    days = np.add.reduceat(usable.astype(np.int64), starts, axis=1)
    mean = np.divide(total, days, out=np.full(total.shape, np.nan), where=days > 0)
    by_arm = [_moments(mean, _arm_in_block(arm, usable, starts, which)) for which in (0, 1)]
    count = np.stack([moments[0] for moments in by_arm])
    enough = (count >= 2).all(axis=0)
    if not enough.any():
        raise NotEstimable(NO_USABLE_BLOCK)
    arm_mean = np.stack([moments[1] for moments in by_arm])[:, enough]
    arm_variance = np.stack([moments[2] for moments in by_arm])[:, enough]
    labels = block[starts]
    return BlockDifferences(
        labels[enough],
        arm_mean[1] - arm_mean[0],
        arm_variance.sum(axis=0),
        count[1, enough],
        count[0, enough],
        arm_mean,
        arm_variance,
        tuple(labels[~enough].tolist()),
    )


def _arm_in_block(arm: NDArray[Any], usable: BoolArray, starts: IntArray, which: int) -> BoolArray:
    """(N, K) clusters whose usable cells of the block were all under ``which``."""
    inside = np.add.reduceat((usable & (arm == which)).astype(np.int64), starts, axis=1)
    outside = np.add.reduceat((usable & (arm != which)).astype(np.int64), starts, axis=1)
    if ((inside > 0) & (outside > 0)).any():
        row, column = np.argwhere((inside > 0) & (outside > 0))[0]
        raise ValueError(
            f"cluster {row} changes arm inside block {column}: blocks are the periods that share one draw;"
            " leave the days of a missed or late flip out with `clean`"
        )
    return inside > 0


def _moments(mean: FloatArray, members: BoolArray) -> tuple[IntArray, FloatArray, FloatArray]:
    count = members.sum(axis=0)
    filled = np.where(members, mean, 0.0)
    centre = np.divide(filled.sum(axis=0), count, out=np.full(len(count), np.nan), where=count > 0)
    spread = (np.where(members, mean - centre, 0.0) ** 2).sum(axis=0)
    several = count > 1
    variance = np.divide(spread, (count - 1) * count, out=np.full(len(count), np.nan), where=several)
    return count, centre, variance


def mean_of_blocks(blocks: BlockDifferences, *, alpha: float = 0.05) -> Inference:
    """Fixed horizon: ``mean D_k +- t sqrt(sum s_k) / K``, for one look on the planned day.

    Degrees of freedom by Welch and Satterthwaite over the 2 K arm variances, at least G - 2: a variance added up over
    many blocks is better known than one from a single comparison of G clusters.

    Raises:
        NotEstimable: one block only, fewer than 3 clusters, or outcomes that do not vary.
    """
    count = len(blocks.difference)
    if count < 2:
        raise NotEstimable("one closed block: how much the difference varies from block to block is not yet known")
    clusters = int((blocks.clusters_treated + blocks.clusters_control).max())
    total = float(blocks.variance.sum())
    sizes = np.stack([blocks.clusters_control, blocks.clusters_treated]) - 1.0
    parts = float((blocks.arm_variance**2 / sizes).sum())
    degrees = max(clusters - 2.0, total**2 / parts) if parts > 0.0 else clusters - 2.0
    return t_interval(
        float(blocks.difference.mean()),
        total**0.5 / count,
        clusters=clusters,
        method="mean of block differences, Welch-Satterthwaite t",
        alpha=alpha,
        degrees=degrees,
    )
