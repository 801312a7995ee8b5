"""Each point against its likes: units that share its leaves, treated less control.

Weights as in Athey, Tibshirani, Wager (2019), equation 3.
"""

import numpy as np
from numba import prange
from numpy.typing import NDArray

from analysis.heterogeneity.forests.compiled import compiled
from analysis.heterogeneity.forests.trees import F32, I32, U8, leaf_of
from analysis.panel_data.panel import FloatArray


@compiled(parallel=True)
def arm_differences(
    row_bins: U8,
    bins: U8,
    feature: NDArray[np.int16],
    cut: U8,
    child: I32,
    moments: F32,
    per_bag: int,
    used: NDArray[np.bool_],
    member: NDArray[np.bool_],
    treated: NDArray[np.bool_],
    value: FloatArray,
) -> FloatArray:
    """(points, 3): weighted mean of treated values less that of controls, and the effective sample size of each arm.

    A row's weight is the mean over trees of one over the size of the leaf that it shares with the point. The effective
    size of an arm is ``(sum w)^2 / sum w^2``.

    Args:
        row_bins: (p, n), bins of the rows that trees were grown on.
        bins: (p, points), of the points.
        feature: of :func:`analysis.heterogeneity.forests.trees.grow_trees`, as ``cut``, ``child`` and ``moments``.
        cut: see there.
        child: see there.
        moments: see there.
        per_bag: trees of a bag.
        used: (bags, points), bags that may speak for a point.
        member: (trees, n), rows of each tree's estimation half.
        treated: (n,).
        value: (bags, n) or (1, n), centred outcomes.

    """
    trees, n, points = len(feature), member.shape[1], bins.shape[1]
    nodes = feature.shape[1]
    counts = member.shape[1] // 2 + 1
    starts = np.zeros((trees, nodes + 1), np.int32)
    rows = np.empty((trees, counts), np.int32)
    for t in prange(trees):
        at = np.full(n, -1, np.int32)
        for j in range(n):
            if member[t, j]:
                at[j] = leaf_of(row_bins, j, feature[t], cut[t], child[t], moments[t])
                starts[t, at[j] + 1] += 1
        for k in range(nodes):
            starts[t, k + 1] += starts[t, k]
        place = starts[t, :nodes].copy()
        for j in range(n):
            if at[j] >= 0:
                rows[t, place[at[j]]] = j
                place[at[j]] += 1
    out = np.full((points, 3), np.nan)
    for i in prange(points):
        weight = np.zeros(n)
        high = low = high_sum = low_sum = 0.0
        for t in range(trees):
            bag = t // per_bag
            if not used[bag, i]:
                continue
            leaf = leaf_of(bins, i, feature[t], cut[t], child[t], moments[t])
            first, last = starts[t, leaf], starts[t, leaf + 1]
            own = value[bag if len(value) > 1 else 0]
            for k in range(first, last):
                j = rows[t, k]
                share = 1.0 / (last - first)
                weight[j] += share
                if treated[j]:
                    high += share
                    high_sum += share * own[j]
                else:
                    low += share
                    low_sum += share * own[j]
        if high <= 0 or low <= 0:
            continue
        high_square = low_square = 0.0
        for j in range(n):
            if treated[j]:
                high_square += weight[j] * weight[j]
            else:
                low_square += weight[j] * weight[j]
        out[i, 0] = high_sum / high - low_sum / low
        out[i, 1], out[i, 2] = high * high / high_square, low * low / low_square
    return out
