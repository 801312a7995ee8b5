"""Ridge least squares over the simplex by semismooth Newton on the dual, many problems at once."""

from dataclasses import replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from analysis.observational.estimators.simplex import (
    REFUSED_GAP,
    SimplexFit,
    averaged_away,
    distances,
    sharp_weights,
    yardstick,
)
from analysis.panel_data.panel import BoolArray, FloatArray
from controller.errors import NotEstimable

#: the square root of the duality gap, relative to |b|, at which Newton is done
TARGET_RESIDUAL = 1e-13
NEWTON_STEPS = 60
#: entries of all Jacobians (or all outer products) that are formed at once; above it, problem by problem
STACKED_ENTRIES = 4_000_000
#: rows that are copied at once
CHUNK = 8192


def project_to_simplex(points: FloatArray) -> FloatArray:
    """Nearest point of the simplex for each row of ``points`` (B, n); entries of -inf stay at zero."""
    ordered = np.sort(points, axis=1)[:, ::-1]
    excess = ordered.cumsum(axis=1) - 1.0
    ranks = np.arange(1, points.shape[1] + 1)
    support = np.count_nonzero(ordered * ranks > excess, axis=1)
    threshold = excess[np.arange(len(points)), support - 1] / support
    projected: FloatArray = np.maximum(points - threshold[:, None], 0.0)
    return projected


def ridge_weights(
    donors: FloatArray,
    targets: FloatArray,
    ridge: FloatArray | float,
    allowed: BoolArray | None = None,
    gram: FloatArray | None = None,
) -> list[SimplexFit]:
    """Solve B problems that share their donors, by semismooth Newton on the dual.

    With y (m,) dual to the residual, ``w(y) = project(-X y / ridge)`` and the dual optimum solves
    ``F(y) = y + b - X'w(y) = 0``; the duality gap at any y is exactly ``|F(y)|^2``, which is what is returned.

    Args:
        donors: X (n, m).
        targets: b (B, m).
        ridge: one positive number, or (B,).
        allowed: (B, n), donors that each problem may use; all when absent.
        gram: (m, m), X'X about the mean donor, where the caller has it already.

    Raises:
        NotEstimable: the certificate stayed above 1e-9 and the active set did not do better.

    """
    n_problems, n_donors = targets.shape[0], donors.shape[0]
    ridges = np.broadcast_to(np.asarray(ridge, dtype=np.float64), (n_problems,))
    if n_donors == 0:
        raise NotEstimable("no control unit is left to weigh")
    scale = np.vecdot(targets, targets)
    dual = np.zeros_like(targets)
    together = max(n_donors, n_problems) * donors.shape[1] ** 2 <= STACKED_ENTRIES
    moments = _outer_products(donors) if together else None
    grams = [] if together else [_SupportGram(donors, gram) for _ in range(n_problems)]
    weights, score = _primal(donors, dual, ridges, allowed)
    value = _dual_value(dual, targets, weights, score, ridges)
    off = dual + targets - weights @ donors
    live = np.arange(n_problems)
    for number in range(NEWTON_STEPS):
        gap = np.vecdot(off[live], off[live])
        live = live[gap > TARGET_RESIDUAL**2 * scale[live]]
        if live.size == 0:
            break
        if moments is not None and number == 0:
            # all start with equal weights on nearly all donors: one Jacobian, of all donors, is near enough for all
            step = _stacked_steps(moments, np.ones((1, n_donors)), off[live].T[None], ridges[:1])
        elif moments is not None:
            step = _stacked_steps(moments, weights[live], off[live, :, None], ridges[live])
        else:
            step = np.stack([_single_step(grams[k], weights[k], off[k], ridges[k]) for k in live])
        slope = -2.0 * np.vecdot(step, off[live])
        length = 1.0
        best = np.vecdot(off[live], off[live])
        moved = np.zeros(live.size, dtype=np.bool_)
        waiting = np.arange(live.size)
        for _ in range(30):
            chosen = live[waiting]
            trial = dual[chosen] + length * step[waiting]
            trial_weights, trial_score = _primal(
                donors, trial, ridges[chosen], None if allowed is None else allowed[chosen]
            )
            trial_value = _dual_value(trial, targets[chosen], trial_weights, trial_score, ridges[chosen])
            trial_off = trial + targets[chosen] - trial_weights @ donors
            # near the optimum the dual values agree to rounding: there a smaller |F| is the better witness
            closer = np.vecdot(trial_off, trial_off) < best[waiting]
            rises = trial_value >= value[chosen] + 1e-4 * length * slope[waiting]
            flat = np.abs(trial_value - value[chosen]) <= 1e-12 * np.abs(value[chosen])
            accepted = np.where(flat, closer, rises)
            taken = chosen[accepted]
            dual[taken], weights[taken] = trial[accepted], trial_weights[accepted]
            value[taken], off[taken] = trial_value[accepted], trial_off[accepted]
            moved[waiting[accepted]] = True
            waiting = waiting[~accepted]
            if waiting.size == 0:
                break
            length *= 0.5
        live = live[moved]
    fitted = weights @ donors
    objectives = np.vecdot(fitted - targets, fitted - targets) + ridges * np.vecdot(weights, weights)
    gaps = np.vecdot(off, off)
    relatives = gaps / np.maximum(objectives, yardstick(0.0, 0.0))
    fits = [
        SimplexFit(*fit) for fit in zip(weights, objectives.tolist(), gaps.tolist(), relatives.tolist(), strict=True)
    ]
    for k in np.flatnonzero(relatives > REFUSED_GAP):
        relative = gaps[k] / yardstick(objectives[k], averaged_away(weights[k], distances(donors, targets[k])))
        if relative > REFUSED_GAP:
            # a ridge that is next to nothing: Newton creeps, the active set does not
            fits[k] = sharp_weights(donors, targets[k], float(ridges[k]), None if allowed is None else allowed[k])
        else:
            fits[k] = replace(fits[k], relative_gap=float(relative))
    return fits


def _primal(
    donors: FloatArray, dual: FloatArray, ridges: FloatArray, allowed: BoolArray | None
) -> tuple[FloatArray, FloatArray]:
    score = dual @ donors.T
    points = -score / ridges[:, None]
    if allowed is not None:
        points = np.where(allowed, points, -np.inf)
    return project_to_simplex(points), score


def _dual_value(
    dual: FloatArray, targets: FloatArray, weights: FloatArray, score: FloatArray, ridges: FloatArray
) -> FloatArray:
    value: FloatArray = np.vecdot(ridges[:, None] * weights + 2.0 * score, weights) - np.vecdot(
        dual + 2.0 * targets, dual
    )
    return value


def _outer_products(donors: FloatArray) -> FloatArray:
    """(n, m m + m): each donor's outer product with itself, and the donor: summed over a support by one product."""
    products = donors[:, :, None] * donors[:, None, :]
    return np.hstack([products.reshape(len(donors), -1), donors])


def _stacked_steps(moments: FloatArray, weights: FloatArray, off: FloatArray, ridges: FloatArray) -> FloatArray:
    """Minus the generalised Jacobian's inverse times F: ``J = I + (X_S'X_S - s s'/|S|) / ridge`` on the support S.

    Args:
        moments: (n, m m + m), as `_outer_products`.
        weights: (B, n), positive on each support.
        off: (B, m, 1), or (1, m, K) where K problems share one Jacobian.
        ridges: (B,).

    Returns:
        (B, m) or (K, m).

    """
    n_matched = off.shape[1]
    support = (weights > 0).astype(np.float64)
    summed = support @ moments
    gram, sums = summed[:, :-n_matched].reshape(-1, n_matched, n_matched), summed[:, -n_matched:]
    jacobian = gram - sums[:, :, None] * (sums / support.sum(axis=1)[:, None])[:, None, :]
    jacobian /= ridges[:, None, None]
    jacobian.reshape(len(weights), -1)[:, :: n_matched + 1] += 1.0
    solved = np.linalg.solve(jacobian, off)
    step: FloatArray = -(solved[:, :, 0] if len(off) > 1 or off.shape[2] == 1 else solved[0].T)
    return step


def _single_step(gram: "_SupportGram", weights: FloatArray, off: FloatArray, ridge: float) -> FloatArray:
    """The same for one problem, with its Gram matrix carried along."""
    jacobian = gram.centred_at(weights > 0) / ridge
    jacobian[range(off.size), range(off.size)] += 1.0
    step: FloatArray = -cho_solve(cho_factor(jacobian, overwrite_a=True, check_finite=False), off, check_finite=False)
    return step


class _SupportGram:
    """The Gram matrix of the donors in a support, moved from one support to the next by the rows that change."""

    def __init__(self, donors: FloatArray, full: FloatArray | None) -> None:
        self._donors = donors
        # The centred Gram does not depend on a shift of all rows; about their mean the sums stay small.
        self._mean = donors.mean(axis=0)
        self._full = full
        self._support = np.zeros(len(donors), dtype=np.bool_)
        self._gram = np.zeros((donors.shape[1], donors.shape[1]))
        self._sum = np.zeros(donors.shape[1])

    def centred_at(self, support: BoolArray) -> FloatArray:
        """``X_S'X_S - s s'/|S|``, read from as few rows as will do."""
        if self._full is not None and np.count_nonzero(~support) < np.count_nonzero(support ^ self._support):
            self._support = np.ones_like(support)
            self._gram, self._sum = self._full.copy(), np.zeros_like(self._sum)
        elif np.count_nonzero(support) < np.count_nonzero(support ^ self._support):
            self._support = np.zeros_like(support)
            self._gram, self._sum = np.zeros_like(self._gram), np.zeros_like(self._sum)
        for rows, sign in ((support & ~self._support, 1.0), (self._support & ~support, -1.0)):
            changed = np.flatnonzero(rows)
            for start in range(0, changed.size, CHUNK):
                part = self._donors[changed[start : start + CHUNK]] - self._mean
                self._gram += sign * (part.T @ part)
                self._sum += sign * part.sum(axis=0)
        self._support = support.copy()
        centred: FloatArray = self._gram - np.outer(self._sum, self._sum / np.count_nonzero(support))
        return centred
