"""The difference between arms, day by day, for switchbacks in which each day is a draw of its own.

Estimand: the average over usable cluster-days of the effect of the arm on the cluster's mean outcome; relative: that
average over the average of control's (counterfactual) outcome on the same cluster-days, so that a constant
multiplicative effect E has the relative effect E.

Estimator ("cluster_day_difference"): each unit-day is compared with a forecast made of the unit's OTHER days (their
mean, each centred on its day's mean over units); a cluster-day is the mean of its units' residuals; on each day, the
mean over treated clusters minus the mean over control clusters; then the mean over days, weighted by clusters. The
forecast knows nothing of the day's own draw and draws of different days are independent, hence no bias, whatever the
effects (`tests/analysis/test_cluster_day.py` enumerates every path), while the clusters' levels and the days' shocks
drop out. (Two-way least squares is unbiased too on a complete panel of exact halves, but not once cells are missing.)

Variance: the draw is what is random (Neyman 1923, as in Ham, Bojinov, Lindon, Tingley, arXiv 2210.08639):
``s_T^2/n_T + s_C^2/n_C`` for each day, summed over days, which is conservative under heterogeneous effects; Student's t
with Satterthwaite's degrees of freedom. Where there are fewer than four clusters a day has no variance of its own: then
the variance is that of the daily differences between days, with days - 1 degrees of freedom.

Chosen by simulation (2,000 repetitions a row, Monte-Carlo error 0.5 points; exact halves, common day shocks, effect
-10 %, cluster levels lognormal(0.8), noise lognormal(s) with AR(1) r); per cent of 95 % intervals that cover, with the
median half width: within days (this one), between days, and cluster means of (treated - control days) with t(G - 1),
two-way least squares with cluster-jackknifed errors and t(G - 2):

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
class _Daily:
    """Means of the cluster cells of one arm, by day: arrays of shape (T,)."""

    count: FloatArray
    residual: FloatArray
    forecast: FloatArray
    #: estimated variance of ``residual``, NaN where the arm has one cluster
    variance: FloatArray


def cluster_day_difference(
    outcome: FloatArray, treated: BoolArray, cluster: IntArray, confidence: float = 0.95
) -> ClusterDayDifference:
    """The effect of one arm against control.

    Args:
        outcome: (T, U), unit-days; NaN where a cell was not observed or must not be used.
        treated: (T, U), True where the unit was in the arm, False where it was in control.
        cluster: (U,), the cluster of each unit, 0 to G - 1. Where its units differ in arm on a day, a cluster has a
            cell in each arm.
        confidence: of the two-sided intervals.

    Raises:
        NotEstimable: one cluster, an arm never seen, fewer than two usable days, or constant outcomes. The
            message is what is published in place of the number.
    """
    clusters = int(cluster.max()) + 1 if cluster.size else 0
    if clusters < 2:
        raise NotEstimable("one cluster: there is nobody to compare it with")
    usable = np.isfinite(outcome)
    for seen, name in ((usable & treated, "the arm"), (usable & ~treated, "control")):
        if not seen.any():
            raise NotEstimable(f"{name} has no usable cell yet")
    if np.ptp(outcome[usable]) == 0:
        raise NotEstimable("outcomes are constant: there is no variation to judge an effect by")
    left_out: dict[str, int] = {}

    forecast, predicted = _forecast(outcome, usable)
    left_out["no_other_day"] = int((usable & ~predicted).sum())
    usable = usable & predicted
    arm, control = (_daily(outcome, forecast, usable & chosen, cluster, clusters) for chosen in (treated, ~treated))
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

    weight = (arm.count + control.count)[days]
    share = weight / weight.sum()
    level = (arm.count * arm.forecast + control.count * control.forecast)[days] / weight
    treated_mean, control_mean = arm.residual[days] + level, control.residual[days] + level
    difference = treated_mean - control_mean
    tau, base = float(share @ difference), float(share @ control_mean)

    def effect(value: float, ratio: float, scale: float) -> Effect:
        """``value`` with the error of the mean of (treated - ratio * control), divided by scale: the delta method."""
        if within:
            parts = share**2 * np.stack([arm.variance[days], ratio**2 * control.variance[days]])
            counts = np.stack([arm.count[days], control.count[days]]) - 1
            variance = float(parts.sum())
            freedom = variance**2 / float((parts**2 / counts).sum()) if variance > 0 else 1.0
        else:
            deviation = treated_mean - ratio * control_mean
            deviation = deviation - share @ deviation
            variance = float((share**2) @ deviation**2) * len(share) / (len(share) - 1)
            freedom = len(share) - 1.0
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


def _forecast(outcome: FloatArray, usable: BoolArray) -> tuple[FloatArray, BoolArray]:
    """What each unit-day would be by the unit's other days, each centred on its day's mean; and where there are any."""
    filled = np.where(usable, outcome, 0.0)
    day_mean = filled.sum(axis=1) / np.maximum(usable.sum(axis=1), 1)
    centred = np.where(usable, outcome - day_mean[:, np.newaxis], 0.0)
    others = usable.sum(axis=0) - usable
    return (centred.sum(axis=0) - centred) / np.maximum(others, 1), others > 0


def _daily(outcome: FloatArray, forecast: FloatArray, chosen: BoolArray, cluster: IntArray, clusters: int) -> _Daily:
    """Cluster cells (means over their unit-days), then their mean and the variance of that mean on each day."""
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
    spread = np.where(present, residual - mean[:, np.newaxis], 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (spread**2).sum(axis=1) / (count - 1) / count
    return _Daily(count, mean, predicted.sum(axis=1) / np.maximum(count, 1), variance)
