"""The difference between arms, day by day, for every design whose calendar is known beforehand.

Estimand: the average over usable cluster-days of the effect of the arm on the cluster's mean outcome; relative: that
average over the average of control's (counterfactual) outcome on the same cluster-days, so that a constant
multiplicative effect E has the relative effect E.

Estimator: each unit-day is compared with a forecast made of the unit's days of OTHER draws and of those on which
nothing was drawn (the pre-period): their mean, each centred on its day's mean over units; a cluster-day is the mean of
its units' residuals; on each day, the mean over treated clusters minus the mean over control clusters; then the mean
over days, weighted by clusters. The forecast knows nothing of the draws that decided the day, hence no bias, whatever
the effects (`tests/analysis/test_cluster_day.py` and `test_by_design.py` enumerate every path), while the clusters'
levels and the days' shocks drop out. Where each day is a draw of its own, that is each other day; where a block is, the
other blocks; where one draw decides all, only the pre-period is left, and the result is a difference of changes since
then. (Two-way least squares is unbiased too on a complete panel of exact halves, but not once cells are missing.)

Variance: the draw is what is random (Neyman 1923, as in Ham, Bojinov, Lindon, Tingley, arXiv 2210.08639). A residual e
about its arm's mean on its day, times ``sqrt(n / (n - 1))``, enters with its weight c; days that share a draw, directly
or by a chain, form a group, and ``sum over groups, clusters (sum over the group's days c e)^2``. Where each day is a
draw of its own this is ``s_T^2/n_T + s_C^2/n_C`` for each day; where one draw decides all, Neyman's variance of the
clusters' weighted sums; conservative under heterogeneous effects. Student's t with Satterthwaite's degrees of freedom
over groups and their arms. Where there are fewer than four clusters a group has no variance of its own: then the
variance is that of the differences between groups, with groups - 1 degrees of freedom.

Chosen by simulation, each day a draw of its own (2,000 repetitions a row, Monte-Carlo error 0.5 points; exact halves,
common day shocks, effect -10 %, cluster levels lognormal(0.8), noise lognormal(s) with AR(1) r); per cent of 95 %
intervals that cover, with the median half width: within days (this one), between days, and cluster means of (treated
- control days) with t(G - 1), two-way least squares with cluster-jackknifed errors and t(G - 2):

    clusters days    s   r   within       between      by clusters  least squares
           4    7  1.0  .9   98.8 1.22    94.9 1.00    96.2 0.99    98.6 1.32
           6    7  0.3  .5   97.0 .353    95.0 .369    95.8 .338    96.7 .357
           6   28  1.0  .9   96.8 .654    95.9 .631    96.4 .630    97.6 .683
          20    3  1.0  .9   96.1 .785    95.5 1.49    96.6 .738    96.5 .728
          20   28  0.3  .5   94.0 .110    94.2 .112    95.0 .113    95.0 .114
          83    3  0.3  .5   95.5 .168    95.0 .306    95.3 .163    95.2 .163
          83   30  0.3  .5   94.9 .056    95.5 .060    96.5 .061    96.8 .061

All cover; within days is as narrow as any from the third day on, needs no cluster to have seen both arms, and is the
one whose validity rests on nothing but the draw.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.special import stdtrit

from analysis.panel import BoolArray, FloatArray, IntArray
from controller.errors import NotEstimable

#: with fewer clusters a day cannot have two in each arm, and its variance is taken between days
CLUSTERS_FOR_DAILY_VARIANCE = 4


@dataclass(frozen=True, slots=True)
class Effect:
    """An effect with its standard error and two-sided interval."""

    value: float
    se: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True, slots=True)
class ClusterDayDifference:
    """Both effects, what they rest on, and what had to be left out."""

    #: in the outcome's unit, per unit-day
    absolute: Effect
    #: as a share of control's mean; None where that mean is not positive
    relative: Effect | None
    clusters: int
    days: int
    #: unit-days used
    cells: int
    #: unit-days left out, by reason
    left_out: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Cells:
    """Cluster cells of one arm, (T, G), and their means by day, (T,)."""

    present: BoolArray
    residual: FloatArray
    count: FloatArray
    mean: FloatArray
    forecast: FloatArray


def cluster_day_difference(
    outcome: FloatArray,
    treated: BoolArray,
    cluster: IntArray,
    confidence: float = 0.95,
    draws: BoolArray | None = None,
) -> ClusterDayDifference:
    """The effect of one arm against control.

    Args:
        outcome: (T, U), unit-days; NaN where a cell was not observed or must not be used.
        treated: (T, U), True where the unit was in the arm, False where it was in control.
        cluster: (U,), the cluster of each unit, 0 to G - 1. Where its units differ in arm on a day, a cluster has a
            cell in each arm.
        confidence: of the two-sided intervals.
        draws: (T, L), the draws that decided which cells of a day are usable under which arm; on a day without any,
            such as one of the pre-period, nothing is compared. When absent, each day is a draw of its own.

    Raises:
        NotEstimable: one cluster, an arm never seen, fewer than two usable days, one draw of fewer than four clusters,
            or constant outcomes. The message is what is published in place of the number.
    """
    clusters = int(cluster.max()) + 1 if cluster.size else 0
    if clusters < 2:
        raise NotEstimable("one cluster: there is nobody to compare it with")
    sharing, group = _sharing(draws, len(outcome))
    drawn: BoolArray = np.ones(len(outcome), dtype=np.bool_) if draws is None else np.asarray(draws.any(axis=1))
    observed = np.isfinite(outcome)
    usable = observed & drawn[:, np.newaxis]
    for seen, name in ((usable & treated, "the arm"), (usable & ~treated, "control")):
        if not seen.any():
            raise NotEstimable(f"{name} has no usable cell yet")
    if np.ptp(outcome[usable]) == 0:
        raise NotEstimable("outcomes are constant: there is no variation to judge an effect by")
    left_out: dict[str, int] = {}

    forecast, predicted = _forecast(outcome, observed, sharing)
    left_out["no_other_day"] = int((usable & ~predicted).sum())
    usable = usable & predicted
    arm, control = (_cells(outcome, forecast, usable & chosen, cluster, clusters) for chosen in (treated, ~treated))
    within = clusters >= CLUSTERS_FOR_DAILY_VARIANCE
    needed = 2 if within else 1
    days = (arm.count >= needed) & (control.count >= needed)
    left_out["too_few_clusters_in_an_arm"] = int(usable[~days].sum())
    if days.sum() < 2:
        raise NotEstimable(
            f"{int(days.sum())} usable days: two are needed on which both arms have at least {needed} cluster"
            + ("s" if needed > 1 else "")
        )
    usable = usable & days[:, np.newaxis]

    weight = np.where(days, arm.count + control.count, 0.0)
    share = weight / weight.sum()
    level = (arm.count * arm.forecast + control.count * control.forecast) / np.maximum(weight, 1)
    treated_mean, control_mean = arm.mean + level, control.mean + level
    tau, base = float(share @ (treated_mean - control_mean)), float(share @ control_mean)
    _, group = np.unique(group[days], return_inverse=True)

    def effect(value: float, ratio: float, scale: float) -> Effect:
        """``value`` with the error of the mean of (treated - ratio * control), divided by scale: the delta method."""
        if within:
            variance, freedom = _within_groups(arm, control, share, days, group, ratio)
        else:
            variance, freedom = _between_groups((treated_mean - ratio * control_mean)[days], share[days], group)
        if variance <= 0:
            raise NotEstimable("outcomes do not vary within arms: there is no variation to judge an effect by")
        se = variance**0.5 / scale
        half = float(stdtrit(freedom, (1 + confidence) / 2)) * se
        return Effect(value, se, value - half, value + half)

    return ClusterDayDifference(
        absolute=effect(tau, 1.0, 1.0),
        relative=effect(tau / base, 1.0 + tau / base, base) if base > 0 else None,
        clusters=len(np.unique(cluster[usable.any(axis=0)])),
        days=int(days.sum()),
        cells=int(usable.sum()),
        left_out={reason: count for reason, count in left_out.items() if count},
    )


def _sharing(draws: BoolArray | None, days: int) -> tuple[sparse.csr_array | None, IntArray]:
    """(T, T) one where two days share a draw, None where each has its own; and (T,) the group of each day."""
    if draws is None:
        return None, np.arange(days)
    each = sparse.csr_array(draws.astype(np.float64))
    shared = sparse.csr_array(each @ each.T)
    return sparse.csr_array(shared.sign()), connected_components(shared, directed=False)[1]


def _forecast(
    outcome: FloatArray, observed: BoolArray, sharing: sparse.csr_array | None
) -> tuple[FloatArray, BoolArray]:
    """What each unit-day would be by the unit's days that share no draw with it, each centred on its day's mean."""
    filled = np.where(observed, outcome, 0.0)
    day_mean = filled.sum(axis=1) / np.maximum(observed.sum(axis=1), 1)
    centred = np.where(observed, outcome - day_mean[:, np.newaxis], 0.0)
    seen = observed.astype(np.float64)
    own, own_seen = (centred, seen) if sharing is None else (sharing @ centred, sharing @ seen)
    others = seen.sum(axis=0) - own_seen
    return (centred.sum(axis=0) - own) / np.maximum(others, 1), others > 0


def _cells(outcome: FloatArray, forecast: FloatArray, chosen: BoolArray, cluster: IntArray, clusters: int) -> _Cells:
    """Means of the chosen unit-days by cluster and day, and their means over clusters."""
    days = outcome.shape[0]
    day, unit = np.nonzero(chosen)
    cell = day * clusters + cluster[unit]

    def by_cluster(values: FloatArray | None) -> FloatArray:
        return np.bincount(cell, values, minlength=days * clusters).reshape(days, clusters).astype(np.float64)

    units = by_cluster(None)
    present = units > 0
    predicted = by_cluster(forecast[chosen]) / np.maximum(units, 1)
    residual = by_cluster(outcome[chosen] - forecast[chosen]) / np.maximum(units, 1)
    count = present.sum(axis=1).astype(np.float64)
    mean = residual.sum(axis=1) / np.maximum(count, 1)
    return _Cells(present, residual, count, mean, predicted.sum(axis=1) / np.maximum(count, 1))


def _within_groups(
    arm: _Cells, control: _Cells, share: FloatArray, days: BoolArray, group: IntArray, ratio: float
) -> tuple[float, float]:
    """Variance over clusters within groups of days, and its degrees of freedom."""
    starts = np.flatnonzero(np.r_[True, np.diff(np.sort(group)) > 0])
    order = np.argsort(group, kind="stable")

    def by_group(cells: FloatArray) -> FloatArray:
        return np.asarray(np.add.reduceat(cells[order], starts, axis=0))

    def sums(cells: _Cells) -> FloatArray:
        """(groups, G) weighted residuals about their day's mean, added up over the days of a group."""
        n = cells.count[days]
        scale = share[days] / n * (n / (n - 1)) ** 0.5
        about = np.where(cells.present[days], cells.residual[days] - cells.mean[days, np.newaxis], 0.0)
        return by_group(scale[:, np.newaxis] * about)

    squares = (sums(arm) - ratio * sums(control)) ** 2
    in_arm, in_control = (by_group(cells.present[days].astype(np.float64)) for cells in (arm, control))
    # Clusters that were mostly treated, and the rest: the parts whose variances are estimated apart.
    mostly = (in_arm > in_control, (in_control >= in_arm) & (in_control > 0))
    parts = np.stack([np.where(part, squares, 0.0).sum(axis=1) for part in mostly])
    counts = np.stack([part.sum(axis=1) for part in mostly])
    variance = float(parts.sum())
    if variance <= 0:
        return 0.0, 1.0
    return variance, variance**2 / float((parts**2 / np.maximum(counts - 1, 1)).sum())


def _between_groups(difference: FloatArray, share: FloatArray, group: IntArray) -> tuple[float, float]:
    """Variance of the differences between groups, and its degrees of freedom."""
    groups = int(group.max()) + 1
    if groups < 2:
        raise NotEstimable(
            f"one draw of fewer than {CLUSTERS_FOR_DAILY_VARIANCE} clusters: nothing tells how much of it is chance"
        )
    deviation = np.bincount(group, share * (difference - share @ difference))
    return float(deviation @ deviation) * groups / (groups - 1), groups - 1.0
