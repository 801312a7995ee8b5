"""Weighted means of clusters within an arm: the variance of one, and how well that variance is known.

The mean of n clusters with weights ``h_c`` (they sum to 1) errs by ``sum h_c (m_c - mu)``. Its variance is estimated
by ``sum h_c^2 k_c e_c^2`` with ``e_c = m_c - sum h m`` and ``k_c = 1 / (1 - 2 h_c + sum h^2)``, which is unbiased where
the clusters' means have equal variances, and Neyman's ``s^2 / n`` where the weights are equal (the second of the
estimators of MacKinnon and White, J. Econometrics 29, 1985). As a quadratic form ``m' B m`` its
degrees of freedom are ``trace(B)^2 / trace(B^2)`` (Satterthwaite): n - 1 where the weights are equal, and near 1 where
one cluster carries the mean.
"""

import numpy as np

from analysis.panel_data.panel import FloatArray


def inflation(share: FloatArray, squares: FloatArray) -> FloatArray:
    """``k_c`` of clusters with these shares of the weight; ``squares``: the sum of squared shares, broadcast."""
    return np.asarray(1.0 / np.maximum(1.0 - 2.0 * share + squares, 1e-12))


class FormSums:
    """The sums over clusters of which the degrees of freedom of ``sum a_c e_c^2`` are made, for groups side by side.

    With w the weights: w, w^2, a, a w, a w^2, a^2, a^2 w. They add up over parts of the clusters.
    """

    ROWS = 7

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.sums = np.zeros((self.ROWS, *shape))

    def add(self, place: tuple[int, ...], weight: FloatArray, form: FloatArray) -> None:
        """Clusters along the last axis: weights (g,) or (B, g), 0 where absent, and a (B, g)."""
        terms = (weight, weight**2, form, form * weight, form * weight**2, form**2, form**2 * weight)
        for row, term in enumerate(terms):
            self.sums[(row, *place)] += term.sum(axis=-1)

    def freedom(self) -> FloatArray:
        """Degrees of freedom, at least 1."""
        w, w2, a, aw, aww, a2, a2w = self.sums
        total = np.where(w > 0.0, w, 1.0)
        s, h1, h2, d1 = w2 / total**2, aw / total, aww / total**2, a2w / total
        trace = a * (1.0 + s) - 2.0 * h1
        every = s**2 * a**2 + 2.0 * a * h2 + 2.0 * h1**2 - 4.0 * s * a * h1
        squared = every + a2 * (1.0 + 2.0 * s) - 4.0 * d1
        found = np.divide(trace**2, squared, out=np.ones_like(trace), where=squared > 0.0)
        return np.asarray(np.maximum(found, 1.0))
