"""Matrix completion with a nuclear norm (Athey, Bayati, Doudchenko, Imbens, Khosravi, JASA 2021), at any height.

Objective as implemented, over the control cells O:

    minimise over u, v, L:  (1/|O|) sum_O (Y_it - u_i - v_t - L_it)^2 + penalty * |L|_*

Rows that miss the same periods can be rotated among each other: neither the sum of squares nor the nuclear norm sees
it. So each such group is replaced by its mean row (times the root of its size) and the square root of its T x T
covariance: at most T + 1 rows, however many units there were. The fit, the path of penalties and the cross-validation
all run on that small panel and are exact for the large one; only the last step goes back to the units.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.observational.estimators import low_rank
from analysis.observational.estimators.estimable import require_estimable, require_variation
from analysis.observational.estimators.low_rank import Groups, LowRankFit
from analysis.observational.estimators.placebo_folds import N_FOLDS, Folds, latin_cells, placebo_blocks
from analysis.observational.estimators.row_pooling import BLOCK_UNITS, PooledPanel, pool_rows
from analysis.panel_data.blas_threads import blas_threads
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from controller.errors import NotEstimable

#: the path of penalties: so many, over so many decades; the public R code (MCPanel) uses the same
N_PENALTIES, DECADES = 19, 3.0
#: relative duality gap inside cross-validation, where only the ranking of penalties counts
CV_TOLERANCE = 1e-4
#: cross-validation leaves the path after so many penalties in a row that gain less than this share on the best
PATIENCE, NO_GAIN = 2, 1e-4


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """How well each penalty predicts control cells that the fit did not see."""

    #: (K,) penalties tried, decreasing
    penalties: FloatArray
    #: (K,) root mean squared error over the hidden cells, in units of the outcome
    rmse: FloatArray
    #: the penalty with the smallest error
    best: float


@dataclass(frozen=True, slots=True)
class MatrixCompletionFit:
    """What each cell would have been without treatment: u_i + v_t + L_it, with L = left right'."""

    #: (N,) u; u and v are identified up to a constant that moves from one to the other
    unit_effects: FloatArray
    #: (T,) v
    time_effects: FloatArray
    #: (N, rank) and (T, rank)
    left: FloatArray
    right: FloatArray
    penalty: float
    #: (1/|O|) sum of squares + penalty |L|_*
    objective: float
    #: (objective - a lower bound of every possible objective) / objective
    relative_gap: float
    #: None where the penalty was given
    cross_validation: CrossValidation | None

    @property
    def rank(self) -> int:
        """Rank of L."""
        return int(self.right.shape[1])

    @property
    def L(self) -> FloatArray:
        """(N, T), computed at each call: at 100,000 x 365 it takes 292 MB."""
        return self.left @ self.right.T

    def counterfactual(self, rows: slice | IntArray | BoolArray = slice(None)) -> FloatArray:
        """(rows, T) u_i + v_t + L_it."""
        return self.unit_effects[rows, None] + self.time_effects + self.left[rows] @ self.right.T


@dataclass(frozen=True, slots=True)
class MatrixCompletionEffect:
    """Average effect on the treated cells, with the fit behind it."""

    #: mean over treated cells of Y - counterfactual, in units of the outcome
    effect: float
    #: how many treated cells have an outcome
    n_cells: int
    fit: MatrixCompletionFit


def matrix_completion(
    Y: FloatArray,
    W: BoolArray,
    observed: BoolArray,
    penalty: float | None = None,
    rng: np.random.Generator | None = None,
    hide: Literal["blocks", "cells"] = "blocks",
    n_folds: int | None = None,
) -> MatrixCompletionEffect:
    """Average effect on the treated cells by matrix completion.

    ``Y`` (N, T) outcomes, ``W`` (N, T) treated cells, ``observed`` (N, T) cells that may be used: missing, blackout
    and washout cells are False and take no part. ``penalty`` as in `fit_matrix_completion`; None chooses it by
    cross-validation that hides placebo blocks of whole control units (`placebo_blocks`) or, with ``hide`` "cells",
    every control cell once (`latin_cells`, as the paper does up to the shape of its folds). ``rng`` deals units and
    cells to ``n_folds`` folds; by default up to 50 control units are left out one by one, without chance, else 5 folds.

    Raises NotEstimable with the reason where some treated cell has no counterfactual.
    """
    treated, control = observed & W, observed & ~W
    require_estimable(Y, treated, control)
    keep, periods = control.any(axis=1), control.any(axis=0)
    if not (keep.all() and periods.all()):
        inside = np.ix_(keep, periods)
        Y, W, treated, control = Y[inside], W[inside], treated[inside], control[inside]
    folds = None
    if penalty is None:
        folds = placebo_blocks(W, rng, n_folds) if hide == "blocks" else latin_cells(Y.shape, rng, n_folds or N_FOLDS)
    fit = fit_matrix_completion(Y, control, penalty, folds)
    total, rows = 0.0, np.flatnonzero(treated.any(axis=1))
    for begin in range(0, len(rows), BLOCK_UNITS):
        block = rows[begin : begin + BLOCK_UNITS]
        total += float((Y[block] - fit.counterfactual(block))[treated[block]].sum())
    cells = int(treated.sum())
    return MatrixCompletionEffect(total / cells, cells, fit)


def fit_matrix_completion(
    Y: FloatArray, observed: BoolArray, penalty: float | None = None, folds: Folds | None = None
) -> MatrixCompletionFit:
    """Complete ``Y`` (N, T) from its cells in ``observed`` (N, T); cells outside may hold NaN.

    ``penalty`` multiplies the nuclear norm beside the MEAN of squares. None chooses it by cross-validation on
    ``folds``; the default hides every cell once in 5 folds (`latin_cells`, seed 0).

    Memory beyond ``Y``: one block of rows, some (T + 1) x T panels per pattern of missing cells, and N x rank. Where
    most units miss cells of their own in a tall panel nothing can be pooled, and it is about five times ``Y``.

    Raises NotEstimable: a unit or a period without cells, constant outcomes, a penalty that is not positive.
    """
    for axis, name in ((1, "unit in row"), (0, "period in column")):
        empty = ~observed.any(axis=axis)
        if empty.any():
            raise NotEstimable(f"{name} {int(np.argmax(empty)) + 1} has no cell to learn from: leave it out")
    require_variation(Y, observed)
    with blas_threads(Y.size):
        return _fit(Y, observed, penalty, folds)


def _fit(Y: FloatArray, observed: BoolArray, penalty: float | None, folds: Folds | None) -> MatrixCompletionFit:
    chosen = None
    if penalty is None:
        folds = latin_cells(Y.shape) if folds is None else folds
        pooled = pool_rows(Y, observed, folds.unit_class)
        chosen = cross_validate(pooled, folds)
        penalty = chosen.best
    else:
        pooled = pool_rows(Y, observed, np.zeros(len(Y), dtype=np.int64))
    fit = low_rank.solve(pooled.problem(pooled.mask)[0], penalty)
    unit_effects, left = _back_to_units(Y, observed, fit, penalty)
    return MatrixCompletionFit(
        unit_effects, fit.time_effects, left, fit.right, penalty, fit.objective, fit.relative_gap, chosen
    )


def penalty_path(pooled: PooledPanel) -> FloatArray:
    """Penalties to try, decreasing, a sixth of a decade apart over three decades.

    The grid is the one of the authors' R code: it counts down from 2 s_1(P_O(Y - mean))/|O|. But levels of units can
    make that arbitrarily large, so it starts at its first point where some low-rank part appears.
    """
    cells = pooled.count(pooled.mask)
    step = DECADES / (N_PENALTIES - 1)
    anchor = 2 * np.sqrt(np.linalg.eigvalsh(pooled.second_moment)[-1]) / cells
    panel, _, _ = pooled.problem(pooled.mask)
    a, b = low_rank.two_way_effects(panel, panel.outcome)
    dual = 2 * panel.weights * (panel.outcome - a[:, None] - panel.loadings[:, None] * b)
    first = np.sqrt(np.linalg.eigvalsh(dual.T @ dual)[-1])
    skipped = max(0, int(np.floor(np.log10(anchor / first) / step)))
    return np.asarray(anchor * 10 ** (-step * (skipped + np.arange(N_PENALTIES))))


def cross_validate(pooled: PooledPanel, folds: Folds) -> CrossValidation:
    """Error of each penalty on the hidden cells, by descent along the path until it has clearly passed the best."""
    penalties = penalty_path(pooled)
    problems, counted = [], 0.0
    for hidden_by_class in folds.hidden:
        hidden = hidden_by_class[pooled.unit_class] & pooled.mask
        panel, rows, columns = pooled.problem(pooled.mask & ~hidden)
        inside = np.ix_(rows, columns)
        problems.append((panel, pooled.outcome[inside], hidden[inside].astype(np.float64)))
        counted += float(pooled.units[rows] @ hidden[inside].sum(axis=1))
    starts: list[FloatArray | None] = [None] * len(problems)
    errors: list[float] = []
    for penalty in penalties:
        squares = 0.0
        for k, (panel, outcome, hidden_cells) in enumerate(problems):
            fit = low_rank.solve(panel, float(penalty), starts[k], CV_TOLERANCE)
            starts[k] = fit.right
            predicted = fit.unit_effects[:, None] + panel.loadings[:, None] * fit.time_effects + fit.left @ fit.right.T
            squares += float((hidden_cells * (outcome - predicted) ** 2).sum())
        errors.append(float(np.sqrt(squares / counted)))
        if min(errors[-PATIENCE:]) > (1 - NO_GAIN) * min(errors[:-PATIENCE], default=np.inf):
            break
    tried = penalties[: len(errors)]
    return CrossValidation(tried, np.array(errors), float(tried[int(np.argmin(errors))]))


def _back_to_units(
    Y: FloatArray, observed: BoolArray, fit: LowRankFit, penalty: float
) -> tuple[FloatArray, FloatArray]:
    """Unit effects and left factor of every unit, by one ridge regression each on the common right factor."""
    weight, n_periods = 1 / float(observed.sum()), Y.shape[1]
    unit_effects, left = np.empty(len(Y)), np.empty((len(Y), fit.rank))
    ones = np.ones(n_periods)
    for begin in range(0, len(Y), BLOCK_UNITS):
        block = slice(begin, begin + BLOCK_UNITS)
        mask = observed[block]
        target = np.where(mask, Y[block] - fit.time_effects, 0.0)
        unit_effects[block], left[block] = low_rank.ridge_lines(
            target, np.full(len(target), weight), ones, ones, Groups.of(mask), fit.right, penalty / 2
        )
    return unit_effects, left
