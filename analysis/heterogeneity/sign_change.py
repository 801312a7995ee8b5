"""The fewest clusters without which the sign of an estimate turns."""

from collections.abc import Callable
from itertools import combinations, islice

import numpy as np

from analysis.panel_data.panel import FloatArray, IntArray

#: up to so many clusters every set is tried, smallest first, where there is no faster exact way
ENUMERATED_CLUSTERS = 20
#: sets of clusters whose estimates are computed at once
AT_ONCE = 4096

#: (B, G) which clusters are left out -> (B,) estimates, NaN where nothing would be left
Without = Callable[[FloatArray], FloatArray]


def fewest_of_ratios(effect: float, sums: FloatArray, counts: FloatArray, most: int = 20) -> tuple[int, ...] | None:
    """For ``sum1 / count1 - sum0 / count0``, (2, G) by cluster, control first: exact where each is in one arm.

    The arms are optimised apart: for a positive effect the least mean of the treated without k clusters, and the
    largest of the control without m, for all ``k + m = size``. Each is a ratio of sums, solved by Dinkelbach's
    iteration over sorted ``sum - lambda count``. Counts may be weights: then they stay, scaled up.

    Returns the smallest set of at most ``most`` clusters, by number; None where there is none, or where a cluster is
    in both arms.
    """
    if ((counts > 0).all(axis=0)).any() or effect == 0:
        return None
    sign = 1.0 if effect > 0 else -1.0
    members = [np.flatnonzero(counts[which] > 0) for which in (0, 1)]
    best: list[list[tuple[float, IntArray]]] = []
    for which, direction in ((0, -sign), (1, sign)):
        inside = members[which]
        s, c = direction * sums[which, inside], counts[which, inside]
        best.append([(direction * mean, inside[out]) for mean, out in _least_means(s, c, min(most, len(inside) - 1))])
    for size in range(1, most + 1):
        found: tuple[float, IntArray] | None = None
        for m in range(max(0, size - len(best[1]) + 1), min(size, len(best[0]) - 1) + 1):
            gap = sign * (best[1][size - m][0] - best[0][m][0])
            if gap < 0 and (found is None or gap < found[0]):
                found = gap, np.r_[best[0][m][1], best[1][size - m][1]]
        if found is not None:
            return tuple(int(g) for g in np.sort(found[1]))
    return None


def _least_means(s: FloatArray, c: FloatArray, most: int) -> list[tuple[float, IntArray]]:
    """For k = 0..most: the least ``sum s / sum c`` after k clusters are left out, and which."""
    answers = []
    for k in range(most + 1):
        mean, out = float(s.sum() / c.sum()), np.empty(0, np.int64)
        for _ in range(100):
            chosen = np.argsort(-(s - mean * c), kind="stable")[:k]
            new = float((s.sum() - s[chosen].sum()) / (c.sum() - c[chosen].sum()))
            if new >= mean - 1e-15 * abs(mean):
                if k > 0 and not out.size:
                    mean, out = new, chosen
                break
            mean, out = new, chosen
        answers.append((mean, out))
    return answers


def fewest_by_trial(effect: float, clusters: int, without: Without, most: int = 20) -> tuple[tuple[int, ...], bool]:
    """Any estimate: all sets up to ``ENUMERATED_CLUSTERS`` clusters, else one cluster at a time, the best one each.

    Returns the set, empty where none was found, and whether no smaller one exists.
    """
    sign = np.sign(effect)
    if sign == 0:
        return (), True
    if clusters <= ENUMERATED_CLUSTERS:
        for size in range(1, min(most, clusters - 2) + 1):
            found = _first_turning(sign, clusters, size, without)
            if found is not None:
                return found, True
        return (), True
    left_out = np.zeros(clusters)
    chosen: list[int] = []
    while len(chosen) < min(most, clusters - 2):
        candidates = np.flatnonzero(left_out == 0)
        tried = np.repeat(left_out[None], len(candidates), axis=0)
        tried[np.arange(len(candidates)), candidates] = 1.0
        effects = sign * without(tried)
        if np.isnan(effects).all():
            break
        best = int(np.nanargmin(effects))
        left_out[candidates[best]] = 1.0
        chosen.append(int(candidates[best]))
        if effects[best] < 0:
            # a single cluster, and a pair of which neither alone turns it, cannot be beaten by fewer
            return tuple(sorted(chosen)), len(chosen) <= 2
    return (), False


def _first_turning(sign: float, clusters: int, size: int, without: Without) -> tuple[int, ...] | None:
    """Of the sets of one size that turn the sign, the one that turns it most."""
    best: tuple[float, tuple[int, ...]] | None = None
    sets = combinations(range(clusters), size)
    while batch := list(islice(sets, AT_ONCE)):
        left_out = np.zeros((len(batch), clusters))
        left_out[np.arange(len(batch))[:, None], np.array(batch)] = 1.0
        effects = sign * without(left_out)
        effects[np.isnan(effects)] = np.inf
        k = int(effects.argmin())
        if effects[k] < 0 and (best is None or effects[k] < best[0]):
            best = float(effects[k]), batch[k]
    return None if best is None else best[1]
