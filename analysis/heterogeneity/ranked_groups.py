"""Units ranked by the effect that their attributes foretell, and the effect of each fifth.

Foretold by ridge on the levels of all attributes, fitted on one half of the clusters and applied to the other, and the
other way round, so that no unit is ranked by what it showed itself (sorted group average treatment effects:
Chernozhukov, Demirer, Duflo, Fernandez-Val, Econometrica 2025). The ridge is the one of least leave-one-out error.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from analysis.heterogeneity.group_attributes import AttributeLevels
from analysis.heterogeneity.group_statistics import UnitEffects, group_statistics
from analysis.heterogeneity.groups import halved
from analysis.panel_data.panel import FloatArray, IntArray
from controller.errors import NotEstimable

FIFTHS = 5
RIDGES = 10.0 ** np.arange(-1, 5)


@dataclass(frozen=True, slots=True)
class RankedGroup:
    """One part of the units, the lowest foretold effects first."""

    number: int
    units: int
    foretold: float
    effect: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Ranked:
    """The parts, and the highest less the lowest: above zero by more than its error, the ranking tells something."""

    groups: tuple[RankedGroup, ...]
    spread: float
    spread_low: float
    spread_high: float


def ranked_groups(
    shown: UnitEffects,
    attributes: AttributeLevels,
    *,
    rng: np.random.Generator,
    parts: int = FIFTHS,
    level: float = 0.95,
) -> Ranked:
    """Parts of the units by foretold effect.

    Raises:
        NotEstimable: fewer than six clusters, or a part without two clusters of each arm.

    """
    half_of = halved(shown, rng)
    columns = _columns(attributes)
    foretold = np.empty(len(shown.value))
    for half in (0, 1):
        learned, other = half_of == half, half_of != half
        foretold[other] = columns[other] @ _ridge(columns[learned], shown, np.flatnonzero(learned))
    # ranked within halves: each was foretold by a fit of its own
    place = np.empty(len(foretold))
    for half in (0, 1):
        units = np.flatnonzero(half_of == half)
        order = np.lexsort((rng.random(len(units)), foretold[units]))
        place[units[order]] = (np.arange(len(units)) + 0.5) / len(units)
    part = np.minimum((place * parts).astype(np.int64), parts - 1)
    members = part[None] == np.arange(parts)[:, None]
    found = group_statistics(shown, members)
    ends = (part == 0) | (part == parts - 1)
    spread = group_statistics(shown, members[-1:], ends)
    if np.isnan(found.effect).any() or np.isnan(spread.contrast[0]):
        raise NotEstimable(
            f"a part of {len(foretold) // parts} units has no two clusters of each arm: rank fewer parts"
        )
    arms = 1 if shown.treated is None else 2
    wide = [float(student.ppf(0.5 + level / 2, max(int(n) - arms, 1))) for n in found.clusters]
    groups = tuple(
        RankedGroup(
            k + 1, int(members[k].sum()), float(foretold[members[k]].mean()), float(found.effect[k]),
            float(found.effect[k] - wide[k] * found.error[k]), float(found.effect[k] + wide[k] * found.error[k]),
        )
        for k in range(parts)
    )  # fmt: skip
    width = wide[-1] * float(spread.contrast_error[0])
    difference = float(spread.contrast[0])
    return Ranked(groups, difference, difference - width, difference + width)


def _columns(attributes: AttributeLevels) -> FloatArray:
    """(N, p) a constant, and one column a level."""
    n = len(attributes.attributes[0].code)
    levels = [one.code == level for one in attributes.attributes for level in range(len(one.levels))]
    return np.stack([np.ones(n), *[level.astype(np.float64) for level in levels]], axis=1)


def _ridge(columns: FloatArray, shown: UnitEffects, units: IntArray) -> FloatArray:
    """Coefficients of the effect on the columns; the constant is not shrunk."""
    value = shown.value[units]
    if shown.treated is not None:
        # each arm about its mean, the treated as they are and controls turned round, at the odds of their arms:
        # the mean of it at given attributes is the effect there less the average effect
        arm = shown.treated[units]
        share = float(arm.mean())
        centred = value - np.where(arm, value[arm].mean(), value[~arm].mean())
        value = np.where(arm, centred / share, -centred / (1.0 - share))
        value = value + float(shown.value[units][arm].mean() - shown.value[units][~arm].mean())
    penalty = np.ones(columns.shape[1])
    penalty[0] = 0.0
    best, chosen = np.inf, np.zeros(columns.shape[1])
    for ridge in RIDGES:
        inverse = np.linalg.inv(columns.T @ columns + np.diag(ridge * penalty + 1e-9))
        coefficients = inverse @ (columns.T @ value)
        leverage = np.einsum("ij,jk,ik->i", columns, inverse, columns)
        error = float(np.mean(((value - columns @ coefficients) / np.maximum(1.0 - leverage, 1e-6)) ** 2))
        if error < best:
            best, chosen = error, coefficients
    return chosen
