"""Do two arms differ in what a price should not change? A verdict by clusters that may be read on any day.

A contrast is looked at when a week of the experiment ends, and on its last day. At look k it is tested at
``alpha / (k (k + 1))``, which sums to alpha over all looks (Bonferroni): read on any days, the verdict is wrong in at
most alpha of healthy experiments. Between looks the last look's verdict stands.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from analysis.checks.verdict import Check, Verdict, unknown
from analysis.panel_data.panel import FloatArray, IntArray
from controller.errors import NotEstimable

#: over all looks of one check
ALPHA = 0.02
#: chance with which the least loss that is named would have been found
POWER = 0.8
#: variances under this part of the squares that they were taken from are rounding
ROUNDING = 1e-12
DAYS_BETWEEN_LOOKS = 7


def look_days(elapsed: int, planned: int) -> list[int]:
    """The days, counted from 1, after which looks were taken so far: ends of weeks, and the planned day."""
    days = list(range(DAYS_BETWEEN_LOOKS, elapsed + 1, DAYS_BETWEEN_LOOKS))
    if elapsed >= planned and planned % DAYS_BETWEEN_LOOKS:
        days = [day for day in days if day < planned] + [planned]
    return days


@dataclass(frozen=True, slots=True)
class ArmSums:
    """A ratio by arm as it stood at K looks: what the clusters' sums add up to, and their products.

    The four sums of a cluster are numerator and denominator under the arms, numerator and denominator under control.
    """

    #: (K, 4)
    total: FloatArray
    #: (K, 4, 4) sums over clusters of the products of their four sums
    product: FloatArray
    #: (K, 2) clusters with a denominator under the arms, and under control
    clusters: IntArray
    #: (K,) clusters with either
    either: IntArray
    #: whether the ratio is a share: then no arm's error is less than that of independent cells at the share of all
    share: bool = False

    def at(self, look: int) -> "Gap":
        """The difference of the ratios at a look."""
        return gap_of(
            self.total[look], self.product[look], self.clusters[look], int(self.either[look]), share=self.share
        )


@dataclass(frozen=True, slots=True)
class Gap:
    """Ratio under the arms less ratio under control, with its error over clusters."""

    value: float
    treated: float
    control: float
    se: float
    degrees: float

    def p(self) -> float:
        """Two-sided, Student's t."""
        if self.se <= 0.0:
            return float(self.value == 0.0)
        return 2.0 * float(special.stdtr(self.degrees, -abs(self.value) / self.se))

    def least(self, alpha: float) -> float:
        """The gap that is found with :data:`POWER` at a level, as far as this error goes."""
        return float(special.stdtrit(self.degrees, 1.0 - alpha / 2.0) + special.stdtrit(self.degrees, POWER)) * self.se


def gap_of(total: FloatArray, product: FloatArray, clusters: IntArray, either: int, *, share: bool = False) -> Gap:
    """The linearised difference of two ratios: with psi_a of a cluster its sums' first-order change of arm a's ratio,

    ``n_1 / (n_1 - 1) sum psi_1^2 + n_0 / (n_0 - 1) sum psi_0^2 - 2 G / (G - 1) sum psi_1 psi_0``

    which is Neyman's variance where no cluster was under both arms. Degrees of freedom are Welch's, at most G - 2:
    where only one arm varies, its clusters alone tell by how much. A share has at least the variance
    ``r (1 - r) / cells`` in each arm, with r the share of both arms together: an arm of few cells in which nothing
    happened yet would otherwise have none.

    Raises:
        NotEstimable: an arm with fewer than two clusters.
    """
    treated, control = int(clusters[0]), int(clusters[1])
    if min(treated, control) < 2:
        raise NotEstimable(f"{treated} clusters under the arms and {control} under control: two of each are needed")
    ratio = total[[0, 2]] / total[[1, 3]]
    slope = np.zeros((2, 4))
    slope[0, :2] = np.array([1.0, -ratio[0]]) / total[1]
    slope[1, 2:] = np.array([1.0, -ratio[1]]) / total[3]
    squares = slope @ product @ slope.T
    scale = slope**2 @ np.diagonal(product)
    own = np.where(np.diagonal(squares) > ROUNDING * scale, np.diagonal(squares), 0.0)
    size = np.array([treated, control])
    parts = own * size / (size - 1.0)
    shared = 2.0 * float(squares[0, 1]) * either / (either - 1.0) if own.all() else 0.0
    variance = float(parts.sum()) - shared
    if variance <= ROUNDING * float(scale.sum()):
        variance = 0.0
    if share:
        least = independent(total)
        parts = np.maximum(parts, least)
        variance = max(variance, float(least.sum()), float(parts.sum()) - shared)
    welch = parts.sum() ** 2 / (parts**2 / (size - 1.0)).sum() if variance > 0.0 else np.inf
    degrees = float(max(1.0, min(welch, either - 2.0)))
    return Gap(float(ratio[0] - ratio[1]), float(ratio[0]), float(ratio[1]), variance**0.5, degrees)


def independent(total: FloatArray) -> FloatArray:
    """(2,) variance of each arm's share if cells were independent and both arms had the same."""
    rate = (total[0] + total[2]) / (total[1] + total[3])
    return np.asarray(max(rate * (1.0 - rate), 0.0) / total[[1, 3]])


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What the looks so far say."""

    #: the latest look that could be made
    last: Gap
    #: its number, from 1
    number: int
    #: smallest p so far, over all looks that are to come as well
    p: float
    found: bool
    #: found, and at least the practical threshold when it was
    large: bool

    @property
    def least(self) -> float:
        """The gap that the last look would have found with :data:`POWER`."""
        return self.last.least(ALPHA / (self.number * (self.number + 1)))


def verdicts(sums: ArmSums, looks: int, threshold: float, alpha: float = ALPHA) -> Verdicts:
    """The rule of this module on the first ``looks`` rows.

    Raises:
        NotEstimable: no look could be made yet; says why the last one could not.
    """
    if not looks:
        raise NotEstimable("the first look is taken when a week has closed, or on the planned day")
    last, number, smallest, large, why = None, 0, 1.0, False, ""
    for look in range(looks):
        try:
            gap = sums.at(look)
        except NotEstimable as reason:
            why = str(reason)
            continue
        p = min(1.0, gap.p() * (look + 1) * (look + 2))
        smallest = min(smallest, p)
        large |= p < alpha and abs(gap.value) >= threshold
        last, number = gap, look + 1
    if last is None:
        raise NotEstimable(why)
    return Verdicts(last, number, smallest, smallest < alpha, large)


def uneven(
    name: str,
    sums: ArmSums,
    looks: int,
    *,
    threshold: float,
    what_to_do: str,
    noun: str,
    when_large: Verdict = "fail",
    per_cent: bool = True,
    note: str = "",
) -> Check:
    """Whether a nuisance is as common under the arms as under control, valid on any day.

    It fails (``when_large``) where it is significant and the gap was at least ``threshold`` when it was found, and
    warns where it is smaller.
    """
    try:
        said = verdicts(sums, looks, threshold)
    except NotEstimable as reason:
        return unknown(name, threshold, str(reason))
    gap = said.last
    verdict: Verdict = "pass" if not said.found else when_large if said.large else "warn"
    form = ".2%" if per_cent else ".4g"
    evidence = (
        f"{noun}: treatment {gap.treated:{form}}, control {gap.control:{form}} after look {said.number}; p ="
        f" {said.p:.2g} at any look; least gap seen with {POWER:.0%} power: {said.least:{form}}"
    )
    return Check(name, abs(gap.value), threshold, verdict, what_to_do if said.found else "Nothing.", evidence + note)
