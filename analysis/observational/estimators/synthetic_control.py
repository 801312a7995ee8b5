"""Synthetic control, and its demeaned form (DIFP): simplex weights that follow the treated path before the treatment.

SC: Abadie, Diamond, Hainmueller (JASA 2010), outcomes only, no ridge. DIFP: with an intercept (Doudchenko and Imbens
2016; Ferman and Pinto 2021), which is the same problem on outcomes from which each unit's pre-period mean is taken.
"""

import numpy as np

from analysis.observational.estimators.simplex import sharp_weights
from analysis.observational.estimators.weighted import WeightedFit, weighted_fit
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray


def fit_synthetic_control(outcome: FloatArray, n_control: int, n_pre: int) -> WeightedFit:
    """Treated mean less synthetic control after the treatment; levels are compared, there is no intercept.

    ``min_w sum_{t<=T0} (sum_i w_i Y_it - Ybar_tr,t)^2`` on the simplex. With fewer pre-periods than controls the
    weights need not be unique; the fitted path is.

    Args:
        outcome: (N, T), complete; controls in the first rows, pre-periods in the first columns.
        n_control: N0.
        n_pre: T0.

    Raises:
        NotEstimable: the weights could not be certified.

    """
    weights = sharp_weights(outcome[:n_control, :n_pre], outcome[n_control:, :n_pre].mean(axis=0))
    return weighted_fit(outcome, weights.weights, np.zeros(n_pre), (("unit weights", weights.relative_gap),))


def fit_difp(outcome: FloatArray, n_control: int, n_pre: int) -> WeightedFit:
    """Change of the treated mean less change of the synthetic control, whose level is free.

    Args and errors as in `fit_synthetic_control`.
    """
    paths = _demeaned(outcome[:n_control, :n_pre])
    target = _demeaned(outcome[n_control:, :n_pre].mean(axis=0, keepdims=True))[0]
    weights = sharp_weights(paths, target)
    return weighted_fit(
        outcome, weights.weights, np.full(n_pre, 1.0 / n_pre), (("unit weights", weights.relative_gap),)
    )


def placebo_synthetic_control(control: FloatArray, n_pre: int, subsets: IntArray, fit: WeightedFit) -> FloatArray:
    """(B,) effects of no treatment, each with one subset (B, N1) of the control rows in the treated role."""
    return _placebo(control[:, :n_pre], fit.changes[: control.shape[0]], subsets)


def placebo_difp(control: FloatArray, n_pre: int, subsets: IntArray, fit: WeightedFit) -> FloatArray:
    """As `placebo_synthetic_control`, with an intercept."""
    return _placebo(_demeaned(control[:, :n_pre]), fit.changes[: control.shape[0]], subsets)


def _placebo(paths: FloatArray, changes: FloatArray, subsets: IntArray) -> FloatArray:
    effects = np.empty(len(subsets))
    allowed: BoolArray = np.ones(len(paths), dtype=np.bool_)
    for k, subset in enumerate(subsets):
        allowed[subset] = False
        weights = sharp_weights(paths, paths[subset].mean(axis=0), allowed=allowed).weights
        effects[k] = changes[subset].mean() - weights @ changes
        allowed[subset] = True
    return effects


def _demeaned(paths: FloatArray) -> FloatArray:
    demeaned: FloatArray = paths - paths.mean(axis=1, keepdims=True)
    return demeaned
