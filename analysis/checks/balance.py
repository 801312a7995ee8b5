"""Are the arms alike in all that the price should not change: weekdays, history, data quality, neighbours?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from analysis.checks.verdict import Check, unknown
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from analysis.randomised.contrasts import Contrast, arm_contrast
from analysis.randomised.variance import cluster_linearised
from controller.errors import NotEstimable

DO_MISSING = "Missing cells depend on the arm: bound the effect with them at their extremes before believing it."
DO_STOCK = "Sales were capped by stock in one arm: replenish both alike, or leave out sold-out days of both."
DO_STALE = "Rivals' prices are older in one arm: check the crawler's order, and triggers of that arm."


def weekday_balance(arm: NDArray[Any], weekday: NDArray[Any], usable: BoolArray, *, threshold: float = 0.05) -> Check:
    """Largest gap, over weekdays, between the arms' shares of usable cells. ``weekday`` (T,), 0 is Monday."""
    cells = [usable & (arm == which) for which in (0, 1)]
    days = np.asarray(weekday)
    return weekday_balance_of(np.array([[mask[:, days == day].sum() for day in range(7)] for mask in cells]), threshold)


def weekday_balance_of(counts: IntArray, threshold: float = 0.05) -> Check:
    """The same from (2, 7) usable cells by arm and weekday, control first."""
    if not counts.sum(axis=1).all():
        return unknown("weekday balance", threshold, "an arm has no usable cell yet")
    shares = counts / counts.sum(axis=1, keepdims=True)
    gap = np.abs(shares[1] - shares[0])
    worst = int(gap.argmax())
    found = bool(gap[worst] > threshold)
    return Check(
        "weekday balance",
        float(gap[worst]),
        threshold,
        "warn" if found else "pass",
        "Run to the end of full weeks before deciding, or take a forecast with weekdays off." if found else "Nothing.",
        f"largest on weekday {worst}: {shares[0, worst]:.1%} of control, {shares[1, worst]:.1%} of treatment cells",
    )


def treated_share(arm: NDArray[Any], block: NDArray[Any], *, planned: float = 0.5, threshold: float = 0.05) -> Check:
    """Largest gap, over blocks, between the share of clusters treated and the planned one."""
    starts = np.flatnonzero(np.r_[True, block[1:] != block[:-1]])
    known = (arm[:, starts] == 0) | (arm[:, starts] == 1)
    count = known.sum(axis=0)
    if not count.any():
        return unknown("treated share", threshold, "no block has an arm yet")
    treated = (arm[:, starts] == 1).sum(axis=0)
    return treated_share_of(treated, count, block[starts], planned=planned, threshold=threshold)


def treated_share_of(
    treated: IntArray, known: IntArray, block: NDArray[Any], *, planned: float = 0.5, threshold: float = 0.05
) -> Check:
    """The same from (K,) clusters treated, and those under either arm, in each block."""
    share = np.divide(treated, known, out=np.full(len(known), planned), where=known > 0)
    gap = np.abs(share - planned)
    worst = int(gap.argmax())
    found = bool(gap[worst] > threshold)
    return Check(
        "treated share",
        float(gap[worst]),
        threshold,
        "fail" if found else "pass",
        "Compare the applied arms with the published design hash: the draw was exact." if found else "Nothing.",
        f"furthest in block {block[worst]}: {share[worst]:.1%} of {known[worst]} clusters, not {planned:.0%}",
    )


def pre_period_balance(pre_mean: FloatArray, share_treated: FloatArray, *, threshold: float = 0.25) -> Check:
    """Standardised difference of the clusters' pre-period means between the arms.

    ``share_treated`` (N,): 0 or 1 in time-bound designs, the treated share of a cluster's days in switchbacks. Chance
    alone exceeds the threshold with few clusters, so that it warns only where a regression's t on G - 2 degrees of
    freedom also rejects at .05.
    """
    usable = np.isfinite(pre_mean) & np.isfinite(share_treated)
    clusters = int(usable.sum())
    if clusters < 4:
        return unknown("pre-period balance", threshold, f"{clusters} clusters with a history: at least 4 are needed")
    x, y = share_treated[usable] - share_treated[usable].mean(), pre_mean[usable] - pre_mean[usable].mean()
    spread = float((x**2).sum())
    if spread <= 1e-12 or not (y**2).sum() > 0.0:
        return unknown(
            "pre-period balance", threshold, "every cluster was treated equally often, or there is no varying history"
        )
    slope = float((x * y).sum() / spread)
    residual = float(((y - slope * x) ** 2).sum() / (clusters - 2.0))
    # What a cluster's history differs by between its two arms' days, in standard deviations between clusters
    weighed = share_treated[usable]
    gap = float((weighed * y).sum() / weighed.sum() - ((1.0 - weighed) * y).sum() / (1.0 - weighed).sum())
    value = abs(gap) / float(y.std(ddof=1))
    p = 2.0 * float(special.stdtr(clusters - 2.0, -abs(slope) / np.sqrt(residual / spread))) if residual > 0.0 else 0.0
    found = value > threshold and p < 0.05
    return Check(
        "pre-period balance",
        value,
        threshold,
        "warn" if found else "pass",
        "Take the pre-period forecast off the outcomes, and read the exact test." if found else "Nothing.",
        f"treated cells' history is {gap:.4g} above control's, {value:.2f} standard deviations, p = {p:.2g}",
    )


def even_by_arm(
    name: str,
    value: FloatArray,
    arm: NDArray[Any],
    *,
    threshold: float,
    what_to_do: str,
    alpha: float = 0.01,
) -> Check:
    """Whether a nuisance is as common under treatment as under control.

    ``value`` (N, T): 1 where a cell is missing or out of stock and 0 where not, or the hours by which rivals' prices
    were stale; NaN where unknown. It warns where the arms' means differ by more than ``threshold`` and by more than
    the clusters' chance at ``alpha``.
    """
    try:
        contrast = arm_contrast(value, np.ones_like(value), arm == 1, arm == 0)
    except NotEstimable as reason:
        return unknown(name, threshold, str(reason))
    return even(name, contrast, threshold=threshold, what_to_do=what_to_do, alpha=alpha)


def even(name: str, contrast: Contrast, *, threshold: float, what_to_do: str, alpha: float = 0.01) -> Check:
    """:func:`even_by_arm` of a contrast whose sums were added up elsewhere."""
    try:
        se = cluster_linearised(contrast) ** 0.5
    except NotEstimable as reason:
        return unknown(name, threshold, str(reason))
    clusters = len(contrast.sums)
    gap = contrast.effect
    degrees = max(clusters - 2.0, 1.0)
    p = 2.0 * float(special.stdtr(degrees, -abs(gap) / se)) if se > 0.0 else float(gap == 0.0)
    found = abs(gap) > threshold and p < alpha
    return Check(
        name,
        abs(gap),
        threshold,
        "warn" if found else "pass",
        what_to_do if found else "Nothing.",
        f"treatment {contrast.mean_treated:.4g}, control {contrast.mean_control:.4g}, p = {p:.2g}",
    )


def missingness(outcome: FloatArray, arm: NDArray[Any], *, threshold: float = 0.02) -> Check:
    """Share of assigned unit-days without an outcome, by arm."""
    missing = np.where(arm >= 0, (~np.isfinite(outcome)).astype(np.float64), np.nan)
    return even_by_arm(
        "missingness",
        missing,
        arm,
        threshold=threshold,
        what_to_do=DO_MISSING,
    )


def stock_outs(out_of_stock: FloatArray, arm: NDArray[Any], *, threshold: float = 0.02) -> Check:
    """Share of unit-days out of stock, by arm: a lower price can sell out, and an empty shelf sells nothing."""
    return even_by_arm(
        "stock-outs",
        out_of_stock,
        arm,
        threshold=threshold,
        what_to_do=DO_STOCK,
    )


def staleness(hours: FloatArray, arm: NDArray[Any], *, threshold_hours: float = 6.0) -> Check:
    """Age of rivals' prices in hours, by arm."""
    return even_by_arm(
        "rivals' price staleness",
        hours,
        arm,
        threshold=threshold_hours,
        what_to_do=DO_STALE,
    )


def interference(arm: NDArray[Any], category: Sequence[Any], *, threshold: float = 0.1) -> Check:
    """Share of unit-days that share a category and a day with a unit of another arm: buyers may switch between them.

    ``arm`` (N, T) per unit, ``category`` (N,) its labels: equal where the same buyers may choose between units.
    Randomise clusters of substitutes instead of units.
    """
    labels = np.unique(np.asarray(category), return_inverse=True)[1]
    known = arm >= 0
    if not known.any():
        return unknown("interference", threshold, "no unit has an arm yet")
    low = np.full((labels.max() + 1, arm.shape[1]), np.iinfo(np.int64).max)
    high = np.full(low.shape, -1)
    np.minimum.at(low, labels, np.where(known, arm, np.iinfo(np.int64).max))
    np.maximum.at(high, labels, np.where(known, arm, -1))
    mixed = (low < high)[labels] & known
    share = float(mixed.sum() / known.sum())
    found = share > threshold
    return Check(
        "interference",
        share,
        threshold,
        "warn" if found else "pass",
        "Neighbours may lend the effect: randomise clusters of substitutes, or report the spillover estimate."
        if found
        else "Nothing.",
        f"{share:.1%} of unit-days have a unit of their category in another arm",
    )
