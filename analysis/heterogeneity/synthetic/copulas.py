"""Series with the autocorrelation, the correlation and the quantiles of others: Gaussian copulas."""

import numpy as np
from scipy.stats import norm, rankdata

from analysis.heterogeneity.synthetic.sold import without_trend
from analysis.panel_data.panel import FloatArray

#: lags of the autoregressions; of shorter histories one for eight periods
LAGS = 8
#: periods that they take to forget where they began
BURN_IN = 100
#: points of a quantile function
QUANTILES = 401


def normal_scores(values: FloatArray) -> FloatArray:
    """Normal scores of all known values together; NaN stays."""
    seen = np.isfinite(values)
    found = np.full(values.shape, np.nan)
    if seen.sum() > 1:
        found[seen] = norm.ppf((rankdata(values[seen]) - 0.5) / seen.sum())
    return found


def onto(latent: FloatArray, source: FloatArray) -> FloatArray:
    """Normal scores taken to the quantiles of all known values of ``source``, between which they are interpolated."""
    known = np.sort(source[np.isfinite(source)])
    if not known.size:
        return np.zeros(latent.shape)
    # dense in the tails, where a few values make the difference
    grid = norm.cdf(np.linspace(-3.5, 3.5, QUANTILES))
    return np.asarray(np.interp(norm.cdf(latent), grid, np.quantile(known, grid)))


def autoregression(scores: FloatArray) -> FloatArray:
    """Yule and Walker's coefficients, pooled over columns; pairs with a missing value are left out.

    The columns' means and slopes were taken out, which lowers every covariance by about two long-run variances over T:
    that much is added.
    """
    periods = len(scores)
    lags = min(LAGS, periods // 8)
    filled, seen = np.nan_to_num(scores), np.isfinite(scores).astype(np.float64)
    found = []
    for lag in range(lags + 1):
        ahead, behind = slice(lag, None), slice(None, periods - lag)
        pairs = float((seen[ahead] * seen[behind]).sum())
        found.append(float((filled[ahead] * filled[behind]).sum()) / max(pairs, 1.0))
    covariance = np.array(found)
    if covariance[0] <= 0:
        return np.zeros(lags)
    lost = 2.0 * (covariance[0] + 2.0 * covariance[1:].sum()) / (periods - 2 * (1 + 2 * lags))
    covariance += max(lost, 0.0)
    index = np.abs(np.subtract.outer(np.arange(lags), np.arange(lags)))
    system = covariance[index] + 1e-6 * covariance[0] * np.eye(lags)
    return np.asarray(np.linalg.solve(system, covariance[1:]))


def series(coefficients: FloatArray, periods: int, columns: int, rng: np.random.Generator) -> FloatArray:
    """(T, n) independent autoregressions without mean and slope, of unit spread together."""
    shocks = rng.standard_normal((BURN_IN + periods, columns))
    lags = len(coefficients)
    state = np.zeros_like(shocks)
    for t in range(lags, len(shocks)):
        state[t] = shocks[t] + coefficients @ state[t - lags : t][::-1]
    kept = without_trend(state[BURN_IN:])
    return np.asarray(kept / max(float(np.sqrt((kept**2).mean())), 1e-9))


def correlation(scores: FloatArray) -> FloatArray:
    """(n, n) of columns over the rows in which both are known, shrunk towards none by n over rows, positive."""
    filled, seen = np.nan_to_num(scores), np.isfinite(scores).astype(np.float64)
    pairs = np.maximum(seen.T @ seen, 1.0)
    covariance = filled.T @ filled / pairs
    scale = np.sqrt(np.maximum(np.diag(covariance), 1e-12))
    found = covariance / np.outer(scale, scale)
    share = scores.shape[1] / (scores.shape[1] + float(pairs.max()))
    found = (1.0 - share) * found + share * np.eye(len(found))
    values, vectors = np.linalg.eigh(found)
    found = (vectors * np.maximum(values, 1e-6)) @ vectors.T
    scale = np.sqrt(np.diag(found))
    return np.asarray(found / np.outer(scale, scale))


def like_columns(source: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(T, n) series with the source's correlation between columns, autocorrelation and quantiles of each column."""
    scores = np.stack([normal_scores(column) for column in source.T], axis=1)
    drawn = (
        series(autoregression(scores), len(source), source.shape[1], rng) @ np.linalg.cholesky(correlation(scores)).T
    )
    return np.stack([onto(drawn[:, k], source[:, k]) for k in range(source.shape[1])], axis=1)


def independent(source: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(T, n) series of one autocorrelation and one quantile function, each column on its own."""
    return onto(series(autoregression(normal_scores(source)), len(source), source.shape[1], rng), source)


def rotated(source: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(d, n) other columns with the mean and the covariance of the source's, to the last digit.

    Deviations from the mean are turned by a random rotation: each new column mixes all of them.
    """
    n = source.shape[1]
    centre = source.mean(axis=1, keepdims=True)
    basis = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, 1:]]))[0][:, 1:]
    turn, triangle = np.linalg.qr(rng.standard_normal((n - 1, n - 1)))
    turn = turn * np.sign(np.diag(triangle))
    found: FloatArray = centre + (source - centre) @ (basis @ turn @ basis.T)
    return found
