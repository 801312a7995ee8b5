"""A fitted forest: effects, their errors, and what tells whether they hold."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erfc

from analysis.heterogeneity.forests.affinity import arm_differences
from analysis.heterogeneity.forests.boosting import U8, Boosted
from analysis.heterogeneity.forests.calibration import Calibration, calibration
from analysis.heterogeneity.forests.centring import Basis, missed_effects
from analysis.heterogeneity.forests.remainder import Remainder
from analysis.heterogeneity.forests.trees import predict_trees
from analysis.panel_data.blas_threads import one_blas_thread
from analysis.panel_data.panel import FloatArray
from controller.errors import NotEstimable

#: histogram bins of each column
BINS = 250
Centring = Literal["none", "ridge", "quadratic", "boosted"]


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear centring: (bags, k) coefficients, and (k, k) mean square of what shrinking them leaves out."""

    shape: Basis
    coefficients: FloatArray
    lost: FloatArray

    def lost_at(self, x: FloatArray) -> FloatArray:
        """(n,) mean square of the effects that are shrunk away at points."""
        z = self.shape.of(x)
        found: FloatArray = np.einsum("ij,ij->i", z @ self.lost, z)
        return found


@dataclass(frozen=True, slots=True)
class Shrunk:
    """How far the trees' part of effects is shrunk towards its mean."""

    #: share of the spread that is kept, and its error
    kept: float
    kept_error: float
    mean: float
    mean_error: float


NOT_SHRUNK = Shrunk(1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class CausalForest:
    """A fitted forest; :meth:`predict` gives effects and standard errors."""

    #: what centred the effects
    centring: Centring
    #: held-out R-loss of each candidate
    r_loss: dict[str, float]
    #: (p,), share of the splits' gain that each column has
    importance: FloatArray
    #: (n,), centred outcome and treatment of the rows
    outcome_residual: FloatArray
    treatment_residual: FloatArray
    _edges: tuple[FloatArray, ...]
    _bins: U8
    _trees: tuple[NDArray[np.int16], U8, NDArray[np.int32], NDArray[np.float32]]
    _per_bag: int
    _linear: "Linear | None"
    _boosted: Boosted | None
    #: what a smooth centring leaves out
    remainder: Remainder
    _in_bag: NDArray[np.bool_]
    #: (trees, n) estimation halves and (bags, n) or (1, n) centred outcomes; empty where nobody asked to keep them
    _members: tuple[NDArray[np.bool_], FloatArray]
    shrunk: Shrunk = NOT_SHRUNK
    #: share of this forest in effects, and the plain one that has the rest
    weight: float = 1.0
    _plain: "CausalForest | None" = None

    def predict(self, points: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """(k,) effects and (k,) standard errors at points (k, p)."""
        x = matrix(points, len(self._edges))
        bins = binned(x, self._edges)
        return self._mixed([one._predicted(bins, x, np.zeros((0, 0), np.bool_)) for one in self._forests()])

    def out_of_bag(self, X: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Effects and errors at the rows that the forest was fitted on, by bags without their cluster."""
        x = matrix(X, len(self._edges))
        return self._mixed([one._predicted(self._bins, x, ~one._in_bag) for one in self._forests()])

    def arm_differences(self, X: ArrayLike, treated: NDArray[np.bool_], others: ArrayLike) -> FloatArray:
        """(n + k, 3): effect by affinity weights and effective sizes of both arms, at the rows (out of bag) and others.

        ``treated``: (n,); ``others``: (k, p) points that the forest has not seen. Only with ``keep_members``.
        """
        x, beyond = matrix(X, len(self._edges)), np.asarray(others, dtype=np.float64)
        points = np.concatenate([x, beyond])
        bins = binned(points, self._edges)
        each = [one._arm_differences(bins, points, treated, len(beyond)) for one in self._forests()]
        return each[0] if len(each) == 1 else self.weight * each[0] + (1 - self.weight) * each[1]

    def _arm_differences(self, bins: U8, points: FloatArray, treated: NDArray[np.bool_], beyond: int) -> FloatArray:
        used = np.concatenate([~self._in_bag, np.ones((len(self._in_bag), beyond), np.bool_)], axis=1)
        found = arm_differences(
            self._bins, bins, *self._trees, self._per_bag, used, self._members[0], treated, self._members[1]
        )
        found[:, 0] += mean_of_used(self._centre(bins, points), used)
        return found

    def calibration(self, X: ArrayLike, clusters: ArrayLike | None = None) -> Calibration:
        """Whether effects differ and whether intervals hold, from out-of-bag effects: see :class:`Calibration`."""
        x = matrix(X, len(self._edges))
        # Trees without any spread left could not be judged.
        plain = None if self._plain is None else replace(self._plain, shrunk=NOT_SHRUNK)
        effect, error = replace(self, shrunk=NOT_SHRUNK, _plain=plain).out_of_bag(x)
        label = (
            np.arange(len(x)) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1].ravel()
        )
        left = self.outcome_residual - self.treatment_residual * np.nan_to_num(effect)
        missed = missed_effects(x, self._bins, self.treatment_residual, left, label)
        return calibration(
            self.outcome_residual, self.treatment_residual, effect, error, clusters, missed, self.remainder
        )

    def _forests(self) -> "tuple[CausalForest, ...]":
        return (self,) if self._plain is None else (self, self._plain)

    def _mixed(self, each: list[tuple[FloatArray, FloatArray]]) -> tuple[FloatArray, FloatArray]:
        """Weighted effects; errors as if both had the same, because they have the same rows."""
        if len(each) == 1:
            return each[0]
        (effect, error), (other, its_error) = each
        share = self.weight
        return share * effect + (1 - share) * other, share * error + (1 - share) * its_error

    def _predicted(self, bins: U8, x: FloatArray, used: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
        """Of this forest alone; ``used`` (bags, points) or empty where all bags may speak."""
        centre = self._centre(bins, x)
        found = predict_trees(bins, *self._trees, self._per_bag, centre, used, self.shrunk.kept)
        variance = _debiased(found[:, 1], found[:, 2], found[:, 3])
        if self._linear is not None:
            variance += self._linear.lost_at(x)
        variance += self.remainder.square
        if self.shrunk.kept == 1:
            return found[:, 0], np.sqrt(variance)
        beyond = found[:, 0] - mean_of_used(centre, used) - self.shrunk.mean
        variance += (self.shrunk.kept_error * beyond) ** 2 + ((1 - self.shrunk.kept) * self.shrunk.mean_error) ** 2
        return found[:, 0] - (1 - self.shrunk.kept) * beyond, np.sqrt(variance)

    def _centre(self, bins: U8, x: FloatArray) -> FloatArray:
        """(bags, points) of each bag's centring effect, (bags, 0) where there is none."""
        bags = len(self._in_bag)
        centre = np.zeros((bags, 0))
        if self._linear is not None:
            with one_blas_thread():
                centre = self._linear.coefficients @ self._linear.shape.of(x).T
        elif self._boosted is not None:
            centre = self._boosted.predict(bins).reshape(bags, 2, -1).mean(axis=1)
        return centre


def mean_of_used(centre: FloatArray, used: NDArray[np.bool_]) -> FloatArray:
    """(points,) mean centring of the bags that may speak for a point; (1,) zero where nothing is centred."""
    if not centre.shape[1]:
        return np.zeros(1)
    if not used.shape[1]:
        return np.asarray(centre.mean(axis=0))
    return np.asarray(np.where(used, centre, 0).sum(axis=0) / np.maximum(used.sum(axis=0), 1))


def _debiased(between: FloatArray, noise: FloatArray, bags: FloatArray) -> FloatArray:
    """Variance between bags less the trees' noise, its posterior mean given that it is positive (as in grf)."""
    raw = between - noise
    error = np.maximum(np.maximum(between, noise), 1e-300) * np.sqrt(2.0 / np.maximum(bags, 1))
    ratio = raw / error
    density = np.exp(-(ratio**2) / 2) / np.sqrt(2 * np.pi)
    corrected: FloatArray = raw + error * density / np.maximum(0.5 * erfc(-ratio / np.sqrt(2)), 1e-300)
    return corrected


def edges_of(column: FloatArray) -> FloatArray:
    """At most 249 cuts: between all values where they are few, at quantiles where they are many."""
    values = np.unique(column)
    if len(values) <= BINS:
        return np.asarray((values[1:] + values[:-1]) / 2)
    return np.unique(np.quantile(column, np.arange(1, BINS) / BINS))


def binned(x: FloatArray, edges: tuple[FloatArray, ...]) -> U8:
    """(p, n)."""
    return np.stack(
        [np.searchsorted(cuts, column, side="left").astype(np.uint8) for cuts, column in zip(edges, x.T, strict=True)]
    )


def matrix(points: ArrayLike, columns: int | None = None) -> FloatArray:
    x = np.ascontiguousarray(points, dtype=np.float64)
    if x.ndim != 2 or not x.size or (columns is not None and x.shape[1] != columns):
        raise NotEstimable(f"attributes have shape {x.shape}: a row for each unit, and {columns or 'some'} columns")
    if not np.isfinite(x).all():
        row, column = np.argwhere(~np.isfinite(x))[0]
        raise NotEstimable(
            f"attribute {column} of row {row} is missing or infinite: leave the unit out, or give it a value and a "
            "column that says so"
        )
    return x
