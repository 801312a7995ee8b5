"""The doubly weighted causal panel estimator (DWCP), published as TROP: Athey, Imbens, Qu, Viviano, arXiv 2508.21536.

Objective as implemented, on outcomes divided by ``scale`` after taking a mean out:

    minimise over a, b, L:  sum_jt (1 - W_jt) theta_t omega_j (Y_jt - a_j - b_t - L_jt)^2 + lambda_nn |L|_*
    theta_t = exp(-lambda_time |t - s|),   omega_j = exp(-lambda_unit d_j)

with d_j the root mean square distance between unit j and the treated one over common control periods. Three forms:

* masked (the default): for each treated cell (i, s) a fit of its own, around its unit and its period;
* block-masked: one fit, around the centre of the treated block and the average treated unit;
* homogeneous effect (called joint in the literature): treated cells stay in the fit with one effect for all of them,
  and the weights are exp(-2 lambda d). The published tables are reached by this form only. Where the effect varies
  over treated cells, L takes part of it away: use it where a constant effect is known, not hoped for.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.observational.estimators import low_rank
from analysis.observational.estimators.estimable import first_cut_off, require_estimable
from analysis.observational.estimators.low_rank import LowRankFit, WeightedPanel
from analysis.panel_data.blas_threads import blas_threads
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from controller.errors import NotEstimable

Form = Literal["masked", "block-masked", "homogeneous effect"]

#: units and periods with less than this share of the largest weight that matters are left out of the fit
NEGLIGIBLE_WEIGHT = 1e-4
#: relative duality gap of every fit
GAP_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Penalties:
    """The three tuning constants, for outcomes measured in ``scale``."""

    #: decay of a unit's weight per unit of root mean square distance
    unit: float
    #: decay of a period's weight per period
    time: float
    #: penalty on the nuclear norm beside the SUM of weighted squares; infinite: no low-rank part
    nuclear: float

    def __post_init__(self) -> None:
        if not (self.unit >= 0 and self.time >= 0 and self.nuclear > 0):
            raise NotEstimable(f"{self}: unit and time must be at least 0, nuclear above 0")


@dataclass(frozen=True, slots=True)
class DoublyWeightedEffect:
    """Average effect on the treated cells, with what it leans on."""

    #: mean effect over treated cells, in units of the outcome
    effect: float
    form: Form
    penalties: Penalties
    #: what outcomes were divided by
    scale: float
    #: (cells,) effect of each treated cell in row order, in units of the outcome; all equal in the homogeneous form
    cell_effects: FloatArray
    #: (N,) and (T,) weights before the mask, the largest 1; averages over treated cells in the masked form
    unit_weights: FloatArray
    period_weights: FloatArray
    #: the worst relative duality gap of the fits
    relative_gap: float


def doubly_weighted(
    Y: FloatArray,
    W: BoolArray,
    observed: BoolArray,
    penalties: Penalties,
    form: Literal["masked", "block-masked"] = "masked",
    scale: float | None = None,
) -> DoublyWeightedEffect:
    """Average effect on the treated cells; treated cells take no part in the fit.

    ``Y`` (N, T) outcomes, ``W`` (N, T) treated cells, ``observed`` (N, T) cells that may be used: missing, blackout
    and washout cells are False. ``scale`` is the unit in which the penalties are meant; None takes the standard
    deviation of the control cells, so that the effect itself cannot move the weights (the published code takes that
    of all cells). The masked form costs one fit per treated cell: beyond some thousands of them use block-masked.

    Raises NotEstimable with the reason where some treated cell has no counterfactual.
    """
    treated, control = observed & W, observed & ~W
    require_estimable(Y, treated, control)
    scaled, scale = _scaled(Y, control, scale)
    fit = _masked if form == "masked" else _block_masked
    with blas_threads(Y.size):
        counterfactual, unit_weights, period_weights, gap = fit(scaled, treated, control, penalties)
    effects = scale * (scaled[treated] - counterfactual)
    return DoublyWeightedEffect(
        float(effects.mean()), form, penalties, scale, effects, unit_weights, period_weights, gap
    )


def homogeneous_effect(
    Y: FloatArray, W: BoolArray, observed: BoolArray, penalties: Penalties, scale: float | None = None
) -> DoublyWeightedEffect:
    """The one effect of all treated cells, if they do share one (the joint form).

    Arguments as in `doubly_weighted`. Not for an effect that grows, fades or differs between units: a ramp of mean zero
    in the effect multiplies the error of this form several times (docs/methods.md).

    Raises NotEstimable where some treated cell has no counterfactual, or the effect is absorbed by the fixed effects.
    """
    treated, control = observed & W, observed & ~W
    require_estimable(Y, treated, control)
    scaled, scale = _scaled(Y, control, scale)
    # the solver sees treated cells less their mean, so that a constant effect moves the answer by exactly itself
    level = float(scaled[treated].mean())
    scaled = scaled - level * treated
    doubled = Penalties(2 * penalties.unit, 2 * penalties.time, penalties.nuclear)
    unit_weights, period_weights = block_weights(scaled, treated, control, doubled)
    rows, columns = _weighty(unit_weights, period_weights, treated, control)
    inside = np.ix_(rows, columns)
    panel = low_rank.weighted_panel(
        scaled[inside],
        observed[inside],
        unit_weights[rows],
        period_weights[columns],
        shared=treated[inside].astype(np.float64),
    )
    with blas_threads(Y.size):
        fit = low_rank.solve(panel, penalties.nuclear, tolerance=GAP_TOLERANCE)
    effect = scale * (level + fit.shared_effect)
    effects = np.full(int(treated.sum()), effect)
    return DoublyWeightedEffect(
        effect,
        "homogeneous effect",
        penalties,
        scale,
        effects,
        unit_weights,
        period_weights,
        fit.relative_gap,
    )


def _scaled(Y: FloatArray, used: BoolArray, scale: float | None) -> tuple[FloatArray, float]:
    values = Y[used]
    scale = float(values.std()) if scale is None else scale
    if not scale > 0:
        raise NotEstimable(f"scale = {scale}: outcomes are divided by it, so it must be above 0")
    return (Y - values.mean()) / scale, scale


def block_weights(
    Y: FloatArray, treated: BoolArray, control: BoolArray, penalties: Penalties
) -> tuple[FloatArray, FloatArray]:
    """(N,) and (T,) weights around the treated block: the average treated unit, and the middle of the treatment.

    The distance of a unit is taken over the periods in which it and some treated unit are controls. The middle of
    the treated columns s..e is (s + e + 1)/2, half a period late, as in the published code.
    """
    units = treated.any(axis=1)
    seen = control[units]
    count = seen.sum(axis=0)
    # the average treated path may only use periods in which none of the treated units is treated yet
    common = (count > 0) & ~treated.any(axis=0)
    if not common.any():
        raise NotEstimable(
            "treated units share no period before the first treatment: estimate by cohort, or use the masked form"
        )
    average = np.where(seen, Y[units], 0.0).sum(axis=0) / np.maximum(count, 1)
    distance = _distance(Y, control & common, average, common)
    centre = (treated.sum(axis=0) @ np.arange(Y.shape[1])) / treated.sum() + 0.5
    period_weights = np.exp(-penalties.time * np.abs(np.arange(Y.shape[1]) - centre))
    return _decay(distance, penalties.unit), period_weights


def _distance(Y: FloatArray, control: BoolArray, path: FloatArray, periods: BoolArray) -> FloatArray:
    """(N,) root mean square distance to ``path`` over each unit's control cells in ``periods``; infinite if none."""
    shared = control & periods
    squares = np.where(shared, Y - path, 0.0) ** 2
    count = shared.sum(axis=1)
    return np.asarray(np.where(count > 0, np.sqrt(squares.sum(axis=1) / np.maximum(count, 1)), np.inf))


def _decay(distance: FloatArray, penalty: float) -> FloatArray:
    """exp(-penalty * distance); all ones without a penalty, even where no distance is known."""
    return np.exp(-penalty * distance) if penalty > 0 else np.ones(len(distance))


def _weighty(
    unit_weights: FloatArray, period_weights: FloatArray, wanted: BoolArray, usable: BoolArray
) -> tuple[BoolArray, BoolArray]:
    """Units and periods worth keeping: weighty or wanted, with a cell among the others that are kept.

    Weighty is measured against the largest weight that can inform the wanted cells: that of a period in which a
    wanted unit is observed, that of a unit observed in a wanted period. The weights of the wanted cells themselves
    are no measure, because nothing is observed there.
    """
    wanted_rows, wanted_columns = wanted.any(axis=1), wanted.any(axis=0)
    largest_unit = unit_weights[usable[:, wanted_columns].any(axis=1)].max(initial=0.0)
    largest_period = period_weights[usable[wanted_rows].any(axis=0)].max(initial=0.0)
    rows = (unit_weights >= NEGLIGIBLE_WEIGHT * largest_unit) | wanted_rows
    columns = (period_weights >= NEGLIGIBLE_WEIGHT * largest_period) | wanted_columns
    while True:
        fewer_rows = rows & usable[:, columns].any(axis=1)
        fewer_columns = columns & usable[fewer_rows].any(axis=0)
        if (fewer_rows == rows).all() and (fewer_columns == columns).all():
            return rows, columns
        rows, columns = fewer_rows, fewer_columns


@dataclass(frozen=True, slots=True)
class ImputationProblem:
    """One weighted fit and the cells that it is for."""

    panel: WeightedPanel
    #: positions of the wanted cells inside the fit
    rows: IntArray
    columns: IntArray

    def counterfactual(self, fit: LowRankFit) -> FloatArray:
        """(wanted,) a_i + b_t + L_it, in row order."""
        low = (fit.left[self.rows] * fit.right[self.columns]).sum(axis=1)
        return np.asarray(fit.unit_effects[self.rows] + fit.time_effects[self.columns] + low)


def imputation_problem(
    Y: FloatArray, control: BoolArray, wanted: BoolArray, unit_weights: FloatArray, period_weights: FloatArray
) -> ImputationProblem:
    """Fit on the control cells that matter, for the cells ``wanted`` (N, T).

    Raises NotEstimable where the weights leave a wanted cell without a counterfactual.
    """
    rows, columns = _weighty(unit_weights, period_weights, wanted, control)
    inside = np.ix_(rows, columns)
    if wanted[inside].sum() < wanted.sum() or first_cut_off(wanted[inside], control[inside]) is not None:
        raise NotEstimable(
            "the weights leave a treated unit or a treated period without control cells: use a smaller unit or time "
            "penalty"
        )
    panel = low_rank.weighted_panel(Y[inside], control[inside], unit_weights[rows], period_weights[columns])
    return ImputationProblem(panel, *np.nonzero(wanted[inside]))


_Imputed = tuple[FloatArray, FloatArray, FloatArray, float]


def _block_masked(Y: FloatArray, treated: BoolArray, control: BoolArray, penalties: Penalties) -> _Imputed:
    unit_weights, period_weights = block_weights(Y, treated, control, penalties)
    problem = imputation_problem(Y, control, treated, unit_weights, period_weights)
    fit = low_rank.solve(problem.panel, penalties.nuclear, tolerance=GAP_TOLERANCE)
    return problem.counterfactual(fit), unit_weights, period_weights, fit.relative_gap


def _masked(Y: FloatArray, treated: BoolArray, control: BoolArray, penalties: Penalties) -> _Imputed:
    periods = np.arange(Y.shape[1])
    imputed, gaps = [], []
    mean_units, mean_periods = np.zeros(len(Y)), np.zeros(len(periods))
    for unit in np.flatnonzero(treated.any(axis=1)):
        unit_weights = _decay(_distance(Y, control, Y[unit], control[unit]), penalties.unit)
        for period in np.flatnonzero(treated[unit]):
            period_weights = np.exp(-penalties.time * np.abs(periods - period))
            wanted = np.zeros_like(treated)
            wanted[unit, period] = True
            problem = imputation_problem(Y, control, wanted, unit_weights, period_weights)
            fit = low_rank.solve(problem.panel, penalties.nuclear, tolerance=GAP_TOLERANCE)
            imputed.append(problem.counterfactual(fit)[0])
            gaps.append(fit.relative_gap)
            mean_units += unit_weights
            mean_periods += period_weights
    cells = len(imputed)
    return np.array(imputed), mean_units / cells, mean_periods / cells, max(gaps)
