"""Difference in differences on a block: equal weights everywhere."""

import numpy as np

from analysis.observational.estimators.weighted import WeightedFit, weighted_fit
from analysis.panel_data.panel import FloatArray, IntArray
from controller.errors import NotEstimable


def fit_did(outcome: FloatArray, n_control: int, n_pre: int) -> WeightedFit:
    """Mean change of the treated less mean change of the controls.

    Args:
        outcome: (N, T), complete; controls in the first rows, pre-periods in the first columns.
        n_control: N0.
        n_pre: T0.

    """
    return weighted_fit(outcome, np.full(n_control, 1.0 / n_control), np.full(n_pre, 1.0 / n_pre))


def did_standard_error(fit: WeightedFit) -> float:
    """Two-sample standard error of the units' changes: ``sqrt(s_tr^2/N1 + s_co^2/N0)``.

    Raises:
        NotEstimable: a single unit on either side has no spread.

    """
    n_control = len(fit.unit_weights)
    sides = {"control": fit.changes[:n_control], "treated": fit.changes[n_control:]}
    for side, changes in sides.items():
        if len(changes) < 2:
            raise NotEstimable(f"one {side} unit has no spread: use placebos")
    return float(np.sqrt(sum(changes.var(ddof=1) / len(changes) for changes in sides.values())))


def placebo_did(control: FloatArray, n_pre: int, subsets: IntArray, fit: WeightedFit) -> FloatArray:
    """(B,) effects of no treatment, each with one subset (B, N1) of the control rows in the treated role."""
    n_control, n_treated = control.shape[0], subsets.shape[1]
    changes = fit.changes[:n_control]
    chosen = changes[subsets].sum(axis=1)
    effects: FloatArray = chosen / n_treated - (changes.sum() - chosen) / (n_control - n_treated)
    return effects
