"""Did the price that was decided go live, for whom, and how soon?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.checks.verdict import Check, unknown
from analysis.panel_data.panel import FloatArray, IntArray


def fidelity(
    assigned: NDArray[Any],
    applied: NDArray[Any],
    periods: Sequence[str],
    arms: Sequence[str] = ("control", "treatment"),
    *,
    threshold: float = 0.95,
) -> Check:
    """The smallest share, over arms and days, of unit-days whose live price was that of the assigned arm.

    ``assigned``, ``applied``: (N, T) indices into ``arms``, -1 where unknown. The worst arm-day is the value, not the
    mean: a pricing system that ignores one arm for one day is lost in a mean over months.
    """
    known = (assigned >= 0) & (applied >= 0)
    right = known & (assigned == applied)
    cells = np.stack([(known & (assigned == arm)).sum(axis=0) for arm in range(len(arms))])
    hits = np.stack([(right & (assigned == arm)).sum(axis=0) for arm in range(len(arms))])
    return fidelity_of(cells, hits, periods, arms, threshold=threshold)


def fidelity_of(
    cells: IntArray,
    hits: IntArray,
    periods: Sequence[str],
    arms: Sequence[str] = ("control", "treatment"),
    *,
    threshold: float = 0.95,
) -> Check:
    """The same from (A, T) counts: unit-days whose live price was reported, and those of them where it was right."""
    if not cells.any():
        return unknown("fidelity", threshold, "no pricing system has reported a live price yet")
    share = np.divide(hits, cells, out=np.full(cells.shape, np.inf), where=cells > 0)
    arm, period = divmod(int(np.argmin(share)), share.shape[1])
    worst = float(share[arm, period])
    overall = ", ".join(
        f"{name} {hits[row].sum() / cells[row].sum():.1%}" for row, name in enumerate(arms) if cells[row].any()
    )
    evidence = (
        f"worst: {arms[arm]} on {periods[period]}, {hits[arm, period]} of {cells[arm, period]} unit-days;"
        f" overall {overall}"
    )
    if worst >= threshold:
        return Check("fidelity", worst, threshold, "pass", "Nothing.", evidence)
    return Check(
        "fidelity",
        worst,
        threshold,
        "fail",
        f"Ask the pricing system's owner why {arms[arm]} was not live on {periods[period]}; leave its cells out.",
        evidence,
    )


def reporting(assigned: NDArray[Any], applied: NDArray[Any], *, threshold: float = 0.95) -> Check:
    """Share of assigned unit-days for which a pricing system said which price was live."""
    planned = assigned >= 0
    return reporting_of(int(planned.sum()), int((planned & (applied >= 0)).sum()), threshold=threshold)


def reporting_of(planned: int, reported: int, *, threshold: float = 0.95) -> Check:
    """The same from counts of unit-days."""
    if not planned:
        return unknown("reporting", threshold, "no unit-day has been assigned yet")
    share = reported / planned
    found = share < threshold
    return Check(
        "reporting",
        share,
        threshold,
        "warn" if found else "pass",
        "Fidelity is only known where prices are reported: have the pricing system publish what it applied."
        if found
        else "Nothing.",
        f"{share:.1%} of {planned} assigned unit-days have a reported price",
    )


def activation_lag(lag_seconds: FloatArray, *, threshold_seconds: float = 300.0) -> Check:
    """95th percentile of the seconds from the instant an arm was to take effect to the instant it was live."""
    lags = np.asarray(lag_seconds, dtype=np.float64)
    lags = lags[np.isfinite(lags)]
    if not lags.size:
        return unknown("activation lag", threshold_seconds, "no activation has been reported yet")
    p95 = float(np.quantile(lags, 0.95))
    found = p95 > threshold_seconds
    return Check(
        "activation lag",
        p95,
        threshold_seconds,
        "warn" if found else "pass",
        "Publish assignments earlier, or make the pricing system hold the next arm ready before the day begins."
        if found
        else "Nothing.",
        f"p95 {p95:.0f} s, median {float(np.median(lags)):.0f} s over {lags.size} activations",
    )
