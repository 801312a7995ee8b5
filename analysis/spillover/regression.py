"""All regressions of a category at once: log sales of every product on the log prices of all, fixed effects absorbed.

    log q_i = market effects + week effects + weekday effects + sum_j e_ij log p_j + u

The right-hand side is the same for every product, so one decomposition serves them all. Errors are clustered: CR3, the
jackknife over clusters on the data with the effects absorbed (MacKinnon, Nielsen and Webb 2023, "Fast and reliable
jackknife and bootstrap methods for cluster-robust inference"), with degrees of freedom by Satterthwaite's match under
independent errors (Bell and McCaffrey 2002). Absorbed effects of days and markets are not absorbed anew without each
cluster; effects of the clusters themselves need not be.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

#: Missing outcomes are filled by their fit until no coefficient moves by more; far below any standard error.
_FILLED = 1e-10
_FILLS = 200
#: The Lasso ends where no elasticity moves by more.
_LASSO = 1e-7


@dataclass(frozen=True, slots=True)
class JointFit:
    """k equations on the same k prices; entry [i, j] is what the price of j does to the sales of i."""

    #: Shape (k, k).
    elasticities: Floats
    #: What each cluster moves each coefficient by, CR3; one array a way of clustering, shape (G, k, k).
    moved: tuple[Floats, ...]
    #: Inner products of the variance estimators' matrices under independent errors, shape (k, k) a way of clustering.
    alike: tuple[Floats, ...]
    #: Their traces, shape (k,) a way of clustering.
    traces: tuple[Floats, ...]
    #: Residual variance of each equation, shape (k,).
    variances: Floats
    #: Inner products of the prices, the effects absorbed, shape (k, k).
    gram: Floats
    #: Standard deviation of price j's score in equation i, summed within the first way's clusters, shape (k, k).
    score_sd: Floats


def effects_basis(*codes: Ints) -> Floats:
    """An orthonormal basis of the dummies of all `codes`, shape (rows, rank)."""
    dummies = np.hstack([(column[:, None] == np.unique(column)[None, :]) for column in codes]).astype(float)
    q, r, _ = linalg.qr(dummies, mode="economic", pivoting=True)
    sizes = np.abs(np.diag(r))
    return np.ascontiguousarray(q[:, sizes > sizes[0] * 1e-9])


def joint_fit(sales: Floats, prices: Floats, basis: Floats, clusterings: tuple[Ints, ...]) -> JointFit:
    """Estimate all equations of one category.

    Args:
        sales: log sales, shape (rows, k); NaN where the row is no observation of that equation.
        prices: log prices, shape (rows, k), finite.
        basis: of `effects_basis`, shape (rows, rank).
        clusterings: for each way of clustering the cluster of each row, counted from 0.

    Raises:
        LinAlgError: the prices are collinear once the effects are absorbed.
    """
    x = prices - basis @ (basis.T @ prices)
    scale = np.sqrt((x * x).sum(axis=0))
    gram = x.T @ x
    if not (scale > 1e-9).all() or np.linalg.cond(gram / np.outer(scale, scale)) > 1e10:
        raise linalg.LinAlgError("prices are collinear within markets and weeks")
    inverse = np.asarray(np.linalg.inv(gram), dtype=np.float64)
    beta, residuals, share = _coefficients(sales, x, basis, inverse)
    rows, k = prices.shape
    freedom = share * rows - basis.shape[1] - k
    variances = (residuals * residuals).sum(axis=0) / freedom
    moved, alike, traces, score_sds = [], [], [], []
    for clusters in clusterings:
        one = _jackknife(x, residuals, gram, inverse, clusters)
        moved.append(np.swapaxes(one[0], 1, 2) / share[None, :, None])
        alike.append(one[1])
        traces.append(one[2])
        score_sds.append(one[3])
    score_sd = score_sds[0].T / share[:, None]
    return JointFit(beta.T, tuple(moved), tuple(alike), tuple(traces), variances, gram, score_sd)


def penalised(fit: JointFit) -> Floats:
    """Elasticities by the Lasso, own prices without a penalty; shape (k, k), most of it zero.

    Each price's penalty is the plug-in one for clustered errors, 1.1 times the normal quantile at .1 / log(n) over all
    prices times the score's standard deviation (Belloni, Chernozhukov, Hansen and Kozbur 2016, section 2). Solved for
    all equations at once by coordinate descent on the inner products.
    """
    k = len(fit.gram)
    level = 0.1 / np.log(max(len(fit.moved[0]), 3))
    penalty = 1.1 * special.ndtri(1 - level / (2 * k)) * fit.score_sd.T
    np.fill_diagonal(penalty, 0.0)
    aim = fit.gram @ fit.elasticities.T
    beta = fit.elasticities.T.copy()
    for _ in range(_FILLS):
        before = beta.copy()
        for j in range(k):
            gradient = aim[j] - fit.gram[j] @ beta + fit.gram[j, j] * beta[j]
            beta[j] = np.sign(gradient) * np.maximum(np.abs(gradient) - penalty[j], 0.0) / fit.gram[j, j]
        if np.abs(beta - before).max() < _LASSO:
            break
    return beta.T


def _coefficients(sales: Floats, x: Floats, basis: Floats, inverse: Floats) -> tuple[Floats, Floats, Floats]:
    """Least squares on the observed rows of each equation: missing ones are filled by their fit until nothing moves.

    (Expectation-maximisation; its fixed point is the regression on the observed rows.)
    """
    missing = np.isnan(sales)
    observed = np.maximum((~missing).sum(axis=0), 1)
    filled = np.where(missing, np.where(missing, 0.0, sales).sum(axis=0) / observed, sales)
    beta = inverse @ (x.T @ filled)
    fitted = basis @ (basis.T @ filled) + x @ beta
    if missing.any():
        for _ in range(_FILLS):
            filled = np.where(missing, fitted, sales)
            following = inverse @ (x.T @ filled)
            fitted = basis @ (basis.T @ filled) + x @ following
            step = float(np.abs(following - beta).max())
            beta = following
            if step < _FILLED:
                break
    return beta, np.where(missing, 0.0, sales - fitted), (~missing).mean(axis=0)


def _jackknife(
    x: Floats, residuals: Floats, gram: Floats, inverse: Floats, clusters: Ints
) -> tuple[Floats, Floats, Floats, Floats]:
    """What leaving out each cluster changes (G, k, k: regressor, equation), the match of degrees of freedom, and the
    standard deviation of the scores (k, k: regressor, equation)."""
    order = np.argsort(clusters, kind="stable")
    starts = np.flatnonzero(np.diff(clusters[order], prepend=-1))
    ends = np.append(starts[1:], len(order))
    xs, us = x[order], residuals[order]
    grams = np.stack([xs[a:b].T @ xs[a:b] for a, b in zip(starts, ends, strict=True)])
    scores = np.stack([xs[a:b].T @ us[a:b] for a, b in zip(starts, ends, strict=True)])
    without = np.linalg.inv(gram[None] - grams)
    moved = without @ scores
    # Row k of these is cluster g's weight on all rows, in the space of the prices; see Bell and McCaffrey, section 4.
    reach = without @ grams
    own = np.einsum("gkl,gkl->gk", reach, without)
    # The estimator's matrix of regressor k is diag(own[k]) - R_k inverse R_k': inner products without building any.
    white = np.swapaxes(reach @ np.linalg.cholesky(inverse), 0, 1)
    norms = np.einsum("kgl,kgl->kg", white, white)
    alike = own.T @ own - own.T @ norms.T - norms @ own + _squared_products(white)
    return moved, alike, own.sum(axis=0) - norms.sum(axis=1), np.sqrt((scores * scores).sum(axis=0))


def _squared_products(matrices: Floats) -> Floats:
    """The squared Frobenius norm of W_i' W_j for all pairs of k matrices of shape (G, k); shape (k, k).

    It is the inner product of W_i W_i' and W_j W_j': O(k^2 G^2). Where clusters are many, O(k^4 G) is less.
    """
    k, groups, _ = matrices.shape
    if groups**2 <= k**3:
        outer = (matrices @ np.swapaxes(matrices, 1, 2)).reshape(k, groups**2)
        inner: Floats = outer @ outer.T
        return inner
    flat = np.swapaxes(matrices, 0, 1).reshape(groups, k * k)
    squares: Floats = ((flat.T @ flat) ** 2).reshape(k, k, k, k).sum(axis=(1, 3))
    return squares


def clustered(moved: Floats) -> Floats:
    """CR3 variance from what each cluster moves, over the first axis."""
    groups = len(moved)
    variance: Floats = (moved * moved).sum(axis=0) * (groups - 1) / groups
    return variance


def matched_freedom(alike: Floats, traces: Floats, one: Ints, two: Ints, var_one: Floats, var_two: Floats) -> Floats:
    """Degrees of freedom of a sum of two coefficients of different equations, on regressors `one` and `two`."""
    trace = var_one * traces[one] + var_two * traces[two]
    square = var_one**2 * alike[one, one] + var_two**2 * alike[two, two] + 2 * var_one * var_two * alike[one, two]
    freedom: Floats = trace**2 / square
    return freedom
