"""A tall panel made short without changing any fit by unit effects, period effects and a nuclear norm.

Units that miss the same periods can be rotated among each other: neither their sum of squares nor the nuclear norm
notices, and unit effects are free anyway. The rotation that puts the mean unit first leaves the period effects to one
row (with loading root N_g); the others are the square root of the covariance over time. So N_g units become at most
T + 1 rows, by one pass over the panel and one T x T eigen-decomposition.
"""

from dataclasses import dataclass

import numpy as np

from analysis.observational.estimators.low_rank import Groups, WeightedPanel, weighted_panel
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray

#: units read at once: 23 MB at 365 periods
BLOCK_UNITS = 8_192
#: directions with less than this share of the largest variance are rounding
NO_VARIANCE = 1e-14


@dataclass(frozen=True, slots=True)
class PooledPanel:
    """n pooled rows that stand for N units: every fit on them has the objective of the same fit on the units."""

    #: (n, T) rotated outcomes, 0 where nothing is observed
    outcome: FloatArray
    #: (n, T)
    mask: BoolArray
    #: (n,) loading of a row on the period effects: root of the group's size, 0, or 1 for a unit left as it is
    loadings: FloatArray
    #: (n,) how many units a row stands for, so that cells can be counted
    units: FloatArray
    #: (n,) class of the units behind a row
    unit_class: IntArray
    #: (T, T) sum over units of y y', y = outcome less the grand mean, 0 where missing
    second_moment: FloatArray

    def count(self, mask: BoolArray) -> float:
        """Cells of the panel behind the cells ``mask`` of the pooled rows."""
        return float(self.units @ mask.sum(axis=1))

    def problem(self, mask: BoolArray) -> tuple[WeightedPanel, BoolArray, BoolArray]:
        """The fit on the cells ``mask`` with weight 1/cells each, and the rows and columns that have any."""
        rows, columns = np.asarray(mask.any(axis=1)), np.asarray(mask.any(axis=0))
        inside = np.ix_(rows, columns)
        weights = np.full(int(rows.sum()), 1 / self.count(mask))
        panel = weighted_panel(self.outcome[inside], mask[inside], weights, loadings=self.loadings[rows])
        return panel, rows, columns


def pool_rows(Y: FloatArray, observed: BoolArray, unit_class: IntArray) -> PooledPanel:
    """Pool the units (N, T) that share their class and their pattern of observed cells, where that saves rows."""
    n_periods = Y.shape[1]
    mean = float(np.mean(Y, where=observed))
    second_moment = np.zeros((n_periods, n_periods))
    rows: list[FloatArray] = []
    masks, loadings, units, classes = [], [], [], []
    alone: list[IntArray] = []
    patterns = Groups.of(observed)
    for members, mask in zip(patterns.members, patterns.masks > 0, strict=True):
        for own_class in np.unique(unit_class[members]):
            group = members[unit_class[members] == own_class]
            if len(group) <= mask.sum() + 1:
                alone.append(group)
                continue
            pooled, moment = _rotate(Y, group, np.flatnonzero(mask), mean)
            second_moment[np.ix_(mask, mask)] += moment
            full = np.zeros((len(pooled), n_periods))
            full[:, mask] = pooled
            rows.append(full)
            masks.append(np.repeat(mask[None], len(pooled), axis=0))
            loadings.append(np.append(np.sqrt(len(group)), np.zeros(len(pooled) - 1)))
            units.append(np.full(len(pooled), len(group) / len(pooled)))
            classes.append(np.full(len(pooled), own_class))
    if alone:
        kept = np.concatenate(alone)
        own = np.where(observed[kept], Y[kept] - mean, 0.0)
        second_moment += own.T @ own
        rows.append(own)
        masks.append(observed[kept])
        loadings.append(np.ones(len(kept)))
        units.append(np.ones(len(kept)))
        classes.append(unit_class[kept])
    return PooledPanel(
        np.concatenate(rows),
        np.concatenate(masks),
        np.concatenate(loadings),
        np.concatenate(units),
        np.concatenate(classes),
        second_moment,
    )


def _rotate(Y: FloatArray, group: IntArray, columns: IntArray, mean: float) -> tuple[FloatArray, FloatArray]:
    """Mean row and covariance root of a group, with its second moments.

    Unit means are taken out before the Gram matrix is built: levels that differ by orders of magnitude would
    otherwise eat the digits of what is left.
    """
    size = len(columns)
    gram, cross, total, levels = np.zeros((size, size)), np.zeros(size), np.zeros(size), 0.0
    every_column = size == Y.shape[1]
    for begin in range(0, len(group), BLOCK_UNITS):
        block = Y[group[begin : begin + BLOCK_UNITS]]
        block = block if every_column else block[:, columns]
        level = block.mean(axis=1)
        block -= level[:, None]
        level -= mean
        gram += block.T @ block
        cross += level @ block
        total += block.sum(axis=0)
        levels += float(level @ level)
    moment = gram + cross[:, None] + cross[None, :] + levels
    average = total / len(group)
    values, vectors = np.linalg.eigh(gram - len(group) * np.outer(average, average))
    alive = values > NO_VARIANCE * max(values[-1], 0.0)
    roots = np.sqrt(values[alive])[:, None] * vectors[:, alive].T
    return np.vstack([np.sqrt(len(group)) * average, roots]), moment
