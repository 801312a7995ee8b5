"""Least squares over the simplex, exact and certified: the one optimisation behind every synthetic control.

All problems here are ``min_w |X'w - b|^2 + ridge |w|^2`` over ``w >= 0, sum w = 1``, where the n rows of X are the
donors (units, or periods) and its m columns are what is matched. Two solvers, because neither is good everywhere:

- ``ridge_weights``: semismooth Newton on the dual in m unknowns. A handful of steps, however many donors, and many
  problems that share X in one go (placebos). It needs a ridge that is not negligible.
- ``sharp_weights``: non-negative least squares by active set, with donors screened so that 100,000 of them cost what a
  few hundred do. It takes any ridge, zero included.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import nnls

from analysis.panel import BoolArray, FloatArray, IntArray
from controller.errors import NotEstimable

#: relative duality gap that a solver strives for; rounding stops it earlier on large or badly scaled panels
TARGET_GAP = 1e-15
#: relative duality gap above which no weights are given
REFUSED_GAP = 1e-9
#: objectives below this share of the target's sum of squares count as a perfect fit when the gap is made relative
PERFECT_FIT = 1e-6
NEWTON_STEPS = 60
#: entries of the stacked Jacobian that are formed at once; above it, problem by problem
STACKED_ENTRIES = 4_000_000
#: rows that are copied at once
CHUNK = 8192
#: donors handed to the active set at once
SCREENED_DONORS = 400


@dataclass(frozen=True, slots=True)
class SimplexFit:
    """Weights on the simplex with their certificate."""

    #: (n,), non-negative, summing to one
    weights: FloatArray
    #: |X'w - b|^2 + ridge |w|^2
    objective: float
    #: an upper bound of objective - optimum
    gap: float
    #: gap over the larger of the objective and a millionth of |b|^2 (which stands in for it when the fit is perfect)
    relative_gap: float


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
    donors: FloatArray, targets: FloatArray, ridge: FloatArray | float, allowed: BoolArray | None = None
) -> list[SimplexFit]:
    """Solve B problems that share their donors, by semismooth Newton on the dual.

    With y (m,) dual to the residual, ``w(y) = project(-X y / ridge)`` and the dual optimum solves
    ``F(y) = y + b - X'w(y) = 0``; the duality gap at any y is exactly ``|F(y)|^2``, which is what is returned.

    Args:
        donors: X (n, m).
        targets: b (B, m).
        ridge: one positive number, or (B,).
        allowed: (B, n), donors that each problem may use; all when absent.

    Raises:
        NotEstimable: the certificate stayed above 1e-9 and the active set did not do better.

    """
    n_problems, n_donors = targets.shape[0], donors.shape[0]
    ridges = np.broadcast_to(np.asarray(ridge, dtype=np.float64), (n_problems,))
    if n_donors == 0:
        raise NotEstimable("no control unit is left to weigh")
    scale = np.einsum("bm,bm->b", targets, targets)
    uniform = np.full((n_problems, n_donors), 1.0 / n_donors) if allowed is None else allowed / allowed.sum(1)[:, None]
    dual = uniform @ donors - targets
    weights, score = _primal(donors, dual, ridges, allowed)
    value = _dual_value(dual, targets, weights, score, ridges)
    off = dual + targets - weights @ donors
    live = np.arange(n_problems)
    for _ in range(NEWTON_STEPS):
        gap = np.einsum("bm,bm->b", off[live], off[live])
        live = live[gap > TARGET_GAP**2 * scale[live]]
        if live.size == 0:
            break
        step = _newton_step(donors, weights[live], off[live], ridges[live])
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
    return [
        _certified(donors, targets[k], weights[k], float(ridges[k]), off[k], None if allowed is None else allowed[k])
        for k in range(n_problems)
    ]


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


def _newton_step(donors: FloatArray, weights: FloatArray, off: FloatArray, ridges: FloatArray) -> FloatArray:
    """Minus the generalised Jacobian's inverse times F: ``J = I + (X_S'X_S - s s'/|S|) / ridge`` on the support S."""
    n_donors, n_matched = donors.shape
    support = weights > 0
    if n_donors * n_matched * weights.shape[0] <= STACKED_ENTRIES and weights.shape[0] > 1:
        count = support.sum(axis=1)
        sums = support @ donors
        jacobian: FloatArray = np.matmul((support[:, :, None] * donors).swapaxes(1, 2), donors)
        jacobian -= sums[:, :, None] * (sums / count[:, None])[:, None, :]
        jacobian /= ridges[:, None, None]
        jacobian[:, range(n_matched), range(n_matched)] += 1.0
        stacked: FloatArray = -np.linalg.solve(jacobian, off[:, :, None])[:, :, 0]
        return stacked
    steps = np.empty_like(off)
    for k in range(weights.shape[0]):
        jacobian = _centred_gram(donors, np.flatnonzero(support[k])) / ridges[k]
        jacobian[range(n_matched), range(n_matched)] += 1.0
        steps[k] = -cho_solve(cho_factor(jacobian, overwrite_a=True, check_finite=False), off[k], check_finite=False)
    return steps


def _centred_gram(donors: FloatArray, rows: IntArray) -> FloatArray:
    """``X_S'X_S - s s'/|S|``, about the mean, in chunks: the support may be most of a large panel."""
    total = np.stack([donors[part].sum(axis=0) for part in _chunks(rows)]).sum(axis=0)
    mean = total / rows.size
    gram = np.zeros((donors.shape[1], donors.shape[1]))
    for part in _chunks(rows):
        centred = donors[part] - mean
        gram += centred.T @ centred
    return gram


def _chunks(rows: IntArray) -> list[IntArray]:
    return [rows[start : start + CHUNK] for start in range(0, rows.size, CHUNK)]


def _certified(
    donors: FloatArray,
    target: FloatArray,
    weights: FloatArray,
    ridge: float,
    off: FloatArray,
    allowed: BoolArray | None,
) -> SimplexFit:
    fitted = weights @ donors
    objective = float(np.sum((fitted - target) ** 2) + ridge * np.sum(weights**2))
    gap = float(off @ off)
    relative = gap / _yardstick(objective, float(target @ target))
    if relative <= REFUSED_GAP:
        return SimplexFit(weights, objective, gap, relative)
    return sharp_weights(donors, target, ridge, allowed)


def sharp_weights(
    donors: FloatArray, target: FloatArray, ridge: float = 0.0, allowed: BoolArray | None = None
) -> SimplexFit:
    """Solve one problem by non-negative least squares, screening donors.

    With the target taken from every donor, ``min |(X - b)'w|^2 + ridge |w|^2`` is homogeneous in w, so its simplex
    solution is, scaled to sum one, the non-negative least squares solution of the same rows with one more row
    ``s 1'w = s``. (Scaling v on the simplex by k costs ``k^2 f(v) + s^2 (1-k)^2``, least at ``f/(1 + f/s^2)``, which
    rises with f.) Donors outside the working set enter by their gradient until the Frank-Wolfe gap closes.

    Args:
        donors: X (n, m).
        target: b (m,).
        ridge: zero or more.
        allowed: (n,), donors that may be used; all when absent.

    Raises:
        NotEstimable: no donor, or a certificate that stays above 1e-9.

    """
    candidates = np.arange(donors.shape[0]) if allowed is None else np.flatnonzero(allowed)
    if candidates.size == 0:
        raise NotEstimable("no control unit is left to weigh")
    target_square = float(target @ target)
    working = candidates
    if candidates.size > SCREENED_DONORS:
        distance = _distances(donors, target)[candidates]
        working = candidates[np.argpartition(distance, SCREENED_DONORS // 2)[: SCREENED_DONORS // 2]]
    best: SimplexFit | None = None
    for _ in range(200):
        weights = np.zeros(donors.shape[0])
        weights[working] = nnls_on_simplex(donors[working] - target, ridge)
        support = np.flatnonzero(weights)
        residual = weights[support] @ (donors[support] - target)
        gradient = (donors @ residual - target @ residual + ridge * weights)[candidates]
        objective = float(residual @ residual + ridge * weights @ weights)
        found = bounded(weights, objective, gradient, target_square)
        if best is not None and found.gap >= best.gap:
            break
        best = found
        if working.size == candidates.size or best.gap <= TARGET_GAP * objective:
            break
        entering = candidates[np.argpartition(gradient, SCREENED_DONORS // 2)[: SCREENED_DONORS // 2]]
        working = np.union1d(support, entering)
    assert best is not None
    return _refuse_uncertified(best)


def certify(weights: FloatArray, objective: float, gradient: FloatArray, target_square: float) -> SimplexFit:
    """Bound how far a quadratic's simplex weights are from the optimum, by half its gradient (n,) there.

    Frank-Wolfe's gap ``2 (w'g - min g)`` bounds objective - optimum for any convex objective.

    Raises:
        NotEstimable: the relative gap is above 1e-9.

    """
    return _refuse_uncertified(bounded(weights, objective, gradient, target_square))


def bounded(weights: FloatArray, objective: float, gradient: FloatArray, target_square: float) -> SimplexFit:
    """As `certify`, without refusing."""
    gap = 2.0 * max(objective - float(gradient.min()), 0.0)
    return SimplexFit(weights, objective, gap, gap / _yardstick(objective, target_square))


def _yardstick(objective: float, target_square: float) -> float:
    return max(objective, PERFECT_FIT * target_square, float(np.finfo(np.float64).tiny))


def _refuse_uncertified(fit: SimplexFit) -> SimplexFit:
    if fit.relative_gap > REFUSED_GAP:
        raise NotEstimable(
            f"the weights could not be certified: relative duality gap {fit.relative_gap:.1e} stays above {REFUSED_GAP}"
            " (outcomes of very different scale? take logarithms, or leave out the extreme units)"
        )
    return fit


def nnls_on_simplex(differences: FloatArray, ridge: float) -> FloatArray:
    """Minimise ``|differences'w|^2 + ridge |w|^2`` on the simplex; differences (n, m) are donors less target."""
    n_donors, n_matched = differences.shape
    scale = float(np.sqrt(np.einsum("ij,ij->i", differences, differences).mean() + ridge)) or 1.0
    rows = n_matched + (n_donors if ridge > 0 else 0) + 1
    system = np.zeros((rows, n_donors))
    system[:n_matched] = differences.T
    if ridge > 0:
        system[range(n_matched, n_matched + n_donors), range(n_donors)] = np.sqrt(ridge)
    system[-1] = scale
    system /= scale
    right = np.zeros(rows)
    right[-1] = 1.0
    solution = nnls(system, right, maxiter=50 * n_donors)[0]
    weights: FloatArray = solution / solution.sum()
    return weights


def _distances(donors: FloatArray, target: FloatArray) -> FloatArray:
    distance: FloatArray = np.einsum("ij,ij->i", donors, donors) - 2.0 * donors @ target
    return distance
