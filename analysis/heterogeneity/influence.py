"""How far each unit, cluster and day moves a difference of means, exactly, and which clusters carry its sign.

All estimates here are ``mean of treated u - mean of control u``: a difference in means u is the outcome, in did each
unit's change. Leaving a cluster out changes its arm's sum and count, so that each leave-one-out is closed form.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.heterogeneity.sign_change import fewest_of_ratios
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from controller.errors import NotEstimable


@dataclass(frozen=True, slots=True)
class Influence:
    """Estimates without each unit, cluster and day; NaN where nothing would be left to estimate from."""

    effect: float
    #: (N,), the estimate without unit i; empty where units were not asked for
    without_unit: FloatArray
    #: (G,), the estimate without cluster g, in the order of ``clusters``
    without_cluster: FloatArray
    clusters: tuple[str, ...]
    #: (T,), the estimate without day t; empty where the estimate has no days
    without_day: FloatArray
    #: the fewest clusters without which the sign turns; None where no such set was found within the limit
    turning: tuple[str, ...] | None
    #: no smaller set turns the sign; where it is False a smaller one may exist
    turning_is_smallest: bool = True
    #: how many of the numbers are refits; None where the closed form is exact and none is needed
    refitted: int | None = None
    #: largest difference of closed form and refit among the refitted, as a share of the largest move; None as above
    closed_form_gap: float | None = None
    #: a sentence on what the numbers do not say; empty where there is none
    note: str = ""

    def largest(self, count: int = 10) -> list[tuple[str, float]]:
        """The clusters that move the number most: name, effect less the effect without it."""
        return largest_moves(self.effect, self.without_cluster, self.clusters, count)


def largest_moves(
    effect: float, without: FloatArray, names: tuple[str, ...], count: int = 10
) -> list[tuple[str, float]]:
    """Names with effect less the effect without each, the largest first; those that cannot be left out are absent."""
    moves = effect - without
    known = np.flatnonzero(np.isfinite(moves))
    order = known[np.argsort(-np.abs(moves[known]), kind="stable")][:count]
    return [(names[k], float(moves[k])) for k in order]


def means_influence(
    value: ArrayLike, treated: ArrayLike, clusters: ArrayLike | None = None, most: int = 20
) -> Influence:
    """Influence on the difference in means of units' values.

    Args:
        value: (N,).
        treated: (N,), True in the treatment arm.
        clusters: (N,) labels; absent, each unit alone. A cluster may have units in both arms.
        most: the largest set that is looked for to turn the sign; only where each cluster is in one arm.

    Raises:
        NotEstimable: an arm without units, values that are missing.

    """
    u, arm = np.asarray(value, dtype=np.float64), np.asarray(treated, dtype=bool)
    if not np.isfinite(u).all():
        raise NotEstimable(
            f"the value of unit {int(np.flatnonzero(~np.isfinite(u))[0])} is missing: leave the unit out"
        )
    if arm.all() or not arm.any():
        raise NotEstimable("one arm has no units: there is no difference between arms")
    labels = np.arange(len(u)) if clusters is None else np.asarray(clusters)
    found, label = np.unique(labels, return_inverse=True)
    label, names = label.ravel(), tuple(str(name) for name in found)
    effect = float(u[arm].mean() - u[~arm].mean())
    sums, counts = _by_arm(u, arm, label, len(names))
    each = np.arange(len(u))
    turning = fewest_of_ratios(effect, sums, counts, most)
    return Influence(
        effect=effect,
        without_unit=_left_out(*_by_arm(u, arm, each, len(u))),
        without_cluster=_left_out(sums, counts),
        clusters=names,
        without_day=np.empty(0),
        turning=None if turning is None else tuple(names[g] for g in turning),
    )


def did_influence(
    outcome: FloatArray, n_control: int, n_pre: int, clusters: ArrayLike | None = None, most: int = 20
) -> Influence:
    """Influence on did: ``outcome`` (N, T) complete, controls in the first rows, pre-periods in the first columns.

    Raises:
        NotEstimable: as :func:`means_influence`, or no period before or after the start.

    """
    n, periods = outcome.shape
    if not 0 < n_pre < periods:
        raise NotEstimable(f"{n_pre} of {periods} periods are before the start: did needs some before and some after")
    treated = np.arange(n) >= n_control
    changes = outcome[:, n_pre:].mean(axis=1) - outcome[:, :n_pre].mean(axis=1)
    found = means_influence(changes, treated, clusters, most)
    daily = outcome[n_control:].mean(axis=0) - outcome[:n_control].mean(axis=0)
    before, after = daily[:n_pre], daily[n_pre:]
    with np.errstate(invalid="ignore", divide="ignore"):
        less_before = (before.sum() - before) / (n_pre - 1) if n_pre > 1 else np.full(1, np.nan)
        rest = periods - n_pre
        less_after = (after.sum() - after) / (rest - 1) if rest > 1 else np.full(1, np.nan)
    days = np.r_[after.mean() - less_before, less_after - before.mean()]
    return Influence(found.effect, found.without_unit, found.without_cluster, found.clusters, days, found.turning)


def _by_arm(u: FloatArray, arm: BoolArray, label: IntArray, groups: int) -> tuple[FloatArray, FloatArray]:
    """(2, G) sums and counts of each cluster in control and in treatment."""
    sums = np.stack([np.bincount(label, u * which, groups) for which in (~arm, arm)]).astype(np.float64)
    counts = np.stack([np.bincount(label, which, groups) for which in (~arm, arm)]).astype(np.float64)
    return sums, counts


def _left_out(sums: FloatArray, counts: FloatArray) -> FloatArray:
    total, number = sums.sum(axis=1, keepdims=True), counts.sum(axis=1, keepdims=True)
    left = number - counts
    means = np.where(left > 0, (total - sums) / np.maximum(left, 1), np.nan)
    return np.asarray(means[1] - means[0])
