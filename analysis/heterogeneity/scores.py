"""Doubly robust scores: what each row says of the effect, and averages, projections and levels of them.

``G_i = tau_i + w_i (y_i - w_i tau_i) / (p (1 - p))``, w and y centred, tau out of bag, p the known share of treatment
(Robins, Rotnitzky, Zhao 1994; as a causal forest's in Athey and Wager 2019).
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from analysis.panel_data.panel import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Line:
    """An estimate with its error and interval."""

    value: float
    error: float
    low: float
    high: float
    p: float


def scores(outcome: FloatArray, treatment: FloatArray, effect: FloatArray, share: float) -> FloatArray:
    """(n,) of centred outcomes and treatments."""
    found: FloatArray = effect + treatment * (outcome - treatment * effect) / (share * (1 - share))
    return found


def mean_error(values: FloatArray, cluster: IntArray) -> float:
    """Standard error of a mean, by cluster, with the few-clusters factor G / (G - 1)."""
    sums = np.bincount(cluster, values - values.mean())
    groups = len(np.unique(cluster))
    return float(np.sqrt(np.sum(sums**2) * groups / max(groups - 1, 1))) / len(values)


def line(value: float, error: float, clusters: int, level: float) -> Line:
    """With a t interval of ``clusters - 1`` degrees of freedom."""
    freedom = max(clusters - 1, 1)
    wide = float(student.ppf(0.5 + level / 2, freedom)) * error
    p = float(2 * student.sf(abs(value) / max(error, 1e-300), freedom))
    return Line(value, error, value - wide, value + wide, p)


def projection(values: FloatArray, matrix: FloatArray, cluster: IntArray, level: float) -> list[Line]:
    """Best linear projection of effects on columns (n, p), each in its own units; robust errors by cluster.

    Columns that repeat others share their coefficient (least norm).
    """
    design = np.column_stack([np.ones(len(values)), matrix - matrix.mean(axis=0)])
    scale = np.maximum(np.sqrt(np.mean(design**2, axis=0)), 1e-300)
    design = design / scale
    inverse = np.linalg.pinv(design.T @ design, rcond=1e-10)
    found = inverse @ design.T @ values
    # As if each row's residual had been that without the row (HC3), so that few units do not flatter themselves.
    leverage = np.clip(np.einsum("ij,jk,ik->i", design, inverse, design), 0, 0.99)
    rows = design * ((values - design @ found) / (1 - leverage))[:, np.newaxis]
    sums = np.stack([np.bincount(cluster, column) for column in rows.T], axis=1)
    error = np.sqrt(np.maximum(np.diag(inverse @ (sums.T @ sums) @ inverse), 0)) / scale
    clusters = len(np.unique(cluster)) - matrix.shape[1]
    return [line(float(b), float(e), clusters, level) for b, e in zip(found / scale, error, strict=True)]
