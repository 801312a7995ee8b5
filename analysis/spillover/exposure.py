"""What a unit was exposed to, and how probable that was under the design.

After Aronow and Samii (2017), "Estimating average causal effects under general interference".
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

from controller.errors import NotEstimable

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]

#: Conditions of `conditions`, by position: of its own arm and of its neighbours'.
CONDITIONS = ("none", "indirect", "direct", "direct_and_indirect")
#: How near a share must be to nothing or to everything: weights are sums of floats.
_NEAR = 1e-12


@dataclass(frozen=True, slots=True)
class Draws:
    """Assignments of a design: all of them with their probabilities, or redraws with equal ones."""

    #: Shape (draws, units).
    treated: Bools
    #: Shape (draws,), summing to 1.
    probability: Floats
    #: Whether these are all assignments that the design has.
    exact: bool


@dataclass(frozen=True, slots=True)
class Chances:
    """The probability of each exposure for each unit under the design; every array has shape (units,)."""

    treated: Floats
    none: Floats
    indirect: Floats
    direct: Floats
    direct_and_indirect: Floats
    all_treated: Floats
    all_control: Floats


def exact_chances(label: Ints, weights: sparse.csr_array, treated_clusters: Mapping[int, float]) -> Chances:
    """The probabilities of exposures where so many clusters are treated, any set of them as likely as another.

    That s given clusters are treated and t given ones are not has probability C(G - s - t, m - s) / C(G, m) for m
    treated clusters of G.

    Args:
        label: the cluster of each unit, 0 to G - 1, shape (units,).
        weights: shape (units, units).
        treated_clusters: number of treated clusters -> its probability.
    """
    count = int(label.max()) + 1
    linked = (weights != 0).astype(float)
    home = sparse.csr_array((np.ones(len(label)), (np.arange(len(label)), label)), (len(label), count))
    reached = sparse.csr_array(linked @ home)
    inside = np.asarray((reached * home).sum(axis=1)).ravel() > 0
    others = np.diff(reached.indptr) - inside

    def chance(treated: Ints | int, control: Ints | int) -> Floats:
        s, t = np.broadcast_arrays(treated, control)
        total = np.zeros(s.shape)
        for m, likely in treated_clusters.items():
            free = count - s - t
            fits = (m >= s) & (m - s <= free) & (free >= 0)
            ways = np.where(fits, _log_ways(np.where(fits, free, 1), np.where(fits, m - s, 0)), -np.inf)
            total += likely * np.exp(ways - _log_ways(count, m))
        return total

    every = np.zeros(len(label), dtype=np.intp)
    treated = chance(every + 1, 0)
    none, all_treated = chance(every, others + 1), chance(others + 1, 0)
    direct = np.where(inside, 0.0, chance(every + 1, others))
    # What is left over by rounding is no chance.
    indirect = np.where(inside | (others > 0), 1 - treated - none, 0.0)
    indirect = np.where(indirect > _NEAR, indirect, 0.0)
    both = np.where(inside | (others > 0), np.maximum(treated - direct, 0.0), 0.0)
    return Chances(treated, none, indirect, direct, both, all_treated, none)


def _log_ways(of: Ints | int, chosen: Ints | int) -> Floats:
    """The logarithm of a binomial coefficient: of 2,000 clusters it is no float."""
    found: Floats = special.gammaln(np.asarray(of) + 1.0) - special.gammaln(np.asarray(chosen) + 1.0)
    found = found - special.gammaln(np.asarray(of) - np.asarray(chosen) + 1.0)
    return found


def redraws(treated: Bools) -> Draws:
    """Assignments drawn by the production generator, one a row.

    Probabilities are plain shares: `(1 + #) / (R + 1)` is never 0 and biases Horvitz-Thompson.
    """
    return Draws(treated, np.full(len(treated), 1 / len(treated)), exact=False)


def every_assignment(label: Ints, share: float = 0.5) -> Draws:
    """All assignments of independent clusters, each treated with probability `share`.

    Raises:
        NotEstimable: more than 16 clusters; redraw instead.
    """
    count = int(label.max()) + 1
    if count > 16:
        raise NotEstimable(f"{count} clusters have {2.0**count:.0f} assignments, too many to list: redraw instead")
    arms = (np.arange(2**count)[:, None] >> np.arange(count)) & 1 == 1
    on = arms.sum(axis=1)
    return Draws(arms[:, label], share**on * (1 - share) ** (count - on), exact=True)


def share_treated(treated: Bools, weights: sparse.csr_array) -> Floats:
    """Weighted share of each unit's neighbours that are treated, NaN without neighbours; shape like `treated`."""
    total = np.asarray(weights.sum(axis=1)).ravel()
    received = (weights @ treated.T.astype(float)).T
    with np.errstate(invalid="ignore", divide="ignore"):
        share: Floats = np.where(total > 0, received / total, np.nan)
    return share


def conditions(treated: Bools, weights: sparse.csr_array) -> Ints:
    """Position in `CONDITIONS` of each unit: any treated neighbour is indirect exposure."""
    indirect = np.nan_to_num(share_treated(treated, weights)) > _NEAR
    return (2 * treated + indirect).astype(np.intp)


def wholly(treated: Bools, weights: sparse.csr_array) -> tuple[Bools, Bools]:
    """Which units are treated with all their neighbours, and which are controls with all of theirs."""
    share = share_treated(treated, weights)
    alone = np.isnan(share)
    return treated & (alone | (share > 1 - _NEAR)), ~treated & (alone | (share < _NEAR))


def probabilities(exposed: Bools, draws: Draws) -> Floats:
    """Probability of an exposure for each unit, from its indicator in every draw (draws, units)."""
    chance: Floats = draws.probability @ exposed
    return chance


def joint_probabilities(one: Bools, two: Bools, draws: Draws) -> Floats:
    """Probability that unit i is exposed to `one` and unit j to `two`, shape (units, units)."""
    chance: Floats = (one * draws.probability[:, None]).T @ two.astype(float)
    return chance
