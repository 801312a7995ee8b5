"""How far each unit, cluster and day moves a difference of means, exactly, and which clusters carry its sign.

All estimates here are ``mean of treated u - mean of control u``: a difference in means u is the outcome, in did each
unit's change. Leaving a cluster out changes its arm's sum and count, so that each leave-one-out is closed form.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from controller.errors import NotEstimable


@dataclass(frozen=True, slots=True)
class Influence:
    """Estimates without each unit, cluster and day; NaN where nothing would be left to estimate from."""

    effect: float
    #: (N,), the estimate without unit i
    without_unit: FloatArray
    #: (G,), the estimate without cluster g, in the order of ``clusters``
    without_cluster: FloatArray
    clusters: tuple[str, ...]
    #: (T,), the estimate without day t; empty where the estimate has no days
    without_day: FloatArray
    #: the fewest clusters without which the sign turns; None where no such set was found within the limit
    turning: tuple[str, ...] | None

    def largest(self, count: int = 10) -> list[tuple[str, float]]:
        """The clusters that move the number most: name, effect less the effect without it."""
        moves = np.nan_to_num(self.effect - self.without_cluster)
        order = np.argsort(-np.abs(moves), kind="stable")[:count]
        return [(self.clusters[g], float(moves[g])) for g in order]


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
    names, label = np.unique(labels, return_inverse=True)
    label = label.ravel()
    effect = float(u[arm].mean() - u[~arm].mean())
    sums, counts = _by_arm(u, arm, label, len(names))
    each = np.arange(len(u))
    return Influence(
        effect=effect,
        without_unit=_left_out(*_by_arm(u, arm, each, len(u))),
        without_cluster=_left_out(sums, counts),
        clusters=tuple(str(name) for name in names),
        without_day=np.empty(0),
        turning=_turning(effect, sums, counts, tuple(str(name) for name in names), most),
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


def _turning(
    effect: float, sums: FloatArray, counts: FloatArray, names: tuple[str, ...], most: int
) -> tuple[str, ...] | None:
    """The fewest clusters without which the sign turns, exactly: the arms are apart, each an optimum of its own.

    For a positive effect: the least mean of the treated without k clusters, and the largest of the control without m,
    for all k + m = size. Each is a ratio of sums, solved by Dinkelbach's iteration over sorted ``sum - lambda count``.
    """
    if ((counts > 0).all(axis=0)).any() or effect == 0:
        return None
    sign = 1.0 if effect > 0 else -1.0
    members = [np.flatnonzero(counts[which] > 0) for which in (0, 1)]
    best: list[list[tuple[float, IntArray]]] = []
    for which, direction in ((0, -sign), (1, sign)):
        inside = members[which]
        s, c = direction * sums[which, inside], counts[which, inside]
        best.append([(direction * mean, inside[out]) for mean, out in _least_means(s, c, min(most, len(inside) - 1))])
    for size in range(1, most + 1):
        found: tuple[float, IntArray] | None = None
        for m in range(max(0, size - len(best[1]) + 1), min(size, len(best[0]) - 1) + 1):
            gap = sign * (best[1][size - m][0] - best[0][m][0])
            if gap < 0 and (found is None or gap < found[0]):
                found = gap, np.r_[best[0][m][1], best[1][size - m][1]]
        if found is not None:
            return tuple(names[g] for g in np.sort(found[1]))
    return None


def _least_means(s: FloatArray, c: FloatArray, most: int) -> list[tuple[float, IntArray]]:
    """For k = 0..most: the least ``sum s / sum c`` after k clusters are left out, and which."""
    answers = []
    for k in range(most + 1):
        mean, out = float(s.sum() / c.sum()), np.empty(0, np.int64)
        for _ in range(100):
            chosen = np.argsort(-(s - mean * c), kind="stable")[:k]
            new = float((s.sum() - s[chosen].sum()) / (c.sum() - c[chosen].sum()))
            if new >= mean - 1e-15 * abs(mean):
                if k > 0 and not out.size:
                    mean, out = new, chosen
                break
            mean, out = new, chosen
        answers.append((mean, out))
    return answers
