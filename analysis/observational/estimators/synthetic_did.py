"""Synthetic difference in differences (Arkhangelsky, Athey, Hirshberg, Imbens, Wager, AER 2021), to the exact optimum.

With sd the standard deviation (ddof 1) of first differences of control outcomes before the treatment and
``zeta = (N1 T1)^(1/4) sd``:

- unit weights: ``min sum_{t<=T0} (w0 + sum_i w_i Y_it - Ybar_tr,t)^2 + zeta^2 T0 |w|^2`` on the simplex;
- time weights: ``min sum_{i<=N0} (l0 + sum_t l_t Y_it - Ybar_i,post)^2 + (1e-6 sd)^2 N0 |l|^2`` on the simplex.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cholesky

from analysis.observational.estimators.simplex import FINISHED_GAP, SimplexFit, averaged_away, certify, nnls_on_simplex
from analysis.observational.estimators.simplex_newton import ridge_weights
from analysis.observational.estimators.weighted import WeightedFit, noise_level, weighted_fit
from analysis.panel_data.blas_threads import blas_threads
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray

#: ridge of the time weights, as a share of the noise sd (AER 2021, section I): only there to make them unique
TIME_RIDGE = 1e-6
#: exchanges of pre-periods that are tried for all placebos at once
FEW_ROUNDS = 12
#: rows that are differenced and centred at once, so that a panel of a gigabyte needs no second one
CHUNK = 4096


def fit_synthetic_did(outcome: FloatArray, n_control: int, n_pre: int) -> WeightedFit:
    """Double difference with fitted unit and time weights.

    Args:
        outcome: (N, T), complete; controls in the first rows, pre-periods in the first columns.
        n_control: N0.
        n_pre: T0, at least two.

    Raises:
        NotEstimable: no noise level (one pre-period), or weights that could not be certified.

    """
    with blas_threads(outcome.size):
        return _fit(outcome, n_control, n_pre)


def _fit(outcome: FloatArray, n_control: int, n_pre: int) -> WeightedFit:
    n_treated, n_post = outcome.shape[0] - n_control, outcome.shape[1] - n_pre
    control_pre = outcome[:n_control, :n_pre]
    noise = noise_level(control_pre)
    zeta = (n_treated * n_post) ** 0.25 * noise
    paths = control_pre - control_pre.mean(axis=1, keepdims=True)
    target = outcome[n_control:, :n_pre].mean(axis=0)
    problem = _TimeProblem.of(control_pre, outcome[:n_control, n_pre:].mean(axis=1), TIME_RIDGE * noise)
    times = problem.solve()
    target -= target.mean()
    units = ridge_weights(paths, target[None], zeta**2 * n_pre, gram=problem.gram_of_paths())[0]
    del paths
    return weighted_fit(
        outcome,
        units.weights,
        times.weights,
        (("unit weights", units.relative_gap), ("time weights", times.relative_gap)),
        (("zeta", zeta), ("noise sd", noise)),
    )


def placebo_synthetic_did(control: FloatArray, n_pre: int, subsets: IntArray, fit: WeightedFit) -> FloatArray:
    """(B,) effects of no treatment, each with one subset (B, N1) of the control rows in the treated role.

    The ridges stay those of ``fit``, as in algorithm 4 of the paper's code: a placebo is the same estimator elsewhere.
    All unit weights are solved at once; the time weights share one Gram matrix, less each subset's rows.
    """
    with blas_threads(control.size):
        return _placebo_effects(control, n_pre, subsets, fit)


def _placebo_effects(control: FloatArray, n_pre: int, subsets: IntArray, fit: WeightedFit) -> FloatArray:
    settings, near = dict(fit.settings), fit.time_weights > 0
    n_control = control.shape[0]
    paths = control[:, :n_pre] - control[:, :n_pre].mean(axis=1, keepdims=True)
    problem = _TimeProblem.of(control[:, :n_pre], control[:, n_pre:].mean(axis=1), TIME_RIDGE * settings["noise sd"])
    gram, post = problem.gram_of_paths(), problem.post
    effects = np.empty(len(subsets))
    at_once = max(1, 2_000_000 // max(n_control * n_pre, 1))
    for start in range(0, len(subsets), at_once):
        batch = subsets[start : start + at_once]
        allowed = np.ones((len(batch), n_control), dtype=np.bool_)
        role = np.arange(len(batch))[:, None], batch
        allowed[role] = False
        targets = paths[batch].mean(axis=1)
        ridge = settings["zeta"] ** 2 * n_pre
        signs = -np.stack([units.weights for units in ridge_weights(paths, targets, ridge, allowed, gram)])
        signs[role] = 1.0 / batch.shape[1]
        before = np.vecdot(signs @ control[:, :n_pre], problem.solve_without(batch, near))
        effects[start : start + at_once] = signs @ post - before
    return effects


@dataclass(frozen=True, slots=True)
class _TimeProblem:
    """Time weights over the rows that are kept: differences of each pre-period from the post-period mean, centred."""

    #: (N0, T0)
    pre: FloatArray
    #: (N0,)
    post: FloatArray
    #: (T0,), mean over ALL rows of pre less post; the Gram matrix is taken around it
    centre: FloatArray
    #: (T0, T0), sum over the kept rows of the centred differences' squares
    gram: FloatArray
    #: (T0,), sum over the kept rows of the centred differences; zero when all are kept
    total: FloatArray
    #: rows that are not kept
    left_out: IntArray
    #: the ridge is this squared, times the number of kept rows
    ridge_sd: float

    @classmethod
    def of(cls, pre: FloatArray, post: FloatArray, ridge_sd: float) -> "_TimeProblem":
        n_units, n_pre = pre.shape
        centre = pre.mean(axis=0) - post.mean()
        gram = np.zeros((n_pre, n_pre))
        total = np.zeros(n_pre)
        for start in range(0, n_units, CHUNK):
            rows = pre[start : start + CHUNK] - post[start : start + CHUNK, None] - centre
            gram += rows.T @ rows
            total += rows.sum(axis=0)
        return cls(pre, post, centre, gram, total, np.empty(0, dtype=np.int64), ridge_sd)

    def gram_of_paths(self) -> FloatArray:
        """The Gram matrix of all units' pre-period paths, each less its own mean, about the mean path.

        A unit's post-period mean is the same number in all its differences, so taking row means removes it.
        """
        rows = self.gram - self.gram.mean(axis=0)
        demeaned: FloatArray = rows - rows.mean(axis=1, keepdims=True)
        return demeaned

    def solve_without(self, subsets: IntArray, near: BoolArray) -> FloatArray:
        """(B, T0) time weights, each without one subset (B, k) of the rows: `without` and `solve` for all at once.

        ``near``: (T0,), the pre-periods that are tried first.
        """
        n_pre, n_kept = self.pre.shape[1], self.pre.shape[0] - subsets.shape[1]
        if n_kept <= n_pre + 1:
            return np.stack([self.without(subset).solve().weights for subset in subsets])
        rows = self.pre[subsets] - self.post[subsets][:, :, None] - self.centre
        means = (self.total - rows.sum(axis=1)) / n_kept
        grams = self.gram - np.matmul(rows.swapaxes(1, 2), rows) - n_kept * means[:, :, None] * means[:, None, :]
        grams[:, range(n_pre), range(n_pre)] += self.ridge_sd**2 * n_kept
        try:
            weights, gradients = _few_periods(grams, near)
        except LinAlgError:
            return np.stack([self.without(subset).solve().weights for subset in subsets])
        objectives = np.vecdot(weights, gradients)
        unfinished = np.flatnonzero(objectives - gradients.min(axis=1) > FINISHED_GAP / 2 * objectives)
        for k in (*unfinished, *np.flatnonzero(weights.min(axis=1) < 0)):
            weights[k] = self.without(subsets[k]).solve().weights
        return weights

    def without(self, rows: IntArray) -> "_TimeProblem":
        """The same problem with some rows left out, from the Gram matrix at hand."""
        differences = self._rows(rows)
        return _TimeProblem(
            self.pre,
            self.post,
            self.centre,
            self.gram - differences.T @ differences,
            self.total - differences.sum(axis=0),
            rows,
            self.ridge_sd,
        )

    def solve(self) -> SimplexFit:
        """Active set on a triangular factor of the Gram matrix; on the rows themselves where that is singular."""
        n_pre = self.pre.shape[1]
        n_kept = self.pre.shape[0] - self.left_out.size
        mean = self.total / n_kept
        gram = self.gram - n_kept * np.outer(mean, mean)
        ridge = self.ridge_sd**2 * n_kept
        distances = np.diag(gram).copy()
        if n_kept > n_pre + 1:
            gram[range(n_pre), range(n_pre)] += ridge
            try:
                factor = cholesky(gram, check_finite=False)
            except LinAlgError:
                pass
            else:
                weights = nnls_on_simplex(factor.T, 0.0)
                gradient = gram @ weights
                return certify(weights, float(weights @ gradient), gradient, averaged_away(weights, distances))
        kept = np.setdiff1d(np.arange(self.pre.shape[0]), self.left_out)
        rows = self._rows(kept) - mean
        weights = nnls_on_simplex(rows.T, ridge)
        gradient = rows.T @ (rows @ weights) + ridge * weights
        return certify(weights, float(weights @ gradient), gradient, averaged_away(weights, distances))

    def _rows(self, rows: IntArray) -> FloatArray:
        differences: FloatArray = self.pre[rows] - self.post[rows, None] - self.centre
        return differences


def _few_periods(grams: FloatArray, support: BoolArray) -> tuple[FloatArray, FloatArray]:
    """(B, T0) minima of ``w'Gw`` on the simplex and half their gradients, tried from a support (T0,) that is near.

    On a support the minimum solves ``G w = 1`` up to scale: negative weights leave it, the steepest descent enters,
    for all problems at once. A few rounds do; callers check the gap and solve again what has not converged.
    """
    supports = np.repeat(support[None], len(grams), axis=0)
    every = np.arange(len(grams))
    for _ in range(FEW_ROUNDS):
        used = np.flatnonzero(supports.any(axis=0))
        inside = supports[:, used]
        system = np.where(inside[:, :, None] & inside[:, None, :], grams[:, used[:, None], used], np.eye(used.size))
        share = np.linalg.solve(system, inside[:, :, None].astype(np.float64))[:, :, 0]
        share /= share.sum(axis=1, keepdims=True)
        gradients = np.matmul(grams[:, :, used], share[:, :, None])[:, :, 0]
        objectives = np.vecdot(share, gradients[:, used])
        negative = share < 0
        entering = gradients.argmin(axis=1)
        short = gradients[every, entering] < (1.0 - FINISHED_GAP / 2) * objectives
        short &= ~(negative.any(axis=1) | supports[every, entering])
        if not (negative.any() or short.any()):
            break
        supports[:, used] &= ~negative
        supports[every[short], entering[short]] = True
    weights = np.zeros(grams.shape[:2])
    weights[:, used] = share
    return weights, gradients
