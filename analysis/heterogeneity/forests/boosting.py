"""Gradient boosting on histograms, for nuisance models and for a candidate of the effect.

One loss serves both: ``sum (y - w F(x))^2``. With w = 1 it is least squares (the nuisances E[Y|X] and E[W|X]);
with w the centred treatment it is the R-loss (Nie and Wager 2021), whose minimiser is the effect. A leaf adds
``rate * sum w (y - w F) / (sum w^2 + ridge)``.
"""

from dataclasses import dataclass

import numpy as np
from numba import prange
from numpy.typing import NDArray

from analysis.heterogeneity.forests.compiled import compiled
from analysis.panel_data.panel import FloatArray

U8 = NDArray[np.uint8]
#: bins that boosting looks at: a quarter of the forest's
COARSE = 64
#: points that one model predicts in a row
POINTS_TOGETHER = 2048


@dataclass(frozen=True, slots=True)
class Boosting:
    """How a model is boosted."""

    #: levels of each tree
    depth: int
    #: share of each step that is taken
    rate: float
    #: most trees
    rounds: int
    #: added to each leaf's weight, in rows
    ridge: float = 20.0


#: E[Y|X] and E[W|X]: chosen by RMSE of the six designs' forests at 10,000 rows
NUISANCE = Boosting(depth=3, rate=0.1, rounds=120)
#: the effect: noise is large, so steps are small
EFFECT = Boosting(depth=3, rate=0.08, rounds=120, ridge=40.0)


@compiled(parallel=True)
def _boost(
    bins: U8,
    w: FloatArray,
    y: FloatArray,
    fits: NDArray[np.bool_],
    judged: NDArray[np.bool_],
    depth: int,
    rate: float,
    rounds: int,
    ridge: float,
) -> tuple[FloatArray, FloatArray, NDArray[np.int16], U8, FloatArray]:
    """Boost K models, model k on the rows of ``fits[k]``.

    ``y`` is (K, n) where each model has outcomes of its own, else (1, n).

    Returns:
        out (K, n): predictions of all rows in ``fits`` or ``judged`` after the last round; loss (K, rounds + 1): sum of
        squares over ``judged``; trees (K, rounds, 2^depth - 1): feature, cut; (K, rounds, 2^depth): leaves.

    """
    models, n, p = len(fits), bins.shape[1], bins.shape[0]
    inner, leaves = (1 << depth) - 1, 1 << depth
    out = np.zeros((models, n))
    loss = np.zeros((models, rounds + 1))
    feature = np.full((models, rounds, inner), -1, np.int16)
    cut = np.full((models, rounds, inner), 255, np.uint8)
    values = np.zeros((models, rounds, leaves))
    uses = np.minimum(np.arange(models), len(y) - 1)
    for m in prange(models):
        own = y[uses[m]]
        # The rows of the fit first: only they are counted in histograms.
        fitted = np.flatnonzero(fits[m])
        rows = np.concatenate((fitted, np.flatnonzero(judged[m] & ~fits[m])))
        count, inside = len(rows), len(fitted)
        x = np.empty((count, p), np.uint8)
        for i in range(count):
            for f in range(p):
                x[i, f] = bins[f, rows[i]] >> 2
        judge = np.empty(count, np.bool_)
        ww, yy, F = np.empty(count), np.empty(count), np.zeros(count)
        g, h = np.empty(inside), np.empty(inside)
        total = 0.0
        for i in range(count):
            judge[i], ww[i], yy[i] = judged[m, rows[i]], w[rows[i]], own[rows[i]]
            if judge[i]:
                loss[m, 0] += yy[i] * yy[i]
        for i in range(inside):
            h[i] = ww[i] * ww[i]
            total += h[i]
        shrink = ridge * total / max(count, 1)
        at = np.empty(count, np.int64)
        for r in range(rounds):
            at[:] = 0
            for i in range(inside):
                g[i] = ww[i] * (yy[i] - ww[i] * F[i])
            for level in range(depth):
                here = 1 << level
                first = here - 1
                hist = np.zeros((here, p, COARSE, 2))
                for i in range(inside):
                    node, its_g, its_h = at[i], g[i], h[i]
                    for f in range(p):
                        hist[node, f, x[i, f], 0] += its_g
                        hist[node, f, x[i, f], 1] += its_h
                for node in range(here):
                    G = H = 0.0
                    for b in range(COARSE):
                        G += hist[node, 0, b, 0]
                        H += hist[node, 0, b, 1]
                    best = G * G / (H + shrink) + 1e-12
                    for f in range(p):
                        l_g = l_h = 0.0
                        for b in range(COARSE - 1):
                            l_g += hist[node, f, b, 0]
                            l_h += hist[node, f, b, 1]
                            if l_h < shrink or H - l_h < shrink:
                                continue
                            r_g, r_h = G - l_g, H - l_h
                            found = l_g * l_g / (l_h + shrink) + r_g * r_g / (r_h + shrink)
                            if found > best:
                                best = found
                                feature[m, r, first + node] = f
                                cut[m, r, first + node] = b
                for i in range(count):
                    f = feature[m, r, first + at[i]]
                    right = f >= 0 and x[i, f] > cut[m, r, first + at[i]]
                    at[i] = 2 * at[i] + (1 if right else 0)
            top, bottom = np.zeros(leaves), np.zeros(leaves)
            for i in range(inside):
                top[at[i]] += g[i]
                bottom[at[i]] += h[i]
            for leaf in range(leaves):
                values[m, r, leaf] = rate * top[leaf] / (bottom[leaf] + shrink) if bottom[leaf] > 0 else 0.0
            wrong = 0.0
            for i in range(count):
                F[i] += values[m, r, at[i]]
                if judge[i]:
                    d = yy[i] - ww[i] * F[i]
                    wrong += d * d
            loss[m, r + 1] = wrong
        for i in range(count):
            out[m, rows[i]] = F[i]
    return out, loss, feature, cut, values


@compiled(parallel=True)
def _apply(
    bins: U8, feature: NDArray[np.int16], cut: U8, values: FloatArray, rounds: int, wanted: NDArray[np.bool_]
) -> FloatArray:
    """(K, points): predictions of K models after ``rounds`` trees; zero where ``wanted`` (K, points) is false."""
    models, points = len(feature), bins.shape[1]
    out = np.zeros((models, points))
    leaves = values.shape[2]
    # A model's trees are read by many points in a row.
    parts = -(-points // POINTS_TOGETHER)
    for part in prange(models * parts):
        m = part // parts
        start = (part % parts) * POINTS_TOGETHER
        for i in range(start, min(start + POINTS_TOGETHER, points)):
            if wanted.shape[1] > 0 and not wanted[m, i]:
                continue
            total = 0.0
            for r in range(rounds):
                node = 0
                while node < leaves - 1:
                    f = feature[m, r, node]
                    right = f >= 0 and (bins[f, i] >> 2) > cut[m, r, node]
                    node = 2 * node + (2 if right else 1)
                total += values[m, r, node - leaves + 1]
            out[m, i] = total
    return out


@dataclass(frozen=True, slots=True)
class Boosted:
    """K boosted models on one set of bins."""

    feature: NDArray[np.int16]
    cut: U8
    values: FloatArray
    rounds: int

    def predict(self, bins: U8, wanted: NDArray[np.bool_] | None = None) -> FloatArray:
        """(K, points); zero where ``wanted`` (K, points) is false."""
        some = np.zeros((0, 0), np.bool_) if wanted is None else wanted
        return _apply(bins, self.feature, self.cut, self.values, self.rounds, some)


def boost(
    bins: U8, w: FloatArray, y: FloatArray, fits: NDArray[np.bool_], judged: NDArray[np.bool_], how: Boosting
) -> tuple[Boosted, FloatArray]:
    """Boost K models; model k on the rows ``fits[k]`` (K, n). Losses (K, rounds + 1) sum over ``judged[k]``.

    ``y``: (n,) or, an outcome for each model, (K, n).
    """
    _, loss, feature, cut, values = _boost(
        bins, w, np.atleast_2d(y), fits, judged, how.depth, how.rate, how.rounds, how.ridge
    )
    return Boosted(feature, cut, values, how.rounds), loss
