"""Effects of many groups at once: difference between a group and the rest, with errors between clusters."""

from dataclasses import dataclass

import numpy as np

from analysis.panel_data.panel import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class UnitEffects:
    """What each unit shows: its own difference between arms, or one outcome under the one arm that it was in."""

    #: (N,)
    value: FloatArray
    #: (N,); None where ``value`` is a difference of the unit's own
    treated: BoolArray | None
    #: (N,) 0 to G - 1: units that were randomised, or err, together
    cluster: IntArray

    def only(self, units: IntArray) -> "UnitEffects":
        """Some units; clusters are numbered anew."""
        cluster = np.unique(self.cluster[units], return_inverse=True)[1].ravel()
        return UnitEffects(self.value[units], None if self.treated is None else self.treated[units], cluster)


@dataclass(frozen=True, slots=True)
class GroupStatistics:
    """Of K groups; NaN where an arm of a group, or of the rest, has fewer than two clusters."""

    #: (K,) effect within the group, and its standard error
    effect: FloatArray
    error: FloatArray
    #: (K,) effect within less effect in the rest, and its standard error
    contrast: FloatArray
    contrast_error: FloatArray
    #: (K,) clusters of the group
    clusters: IntArray

    @property
    def t(self) -> FloatArray:
        """(K,) contrast over its error; NaN where there is none."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(self.contrast_error > 0, self.contrast / self.contrast_error, np.nan))


def group_statistics(shown: UnitEffects, members: BoolArray, considered: BoolArray | None = None) -> GroupStatistics:
    """Effects of groups (K, N); ``considered`` (N,): units that are looked at at all, all when absent.

    Means of a cluster's units enter through ``psi_c = sum over its units of (value - mean) / n``; the variance of a
    mean is ``G / (G - 1) sum psi_c^2`` over the G clusters with a unit in it (Liang and Zeger 1986), arms apart, and
    group and rest together, because a cluster may have units in both.
    """
    everyone = np.ones(len(shown.value), dtype=np.bool_) if considered is None else considered
    arms = [everyone] if shown.treated is None else [everyone & shown.treated, everyone & ~shown.treated]
    clusters = int(shown.cluster.max()) + 1
    k = len(members)
    effect, contrast = np.zeros(k), np.zeros(k)
    own, joint = np.zeros((k, clusters)), np.zeros((k, clusters))
    enough: BoolArray = np.ones(k, dtype=np.bool_)
    total = np.zeros(k, dtype=np.int64)
    for sign, arm in zip((1.0, -1.0), arms, strict=False):
        inside = (members & arm).astype(np.float64)
        outside = (~members & arm).astype(np.float64)
        means, parts = [], []
        for part in (inside, outside):
            size = part.sum(axis=1)
            mean = (part @ shown.value) / np.maximum(size, 1.0)
            indicator = _by_cluster(part, shown.cluster, clusters)
            sums = _by_cluster(part * shown.value, shown.cluster, clusters)
            psi = (sums - mean[:, None] * indicator) / np.maximum(size, 1.0)[:, None]
            held = (indicator > 0).sum(axis=1)
            enough &= held >= 2
            means.append(mean)
            parts.append(psi * np.sqrt(held / np.maximum(held - 1.0, 1.0))[:, None])
            if part is inside:
                total += held
        effect += sign * means[0]
        contrast += sign * (means[0] - means[1])
        own += sign * parts[0]
        joint += sign * (parts[0] - parts[1])
    error, both = np.sqrt((own**2).sum(axis=1)), np.sqrt((joint**2).sum(axis=1))

    def where(values: FloatArray) -> FloatArray:
        return np.where(enough, values, np.nan)

    return GroupStatistics(where(effect), where(error), where(contrast), where(both), total)


def _by_cluster(cells: FloatArray, cluster: IntArray, clusters: int) -> FloatArray:
    """(K, N) -> (K, G) sums; the cells themselves where each unit is a cluster."""
    if clusters == cells.shape[1] and (cluster == np.arange(clusters)).all():
        return cells
    order = np.argsort(cluster, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(cluster[order]) > 0])
    return np.asarray(np.add.reduceat(cells[:, order], starts, axis=1))
