"""Do effects differ, and do per-unit intervals hold? A regression on out-of-bag effects answers both without the truth.

``y = a w taubar + b w (tau_i - taubar) + e``, as in Chernozhukov, Demirer, Duflo, Fernandez-Val (2018) and grf's
test_calibration: b > 0 where effects differ, b = 1 where the spread of effects is right, b > 1 where the forest shrinks
them towards each other. The intervals hold noise and no such bias. Under a bias of (b - 1)(tau_i - taubar) an interval
covers with probability ``P(|Z + bias_i / se_i| < 1.96)``; its mean over units is published beside the intervals.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from analysis.panel_data.panel import FloatArray
from controller.errors import NotEstimable

#: below this implied coverage intervals are said not to hold: it is an upper bound, so any proven shrinkage counts
LEAST_COVERAGE = 0.95


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
    #: share of 95 % intervals that cover, if b is all that is wrong with them: an upper bound
    implied_coverage: float

    @property
    def intervals_hold(self) -> bool:
        """False where per-unit intervals must not be read as 95 %."""
        return self.implied_coverage >= LEAST_COVERAGE


def calibration(
    outcome: FloatArray, treatment: FloatArray, effect: FloatArray, error: FloatArray, clusters: ArrayLike | None = None
) -> Calibration:
    """Regress centred outcomes (n,) on centred treatments times out-of-bag effects; errors robust, by cluster.

    Raises:
        NotEstimable: effects or treatments without any variation.

    """
    known = np.isfinite(effect) & np.isfinite(error)
    y, w, tau, se = outcome[known], treatment[known], effect[known], error[known]
    if len(tau) < 3 or np.ptp(tau) == 0:
        raise NotEstimable("out-of-bag effects are all the same: nothing tells whether units differ")
    mean = tau.mean()
    design = np.column_stack([w * mean, w * (tau - mean)])
    inverse = np.linalg.pinv(design.T @ design)
    found = inverse @ design.T @ y
    scores = design * (y - design @ found)[:, np.newaxis]
    if clusters is not None:
        label = np.unique(np.asarray(clusters)[known], return_inverse=True)[1].ravel()
        scores = np.stack([np.bincount(label, column) for column in scores.T], axis=1)
    groups = len(scores)
    covariance = inverse @ (scores.T @ scores) @ inverse * groups / (groups - 1)
    spread, spread_error = float(found[1]), float(np.sqrt(covariance[1, 1]))
    bias = (spread - 1) * (tau - mean) / np.maximum(se, 1e-300) if spread - 1 > 2 * spread_error else np.zeros(len(tau))
    covers = float(np.mean(ndtr(1.96 - bias) - ndtr(-1.96 - bias)))
    return Calibration(float(found[0]), spread, spread_error, float(ndtr(-spread / spread_error)), covers)
