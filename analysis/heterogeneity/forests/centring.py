"""Linear candidates for the effect: ridge of the centred outcome on ``w f(x)``, f linear or quadratic.

A quadratic is what a sum of smooth functions of few columns is nearest to; a forest alone needs many splits for it, and
its intervals then leave the truth. Its penalty on squares and products is chosen by the R-loss of the half that was
held out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.heterogeneity.forests.boosting import EFFECT, Boosted, boost
from analysis.panel_data.panel import FloatArray

#: with more columns than this, products are not tried: 30 columns have 465 of them
MOST_FOR_PRODUCTS = 30
#: weight of the penalty on squares and products, in rows
PENALTIES = (10.0, 100.0, 1000.0)
#: and on columns
LIKELY_PENALTIES = np.geomspace(1.0, 1e5, 26)


@dataclass(frozen=True, slots=True)
class Basis:
    """Functions of the columns, standardised on the rows that it was made from."""

    mean: FloatArray
    scale: FloatArray
    products: bool

    def of(self, x: FloatArray) -> FloatArray:
        """(n, k): a one, the columns, and with ``products`` all squares and products of two of them."""
        z = (x - self.mean) / self.scale
        # Columns with a few far values would have all of the weight in their squares.
        z = np.clip(z, -4, 4)
        if not self.products:
            return np.column_stack([np.ones(len(z)), z])
        first, second = np.triu_indices(z.shape[1])
        pairs = z[:, first] * z[:, second] - (first == second)
        return np.column_stack([np.ones(len(z)), z, pairs])

    @property
    def columns(self) -> int:
        return len(self.mean)


def basis(x: FloatArray, products: bool) -> Basis:
    """A basis whose columns have mean zero and deviation one on these rows; constant columns are left as zero."""
    scale = x.std(axis=0)
    return Basis(x.mean(axis=0), np.where(scale > 0, scale, 1.0), products)


@dataclass(frozen=True, slots=True)
class Shrinkage:
    """How far coefficients are shrunk, and what that leaves out."""

    #: (k,) weight of the penalty on each coefficient, in rows
    penalty: FloatArray
    #: (k, k) mean square of what is shrunk away, as a form in the basis of a point
    lost: FloatArray


def ridge(design: FloatArray, w: FloatArray, y: FloatArray, penalty: FloatArray) -> FloatArray:
    """(k,) coefficients of y on w times the basis; ``penalty`` (k,) counts in rows of mean square w."""
    weighted = design * w[:, np.newaxis]
    weights = penalty * max(float(np.mean(w**2)), 1e-300)
    found = np.linalg.solve(weighted.T @ weighted + np.diag(weights), weighted.T @ y)
    return np.asarray(found, dtype=np.float64)


def shrinkage(shape: Basis, design: FloatArray, w: FloatArray, y: FloatArray, half: NDArray[np.int64]) -> Shrinkage:
    """The penalty on columns by their likelihood, that on products by the half that is held out."""
    square = max(float(np.mean(w**2)), 1e-300)
    columns = 1 + shape.columns
    penalty, lost = np.full(design.shape[1], 1e-9), np.zeros((design.shape[1], design.shape[1]))
    penalty[1:columns], lost[1:columns, 1:columns] = _likely(design[:, 1:columns], w, y)
    if shape.products:
        penalty[columns:] = _held_out_penalty(design, w, y, half, penalty, columns)
        weighted = design * w[:, np.newaxis]
        inverse = np.linalg.inv(weighted.T @ weighted + np.diag(penalty * square))
        left = y - weighted @ (inverse @ (weighted.T @ y))
        away = inverse[columns:, columns:]
        # Coefficients drawn with variance noise / (penalty * square) lose (G + K)^-1 K of themselves.
        lost[columns:, columns:] = float(np.mean(left**2)) * square * (away * penalty[columns:]) @ away
    return Shrinkage(penalty, lost)


def _likely(columns: FloatArray, w: FloatArray, y: FloatArray) -> tuple[float, FloatArray]:
    """The penalty of coefficients that are drawn with one variance, and (p, p) mean square of what it shrinks away.

    Both are means over a grid, weighted by the restricted likelihood and a flat prior of the coefficients' deviation.
    The likeliest alone is with few rows often that of no deviation at all.
    """
    base = w / max(float(np.sqrt(np.sum(w**2))), 1e-300)
    weighted = columns * w[:, np.newaxis]
    weighted = weighted - np.outer(base, base @ weighted)
    left = y - base * float(base @ y)
    roots, axes = np.linalg.eigh(weighted.T @ weighted)
    roots, along = np.maximum(roots, 0), axes.T @ (weighted.T @ left)
    weights = (LIKELY_PENALTIES * max(float(np.mean(w**2)), 1e-300))[:, np.newaxis]
    freedom = max(len(y) - 1, 1)
    noise = np.maximum(left @ left - (along**2 / (roots + weights)).sum(axis=1), 1e-300) / freedom
    log = -freedom / 2 * np.log(noise) - np.log1p(roots / weights).sum(axis=1) / 2 - np.log(LIKELY_PENALTIES) / 2
    share = np.exp(log - log.max())
    share /= share.sum()
    penalty = float(1 / (share @ (1 / LIKELY_PENALTIES)))
    off = along / (roots + weights) - along / (roots + penalty * weights[0] / LIKELY_PENALTIES[0])
    own = noise[:, np.newaxis] * weights / (roots + weights) ** 2
    lost = np.diag(share @ own) + (off.T * share) @ off
    return penalty, axes @ lost @ axes.T


def _held_out_penalty(
    design: FloatArray, w: FloatArray, y: FloatArray, half: NDArray[np.int64], penalty: FloatArray, columns: int
) -> float:
    """Of :data:`PENALTIES`, for all rows, the one whose fits on each half leave the least on the other."""
    loss = dict.fromkeys(PENALTIES, 0.0)
    for side in (0, 1):
        fit = half == side
        for weight in PENALTIES:
            found = ridge(
                design[fit], w[fit], y[fit], np.r_[penalty[:columns], np.full(len(penalty) - columns, weight)] / 2
            )
            loss[weight] += float(np.sum((y[~fit] - w[~fit] * (design[~fit] @ found)) ** 2))
    return min(PENALTIES, key=lambda weight: loss[weight])


def missed_effects(
    x: FloatArray, bins: NDArray[np.uint8], w: FloatArray, left: FloatArray, label: NDArray[np.int64]
) -> tuple[FloatArray, ...]:
    """(n,) each: what a quadratic and a boosted model find in ``left = w m(x) + noise``, by the other half's model."""
    shuffled = np.random.default_rng(0).permutation(int(label.max()) + 1)[label]
    half = shuffled % 2
    sides = half == np.array([[0], [1]])
    models, _ = boost(bins, w, left, sides, ~sides, EFFECT)
    # Rounds by the fit's own half would take all of them; half of those of an effect find what is worth finding.
    grown = Boosted(models.feature, models.cut, models.values, EFFECT.rounds // 2).predict(bins)
    found = [np.where(sides[0], grown[1], grown[0])]
    if x.shape[1] <= MOST_FOR_PRODUCTS and len(x) >= 4 * (x.shape[1] + 1) * (x.shape[1] + 2):
        shape = basis(x, True)
        design = shape.of(x)
        penalty = np.r_[1e-9, np.ones(shape.columns), np.full(design.shape[1] - 1 - shape.columns, PENALTIES[1])]
        fits = [ridge(design[side], w[side], left[side], penalty) for side in sides]
        found.append(np.where(sides[0], design @ fits[1], design @ fits[0]))
    return tuple(found)
