"""What each unit would have sold: forecasts from the pre-period, and which forecaster to trust.

1. **shrunk**: level + slope * time + weekday, each unit's own. Levels, slopes and weekdays are shrunk to the category's
   mean by how much of their spread is noise (empirical Bayes, moments); the noise of a slope is widened by the lag-one
   correlation of its residuals, ``(1 + r) / (1 - r)``.
2. **boosted**: scikit-learn's histogram gradient boosting over lags, category and calendar, for each horizon directly.

The one whose errors of a unit's mean over held-out pre-periods, less the mean error of all units, are smaller is taken.
(An error that all units share cancels between arms.) Outcomes after the start are never looked at.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.panel_data.panel import FloatArray, IntArray

Forecaster = Literal["auto", "shrunk", "boosted"]
#: periods before the start that a level, a slope, and weekdays need
FEWEST_FOR_LEVEL = 4
FEWEST_FOR_SLOPE = 14
FEWEST_FOR_WEEKDAY = 21
#: of rows that boosting learns from
MOST_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class Forecast:
    """What was forecast, and how."""

    #: (N, T1), for the periods from the start
    values: FloatArray
    forecaster: str
    #: forecaster -> error of a unit's mean over held-out pre-periods; empty where one alone was asked for
    held_out_error: dict[str, float]


def forecast(
    before: FloatArray, weekdays: IntArray | None, category: IntArray, periods: int, which: Forecaster, seed: int
) -> Forecast:
    """Forecast ``periods`` periods that follow ``before`` (N, T0), NaN where missing.

    Args:
        before: outcomes before the start, at least :data:`FEWEST_FOR_LEVEL` of each unit.
        weekdays: (T0 + periods,) of all periods, 0 to 6; None where a period is no day.
        category: (N,) codes.
        periods: how many.
        which: "auto" chooses on held-out pre-periods.
        seed: of the rows that boosting learns from.

    """
    if which != "auto":
        return Forecast(_MADE[which](before, weekdays, category, periods, seed), which, {})
    hold = min(periods, before.shape[1] // 3)
    early, late = before[:, :-hold], before[:, -hold:]
    days = None if weekdays is None else weekdays[: before.shape[1]]
    if hold < 2 or np.isfinite(early).sum(axis=1).min() < FEWEST_FOR_LEVEL:
        return Forecast(_shrunk(before, weekdays, category, periods, seed), "shrunk", {})
    errors = {}
    for name, make in _MADE.items():
        off = _mean(late - make(early, days, category, hold, seed))
        errors[name] = float(np.nanstd(off))
    chosen = min(errors, key=lambda name: errors[name])
    return Forecast(_MADE[chosen](before, weekdays, category, periods, seed), chosen, errors)


def _mean(values: FloatArray) -> FloatArray:
    """(N,) means over what is there, NaN where nothing is."""
    there = np.isfinite(values)
    count = there.sum(axis=1)
    mean: FloatArray = np.where(count > 0, np.where(there, values, 0).sum(axis=1) / np.maximum(count, 1), np.nan)
    return mean


def _shrunk(before: FloatArray, weekdays: IntArray | None, category: IntArray, periods: int, _seed: int) -> FloatArray:
    length = before.shape[1]
    there = np.isfinite(before)
    weekly = np.zeros((len(before), 7))
    left = before
    if weekdays is not None and length >= FEWEST_FOR_WEEKDAY:
        weekly = _weekly(before, weekdays[:length], category)
        left = before - weekly[:, weekdays[:length]]
    time = np.arange(length) - (length - 1) / 2
    count = there.sum(axis=1)
    level = _mean(left)
    centre = np.where(there, time, 0).sum(axis=1) / count
    spread = np.where(there, (time - centre[:, np.newaxis]) ** 2, 0).sum(axis=1)
    slope = np.zeros(len(before))
    if length >= FEWEST_FOR_SLOPE:
        moved = np.where(there, (left - level[:, np.newaxis]) * (time - centre[:, np.newaxis]), 0).sum(axis=1)
        slope = moved / np.maximum(spread, 1e-12)
    fitted = level[:, np.newaxis] + slope[:, np.newaxis] * (time - centre[:, np.newaxis])
    residual = np.where(there, left - fitted, np.nan)
    noise = np.nansum(residual**2, axis=1) / np.maximum(count - 2, 1)
    pairs = residual[:, 1:] * residual[:, :-1]
    lag = np.nansum(pairs) / max(float(np.nansum(residual[:, 1:] ** 2)), 1e-300)
    # Residuals of a level and a slope look less correlated than the noise is, by (2 + 4 lag) / T (Marriott, Pope 1954).
    lag += (2 + 4 * lag) / length
    noise *= (1 + np.clip(lag, 0, 0.9)) / (1 - np.clip(lag, 0, 0.9))
    level = _towards_category(level, noise / count, category)
    if length >= FEWEST_FOR_SLOPE:
        slope = _towards_category(slope, noise / np.maximum(spread, 1e-12), category)
    ahead = np.arange(length, length + periods) - (length - 1) / 2
    out = level[:, np.newaxis] + slope[:, np.newaxis] * (ahead - centre[:, np.newaxis])
    if weekdays is not None:
        out = out + weekly[:, weekdays[length:]]
    return np.asarray(out)


def _weekly(before: FloatArray, weekdays: IntArray, category: IntArray) -> FloatArray:
    """(N, 7) by how much a weekday is above the unit's mean, shrunk to its category."""
    off = before - _mean(before)[:, np.newaxis]
    noise = np.nanvar(off, axis=1)
    found = np.zeros((len(before), 7))
    for day in np.unique(weekdays):
        some = off[:, weekdays == day]
        count = np.isfinite(some).sum(axis=1)
        values = np.nan_to_num(_mean(some))
        found[:, day] = _towards_category(values, noise / np.maximum(count, 0.5), category)
    return found


def _towards_category(values: FloatArray, variance: FloatArray, category: IntArray) -> FloatArray:
    """Empirical Bayes: each value towards its category's mean (of all, where it is alone), by the share of noise."""
    count = np.bincount(category)[category]
    sums = np.bincount(category, values)[category]
    target = np.where(count > 1, sums / np.maximum(count, 1), values.mean())
    several = count > 1 if (count > 1).any() else np.ones(len(values), bool)
    off = (values - target)[several] ** 2 * (count / np.maximum(count - 1, 1))[several]
    between = max(float(np.mean(off)) - float(np.mean(variance[several])), 0.0)
    share = between / np.maximum(between + variance, 1e-300)
    shrunk: FloatArray = target + share * (values - target)
    return shrunk


def _boosted(before: FloatArray, weekdays: IntArray | None, category: IntArray, periods: int, seed: int) -> FloatArray:
    from sklearn.ensemble import HistGradientBoostingRegressor

    n, length = before.shape
    level = _mean(before)
    scale = np.maximum(np.sqrt(_mean((before - level[:, np.newaxis]) ** 2)), 1e-12)
    z = (before - level[:, np.newaxis]) / scale[:, np.newaxis]
    # Half of the past is history at least, so that a row has what a forecast will have.
    origins = np.unique(np.linspace(max(length // 2, 2), length - 1, 12).astype(int))
    rows, targets = [], []
    for origin in origins:
        horizons = np.arange(min(periods, length - origin))
        rows.append(_features(z[:, :origin], origin, horizons, weekdays, category))
        targets.append(z[:, origin + horizons].ravel())
    x, y = np.concatenate(rows), np.concatenate(targets)
    known = np.flatnonzero(np.isfinite(y))
    if len(known) > MOST_ROWS:
        known = np.random.default_rng(seed).choice(known, MOST_ROWS, replace=False)
    model = HistGradientBoostingRegressor(
        max_iter=60, learning_rate=0.1, max_leaf_nodes=15, min_samples_leaf=40, early_stopping=False, random_state=0
    )
    model.fit(x[known], y[known])
    ahead = model.predict(_features(z, length, np.arange(periods), weekdays, category)).reshape(n, periods)
    return np.asarray(level[:, np.newaxis] + scale[:, np.newaxis] * ahead)


def _features(
    past: FloatArray, origin: int, horizons: IntArray, weekdays: IntArray | None, category: IntArray
) -> FloatArray:
    """(N * H, 7): mean of the last 7 and 28 periods and of all, change from one half to the other, the same weekday's
    mean, horizon, category."""
    length = past.shape[1]
    last, month, whole = _mean(past[:, -7:]), _mean(past[:, -28:]), _mean(past)
    change = _mean(past[:, length // 2 :]) - _mean(past[:, : length // 2])
    units = np.stack([last, month, whole, change, category.astype(float)], axis=1)
    same = np.zeros((len(past), len(horizons)))
    if weekdays is not None:
        same = np.stack([_mean(past[:, weekdays[:length] == weekdays[origin + h]]) for h in horizons], axis=1)
    repeated = np.repeat(units, len(horizons), axis=0)
    return np.column_stack([repeated, same.ravel(), np.tile(horizons, len(past))])


_MADE = {"shrunk": _shrunk, "boosted": _boosted}
