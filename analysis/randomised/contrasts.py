"""Differences between arms: ratios of sums with their influences, strata and pairs, event time, demand curves."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.panel_data.panel import BoolArray, FloatArray, mean_of_cells
from analysis.randomised.intervals import must_vary
from controller.errors import NotEstimable


@dataclass(frozen=True, slots=True)
class Contrast:
    """Treatment against control, with what each cluster contributes to the error."""

    effect: float
    mean_treated: float
    mean_control: float
    #: (N,) first-order change of the effect due to each cluster; they sum to 0
    influence: FloatArray
    #: (N, 4) sums that add over clusters: numerator and denominator treated, numerator and denominator control
    sums: FloatArray
    relative: bool
    cells_treated: int
    cells_control: int


def arm_contrast(
    numerator: FloatArray,
    denominator: FloatArray,
    weight_treated: FloatArray,
    weight_control: FloatArray,
    *,
    relative: bool = False,
) -> Contrast:
    """``R1 - R0`` or ``R1 / R0 - 1`` with ``R = sum of weighted numerators / sum of weighted denominators`` per arm.

    All arrays (N, T), clusters in rows. With a denominator of ones and weights 0 or 1 it is the difference of arms of
    cluster-day means; with 1 / propensity the Hajek estimator; with margin over revenue a ratio metric. The
    influences are the delta method's: ``psi_1 - psi_0``, or ``psi_1 / R0 - (R1 / R0^2) psi_0``, where
    ``psi_c = sum over the cells of cluster c of weight (numerator - R denominator) / sum of weighted denominators``.

    Raises:
        NotEstimable: an arm without usable cells; a denominator that sums to zero; a control at zero where the effect
            is relative.
    """
    observed = np.isfinite(numerator) & np.isfinite(denominator)
    weights = [np.where(observed, weight, 0.0) for weight in (weight_treated, weight_control)]
    cells = [int(np.count_nonzero(weight)) for weight in weights]
    for name, count in zip(("treatment", "control"), cells, strict=True):
        if count == 0:
            raise NotEstimable(
                f"no usable cell under {name}: all are missing, washed out or left out, or the arm never ran"
            )
    over, under = np.where(observed, numerator, 0.0), np.where(observed, denominator, 0.0)
    sums = np.stack([(weight * part).sum(axis=1) for weight in weights for part in (over, under)], axis=1)
    return contrast_from_sums(sums, (cells[0], cells[1]), relative=relative)


def contrast_from_sums(sums: FloatArray, cells: tuple[int, int], *, relative: bool = False) -> Contrast:
    """:func:`arm_contrast` from its (N, 4) sums by cluster and the cells behind them, treated first."""
    effect, treated, control = contrast_of_sums(sums.sum(axis=0), relative=relative)
    total = sums.sum(axis=0)
    influence_1 = (sums[:, 0] - treated * sums[:, 1]) / total[1]
    influence_0 = (sums[:, 2] - control * sums[:, 3]) / total[3]
    per_treated, per_control = (1.0 / control, treated / control**2) if relative else (1.0, 1.0)
    influence = per_treated * influence_1 - per_control * influence_0
    return Contrast(float(effect), float(treated), float(control), influence, sums, relative, cells[0], cells[1])


def contrast_of_sums(sums: FloatArray, *, relative: bool) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Effect, treated and control ratio from (..., 4) sums; the jackknife calls it without one cluster each."""
    if (sums[..., 1] == 0.0).any() or (sums[..., 3] == 0.0).any():
        raise NotEstimable("the denominator of a ratio sums to zero in an arm (or in all of it but one cluster)")
    treated, control = sums[..., 0] / sums[..., 1], sums[..., 2] / sums[..., 3]
    if not relative:
        return treated - control, treated, control
    if (control == 0.0).any():
        raise NotEstimable(
            "the control mean is zero: an effect relative to it does not exist; ask for the absolute one"
        )
    return treated / control - 1.0, treated, control


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference of means of independent clusters with its conservative standard error."""

    effect: float
    se: float
    clusters_treated: int
    clusters_control: int
    #: strata without both arms, whose clusters say nothing
    strata_left_out: int


def stratified_difference(outcome: FloatArray, treated: BoolArray, stratum: NDArray[Any] | None = None) -> Difference:
    """Mean difference within strata, weighted by the strata's clusters: time-bound, paired and stratified designs.

    ``outcome``: (N,) one number per cluster (its mean over the clean days, less a forecast). A stratum with two
    clusters or more per arm adds Neyman's ``s1^2 / n1 + s0^2 / n0``. Strata with a lone cluster in an arm (pairs)
    have no variance of their own: theirs is the spread of such strata's differences around their mean, which is
    conservative (Athey and Imbens 2017, section 6.2).

    Raises:
        NotEstimable: no stratum has both arms, one lone pair is all there is, or the outcomes are all the same number.
    """
    usable = np.isfinite(outcome)
    if usable.sum() > 1:
        must_vary(outcome[usable])
    labels = np.zeros(len(outcome), dtype=np.int64) if stratum is None else np.unique(stratum, return_inverse=True)[1]
    rows: list[tuple[float, float, float, int, int]] = []  # difference, variance (NaN in pairs), clusters by arm
    left_out = 0
    for label in range(int(labels.max()) + 1):
        ones = outcome[usable & treated & (labels == label)]
        zeros = outcome[usable & ~treated & (labels == label)]
        if not (len(ones) and len(zeros)):
            left_out += 1
            continue
        alone = min(len(ones), len(zeros)) < 2
        own = np.nan if alone else ones.var(ddof=1) / len(ones) + zeros.var(ddof=1) / len(zeros)
        rows.append(
            (float(ones.mean() - zeros.mean()), float(own), float(len(ones) + len(zeros)), len(ones), len(zeros))
        )
    if not rows:
        raise NotEstimable("no stratum has both arms with a usable outcome: nothing can be compared")
    difference, own, size = (np.array(column) for column in list(zip(*rows, strict=True))[:3])
    weight = size / size.sum()
    pairs = np.isnan(own)
    if pairs.sum() == 1:
        raise NotEstimable(
            "a single stratum has only one cluster in an arm: its error cannot be judged; merge it with a like one"
        )
    variance = float((weight[~pairs] ** 2 * own[~pairs]).sum())
    if pairs.any():
        share = weight[pairs] / weight[pairs].sum()
        centre = float((share * difference[pairs]).sum())
        spread = (share**2 * (difference[pairs] - centre) ** 2 / (1.0 - share)).sum()
        variance += float(weight[pairs].sum() ** 2 * spread)
    effect = float((weight * difference).sum())
    return Difference(effect, variance**0.5, sum(r[3] for r in rows), sum(r[4] for r in rows), left_out)


def event_time_outcomes(
    outcome: FloatArray, entry: NDArray[Any], *, days: int, washout: int = 0, days_before: int = 0
) -> FloatArray:
    """(N,) mean outcome of each cluster on its own clock, for triggered entry: both arms start at their event.

    From ``entry + washout`` to ``entry + days`` (half-open), less the mean over the ``days_before`` days before the
    entry when that is asked for. NaN for a cluster that has not entered (``entry`` < 0), has no such day observed, or
    whose clock has not run out: an unripe cluster would weigh its first days more.
    """
    if not 0 <= washout < days:
        raise NotEstimable(f"washout of {washout} days in a window of {days}: all of it is washed out")
    clock = np.arange(outcome.shape[1])[None, :] - np.asarray(entry)[:, None]
    ripe = (np.asarray(entry) >= 0) & (np.asarray(entry) + days <= outcome.shape[1])
    value = _mean_over(outcome, (clock >= washout) & (clock < days))
    if days_before:
        value = value - _mean_over(outcome, (clock < 0) & (clock >= -days_before))
    return np.where(ripe, value, np.nan)


def _mean_over(outcome: FloatArray, cells: BoolArray) -> FloatArray:
    return mean_of_cells(outcome, cells & np.isfinite(outcome), 1)


@dataclass(frozen=True, slots=True)
class Demand:
    """``log(quantity at p / quantity at control) = slope x + curvature x^2`` with ``x = log(p / control price)``."""

    #: elasticity of demand at the control price
    slope: float
    slope_se: float
    curvature: float
    curvature_se: float
    levels: int


def demand_curve(quantity: FloatArray, level: NDArray[Any], prices: FloatArray) -> Demand:
    """Slope and curvature of demand from three price levels or more, on the arms' mean quantities.

    ``quantity``: (N, T) pieces per cluster-day, zeros included; ``level``: (N, T) index into ``prices`` (0 is control,
    -1 leaves a cell out); ``prices``: (L,) price of each level, or its multiple of the control price. The logarithm is
    taken of the mean, not of the cells, so that days without a sale count. Errors by the delta method over clusters.

    Raises:
        NotEstimable: fewer than three levels (two points cannot tell a slope from a curve: arXiv 2410.14904), a level
            without usable cells, or one without any sale.
    """
    prices = np.asarray(prices, dtype=np.float64)
    if len(np.unique(prices)) < max(3, len(prices)) or (prices <= 0.0).any():
        raise NotEstimable(
            f"prices {prices.tolist()}: a demand curve needs three different positive price levels or more; with two,"
            " report the effect of that one price change"
        )
    logs, influences = [], []
    for which in range(len(prices)):
        cells = (level == which) & np.isfinite(quantity)
        total = np.where(cells, quantity, 0.0).sum(axis=1)
        count = cells.sum(axis=1)
        if not count.any() or total.sum() <= 0.0:
            raise NotEstimable(f"price level {which} ({prices[which]}): no usable cell, or not one piece sold")
        mean = total.sum() / count.sum()
        logs.append(np.log(mean))
        influences.append((total - mean * count) / count.sum() / mean)
    x = np.log(prices[1:] / prices[0])
    solve = np.linalg.pinv(np.stack([x, x**2], axis=1))
    slope, curvature = solve @ (np.array(logs[1:]) - logs[0])
    influence = solve @ (np.stack(influences[1:]) - influences[0])
    clusters = quantity.shape[0]
    if clusters < 3:
        raise NotEstimable(f"{clusters} clusters: an error between clusters needs at least 3")
    errors = np.sqrt(clusters / (clusters - 1.0) * (influence**2).sum(axis=1))
    return Demand(float(slope), float(errors[0]), float(curvature), float(errors[1]), len(prices))
