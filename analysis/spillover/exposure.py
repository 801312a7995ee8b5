"""What a unit was exposed to, and how probable that was under the design.

After Aronow and Samii (2017), "Estimating average causal effects under general interference".
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

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
