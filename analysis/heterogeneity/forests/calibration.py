"""Do effects differ, and do per-unit intervals hold? Regressions on out-of-bag effects answer both without the truth.

1. ``y = a w taubar + b w (tau_i - taubar) + e``, as in Chernozhukov, Demirer, Duflo, Fernandez-Val (2018) and grf's
   test_calibration: b > 0 where effects differ, b > 1 where the forest shrinks them towards each other.
2. What is left, ``r = y - w tau_i``, is noise if tau is right. Cross-fitted over two halves of the clusters, a
   quadratic and a boosted model m of ``r = w m(x)`` look for structure. Because ``E[w r m] = E[w^2 delta m]`` for the
   error delta of the effects, ``E[w r m]^2 / (E[w^2 m^2] E[w^2])`` is at most delta's mean square (Cauchy and Schwarz).
   Out-of-bag effects lean on the same noise, which lowers the numerator: a smooth bias of a fifth of the effects'
   spread (nie_wager_d) is not found. What a smooth centring leaves out is estimated apart (`remainder.py`)
   and is in the intervals; here counts by how much more it may be (97.5 % of its posterior).
3. An interval that holds noise and no delta covers with ``P(|N(0, se^2 + delta^2)| < 1.96 se)``; its mean over units is
   published beside the intervals. It is an upper bound: no model finds all that is left.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from analysis.heterogeneity.forests.remainder import NO_REMAINDER, Remainder
from analysis.panel_data.panel import FloatArray, IntArray
from controller.errors import NotEstimable

#: below this implied coverage intervals are said not to hold: an upper bound, so little below 95 % is much
LEAST_COVERAGE = 0.93
#: below this many clusters intervals are said not to hold: 50 covered less, 200 did not (`docs/heterogeneity.md`)
FEWEST_FOR_INTERVALS = 100
#: standard errors by which a shortfall must differ from none
CLEAR = 2.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a regression on out-of-bag effects says."""

    #: a: one where the average is right
    average: float
    #: b: one where the spread is right, zero where effects do not differ
    spread: float
    spread_error: float
    #: one-sided, against b = 0: whether effects differ
    p: float
    #: root mean square of the effects' error that was found without the truth; 0 where none is clear: a lower bound
    found_error: float
    #: share of 95 % intervals that cover, if that or what is not excluded is all that is wrong with them
    implied_coverage: float
    #: clusters that effects were found on
    clusters: int
    #: root mean square of what a smooth centring leaves out: in the intervals, and not excluded; 0 without one
    smoothed_away: float = 0.0
    smoothed_away_at_most: float = 0.0

    @property
    def intervals_hold(self) -> bool:
        """False where per-unit intervals must not be read as 95 %."""
        return self.why_not is None

    @property
    def why_not(self) -> str | None:
        """Why per-unit intervals must not be read as 95 %; None where nothing speaks against it."""
        if self.found_error > 0 and self.implied_coverage < LEAST_COVERAGE:
            covers = f"at most {self.implied_coverage:.0%} cover"
            return f"errors of {self.found_error:.3g} were found without the truth: {covers}"
        if self.implied_coverage < LEAST_COVERAGE:
            return (
                f"effects are smooth in several attributes: errors of {self.smoothed_away:.3g} by what is smoothed "
                f"away are in the intervals, but the data do not exclude {self.smoothed_away_at_most:.3g}, and then "
                f"{self.implied_coverage:.0%} cover"
            )
        if self.clusters < FEWEST_FOR_INTERVALS:
            return (
                f"{self.clusters} clusters: below {FEWEST_FOR_INTERVALS} it is uncertain by how much effects differ at "
                "all, and an interval of a unit rests on it (of simulated panels of 50 units fewer than 95 % covered)"
            )
        return None


def calibration(
    outcome: FloatArray,
    treatment: FloatArray,
    effect: FloatArray,
    error: FloatArray,
    clusters: ArrayLike | None = None,
    missed: Sequence[FloatArray] = (),
    remainder: Remainder = NO_REMAINDER,
) -> Calibration:
    """Regress centred outcomes (n,) on centred treatments times out-of-bag effects; errors robust, by cluster.

    ``remainder``: what a smooth centring leaves out, its estimate part of ``error``.
    ``missed``: (n,) each, cross-fitted models of what the effects leave out, which :func:`missing_mean_square` judges.

    Raises:
        NotEstimable: effects or treatments without any variation.

    """
    known = np.isfinite(effect) & np.isfinite(error)
    y, w, tau, se = outcome[known], treatment[known], effect[known], error[known]
    if len(tau) < 3 or np.ptp(tau) == 0:
        raise NotEstimable("out-of-bag effects are all the same: nothing tells whether units differ")
    label = None if clusters is None else np.unique(np.asarray(clusters)[known], return_inverse=True)[1].ravel()
    line = slope(y, w, tau, label)
    b, b_error, average = line.slope, line.slope_error, line.level / float(tau.mean())
    shrunk = (b - 1) ** 2 * float(tau.var()) if b - 1 > CLEAR * b_error else 0.0
    square = max([shrunk, *(missing_mean_square(y - w * tau, w, model[known], label) for model in missed)])
    more = max(square, remainder.upper - remainder.square)
    at = 1.96 * se / np.sqrt(np.maximum(se**2 + more, 1e-300))
    covers = float(np.mean(ndtr(at) - ndtr(-at)))
    away = float(np.sqrt(remainder.square)), float(np.sqrt(remainder.upper))
    p = float(ndtr(-b / b_error))
    return Calibration(average, b, b_error, p, float(np.sqrt(square)), covers, line.clusters, *away)


@dataclass(frozen=True, slots=True)
class Slope:
    """The level and the slope b of ``y = w level + b w (tau_i - taubar) + e``, errors by cluster."""

    level: float
    level_error: float
    slope: float
    slope_error: float
    clusters: int


def slope(y: FloatArray, w: FloatArray, tau: FloatArray, label: IntArray | None) -> Slope:
    """The regression of centred outcomes (n,) on centred treatments and those times the spread of effects."""
    design = np.column_stack([w, w * (tau - tau.mean())])
    inverse = np.linalg.pinv(design.T @ design)
    found = inverse @ design.T @ y
    scores = _by_cluster(design * (y - design @ found)[:, np.newaxis], label)
    groups = len(scores)
    covariance = inverse @ (scores.T @ scores) @ inverse * groups / (groups - 1)
    errors = np.sqrt(np.diag(covariance))
    return Slope(float(found[0]), float(errors[0]), float(found[1]), float(errors[1]), groups)


def missing_mean_square(left: FloatArray, w: FloatArray, model: FloatArray, label: IntArray | None) -> float:
    """A lower bound of the effects' mean square error, from a cross-fitted model of what they leave; 0 if not clear."""
    bottom = float(np.mean(w**2 * model**2)) * float(np.mean(w**2))
    if bottom <= 0:
        return 0.0
    scores = _by_cluster((left * w * model)[:, np.newaxis], label)[:, 0]
    top = float(scores.sum()) / len(left)
    noise = float(np.sqrt(len(scores)) * scores.std()) / len(left)
    return top**2 / bottom if top > CLEAR * noise else 0.0


def _by_cluster(scores: FloatArray, label: IntArray | None) -> FloatArray:
    if label is None:
        return scores
    return np.stack([np.bincount(label, column) for column in scores.T], axis=1)
