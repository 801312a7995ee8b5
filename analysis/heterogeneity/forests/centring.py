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


def ridge(design: FloatArray, w: FloatArray, y: FloatArray, columns: int, penalty: float) -> FloatArray:
    """(k,) coefficients of y on w times the basis; a row's weight on each column, ``penalty`` rows on each product."""
    weighted = design * w[:, np.newaxis]
    weights = np.full(design.shape[1], penalty)
    weights[0], weights[1 : columns + 1] = 1e-9, 1.0
    # A penalty counts in rows of mean square w.
    weights *= max(float(np.mean(w**2)), 1e-300)
    found = np.linalg.solve(weighted.T @ weighted + np.diag(weights), weighted.T @ y)
    return np.asarray(found, dtype=np.float64)


def chosen_penalty(design: FloatArray, w: FloatArray, y: FloatArray, half: NDArray[np.int64], columns: int) -> float:
    """Of :data:`PENALTIES`, for all rows, the one whose fits on each half leave the least on the other."""
    loss = dict.fromkeys(PENALTIES, 0.0)
    for side in (0, 1):
        fit = half == side
        for penalty in PENALTIES:
            found = ridge(design[fit], w[fit], y[fit], columns, penalty / 2)
            loss[penalty] += float(np.sum((y[~fit] - w[~fit] * (design[~fit] @ found)) ** 2))
    return min(PENALTIES, key=lambda penalty: loss[penalty])


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
        fits = [ridge(design[side], w[side], left[side], shape.columns, PENALTIES[1]) for side in sides]
        found.append(np.where(sides[0], design @ fits[1], design @ fits[0]))
    return tuple(found)
