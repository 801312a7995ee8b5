"""How far effects may be from what a smooth centring and trees can follow: a variance component.

Bags vary by noise alone. What a quadratic centring smooths away, and trees of few rows do not find, is the
same in all bags and in no variance between them. Its mean square is estimated as a random effect:

    y = w q(x)' b + w sum_k g_k h_k(x) + noise,    g_k ~ N(0, s^2 / K),

q the squares and products of the columns, h_k random hinges ``max(a' z + c, 0)`` of one to three standardised columns,
what q holds of them taken out. The restricted likelihood of s on a grid, with a flat prior, gives its posterior.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.heterogeneity.forests.centring import MOST_FOR_PRODUCTS, basis
from analysis.panel_data.panel import FloatArray

#: random hinges; twice as many found the same on nie_wager_d
HINGES = 600
#: rows that are used: 20,000 take 3 CPU seconds and 300 MB
MOST_ROWS = 20_000
#: s, in deviations of the noise
DEVIATIONS = np.geomspace(0.01, 3.0, 49)
#: of the posterior
UPPER = 0.975


@dataclass(frozen=True, slots=True)
class Remainder:
    """Mean square of effects that are smoothed away: its posterior mean, and what the data do not exclude."""

    square: float
    upper: float


NO_REMAINDER = Remainder(0.0, 0.0)


def smoothed_away(x: FloatArray, w: FloatArray, y: FloatArray, rng: np.random.Generator) -> Remainder:
    """The remainder of effects beyond squares and products, from centred treatments and outcomes (n,)."""
    if len(y) > MOST_ROWS:
        rows = np.sort(rng.choice(len(y), MOST_ROWS, replace=False))
        x, w, y = x[rows], w[rows], y[rows]
    p = x.shape[1]
    fixed = basis(x, p <= MOST_FOR_PRODUCTS and len(x) >= 4 * (p + 1) * (p + 2)).of(x)
    hinges = _hinges(basis(x, False).of(x)[:, 1:], rng)
    # In single precision and in place: the posterior is wider than its rounding by five orders of magnitude.
    held = np.linalg.qr(fixed)[0].astype(np.float32)
    hinges -= held @ (held.T @ hinges)
    scale = float(np.sqrt(np.vdot(hinges, hinges) / len(hinges)))
    if scale <= 1e-8:
        return Remainder(0.0, 0.0)
    # Both sides less what w q(x) explains: the likelihood of what is left is the restricted one.
    explained = np.linalg.qr(fixed * w[:, np.newaxis])[0]
    random = hinges
    random *= (w / scale).astype(np.float32)[:, np.newaxis]
    single = explained.astype(np.float32)
    random -= single @ (single.T @ random)
    left = y - explained @ (explained.T @ y)
    roots, axes = np.linalg.eigh((random.T @ random).astype(np.float64))
    roots, along = np.maximum(roots, 0), axes.T @ (random.T @ left.astype(np.float32))
    square = (DEVIATIONS**2)[:, np.newaxis]
    freedom = max(len(y) - explained.shape[1], 1)
    noise = np.maximum(left @ left - (along**2 / (roots + 1 / square)).sum(axis=1), 1e-300) / freedom
    log = -freedom / 2 * np.log(noise) - np.log1p(roots * square).sum(axis=1) / 2 + np.log(DEVIATIONS)
    share = np.exp(log - log.max())
    share /= share.sum()
    found = square[:, 0] * noise
    above = int(np.searchsorted(np.cumsum(share), UPPER))
    return Remainder(float(share @ found), float(found[min(above, len(found) - 1)]))


def _hinges(z: FloatArray, rng: np.random.Generator) -> NDArray[np.float32]:
    """(n, K) hinges of one to three columns with signs, of variance one before they are bent."""
    direction = np.zeros((z.shape[1], HINGES))
    for k in range(HINGES):
        chosen = rng.permutation(z.shape[1])[: rng.integers(1, min(3, z.shape[1]) + 1)]
        direction[chosen, k] = rng.choice([-1.0, 1.0], len(chosen)) / np.sqrt(len(chosen))
    hinges = z.astype(np.float32) @ direction.astype(np.float32)
    hinges += rng.normal(0, 0.7, HINGES).astype(np.float32)
    return np.maximum(hinges, 0, out=hinges)
