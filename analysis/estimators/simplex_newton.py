"""Ridge least squares over the simplex by semismooth Newton on the dual, many problems at once."""

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from analysis.estimators.simplex import REFUSED_GAP, SimplexFit, distances, sharp_weights, yardstick
from analysis.panel import BoolArray, FloatArray
from controller.errors import NotEstimable

#: the square root of the duality gap, relative to |b|, at which Newton is done
TARGET_RESIDUAL = 1e-13
NEWTON_STEPS = 60
#: entries of the stacked Jacobian that are formed at once; above it, problem by problem
STACKED_ENTRIES = 4_000_000
#: rows that are copied at once
CHUNK = 8192


def project_to_simplex(points: FloatArray) -> FloatArray:
    """Nearest point of the simplex for each row of ``points`` (B, n); entries of -inf stay at zero."""
    ordered = -np.sort(-points, axis=1)
    excess = np.cumsum(ordered, axis=1) - 1.0
    ranks = np.arange(1, points.shape[1] + 1)
    support = np.count_nonzero(ordered * ranks > excess, axis=1)
    threshold = np.take_along_axis(excess, support[:, None] - 1, axis=1) / support[:, None]
    projected: FloatArray = np.maximum(points - threshold, 0.0)
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
    scale = np.einsum("bm,bm->b", targets, targets)
    dual = np.zeros_like(targets)
    stacked = n_problems > 1 and donors.size * n_problems <= STACKED_ENTRIES
    grams = [] if stacked else [_SupportGram(donors, gram) for _ in range(n_problems)]
    weights, score = _primal(donors, dual, ridges, allowed)
    value = _dual_value(dual, targets, weights, score, ridges)
    off = dual + targets - weights @ donors
    live = np.arange(n_problems)
    for _ in range(NEWTON_STEPS):
        gap = np.einsum("bm,bm->b", off[live], off[live])
        live = live[gap > TARGET_RESIDUAL**2 * scale[live]]
        if live.size == 0:
            break
        if stacked:
            step = _stacked_steps(donors, weights[live], off[live], ridges[live])
        else:
            step = np.stack([_single_step(grams[k], weights[k], off[k], ridges[k]) for k in live])
        slope = -2.0 * np.einsum("bm,bm->b", step, off[live])
        length = np.ones(live.size)
        best = off[live]
        moved = np.zeros(live.size, dtype=np.bool_)
        waiting = np.arange(live.size)
        for _ in range(30):
            chosen = live[waiting]
            trial = dual[chosen] + length[waiting, None] * step[waiting]
            trial_weights, trial_score = _primal(
                donors, trial, ridges[chosen], None if allowed is None else allowed[chosen]
            )
            trial_value = _dual_value(trial, targets[chosen], trial_weights, trial_score, ridges[chosen])
            trial_off = trial + targets[chosen] - trial_weights @ donors
            # near the optimum the dual values agree to rounding: there a smaller |F| is the better witness
            closer = np.einsum("bm,bm->b", trial_off, trial_off) < np.einsum("bm,bm->b", best[waiting], best[waiting])
            rises = trial_value >= value[chosen] + 1e-4 * length[waiting] * slope[waiting]
            flat = np.abs(trial_value - value[chosen]) <= 1e-12 * np.abs(value[chosen])
            accepted = np.where(flat, closer, rises)
            taken = chosen[accepted]
            dual[taken], weights[taken] = trial[accepted], trial_weights[accepted]
            value[taken], off[taken] = trial_value[accepted], trial_off[accepted]
            moved[waiting[accepted]] = True
            waiting = waiting[~accepted]
            if waiting.size == 0:
                break
            length[waiting] *= 0.5
        live = live[moved]
    fitted = weights @ donors
    objectives = np.einsum("bm,bm->b", fitted - targets, fitted - targets)
    objectives += ridges * np.einsum("bi,bi->b", weights, weights)
    gaps = np.einsum("bm,bm->b", off, off)
    fits = []
    for k, (objective, gap) in enumerate(zip(objectives.tolist(), gaps.tolist(), strict=True)):
        relative = gap / yardstick(objective, 0.0)
        if relative > REFUSED_GAP:
            relative = gap / yardstick(objective, float(distances(donors, targets[k]).max()))
        if relative > REFUSED_GAP:
            # a ridge that is next to nothing: Newton creeps, the active set does not
            fits.append(sharp_weights(donors, targets[k], float(ridges[k]), None if allowed is None else allowed[k]))
        else:
            fits.append(SimplexFit(weights[k], objective, gap, relative))
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
    rows = "bi,bi->b"
    value: FloatArray = (
        ridges * np.einsum(rows, weights, weights)
        + 2.0 * np.einsum(rows, score, weights)
        - np.einsum(rows, dual, dual)
        - 2.0 * np.einsum(rows, targets, dual)
    )
    return value


def _stacked_steps(donors: FloatArray, weights: FloatArray, off: FloatArray, ridges: FloatArray) -> FloatArray:
    """Minus the generalised Jacobian's inverse times F: ``J = I + (X_S'X_S - s s'/|S|) / ridge`` on the support S."""
    diagonal = range(donors.shape[1])
    support = weights > 0
    count = support.sum(axis=1)
    sums = support @ donors
    gram = np.matmul((support[:, :, None] * donors).swapaxes(1, 2), donors)
    outer = sums[:, :, None] * (sums / count[:, None])[:, None, :]
    jacobian: FloatArray = np.asarray((gram - outer) / ridges[:, None, None], dtype=np.float64)
    jacobian[:, diagonal, diagonal] += 1.0
    return np.asarray(-np.linalg.solve(jacobian, off[:, :, None])[:, :, 0], dtype=np.float64)


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
