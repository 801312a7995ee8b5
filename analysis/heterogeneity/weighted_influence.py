"""How far each unit, cluster and period moves synthetic control (sc) and synthetic difference in differences (sdid).

Both are ``(-omega, 1/N1)' Y (-lambda, 1/T1)`` with weights that minimise a ridge least squares problem on the simplex.
Here the weights move from where they were (`moved_weights.py`): to the new optimum where few units or periods have
weight, along their active set where many do. Of a larger panel those that move the number most are fitted anew, and
the largest difference between the two is told.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.heterogeneity.influence import Influence
from analysis.heterogeneity.moved_weights import Change, MovedWeights
from analysis.heterogeneity.sign_change import fewest_of_ratios
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from controller.errors import NotEstimable

#: (outcome (N, T), N0, T0) -> the effect
Refit = Callable[[FloatArray, int, int], float]
#: panels of at most so many cells, units and periods are fitted anew throughout
SMALL_CELLS, SMALL_SIDES = 30_000, 200
#: of a larger panel so many units, clusters and periods, each, are fitted anew
REFITS = 14
#: where the weights' new optimum was found, only to show that it was
CHECKED = 2
#: residual sum of squares below this share of the target's counts as a perfect fit
PERFECT = 1e-9
NOT_UNIQUE = (
    "the controls follow the treated perfectly before the start, so that the weights are not unique: each number is a "
    "fit anew with weights of its own, and moves say as much of that choice as of what is left out; use sdid"
)


@dataclass(frozen=True, slots=True)
class Weights:
    """What the estimator fitted: omega (N0,), and lambda (T0,), all zero in sc; ``zeta`` of sdid, zero in sc."""

    units: FloatArray
    times: FloatArray
    zeta: float = 0.0


def weighted_influence(
    outcome: FloatArray,
    n_control: int,
    n_pre: int,
    weights: Weights,
    refit: Refit,
    clusters: ArrayLike | None = None,
    most: int = 20,
    refits: int | None = None,
) -> Influence:
    """Influence on sc or sdid.

    Args:
        outcome: (N, T), complete; controls in the first rows, pre-periods in the first columns.
        n_control: N0.
        n_pre: T0.
        weights: of the fit on ``outcome``.
        refit: the estimator, for what is fitted anew.
        clusters: (N,) labels; absent, each unit alone.
        most: the largest set of clusters that is looked for to turn the sign, with weights held and scaled up.
        refits: how many units, clusters and periods, each, are fitted anew; absent: all of a small panel, else 14.
            All, where the weights are not unique.

    """
    held = _Held.of(outcome, n_control, n_pre, weights)
    n, periods = outcome.shape
    small = outcome.size <= SMALL_CELLS and max(n, periods) <= SMALL_SIDES
    several = (max(n, periods) if small else CHECKED if held.exact else REFITS) if refits is None else refits
    # another optimum would follow the treated as well: only the estimator's own choice can be told
    several = max(n, periods) if held.perfect else several
    labels = np.arange(n) if clusters is None else np.asarray(clusters)
    names, code = np.unique(labels, return_inverse=True)
    code = code.ravel()
    alone = len(names) == n

    def without_rows(gone: BoolArray) -> float:
        return _refitted(refit, outcome[~gone], n_control - int(gone[:n_control].sum()), n_pre)

    def without_column(t: int) -> float:
        return _refitted(refit, np.delete(outcome, t, axis=1), n_control, n_pre - (t < n_pre))

    units, gaps, count = _improved(
        held.effect, np.array([held.without_units(np.array([i])) for i in range(n)]), several,
        lambda i: without_rows(np.arange(n) == i),
    )  # fmt: skip
    if alone:
        by_cluster = units[np.argsort(code)]
    else:
        closed = np.array([held.without_units(np.flatnonzero(code == g)) for g in range(len(names))])
        by_cluster, more, number = _improved(held.effect, closed, several, lambda g: without_rows(code == g))
        gaps, count = max(gaps, more), count + number
    closed = np.array([held.without_period(t) for t in range(periods)])
    days, more, number = _improved(held.effect, closed, several, without_column)
    sums, counts = held.ratios(code, len(names))
    turning = fewest_of_ratios(held.effect, sums, counts, most)
    return Influence(
        effect=held.effect,
        without_unit=units,
        without_cluster=by_cluster,
        clusters=tuple(str(name) for name in names),
        without_day=days,
        turning=None if turning is None else tuple(str(names[g]) for g in turning),
        refitted=count + number,
        closed_form_gap=max(gaps, more),
        note=NOT_UNIQUE if held.perfect else "",
    )


def _refitted(refit: Refit, outcome: FloatArray, n_control: int, n_pre: int) -> float:
    if not 0 < n_control < outcome.shape[0] or not 0 < n_pre < outcome.shape[1]:
        return float("nan")
    try:
        return refit(outcome, n_control, n_pre)
    except NotEstimable:
        return float("nan")


def _improved(
    effect: float, closed: FloatArray, several: int, refit: Callable[[int], float]
) -> tuple[FloatArray, float, int]:
    """The ``several`` largest moves, and all that have no closed form, fitted anew; largest gap, and how many."""
    moves = np.where(np.isnan(closed), np.inf, np.abs(closed - effect))
    chosen = np.flatnonzero(np.isnan(closed)) if several else np.empty(0, np.int64)
    chosen = np.union1d(chosen, np.argsort(-moves, kind="stable")[:several])
    found = closed.copy()
    found[chosen] = [refit(int(k)) for k in chosen]
    gaps = np.abs(found - closed)[chosen]
    scale = np.nanmax(np.abs(found - effect), initial=0.0)
    gap = float(np.nanmax(gaps, initial=0.0) / scale) if scale > 0 else 0.0
    return found, gap, len(chosen)


@dataclass(frozen=True, slots=True)
class _Held:
    """A fit, and what is needed to move it."""

    outcome: FloatArray
    n_control: int
    n_pre: int
    effect: float
    zeta: float
    #: controls follow the treated mean over pre-periods
    units: MovedWeights
    #: pre-periods follow the post-period mean over controls; None in sc
    times: MovedWeights | None
    #: (N0, 2) sums and squares of each control's first differences before the treatment
    steps: FloatArray

    @classmethod
    def of(cls, outcome: FloatArray, n_control: int, n_pre: int, weights: Weights) -> "_Held":
        pre = outcome[:n_control, :n_pre]
        intercept = bool(weights.times.any())
        target = outcome[n_control:, :n_pre].mean(axis=0)
        units = MovedWeights.of(pre, target, weights.units, weights.zeta**2 * n_pre, intercept)
        post = outcome[:n_control, n_pre:].mean(axis=1)
        times = MovedWeights.of(pre.T, post, weights.times, 0.0, intercept=True) if intercept else None
        change = outcome[:, n_pre:].mean(axis=1) - outcome[:, :n_pre] @ weights.times
        effect = float(change[n_control:].mean() - weights.units @ change[:n_control])
        step = np.diff(pre, axis=1)
        sums = np.stack([step.sum(axis=1), (step**2).sum(axis=1)], axis=1)
        return cls(outcome, n_control, n_pre, effect, weights.zeta, units, times, sums)

    @property
    def n_treated(self) -> int:
        return len(self.outcome) - self.n_control

    @property
    def n_post(self) -> int:
        return int(self.outcome.shape[1]) - self.n_pre

    @property
    def exact(self) -> bool:
        return self.units.exact and (self.times is None or self.times.exact)

    @property
    def perfect(self) -> bool:
        """sc alone: its optimum is zero, at more than one place."""
        residual = self.units.weights @ self.units.rows
        target = self.outcome[self.n_control :, : self.n_pre].mean(axis=0)
        spread = target - target.mean()
        return self.times is None and float(residual @ residual) <= PERFECT * float(spread @ spread)

    def ratios(self, code: IntArray, groups: int) -> tuple[FloatArray, FloatArray]:
        """(2, G) sums and weights of each arm: the estimate is their ratios' difference, weights scaled up."""
        times = np.zeros(self.n_pre) if self.times is None else self.times.weights
        change = self.outcome[:, self.n_pre :].mean(axis=1) - self.outcome[:, : self.n_pre] @ times
        weight = np.zeros((2, len(change)))
        weight[0, : self.n_control] = self.units.weights
        weight[1, self.n_control :] = 1.0 / self.n_treated
        sums = np.stack([np.bincount(code, of * change, groups) for of in weight]).astype(np.float64)
        return sums, np.stack([np.bincount(code, of, groups) for of in weight]).astype(np.float64)

    def without_units(self, gone: IntArray) -> float:
        """The effect without some rows."""
        controls, treated = gone[gone < self.n_control], gone[gone >= self.n_control]
        if len(treated) == self.n_treated or len(controls) == self.n_control:
            return float("nan")
        if self.times is None and not treated.size and not self.units.weights[controls].any():
            return self.effect
        whole = self.outcome[self.n_control :].mean(axis=0)
        left = self.n_treated - len(treated)
        mean = (whole * self.n_treated - self.outcome[treated].sum(axis=0)) / left if treated.size else whole
        shift = self._about_mean((mean - whole)[: self.n_pre]) if treated.size else None
        weights = self.units.after(Change(donors=controls, target=shift, ridge=self._ridge(gone) - self._ridge()))
        times = None if self.times is None else self.times.weights
        if self.times is not None and controls.size:
            times = self.times.after(Change(observations=controls))
        return self._effect(mean, weights, times, np.ones(self.outcome.shape[1], dtype=np.bool_))

    def without_period(self, t: int) -> float:
        """The effect without one column."""
        before, one = t < self.n_pre, np.array([t])
        if (self.n_pre - 1 < (1 if self.times is None else 2)) if before else self.n_post < 2:
            return float("nan")
        ridge = self._ridge(without=t) - self._ridge()
        weights, times = self.units.weights, None
        if before or self.times is not None:
            weights = self.units.after(Change(observations=one[: int(before)], ridge=ridge))
        if self.times is not None and before:
            times = self.times.after(Change(donors=one))
        elif self.times is not None:
            post = self.outcome[: self.n_control, self.n_pre :].mean(axis=1)
            shift = (post - self.outcome[: self.n_control, t]) / (self.n_post - 1)
            times = self.times.after(Change(target=shift - shift.mean()))
        kept = np.arange(self.outcome.shape[1]) != t
        return self._effect(self.outcome[self.n_control :].mean(axis=0), weights, times, kept)

    def _about_mean(self, shift: FloatArray) -> FloatArray:
        return shift - shift.mean() if self.times is not None else shift

    def _effect(self, mean: FloatArray, weights: FloatArray, times: FloatArray | None, kept: BoolArray) -> float:
        gap = mean - weights @ self.outcome[: self.n_control]
        after = float(gap[self.n_pre :][kept[self.n_pre :]].mean())
        return after if times is None else after - float(times @ gap[: self.n_pre])

    def _ridge(self, gone: IntArray | None = None, without: int | None = None) -> float:
        """``zeta^2 T0`` without some rows, or without one period; zero in sc."""
        if self.times is None:
            return 0.0
        if gone is None and without is None:
            return self.zeta**2 * self.n_pre
        rows = np.array([], dtype=np.int64) if gone is None else gone
        controls = rows[rows < self.n_control]
        n_control, n_pre, n_post = self.n_control - len(controls), self.n_pre, self.n_post
        n_treated = self.n_treated - (len(rows) - len(controls))
        total, squares = self.steps.sum(axis=0) - self.steps[controls].sum(axis=0)
        if without is not None and without < n_pre:
            pre = self.outcome[:n_control, :n_pre]
            changed = np.diff(pre[:, max(without - 1, 0) : without + 2], axis=1)
            bridge = changed.sum(axis=1) if changed.shape[1] == 2 else np.zeros(n_control)
            total += float(bridge.sum() - changed.sum())
            squares += float((bridge**2).sum() - (changed**2).sum())
            n_pre -= 1
        elif without is not None:
            n_post -= 1
        number = n_control * (n_pre - 1)
        noise = max(squares - total**2 / max(number, 1), 0.0) / max(number - 1, 1)
        return float((n_treated * n_post) ** 0.5 * noise * n_pre)
