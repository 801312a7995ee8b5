"""Least squares over the simplex, exact and certified: the one optimisation behind every synthetic control.

All problems here are ``min_w |X'w - b|^2 + ridge |w|^2`` over ``w >= 0, sum w = 1``, where the n rows of X are the
donors (units, or periods) and its m columns are what is matched. Two solvers, because neither is good everywhere:

- here ``sharp_weights``: non-negative least squares by active set, with donors screened so that 100,000 of them cost
  what a few hundred do. It takes any ridge, zero included;
- in ``simplex_newton`` ``ridge_weights``: semismooth Newton on the dual in m unknowns. A handful of steps, however many
  donors, and many problems that share X in one go (placebos). It needs a ridge that is not negligible.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from analysis.panel_data.panel import BoolArray, FloatArray
from controller.errors import NotEstimable

#: relative duality gap at which the active set is done; on badly scaled panels rounding stops it earlier
FINISHED_GAP = 1e-12
#: relative duality gap above which no weights are given
REFUSED_GAP = 1e-9
#: objectives below this share of the donors' weighted squared distance to the target count as a perfect fit: weights
#: in float64 leave a gap of about 1e-16 of that distance by their own rounding, and 1e-15 by that of the solution
PERFECT_FIT = 1e-5
#: squared distances below this share of the longest count as zero: what is left of a copy by rounding, or by a ridge
ROUNDING = 1e-9
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
    #: gap over the objective; where the fit is perfect (a residual below .3 % of the distances that the weights average
    #: away, sum_i w_i |X_i - b|^2), over a hundred-thousandth of those, because the objective is all rounding there
    relative_gap: float


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
    working = candidates
    every_distance = distances(donors, target)
    distance = every_distance[candidates]
    if candidates.size > SCREENED_DONORS:
        working = candidates[np.argpartition(distance, SCREENED_DONORS // 2)[: SCREENED_DONORS // 2]]
    best: SimplexFit | None = None
    for _ in range(200):
        weights = np.zeros(donors.shape[0])
        weights[working] = nnls_on_simplex(donors[working] - target, ridge)
        support = np.flatnonzero(weights)
        residual = weights[support] @ (donors[support] - target)
        gradient = (donors @ residual - target @ residual + ridge * weights)[candidates]
        objective = float(residual @ residual + ridge * weights @ weights)
        found = bounded(weights, objective, gradient, averaged_away(weights, every_distance))
        stalled = best is not None and found.objective >= best.objective
        best = found if best is None or not stalled or found.gap < best.gap else best
        if stalled or working.size == candidates.size or best.gap <= FINISHED_GAP * objective:
            break
        entering = candidates[np.argpartition(gradient, SCREENED_DONORS // 2)[: SCREENED_DONORS // 2]]
        working = np.union1d(support, entering)
    assert best is not None
    return refuse_uncertified(best)


def certify(weights: FloatArray, objective: float, gradient: FloatArray, spread: float) -> SimplexFit:
    """Bound how far a quadratic's simplex weights are from the optimum, by half its gradient (n,) there.

    Frank-Wolfe's gap ``2 (w'g - min g)`` bounds objective - optimum for any convex objective. ``spread`` is the
    donors' weighted squared distance to the target.

    Raises:
        NotEstimable: the relative gap is above 1e-9.

    """
    return refuse_uncertified(bounded(weights, objective, gradient, spread))


def bounded(weights: FloatArray, objective: float, gradient: FloatArray, spread: float) -> SimplexFit:
    """As `certify`, without refusing."""
    gap = 2.0 * max(objective - float(gradient.min()), 0.0)
    return SimplexFit(weights, objective, gap, gap / yardstick(objective, spread))


def yardstick(objective: float, spread: float) -> float:
    """What a gap is divided by to make it relative."""
    return max(objective, PERFECT_FIT * spread, float(np.finfo(np.float64).tiny))


def refuse_uncertified(fit: SimplexFit) -> SimplexFit:
    """The fit, or NotEstimable where its gap is above 1e-9."""
    if fit.relative_gap > REFUSED_GAP:
        raise NotEstimable(
            f"the weights could not be certified: relative duality gap {fit.relative_gap:.1e} stays above {REFUSED_GAP}"
            " (outcomes of very different scale? take logarithms, or leave out the extreme units)"
        )
    return fit


def nnls_on_simplex(differences: FloatArray, ridge: float, finish: bool = True) -> FloatArray:
    """Minimise ``|differences'w|^2 + ridge |w|^2`` on the simplex; differences (n, m) are donors less target.

    Without ``finish`` it is up to the caller to look at the gap.
    """
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
    solution /= solution.sum()
    return _finished(system, solution) if finish else np.asarray(solution)


def _finished(system: FloatArray, weights: FloatArray) -> FloatArray:
    """Carry on from where the library's active set stopped (it tolerates 1e-8) until rounding ends all progress.

    The rows but the last are the problem, the last holds ones. On a support the optimum is the least squares solution
    towards that last row, scaled to sum one; a weight that would turn negative leaves, the steepest descent enters.
    """
    problem = system[:-1]
    best, best_gap = weights, np.inf
    current, support = weights, weights > 0
    previous = np.inf
    for _ in range(3 * len(weights) + 10):
        gradient = problem.T @ (problem @ current)
        objective = float(current @ gradient)
        entering = int(gradient.argmin())
        gap = objective - float(gradient[entering])
        if gap < best_gap:
            best, best_gap = current, gap
        if gap <= FINISHED_GAP * objective or objective >= previous:
            break
        if np.isfinite(previous) and support[entering]:
            break  # the face is at its minimum: what is left is rounding
        previous = objective if current is not weights else np.finfo(np.float64).max
        support[entering] = True
        current = _to_face_minimum(system, current, support)
    return best


def _to_face_minimum(system: FloatArray, start: FloatArray, support: BoolArray) -> FloatArray:
    """Move to the minimum over the face spanned by ``support``, dropping from it what reaches zero on the way."""
    current = start
    right = np.zeros(len(system))
    right[-1] = 1.0
    while True:
        inside = np.flatnonzero(support)
        free = np.linalg.lstsq(system[:, inside], right, rcond=None)[0]
        free /= free.sum()
        if (free > 0).all():
            arrived = np.zeros_like(current)
            arrived[inside] = free
            return arrived
        held = current[inside]
        falling = free <= 0
        length = float(np.min(held[falling] / np.maximum(held[falling] - free[falling], np.finfo(np.float64).tiny)))
        moved = held + min(length, 1.0) * (free - held)
        gone = falling & (moved <= 1e-15)
        if not gone.any():
            gone = falling & (moved == moved[falling].min())
        moved[gone] = 0.0
        current = np.zeros_like(current)
        current[inside] = moved / moved.sum()
        support[inside[gone]] = False


def averaged_away(weights: FloatArray, distance: FloatArray) -> float:
    """What the weights average away: their mean squared distance (n,) to the target.

    Where all of them rest on copies of the target that is nothing but rounding, and differs from machine to machine:
    the nearest of the others then stands for it.
    """
    found = float(weights @ distance)
    rounding = ROUNDING * float(distance.max())
    others = distance[distance > rounding]
    return float(others.min()) if found <= rounding and others.size else found


def distances(donors: FloatArray, target: FloatArray) -> FloatArray:
    """(n,) squared distances of the donors to the target."""
    distance: FloatArray = np.einsum("ij,ij->i", donors, donors) - 2.0 * donors @ target + target @ target
    return distance
