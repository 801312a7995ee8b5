"""Variance reduction that leaves the estimand alone: a forecast from the pre-period, and covariates (CUPED).

Both take off a number that does not depend on the draw. Under every schedule the treated and the control outcome of a
cell lose the same amount, so that their difference, and every unbiased estimate of it, stays what it was.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from controller.errors import NotEstimable

#: Backfitting of weekdays and units' lines stops when no weekday moves by more than this share of the largest one.
CONVERGED = 1e-9
ROUNDS = 50


@dataclass(frozen=True, slots=True)
class Forecast:
    """``level_i + slope_i (t - middle_i) + weekday_c(d)``, t counted in days from the first day of the pre-period."""

    #: (N,) mean of the unit's pre-period, weekdays taken off; NaN for a unit without history
    level: FloatArray
    #: (N,) change per day, shrunk to its category
    slope: FloatArray
    #: (N,) mean day of the unit's history
    middle: FloatArray
    #: (N, 7) effect of each weekday, Monday first; the same for all units of a category
    weekday: FloatArray
    #: days in the pre-period
    days: int

    def ahead(self, weekday: NDArray[Any]) -> FloatArray:
        """(N, T) forecast of the T days right after the pre-period. ``weekday``: (T,), 0 is Monday."""
        day = self.days + np.arange(len(weekday))
        return np.asarray(
            self.level[:, None]
            + self.slope[:, None] * (day[None] - self.middle[:, None])
            + self.weekday[:, np.asarray(weekday, dtype=np.int64)]
        )

    def behind(self, weekday: NDArray[Any]) -> FloatArray:
        """(N, T0) fit to the pre-period itself."""
        day = np.arange(self.days)
        return np.asarray(
            self.level[:, None]
            + self.slope[:, None] * (day[None] - self.middle[:, None])
            + self.weekday[:, np.asarray(weekday, dtype=np.int64)]
        )


def fit_forecast(pre_outcome: FloatArray, weekday: NDArray[Any], category: NDArray[Any] | None = None) -> Forecast:
    """Level, slope and weekdays from the pre-period only.

    ``pre_outcome`` (N, T0), NaN where missing; ``weekday`` (T0,), 0 is Monday; ``category`` (N,) any labels.
    Weekdays are pooled over a category. Each slope is shrunk to its category's mean by empirical Bayes,
    ``B / (B + v_i)`` with v_i its sampling variance and B the spread of slopes beyond sampling, so that a unit with a
    short or noisy history does not run away when it is carried forward.

    Raises:
        NotEstimable: no unit has a day of history.
    """
    observed = np.isfinite(pre_outcome)
    if not observed.any():
        raise NotEstimable("no unit has a day of history: run without a forecast, or supply the pre-period")
    labels = (
        np.zeros(len(pre_outcome), dtype=np.int64) if category is None else np.unique(category, return_inverse=True)[1]
    )
    days = np.asarray(weekday, dtype=np.int64)
    effects = _weekdays(pre_outcome, observed, days, labels)
    clean = pre_outcome - effects[:, days]
    day = np.arange(pre_outcome.shape[1], dtype=np.float64)
    count = observed.sum(axis=1)
    level = _ratio(np.where(observed, clean, 0.0).sum(axis=1), count, np.nan)
    middle = _ratio((observed * day).sum(axis=1), count, 0.0)
    offset = np.where(observed, day[None] - middle[:, None], 0.0)
    spread = (offset**2).sum(axis=1)
    raw = _ratio((offset * np.where(observed, clean, 0.0)).sum(axis=1), spread, 0.0)
    residual = np.where(observed, clean - level[:, None] - raw[:, None] * offset, 0.0)
    noise = _ratio((residual**2).sum(axis=1), np.maximum(count - 2, 1), 0.0)
    sampling = _ratio(noise, spread, np.inf)
    slope = _shrink(raw, np.where(count > 2, sampling, np.inf), labels)
    return Forecast(level, slope, middle, effects, pre_outcome.shape[1])


def _weekdays(outcome: FloatArray, observed: BoolArray, weekday: IntArray, labels: IntArray) -> FloatArray:
    """(N, 7), centred per category over the weekdays seen; 0 for a weekday that the history never saw.

    Backfits each unit's line and each category's weekdays in turn, on sums by unit and weekday.
    """
    present = np.zeros((len(weekday), 7))
    present[np.arange(len(weekday)), weekday] = 1.0
    day = np.arange(len(weekday), dtype=np.float64)
    filled = np.where(observed, outcome, 0.0)
    cells, days = observed @ present, (observed * day) @ present
    sums, moments = filled @ present, filled @ day
    count, middle = cells.sum(axis=1), _ratio(days.sum(axis=1), cells.sum(axis=1), 0.0)
    spread = observed @ day**2 - count * middle**2
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(labels.max() + 1))
    cells_of_category = np.add.reduceat(cells[order], starts, axis=0)
    seen = cells_of_category > 0.0
    effect = np.zeros_like(cells_of_category)
    for _ in range(ROUNDS):
        own = effect[labels]
        total = (sums - cells * own).sum(axis=1)
        level = _ratio(total, count, 0.0)
        moment = moments - (days * own).sum(axis=1) - middle * total
        slope = np.where(count > 2, _ratio(moment, spread, 0.0), 0.0)
        residual = sums - cells * (level - slope * middle)[:, None] - days * slope[:, None]
        before = effect
        effect = _ratio(np.add.reduceat(residual[order], starts, axis=0), cells_of_category, 0.0)
        effect -= np.where(seen, _ratio((effect * seen).sum(axis=1), seen.sum(axis=1), 0.0)[:, None], 0.0)
        if np.abs(effect - before).max() <= CONVERGED * np.abs(effect).max():
            break
    return np.asarray(effect[labels])


def _shrink(raw: FloatArray, sampling: FloatArray, labels: IntArray) -> FloatArray:
    """Empirical Bayes within each category; a unit whose slope is unknown takes its category's mean."""
    known = np.isfinite(sampling)

    def by_category(values: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(labels, np.where(known, values, 0.0), minlength=labels.max() + 1))

    count = by_category(np.ones(len(raw)))
    centre = _ratio(by_category(raw), count, 0.0)
    deviation = raw - centre[labels]
    spread = _ratio(by_category(deviation**2), count - 1.0, 0.0)
    between = np.maximum(0.0, spread - _ratio(by_category(sampling), count, 0.0))[labels]
    share = _ratio(between, between + np.where(known, sampling, 0.0), 0.0)
    return np.asarray(np.where(known, centre[labels] + share * deviation, centre[labels]))


def _ratio(over: FloatArray, under: Any, otherwise: float) -> FloatArray:
    under = np.asarray(under, dtype=np.float64)
    return np.asarray(np.divide(over, under, out=np.full(np.shape(over), otherwise), where=under > 0.0))


def theta_from_history(covariates: FloatArray, history: FloatArray) -> FloatArray:
    """(p,) least-squares slopes of a pre-period outcome (N,) on covariates (N, p) or (N,).

    Fixed before the draw, hence exactly harmless to the estimand.
    """
    x = covariates.reshape(len(history), -1)
    rows = np.isfinite(history) & np.isfinite(x).all(axis=1)
    if rows.sum() <= x.shape[1] + 1:
        raise NotEstimable(f"{rows.sum()} units with history for {x.shape[1]} covariates: use fewer covariates")
    centred = x[rows] - x[rows].mean(axis=0)
    return np.asarray(np.linalg.lstsq(centred, history[rows] - history[rows].mean(), rcond=None)[0])


def theta_within_arms(covariates: FloatArray, outcome: FloatArray, treated: BoolArray) -> FloatArray:
    """(p,) slopes from the experiment itself, within arms: sharper, and biased by the order of 1 / N (CUPED).

    Deng, Xu, Kohavi and Walker 2013, with both arms' slopes pooled. Below some 50 clusters take
    :func:`theta_from_history`.
    """
    x = covariates.reshape(len(outcome), -1)
    centred_x, centred_y = x.copy(), outcome.copy()
    for rows in (treated, ~treated):
        centred_x[rows] = x[rows] - x[rows].mean(axis=0)
        centred_y[rows] = outcome[rows] - outcome[rows].mean()
    return np.asarray(np.linalg.lstsq(centred_x, centred_y, rcond=None)[0])


def adjust(outcome: FloatArray, covariates: FloatArray, theta: FloatArray) -> FloatArray:
    """Outcomes (N,) or (N, T) less ``(x_i - mean x) theta``: the mean over all units stays what it was.

    Raises:
        NotEstimable: a covariate is missing; a unit without it cannot be adjusted like the others.
    """
    x = covariates.reshape(len(outcome), -1)
    if not np.isfinite(x).all():
        row = int(np.argwhere(~np.isfinite(x))[0][0])
        raise NotEstimable(f"row {row} has no covariate: fill it from its category, or leave the covariate out")
    shift = (x - x.mean(axis=0)) @ theta
    return np.asarray(outcome - (shift if outcome.ndim == 1 else shift[:, None]))
