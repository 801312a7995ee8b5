"""Running estimates that stay valid at every look.

The clock of a sequence is the randomisation block, not the refresh: it moves when a block has closed, that is when its
washout is over and the sales watermark has passed it. In between, an estimate may be refreshed; its interval may not.
"""

from dataclasses import dataclass

import numpy as np

from analysis.panel_data.panel import FloatArray, IntArray
from analysis.randomised.intervals import CONSTANT, must_vary
from analysis.sequential.block_differences import BlockDifferences
from controller.decisions.always_valid_bounds import mixing_for, one_sided_bound, tuning_ratio, two_sided_bound
from controller.errors import NotEstimable
from controller.validation.cluster_minima import NEEDS, requirement

__all__ = [
    "Sequence",
    "confidence_sequence",
    "expected_variance",
    "guardrail_sequence",
    "per_arm_sequence",
    "sequence_of_entries",
    "sequence_of_pairs",
    "tuning_ratio",
]


@dataclass(frozen=True, slots=True)
class Sequence:
    """One estimate and interval per look; all K intervals cover at once with probability at least 1 - alpha."""

    #: (K,) number of differences (or ripe entries) behind each look
    count: IntArray
    #: (K,) running effect: the mean over the blocks closed so far
    effect: FloatArray
    #: (K,) infinite where a guardrail has one side only, or where a look has too little behind it
    lower: FloatArray
    upper: FloatArray
    #: (K,) summed variance S of the differences
    variance: FloatArray
    #: (K,) p-value valid at every look, never rising; None for a difference of two sequences, which has none of its own
    p: FloatArray | None
    #: rho, fixed before the start; None for a difference of two sequences, which have one each
    mixing: float | None
    alpha: float


def expected_variance(pre_outcome: FloatArray, block_days: int, blocks: int, *, washout: int = 0) -> float:
    """S*: the sum of s_k after ``blocks`` blocks, foretold from the pre-period, to fix the mixing before the start.

    Cuts ``pre_outcome`` (N, T0; less its forecast) into blocks from its end backwards, and averages ``4 s^2 / N`` over
    them: what halves of N clusters would have shown.
    """
    count = pre_outcome.shape[1] // block_days
    if count < 1:
        raise NotEstimable(
            f"{pre_outcome.shape[1]} days of history, and a block has {block_days}:"
            f" {block_days - pre_outcome.shape[1]} more are needed to plan the interval"
        )
    tail = pre_outcome[:, pre_outcome.shape[1] - count * block_days :].reshape(len(pre_outcome), count, block_days)
    clean = tail[:, :, washout:]
    observed = np.isfinite(clean)
    days = observed.sum(axis=2)
    mean = np.divide(np.where(observed, clean, 0.0).sum(axis=2), days, out=np.full(days.shape, np.nan), where=days > 0)
    clusters = np.isfinite(mean).sum(axis=0)
    if (clusters < 2).all():
        raise NotEstimable("no block of the pre-period has two clusters with outcomes: the interval cannot be planned")
    per_block = 4.0 * np.nanvar(mean[:, clusters > 1], axis=0, ddof=1) / clusters[clusters > 1]
    return float(per_block.mean() * blocks)


def confidence_sequence(blocks: BlockDifferences, *, planned_variance: float, alpha: float = 0.05) -> Sequence:
    """The design-based sequence (Ham, Bojinov, Lindon and Tingley, arXiv 2210.08639).

    ``(1/n) sum D_k +- (1/n) sqrt((S + rho) ln((S + rho) / (rho alpha^2)))``, ``S = sum s_k``, ``rho = S* / x``. It
    covers the mean over the blocks so far of their average effects: a target that may itself move. Valid from the
    first block on, if every block's halves were drawn on their own. ``planned_variance``: S*, see
    :func:`expected_variance`; with ten clusters or more it decides where the interval is narrow, not whether it is
    valid. With six, a plan ten times too small lets it miss about as often as alpha
    (benchmarks/randomised/calibration.py).

    Raises:
        NotEstimable: outcomes that do not vary; never three clusters in each arm (two are too few to know s_k: with
            four clusters a wrong plan let 12 % of intervals miss).
    """
    _must_vary(blocks)
    mixing = mixing_for(planned_variance, alpha)
    return _two_sided(
        np.arange(1, len(blocks.difference) + 1),
        np.cumsum(blocks.difference),
        np.cumsum(blocks.variance),
        mixing,
        alpha,
    )


def guardrail_sequence(
    blocks: BlockDifferences, *, planned_variance: float, alpha: float = 0.05, harm: str = "decrease"
) -> Sequence:
    """The one-sided form at its own alpha, for a metric of which only one direction hurts.

    ``harm`` "decrease": only an upper limit is given, and the guardrail "the effect is at least -L" is breached once
    the limit is under -L. "increase": the mirror. The formula is
    ``controller.decisions.always_valid_bounds.one_sided_bound``, so that a
    guardrail acts on the very number that is published.
    """
    if harm not in ("decrease", "increase"):
        raise ValueError(f"harm = {harm!r}: it is 'decrease' or 'increase'")
    _must_vary(blocks)
    mixing = mixing_for(planned_variance, alpha, sides=1)
    count = np.arange(1, len(blocks.difference) + 1)
    total, variance = np.cumsum(blocks.difference), np.cumsum(blocks.variance)
    radius = np.array([one_sided_bound(float(s), mixing, alpha) for s in variance])
    open_side = np.full(len(count), np.inf)
    lower, upper = (
        (-open_side, (total + radius) / count) if harm == "decrease" else ((total - radius) / count, open_side)
    )
    toward_harm = -total if harm == "decrease" else total
    inside = np.exp(-(np.maximum(toward_harm, 0.0) ** 2) / (2.0 * (variance + mixing)))
    # the alpha at which the bound would just be reached: 2 a (e^{z^2/2} - 1/2) = sqrt((S + rho) / rho)
    p = np.sqrt((variance + mixing) / mixing) * inside / (2.0 - inside)
    return Sequence(
        count, total / count, lower, upper, variance, np.minimum.accumulate(np.minimum(1.0, p)), mixing, alpha
    )


def per_arm_sequence(treated: Sequence, control: Sequence) -> Sequence:
    """Subtract two sequences, each at alpha / 2, that share their looks: for delayed sales and staggered entry.

    Where outcomes ripen at different times under the two arms, the running difference is no martingale, but each arm's
    own error is one in its own order of ripening (Lindon and Kallus, arXiv 2603.25971). The union bound pays for both.
    """
    if len(treated.effect) != len(control.effect):
        raise ValueError(f"{len(treated.effect)} and {len(control.effect)} looks: both arms need the same looks")
    effect = treated.effect - control.effect
    lower, upper = treated.lower - control.upper, treated.upper - control.lower
    alpha = treated.alpha + control.alpha
    return Sequence(
        treated.count + control.count,
        effect,
        lower,
        upper,
        treated.variance + control.variance,
        None,
        None,
        alpha,
    )


def sequence_of_entries(
    outcome: FloatArray,
    look: IntArray,
    looks: int,
    *,
    planned_entries: int,
    planned_sd: float,
    alpha: float = 0.025,
) -> Sequence:
    """One arm's sequence over ripe outcomes, for :func:`per_arm_sequence`.

    ``outcome`` (n,): one number per entry (a triggered cluster's mean over its own clean days; an arm's mean of one
    closed block), in the order in which they ripened; ``look`` (n,): the look at which each was ripe, 0-based and not
    falling. ``planned_entries`` and ``planned_sd`` fix the mixing before the start.

    The entries' errors add up to a martingale of variance ``S_n = (n + 1) s_n^2``, s_n^2 the sample variance so
    far. A look with fewer than two ripe entries has an infinite interval: one entry says nothing about its own error.
    """
    if len(outcome) != len(look) or (np.diff(look) < 0).any():
        raise ValueError("entries are given in the order in which they ripened: `look` has one value each, not falling")
    if not np.isfinite(outcome).all():
        raise ValueError("an entry without an outcome has not ripened: leave it out")
    if len(outcome) > 1:
        must_vary(outcome)
    mixing = mixing_for(planned_entries * planned_sd**2, alpha)
    count = np.searchsorted(look, np.arange(looks), side="right")
    total = np.r_[0.0, np.cumsum(outcome)][count]
    squares = np.r_[0.0, np.cumsum((outcome - (outcome[0] if len(outcome) else 0.0)) ** 2)][count]
    shifted = total - count * (outcome[0] if len(outcome) else 0.0)
    several = count > 1
    spread = np.divide(
        np.maximum(squares - shifted**2 / np.maximum(count, 1), 0.0),
        count - 1,
        out=np.full(looks, np.nan),
        where=several,
    )
    return _two_sided(count, total, np.where(several, (count + 1) * spread, np.inf), mixing, alpha)


def sequence_of_pairs(
    treated: tuple[FloatArray, IntArray],
    control: tuple[FloatArray, IntArray],
    looks: int,
    *,
    planned_pairs: int,
    planned_sd: float,
    alpha: float = 0.05,
) -> Sequence:
    """The narrower choice for staggered entry: the i-th ripe treated outcome less the i-th ripe control outcome.

    Each arm is given as (outcomes, looks) like in :func:`sequence_of_entries`. Every pair estimates the effect, so
    their errors are one martingale, whatever the two arms' delays; the surplus of the arm that is ahead waits.
    1.55 times the fixed interval where the arms are equally long, against 2.4 for :func:`per_arm_sequence`; it asks
    the same of the data, that within an arm the order of ripening says nothing about the outcome. (Ours.)
    ``planned_sd``: standard deviation of a pair's difference.
    """
    count = min(len(treated[0]), len(control[0]))
    difference = np.asarray(treated[0][:count] - control[0][:count])
    ripe = np.maximum(treated[1][:count], control[1][:count])
    return sequence_of_entries(
        difference, ripe, looks, planned_entries=planned_pairs, planned_sd=planned_sd, alpha=alpha
    )


def _two_sided(count: IntArray, total: FloatArray, variance: FloatArray, mixing: float, alpha: float) -> Sequence:
    effect = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    known = np.isfinite(variance)
    radius = np.full(len(count), np.inf)
    radius[known] = [two_sided_bound(float(s), mixing, alpha) for s in variance[known]]
    radius = np.divide(radius, count, out=np.full(len(count), np.inf), where=count > 0)
    spread = np.where(known, variance, 1.0) + mixing
    p = np.where(known, np.sqrt(spread / mixing) * np.exp(-(total**2) / (2.0 * spread)), 1.0)
    return Sequence(
        count,
        effect,
        np.where(np.isfinite(radius), effect - radius, -np.inf),
        np.where(np.isfinite(radius), effect + radius, np.inf),
        variance,
        np.minimum.accumulate(np.minimum(1.0, p)),
        mixing,
        alpha,
    )


def _must_vary(blocks: BlockDifferences) -> None:
    smaller = np.minimum(blocks.clusters_treated, blocks.clusters_control)
    if smaller.max() < NEEDS["always_valid"].an_arm:
        raise NotEstimable(
            f"at most {smaller.max()} clusters in an arm: {requirement('always_valid')};"
            " wait for the planned day, or randomise more clusters"
        )
    if not (blocks.variance > 0.0).any():
        raise NotEstimable(CONSTANT)
