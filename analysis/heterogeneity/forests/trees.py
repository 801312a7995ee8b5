"""Honest trees on histograms: grown on one half of a sample, filled with moments of the other.

As in Athey, Tibshirani, Wager (2019), a split maximises the heterogeneity of the gradient
``rho_i = (w_i - wbar)(y_i - ybar - tau (w_i - wbar)) / sum (w - wbar)^2`` between the children:
 ``(sum_l rho)^2 / n_l + (sum_r rho)^2 / n_r``. Each tree has a generator of its own, numbered by
the tree, so that the number of threads changes nothing.
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numba import prange
from numba.cpython.unsafe.numbers import trailing_zeros
from numpy.typing import NDArray

from analysis.heterogeneity.forests.compiled import compiled
from analysis.panel_data.panel import FloatArray, IntArray

#: rows of each arm that a child must have, as in grf's default
MIN_ARM = 5
#: part of the parent's treatment variance that a child must have
ALPHA = 0.05

#: a word with its lowest bit
ONE = np.uint64(1)
#: place of the lowest bit of a word, which must not be zero: one instruction, seen as what it is to callers
lowest_bit = cast("Callable[[np.uint64], int]", trailing_zeros)
#: points whose ways through a tree are followed together, so that its nodes are read from memory once for all of them
POINTS_TOGETHER = 64

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


@compiled()
def _next(state: NDArray[np.uint64]) -> float:
    """The next of splitmix64 as a number in [0, 1)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) / 9007199254740992.0


@compiled()
def _variables(state: NDArray[np.uint64], order: IntArray) -> int:
    """Shuffle ``order`` and say how many of its first are tried: Poisson(p), between 1 and p (grf)."""
    p = len(order)
    limit, product, count = np.exp(-float(p)), 1.0, 0
    while True:
        product *= _next(state)
        if product <= limit or count >= p:
            break
        count += 1
    for k in range(p - 1):
        other = k + int(_next(state) * (p - k))
        order[k], order[other] = order[other], order[k]
    return max(count, 1)


@compiled()
def _partition(values: NDArray[Any], goes: NDArray[np.bool_], start: int, end: int, spare: NDArray[Any]) -> None:
    """Those that go left first, both in their order."""
    left, right = start, 0
    for k in range(start, end):
        value = values[k]
        values[left] = value
        spare[right] = value
        left += goes[k]
        right += not goes[k]
    values[left:end] = spare[:right]


@compiled()
def _grow(
    by_row: U8,
    w: FloatArray,
    y: FloatArray,
    rows: IntArray,
    state: NDArray[np.uint64],
    feature: NDArray[np.int16],
    cut: U8,
    child: I32,
    gain: FloatArray,
) -> int:
    """Grow a tree on ``rows``; child[k] is the left child of k, the right one follows it.

    The rows' values are copied once and kept in the order of the nodes, so that each node reads memory in a row.
    """
    p, n = by_row.shape[1], len(rows)
    x, ww, yy = np.empty((p, n), np.uint8), np.empty(n), np.empty(n)
    for k in range(n):
        for f in range(p):
            x[f, k] = by_row[rows[k], f]
        ww[k], yy[k] = w[rows[k]], y[rows[k]]
    order = np.arange(p)
    starts, ends = np.zeros(len(child), np.int64), np.zeros(len(child), np.int64)
    ends[0] = n
    nodes, node = 1, 0
    rho, var, high = np.empty(n), np.empty(n), np.empty(n)
    #: sums of rho and of squares, number of rows and of those above the mean treatment
    hist = np.zeros((256, 4))
    #: a bit for each bin that has rows: nodes are mostly small, and a walk over all 256 bins would take longest
    there = np.zeros(4, np.uint64)
    goes = np.empty(n, np.bool_)
    spare, spare_bins = np.empty(n), np.empty(n, np.uint8)
    while node < nodes:
        start, end = starts[node], ends[node]
        size = end - start
        feature[node] = -1
        if size < 4 * MIN_ARM or nodes + 2 > len(child):
            node += 1
            continue
        sw = sy = 0.0
        for k in range(start, end):
            sw += ww[k]
            sy += yy[k]
        wbar, ybar = sw / size, sy / size
        sww = swy = 0.0
        for k in range(start, end):
            d = ww[k] - wbar
            sww += d * d
            swy += d * (yy[k] - ybar)
        if sww <= 1e-10 * size:
            node += 1
            continue
        tau = swy / sww
        total, treated = 0.0, 0.0
        for k in range(size):
            d = ww[start + k] - wbar
            rho[k] = d * (yy[start + k] - ybar - tau * d) / sww
            var[k] = d * d
            high[k] = 1.0 if d > 0 else 0.0
            total += rho[k]
            treated += high[k]
        best, best_feature, best_cut = total * total / size + 1e-300, -1, 0
        tried = _variables(state, order)
        if treated < 2 * MIN_ARM or size - treated < 2 * MIN_ARM:
            tried = 0  # no cut leaves enough of both arms on both sides
        for t in range(tried):
            column = x[order[t], start:end]
            for k in range(size):
                b = column[k]
                hist[b, 0] += rho[k]
                hist[b, 1] += var[k]
                hist[b, 2] += 1.0
                hist[b, 3] += high[k]
                there[b >> 6] |= ONE << np.uint64(b & 63)
            l_rho = l_var = l_n = l_high = 0.0
            beyond = False  # further cuts leave too little on the right
            for word in range(4):
                bits, there[word] = there[word], np.uint64(0)
                while bits:
                    b = 64 * word + lowest_bit(bits)
                    bits &= bits - ONE
                    l_rho += hist[b, 0]
                    l_var += hist[b, 1]
                    l_n += hist[b, 2]
                    l_high += hist[b, 3]
                    hist[b] = 0.0
                    if beyond or l_high < MIN_ARM or l_n - l_high < MIN_ARM or l_var < ALPHA * sww:
                        continue
                    r_n, r_high = size - l_n, treated - l_high
                    if r_high < MIN_ARM or r_n - r_high < MIN_ARM or sww - l_var < ALPHA * sww:
                        beyond = True
                        continue
                    r_rho = total - l_rho
                    found = l_rho * l_rho / l_n + r_rho * r_rho / r_n
                    if found > best:
                        best, best_feature, best_cut = found, order[t], b
        if best_feature < 0:
            node += 1
            continue
        left = start
        for k in range(start, end):
            goes[k] = x[best_feature, k] <= best_cut
            left += goes[k]
        for f in range(p):
            _partition(x[f], goes, start, end, spare_bins)
        _partition(ww, goes, start, end, spare)
        _partition(yy, goes, start, end, spare)
        feature[node], cut[node], child[node] = best_feature, best_cut, nodes
        gain[best_feature] += best * size
        starts[nodes], ends[nodes], starts[nodes + 1], ends[nodes + 1] = start, left, left, end
        nodes += 2
        node += 1
    return nodes


@compiled(parallel=True)
def grow_trees(
    bins: U8,
    w: FloatArray,
    y: FloatArray,
    bag_of_rows: I32,
    cluster_rows: IntArray,
    cluster_starts: IntArray,
    bag_clusters: IntArray,
    per_bag: int,
    first_tree: int,
    seed: np.uint64,
    feature: NDArray[np.int16],
    cut: U8,
    child: I32,
    moments: F32,
    gain: FloatArray,
    member: NDArray[np.bool_],
) -> None:
    """Grow ``len(feature)`` trees, ``per_bag`` for each bag, and fill their nodes with the other half's moments.

    Args:
        bins: (p, n), each column in bins.
        w: (n,), centred treatment.
        y: (bags, n) or (1, n), centred outcome, of each bag where the centring of effects is its own.
        bag_of_rows: (bags,), the row of ``y`` that a bag uses.
        cluster_rows: (n,), rows by cluster.
        cluster_starts: (G + 1,), where each cluster starts in it.
        bag_clusters: (bags, g), the clusters of each half-sample.
        per_bag: trees of a bag.
        first_tree: number of the first tree.
        seed: of all trees.
        feature: (trees, nodes), -1 in a leaf; written, as all that follow.
        cut: (trees, nodes), the largest bin that goes left.
        child: (trees, nodes), the left child.
        moments: (trees, nodes, 5): count, means of w, y, w^2, w y over the estimation half.
        gain: (trees, p), sum of the splits' gains.
        member: (trees, n), rows of the estimation half; (trees, 0) where nobody asks for them.

    """
    by_row = np.ascontiguousarray(bins.T)
    for t in prange(len(feature)):
        bag = t // per_bag
        target = y[bag_of_rows[bag]]
        state = np.empty(1, np.uint64)
        state[0] = seed ^ (np.uint64(first_tree + t + 1) * np.uint64(0xD1342543DE82EF95))
        clusters = bag_clusters[bag].copy()
        g = len(clusters)
        half = g // 2
        for k in range(half):
            other = k + int(_next(state) * (g - k))
            clusters[k], clusters[other] = clusters[other], clusters[k]
        count = 0
        for k in range(half):
            count += cluster_starts[clusters[k] + 1] - cluster_starts[clusters[k]]
        rows = np.empty(count, np.int64)
        at = 0
        for k in range(half):
            for i in range(cluster_starts[clusters[k]], cluster_starts[clusters[k] + 1]):
                rows[at] = cluster_rows[i]
                at += 1
        nodes = _grow(by_row, w, target, rows, state, feature[t], cut[t], child[t], gain[t])
        sums = np.zeros((nodes, 5))
        for k in range(half, g):
            for i in range(cluster_starts[clusters[k]], cluster_starts[clusters[k] + 1]):
                row = cluster_rows[i]
                if member.shape[1] > 0:
                    member[t, row] = True
                node = 0
                while feature[t, node] >= 0:
                    node = child[t, node] + (0 if by_row[row, feature[t, node]] <= cut[t, node] else 1)
                sums[node, 0] += 1.0
                sums[node, 1] += w[row]
                sums[node, 2] += target[row]
                sums[node, 3] += w[row] * w[row]
                sums[node, 4] += w[row] * target[row]
        # A child has a higher number than its parent.
        for node in range(nodes - 1, -1, -1):
            if feature[t, node] >= 0:
                for k in range(5):
                    sums[node, k] = sums[child[t, node], k] + sums[child[t, node] + 1, k]
        for node in range(nodes):
            moments[t, node, 0] = sums[node, 0]
            for k in range(1, 5):
                moments[t, node, k] = sums[node, k] / max(sums[node, 0], 1.0)


@compiled()
def leaf_of(bins: U8, point: int, feature: NDArray[np.int16], cut: U8, child: I32, moments: F32) -> int:
    """The deepest node on a point's way that has estimation rows: leaves without any are pruned into the parent."""
    node = 0
    while feature[node] >= 0:
        below = child[node] + (0 if bins[feature[node], point] <= cut[node] else 1)
        if moments[below, 0] == 0:
            break
        node = below
    return node


@compiled(parallel=True)
def predict_trees(
    bins: U8,
    feature: NDArray[np.int16],
    cut: U8,
    child: I32,
    moments: F32,
    per_bag: int,
    centre: FloatArray,
    used: NDArray[np.bool_],
    kept: float,
) -> FloatArray:
    """(points, 4): effect, variance between bags, noise of the trees within bags, bags used.

    Args:
        bins: (p, points).
        feature: of :func:`grow_trees`, as ``cut``, ``child`` and ``moments``.
        cut: see there.
        child: see there.
        moments: see there.
        per_bag: trees of a bag.
        centre: (bags, points), each bag's centring effect; (bags, 0) where there is none.
        used: (bags, points), bags that may speak for a point (out of bag); (bags, 0) where all may.
        kept: share of the trees' part that variances are of; effects are of all of it.

    """
    points, trees = bins.shape[1], len(feature)
    bags = trees // per_bag
    out = np.full((points, 4), np.nan)
    for block in prange(-(-points // POINTS_TOGETHER)):
        start = block * POINTS_TOGETHER
        end = min(start + POINTS_TOGETHER, points)
        leaves = np.empty((POINTS_TOGETHER, trees), np.int32)
        for t in range(trees):
            for i in range(start, end):
                if used.shape[1] == 0 or used[t // per_bag, i]:
                    leaves[i - start, t] = leaf_of(bins, i, feature[t], cut[t], child[t], moments[t])
        for i in range(start, end):
            each = np.empty((trees, 4))
            mean = np.zeros(4)
            level, count = 0.0, 0
            for b in range(bags):
                if used.shape[1] > 0 and not used[b, i]:
                    continue
                count += 1
                if centre.shape[1] > 0:
                    level += centre[b, i]
                for t in range(b * per_bag, (b + 1) * per_bag):
                    for k in range(4):
                        each[t, k] = moments[t, leaves[i - start, t], k + 1]
                        mean[k] += each[t, k]
            if count < 2:
                continue
            level /= count
            mean /= count * per_bag
            spread = mean[2] - mean[0] * mean[0]
            if spread <= 1e-10:
                continue
            tau = (mean[3] - mean[0] * mean[1]) / spread
            base = mean[1] - tau * mean[0]
            between = noise = 0.0
            for b in range(bags):
                if used.shape[1] > 0 and not used[b, i]:
                    continue
                s = ss = 0.0
                for t in range(b * per_bag, (b + 1) * per_bag):
                    about = each[t, 3] - tau * each[t, 2] - base * each[t, 0]
                    about -= mean[0] * (each[t, 1] - tau * each[t, 0] - base)
                    about *= kept / spread
                    s += about
                    ss += about * about
                s /= per_bag
                if per_bag > 1:
                    noise += max(ss - per_bag * s * s, 0.0) / ((per_bag - 1) * per_bag)
                if centre.shape[1] > 0:
                    s += centre[b, i] - level
                between += s * s
            out[i, 0], out[i, 1], out[i, 2], out[i, 3] = level + tau, between / (count - 1), noise / count, count
    return out
