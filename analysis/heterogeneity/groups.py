"""Which groups differ: conjunctions of attributes, found on one half of the clusters and tested on the other.

1. Clusters are halved by chance. On one half every conjunction of up to three attributes is looked at: the effect
   within less the effect in the rest, over its error.
2. The strongest is taken, its units are set aside, and the rest is searched again, so that a group that only contains
   another one is not taken twice. At most five are taken, none below two errors.
3. On the other half their contrasts are tested, and named where Benjamini and Hochberg's procedure rejects (1995) at
   half of the false-discovery rate.
4. The halves change roles. Each named group has its effect and interval from the half that did not find it.

Where nothing differs, the chance that any group is named is at most the rate: under the global null a false-discovery
rate is a family-wise error rate, and the two directions share it.
"""

from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal

import numpy as np
from scipy.stats import t as student

from analysis.heterogeneity.group_attributes import AttributeLevels
from analysis.heterogeneity.group_statistics import UnitEffects, group_statistics
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from controller.errors import NotEstimable

Direction = Literal["any", "lowest", "highest"]
#: attributes that are joined, groups that are taken to the other half, and the t below which none is
DEPTH, TAKEN, LEAST_T = 3, 5, 2.0
#: fewer clusters in a half of a group say nothing of its error
LEAST_CLUSTERS = 5
#: with fewer in all, halves have no error either
LEAST_IN_ALL = 6
#: conjunctions that are looked at, at most; deeper ones are left out first, and counted
MOST_CONJUNCTIONS = 20_000
#: cells of memberships that are worked on at once
AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True)
class Group:
    """A conjunction, and what the half that did not find it says of it."""

    #: ``category = juice and brand = 3``
    name: str
    levels: tuple[str, ...]
    #: (N,) which units are in it
    members: BoolArray
    #: which half found it: 0 or 1
    found_on: int
    #: on the finding half: contrast over its error; of no use as evidence
    found_t: float
    #: on the other half
    effect: float
    low: float
    high: float
    #: effect within less effect in the rest
    contrast: float
    contrast_error: float
    p_value: float
    #: adjusted over all groups tested, both halves
    q_value: float
    units: int
    clusters: int
    named: bool


@dataclass(frozen=True, slots=True)
class Looked:
    """How many conjunctions of one depth there were, and what became of them."""

    depth: int
    conjunctions: int
    too_small: int
    tested: int
    named: int


@dataclass(frozen=True, slots=True)
class Groups:
    """All groups that were tested, the strongest first, and how many were looked at."""

    groups: tuple[Group, ...]
    looked: tuple[Looked, ...]
    effect: float
    effect_low: float
    effect_high: float
    units: int
    clusters: int
    notes: tuple[str, ...]

    @property
    def named(self) -> tuple[Group, ...]:
        """Those that differ, at the false-discovery rate asked for."""
        return tuple(one for one in self.groups if one.named)


def find_groups(
    shown: UnitEffects,
    attributes: AttributeLevels,
    *,
    rng: np.random.Generator,
    rate: float = 0.05,
    depth: int = DEPTH,
    direction: Direction = "any",
    level: float = 0.95,
) -> Groups:
    """Groups whose effect differs from that of all others.

    Args:
        shown: what N units show.
        attributes: of the same units, from before the start.
        rng: halves the clusters.
        rate: of false discoveries among named groups.
        depth: attributes that a group joins at most, 1 to 3.
        direction: ``lowest`` looks for groups below the rest only: where a price hurts most.
        level: of the intervals.

    Raises:
        NotEstimable: fewer than six clusters, or no group that is large enough in both halves.

    """
    conjunctions, notes = _conjunctions(attributes, depth)
    half_of = halved(shown, rng)
    clusters = int(shown.cluster.max()) + 1
    enough = _large_enough(shown, attributes, conjunctions, half_of)
    if not enough.any():
        raise NotEstimable(
            f"none of {len(conjunctions)} groups has {LEAST_CLUSTERS} clusters of each arm in both halves: give "
            "coarser attributes, or more clusters"
        )
    kept = [levels for levels, large in zip(conjunctions, enough, strict=True) if large]
    tested: list[tuple[int, tuple[tuple[int, int], ...], float]] = []
    for half in (0, 1):
        found = _strongest(shown, attributes, kept, np.flatnonzero(half_of == half), direction)
        tested += [(half, levels, t) for levels, t in found]
    groups = _tested(shown, attributes, tested, half_of, direction, rate, level)
    effect, low, high = average_effect(shown, level)
    looked = tuple(_looked(d, conjunctions, enough, groups) for d in range(1, depth + 1))
    ordered = sorted(groups, key=lambda one: (one.p_value, one.name))
    return Groups(tuple(ordered), looked, effect, low, high, len(shown.value), clusters, (*attributes.notes, *notes))


Levels = tuple[tuple[int, int], ...]


def _conjunctions(attributes: AttributeLevels, depth: int) -> tuple[list[Levels], list[str]]:
    """All conjunctions, shallow ones first: pairs of an attribute and one of its levels."""
    found: list[Levels] = []
    notes = []
    for size in range(1, min(depth, len(attributes.attributes)) + 1):
        several: list[Levels] = []
        for chosen in combinations(range(len(attributes.attributes)), size):
            sizes = [range(len(attributes.attributes[a].levels)) for a in chosen]
            several += [tuple(zip(chosen, levels, strict=True)) for levels in product(*sizes)]
            if len(found) + len(several) > MOST_CONJUNCTIONS:
                notes.append(
                    f"conjunctions of {size} attributes are not looked at: there are more than {MOST_CONJUNCTIONS:,}; "
                    "give fewer or coarser attributes"
                )
                return found, notes
        found += several
    return found, notes


def _members(attributes: AttributeLevels, conjunctions: list[Levels], units: IntArray | None = None) -> BoolArray:
    """(K, N)"""
    codes = [one.code if units is None else one.code[units] for one in attributes.attributes]
    masks = [
        [code == level for level in range(len(one.levels))]
        for code, one in zip(codes, attributes.attributes, strict=True)
    ]
    found = np.ones((len(conjunctions), len(codes[0])), dtype=np.bool_)
    for row, levels in zip(found, conjunctions, strict=True):
        for attribute, level in levels:
            row &= masks[attribute][level]
    return found


def halved(shown: UnitEffects, rng: np.random.Generator) -> IntArray:
    """(N,) 0 or 1: clusters halved by chance, those of each arm apart where a cluster is in one arm.

    Raises:
        NotEstimable: fewer than six clusters.

    """
    clusters = int(shown.cluster.max()) + 1 if len(shown.cluster) else 0
    if clusters < LEAST_IN_ALL:
        raise NotEstimable(
            f"{clusters} clusters: groups are found on one half and tested on the other, which needs {LEAST_IN_ALL} "
            "at least; the average effect can still be estimated"
        )
    treated = np.zeros(clusters)
    if shown.treated is not None:
        treated = np.bincount(shown.cluster, shown.treated, clusters) / np.bincount(shown.cluster, minlength=clusters)
    order = rng.permutation(clusters)
    order = order[np.argsort(treated[order], kind="stable")]
    half = np.empty(clusters, dtype=np.int64)
    half[order] = (np.arange(clusters) + rng.integers(2)) % 2
    return np.asarray(half[shown.cluster])


def _large_enough(
    shown: UnitEffects, attributes: AttributeLevels, conjunctions: list[Levels], half_of: IntArray
) -> BoolArray:
    """(K,) whether group and rest have clusters enough of each arm in both halves."""
    enough = np.ones(len(conjunctions), dtype=np.bool_)
    arms = [np.ones(len(half_of), dtype=np.bool_)] if shown.treated is None else [shown.treated, ~shown.treated]
    step = max(1, AT_ONCE // max(len(half_of), 1))
    for begin in range(0, len(conjunctions), step):
        members = _members(attributes, conjunctions[begin : begin + step])
        for half, arm in product((0, 1), arms):
            units = np.flatnonzero((half_of == half) & arm)
            cluster = np.unique(shown.cluster[units], return_inverse=True)[1].ravel()
            for part in (members[:, units], ~members[:, units]):
                order = np.argsort(cluster, kind="stable")
                starts = np.flatnonzero(np.r_[True, np.diff(cluster[order]) > 0])
                held = np.logical_or.reduceat(part[:, order], starts, axis=1).sum(axis=1)
                enough[begin : begin + step] &= held >= LEAST_CLUSTERS
    return enough


def _strongest(
    shown: UnitEffects, attributes: AttributeLevels, kept: list[Levels], units: IntArray, direction: Direction
) -> list[tuple[Levels, float]]:
    """On one half: the strongest group, then the strongest of what is left without its units, and so on."""
    here, of_half = shown.only(units), attributes.only(units)
    considered = np.ones(len(units), dtype=np.bool_)
    found: list[tuple[Levels, float]] = []
    step = max(1, AT_ONCE // max(len(units), 1))
    while len(found) < TAKEN and considered.any():
        strength = np.concatenate(
            [
                _strength(here, _members(of_half, kept[begin : begin + step]), considered, direction)
                for begin in range(0, len(kept), step)
            ]
        )
        best = int(strength.argmax())
        if not strength[best] >= LEAST_T:
            break
        found.append((kept[best], float(strength[best])))
        considered &= ~_members(of_half, [kept[best]])[0]
    return found


def _strength(shown: UnitEffects, members: BoolArray, considered: BoolArray, direction: Direction) -> FloatArray:
    statistics = group_statistics(shown, members, considered)
    t = {"any": np.abs, "lowest": np.negative, "highest": np.positive}[direction](statistics.t)
    return np.where(np.isnan(t) | (statistics.clusters < LEAST_CLUSTERS), -np.inf, t)


def _tested(
    shown: UnitEffects,
    attributes: AttributeLevels,
    tested: list[tuple[int, Levels, float]],
    half_of: IntArray,
    direction: Direction,
    rate: float,
    level: float,
) -> list[Group]:
    found: list[tuple[int, Levels, float, float, float, float, float, float, float, BoolArray, int]] = []
    for half, levels, t in tested:
        units = np.flatnonzero(half_of != half)
        members = _members(attributes, [levels])
        one = group_statistics(shown.only(units), members[:, units])
        freedom = max(int(one.clusters[0]) - (1 if shown.treated is None else 2), 1)
        ratio = float(one.t[0])
        tail = {"any": 2.0 * student.sf(abs(ratio), freedom), "lowest": student.cdf(ratio, freedom)}
        p = float(tail.get(direction, student.sf(ratio, freedom)))
        width = float(student.ppf(0.5 + level / 2, freedom)) * float(one.error[0])
        found.append(
            (half, levels, t, p, float(one.effect[0]), width, float(one.contrast[0]), float(one.contrast_error[0]),
             float(freedom), members[0], int(one.clusters[0]))
        )  # fmt: skip
    q = np.ones(len(found))
    for half in (0, 1):
        mine = [k for k, one in enumerate(found) if one[0] == half]
        # half of the rate to each direction: an adjusted p-value is compared with the whole of it
        q[mine] = np.minimum(1.0, 2.0 * _adjusted(np.array([found[k][3] for k in mine])))
    groups = []
    for (half, levels, t, p, effect, width, contrast, error, _, members, clusters), adjusted in zip(
        found, q, strict=True
    ):
        names = tuple(attributes.attributes[a].levels[k] for a, k in levels)
        groups.append(
            Group(
                name=" and ".join(names), levels=names, members=members, found_on=half, found_t=t,
                effect=effect, low=effect - width, high=effect + width, contrast=contrast, contrast_error=error,
                p_value=p, q_value=float(adjusted), units=int(members.sum()), clusters=clusters,
                named=bool(adjusted <= rate),
            )
        )  # fmt: skip
    return groups


def _adjusted(p: FloatArray) -> FloatArray:
    """Benjamini and Hochberg's adjusted p-values."""
    if not p.size:
        return p
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    return adjusted


def average_effect(shown: UnitEffects, level: float) -> tuple[float, float, float]:
    """The average over all units, with its interval."""
    clusters = int(shown.cluster.max()) + 1
    arms = [np.ones(len(shown.value), dtype=np.bool_)] if shown.treated is None else [shown.treated, ~shown.treated]
    effect, influence = 0.0, np.zeros(clusters)
    for sign, arm in zip((1.0, -1.0), arms, strict=False):
        mean = float(shown.value[arm].mean())
        effect += sign * mean
        influence += sign * np.bincount(shown.cluster, (shown.value - mean) * arm, clusters) / arm.sum()
    error = float(np.sqrt(clusters / (clusters - 1.0) * (influence**2).sum()))
    width = float(student.ppf(0.5 + level / 2, max(clusters - len(arms), 1))) * error
    return effect, effect - width, effect + width


def _looked(depth: int, conjunctions: list[Levels], enough: BoolArray, groups: list[Group]) -> Looked:
    of_depth = np.array([len(levels) == depth for levels in conjunctions], dtype=np.bool_)
    return Looked(
        depth,
        int(of_depth.sum()),
        int((of_depth & ~enough).sum()),
        sum(len(one.levels) == depth for one in groups),
        sum(len(one.levels) == depth and one.named for one in groups),
    )
