"""Two-way fixed effects by imputation, with weights: any pattern of treated and missing cells.

``min sum_it w_it (Y_it - u_i - v_t)^2`` over control cells; the effect is the mean of ``Y - u - v`` over treated cells
(Borusyak, Jaravel, Spiess, Review of Economic Studies 2024, the imputation estimator). Unlike the regression on a
treatment dummy it never uses a treated cell as a control, so effects may differ over units and time.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import connected_components

from analysis.observational.estimators.masked import MaskedFit, imputed_effect
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from controller.errors import NotEstimable


@dataclass(frozen=True, slots=True)
class TwoWay:
    """Fitted unit and period effects; NaN where no control cell determines them."""

    #: (N,)
    units: FloatArray
    #: (T,)
    periods: FloatArray
    #: largest normal equation left over, relative to the same sum of absolute outcomes
    residual: float


def fit_twfe(
    outcome: FloatArray, usable: BoolArray, treated: BoolArray, weights: FloatArray | None = None
) -> MaskedFit:
    """Impute the treated cells from unit and period effects of the control cells.

    Args:
        outcome: (N, T); values outside ``usable`` are not read.
        usable: (N, T), cells that may be used.
        treated: (N, T).
        weights: (N, T), non-negative weights of the control cells (hours of exposure, say); equal when absent.

    Raises:
        NotEstimable: no usable treated cell, or one whose unit or period is not tied to the controls.

    """
    control = usable & ~treated
    target = usable & treated
    mask = control.astype(np.float64) if weights is None else np.where(control, weights, 0.0)
    fit = two_way(outcome, mask)
    counterfactual = fit.units[:, None] + fit.periods
    _forget_untied(counterfactual, mask > 0)
    return MaskedFit(
        imputed_effect(outcome, counterfactual, target), counterfactual, (("normal equations", fit.residual),)
    )


def two_way(outcome: FloatArray, weights: FloatArray) -> TwoWay:
    """Weighted least squares on unit and period effects, the unit effects profiled out.

    With ``r_i = sum_t w_it`` and ``c_t = sum_i w_it`` the period effects solve the T x T system
    ``(diag(c) - (w/r)'w) v = sum_i w Y - (w/r)' sum_t w Y``, singular in one direction for each connected part.

    Args:
        outcome: (N, T); values of weight zero are not read.
        weights: (N, T), non-negative.

    """
    system, right, centred, level = _normal_equations(outcome, weights)
    rows, columns = weights.sum(axis=1), weights.sum(axis=0)
    periods = _solve_singular(system, right)
    with np.errstate(invalid="ignore"):
        units = (np.einsum("it,it->i", weights, centred) - weights @ periods) / rows
    known = np.where(rows > 0, units, 0.0)
    left = columns * periods + known @ weights - np.einsum("it,it->t", weights, centred)
    size = np.abs(np.einsum("it,it->t", weights, np.abs(centred))).max(initial=0.0)
    residual = float(np.abs(left).max(initial=0.0) / size) if size > 0 else 0.0
    return TwoWay(units + level, np.where(columns > 0, periods, np.nan), residual)


def leave_unit_out(outcome: FloatArray, usable: BoolArray, treated: BoolArray) -> FloatArray:
    """(N,) effects without one unit at a time, each by taking that unit's share out of the T x T system.

    Raises:
        NotEstimable: without some unit there is no effect.

    """
    control, target = usable & ~treated, usable & treated
    weights = control.astype(np.float64)
    system, right, centred, _ = _normal_equations(outcome, weights)
    rows = weights.sum(axis=1)
    sums = np.einsum("it,it->i", weights, centred)
    inverse_rows = np.divide(1.0, rows, out=np.zeros_like(rows), where=rows > 0)
    # effect = mean over target cells of Y - u_i - v_t is affine in v: constants and slopes unit by unit
    counts = target.sum(axis=1)
    constant = np.where(target, centred, 0.0).sum(axis=1) - counts * sums * inverse_rows
    slope = target - (counts * inverse_rows)[:, None] * weights
    effects = np.empty(len(outcome))
    total_constant, total_slope, total_count = constant.sum(), slope.sum(axis=0), counts.sum()
    for i in range(len(outcome)):
        count = total_count - counts[i]
        if count == 0:
            raise NotEstimable("one unit holds all treated cells: there is no effect without it")
        without = system - np.diag(weights[i]) + inverse_rows[i] * np.outer(weights[i], weights[i])
        partial = right - weights[i] * centred[i] + inverse_rows[i] * sums[i] * weights[i]
        periods = _solve_singular(without, partial)
        effects[i] = (total_constant - constant[i] - (total_slope - slope[i]) @ periods) / count
    return effects


def _normal_equations(outcome: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    """System, right-hand side, outcomes about their level (zero where they weigh nothing), and that level."""
    seen = weights > 0
    level = float(np.mean(outcome, where=seen)) if seen.any() else 0.0
    centred = np.where(seen, outcome - level, 0.0)
    treated_or_seen = np.where(np.isfinite(outcome), outcome - level, 0.0)
    rows = weights.sum(axis=1)
    scaled = weights * np.divide(1.0, rows, out=np.zeros_like(rows), where=rows > 0)[:, None]
    system = np.diag(weights.sum(axis=0)) - scaled.T @ weights
    right = np.einsum("it,it->t", weights, centred) - scaled.T @ np.einsum("it,it->i", weights, centred)
    return system, right, treated_or_seen, level


def _solve_singular(system: FloatArray, right: FloatArray) -> FloatArray:
    """Minimum-norm solution; the null directions are the connected parts' levels, which cancel in every estimate."""
    values, vectors = np.linalg.eigh(system)
    kept = values > values[-1] * len(values) * np.finfo(np.float64).eps * 16
    solution: FloatArray = vectors[:, kept] @ ((vectors[:, kept].T @ right) / values[kept])
    return solution


def _forget_untied(counterfactual: FloatArray, seen: BoolArray) -> None:
    """Make NaN the cells whose unit and period lie in different connected parts: their sum is arbitrary."""
    if seen.all(axis=1).any():
        return
    links: IntArray = (seen.T.astype(np.float32) @ seen.astype(np.float32) > 0).astype(np.int64)
    n_parts, part_of_period = connected_components(links, directed=False)
    if n_parts == 1:
        return
    part_of_unit = np.where(seen.any(axis=1), part_of_period[seen.argmax(axis=1)], -1)
    counterfactual[part_of_unit[:, None] != part_of_period] = np.nan
