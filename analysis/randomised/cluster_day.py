"""The difference between arms, day by day, for every design whose calendar is known beforehand.

Estimand: the average over usable cluster-days of the effect of the arm on the cluster's mean outcome; relative: that
average over the average of control's (counterfactual) outcome on the same cluster-days, so that a constant
multiplicative effect E has the relative effect E.

Estimator: each unit-day is compared with a forecast made of the unit's days of OTHER draws and of those on which
nothing was drawn (the pre-period): their mean, each centred on its day's mean over units; a cluster-day is the mean of
its units' residuals; on each day, the mean over treated clusters minus the mean over control clusters; then the mean
over days, weighted by clusters. The forecast knows nothing of the draws that decided the day, hence no bias, whatever
the effects (`tests/analysis/randomised/test_cluster_day.py` and `test_by_design.py` enumerate every path), while the
clusters'
levels and the days' shocks drop out. Where each day is a draw of its own, that is each other day; where a block is, the
other blocks; where one draw decides all, only the pre-period is left, and the result is a difference of changes since
then. (Two-way least squares is unbiased too on a complete panel of exact halves, but not once cells are missing.)

Variance: the draw is what is random (Neyman 1923, as in Ham, Bojinov, Lindon, Tingley, arXiv 2210.08639). A residual e
about its arm's mean on its day, times ``sqrt(n / (n - 1))``, enters with its weight c; days that share a draw, directly
or by a chain, form a group, and ``sum over groups, clusters (sum over the group's days c e)^2``. Where each day is a
draw of its own this is ``s_T^2/n_T + s_C^2/n_C`` for each day; where one draw decides all, Neyman's variance of the
clusters' weighted sums; conservative under heterogeneous effects. Student's t with Satterthwaite's degrees of freedom
over groups and their arms; over its halves in a crossover, because each half has means of its own. Where there are
fewer than four clusters a group has no variance of its own: then the variance is that of the differences between
groups, with groups - 1 degrees of freedom.

Chosen by simulation, each day a draw of its own (2,000 repetitions a row, Monte-Carlo error 0.5 points; exact halves,
common day shocks, effect -10 %, cluster levels lognormal(0.8), noise lognormal(s) with AR(1) r); per cent of 95 %
intervals that cover, with the median half width: within days (this one), between days, and cluster means of (treated
- control days) with t(G - 1), two-way least squares with cluster-jackknifed errors and t(G - 2):

    clusters days    s   r   within       between      by clusters  least squares
           4    7  1.0  .9   98.8 1.22    94.9 1.00    96.2 0.99    98.6 1.32
           6    7  0.3  .5   97.0 .353    95.0 .369    95.8 .338    96.7 .357
           6   28  1.0  .9   96.8 .654    95.9 .631    96.4 .630    97.6 .683
          20    3  1.0  .9   96.1 .785    95.5 1.49    96.6 .738    96.5 .728
          20   28  0.3  .5   94.0 .110    94.2 .112    95.0 .113    95.0 .114
          83    3  0.3  .5   95.5 .168    95.0 .306    95.3 .163    95.2 .163
          83   30  0.3  .5   94.9 .056    95.5 .060    96.5 .061    96.8 .061

All cover; within days is as narrow as any from the third day on, needs no cluster to have seen both arms, and is the
one whose validity rests on nothing but the draw.

The unit-days are read twice, three times where draws decide several days each, a few clusters at a time, and several
metrics at once (`cluster_cells.py`): time grows with T U, memory beyond the input with T.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from analysis.panel_data.cluster_cells import (
    Moments,
    Part,
    ReadCells,
    Reader,
    Sharing,
    Units,
    chunks_of,
    first_reading,
    moments_of,
    part_of,
)
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from analysis.randomised.cluster_weights import FormSums, inflation
from analysis.randomised.relative_effect import Effect, Spread, absolute_effect, relative_effect
from controller.errors import NotEstimable
from controller.validation.cluster_minima import needed as clusters_needed

__all__ = ["ClusterDayDifference", "Effect", "ReadCells", "Units", "cluster_day_difference", "differences_by_chunks"]

CONSTANT = "outcomes are constant: there is no variation to judge an effect by"
UNVARIED = "outcomes do not vary within arms: there is no variation to judge an effect by"
#: with fewer clusters a day cannot have two in each arm, and its variance is taken between days
CLUSTERS_FOR_DAILY_VARIANCE = clusters_needed("fixed")
#: a sum of squares that is less than this part of what it was taken from is rounding
ROUNDING = 1e-13


@dataclass(frozen=True, slots=True)
class ClusterDayDifference:
    """Both effects, what they rest on, and what had to be left out."""

    #: in the outcome's unit, per unit-day
    absolute: Effect
    #: as a share of control's mean; None where that mean is too close to zero: ``relative_absent`` says how close
    relative: Effect | None
    relative_absent: str | None
    #: what relative effects are relative to
    control_mean: float
    clusters: int
    #: groups of days that share a draw
    groups: int
    days: int
    units: int
    #: unit-days used
    cells: int
    #: unit-days left out, by reason
    left_out: dict[str, int]


def cluster_day_difference(
    outcome: FloatArray,
    treated: BoolArray,
    cluster: IntArray,
    confidence: float = 0.95,
    draws: BoolArray | None = None,
    weight: FloatArray | None = None,
) -> ClusterDayDifference:
    """The effect of one arm against control.

    Args:
        outcome: (T, U), unit-days; NaN where a cell was not observed or must not be used.
        treated: (T, U), True where the unit was in the arm, False where it was in control.
        cluster: (U,), the cluster of each unit, 0 to G - 1. Where its units differ in arm on a day, a cluster has a
            cell in each arm.
        confidence: of the two-sided intervals.
        draws: (T, L), the draws that decided which cells of a day are usable under which arm; on a day without any,
            such as one of the pre-period, nothing is compared. When absent, each day is a draw of its own.
        weight: (G,), what each cluster's mean counts for. Its number of units makes the effect one on the total of all
            units. When absent, all count the same: the effect on the average cluster.

    Raises:
        NotEstimable: one cluster, an arm never seen, fewer than two usable days, one draw of fewer than four clusters,
            or constant outcomes. The message is what is published in place of the number.
    """

    def read(units: Units) -> ReadCells:
        observed = np.isfinite(outcome[:, units])
        return np.where(observed, outcome[:, units], 0.0)[np.newaxis], observed, treated[:, units]

    (found,) = differences_by_chunks(read, 1, len(outcome), cluster, confidence, draws, weight)
    if isinstance(found, NotEstimable):
        raise found
    return found


def differences_by_chunks(
    read: Reader,
    metrics: int,
    days: int,
    cluster: IntArray,
    confidence: float = 0.95,
    draws: BoolArray | None = None,
    weight: FloatArray | None = None,
) -> list[ClusterDayDifference | NotEstimable]:
    """:func:`cluster_day_difference` of metrics that are known in the same cells, handed over a few units at a time.

    What is wrong with one metric takes its own place; what is wrong with all of them is raised.
    """
    clusters = int(cluster.max()) + 1 if cluster.size else 0
    if clusters < 2:
        raise NotEstimable("one cluster: there is nobody to compare it with")
    sharing = Sharing(draws, days)
    within = clusters >= CLUSTERS_FOR_DAILY_VARIANCE
    needed = 2 if within else 1
    chunks = list(chunks_of(cluster, days * metrics))
    totals = first_reading(read, chunks, sharing, days, metrics)
    usable: BoolArray = np.asarray((totals.clusters >= needed).all(axis=0))
    left_out = {"no_other_day": totals.no_other_day, "too_few_clusters_in_an_arm": int(totals.cells[~usable].sum())}
    if usable.sum() < 2:
        few = f"{int(usable.sum())} usable days: two are needed on which both arms have at least {needed} cluster" + (
            "s" if needed > 1 else ""
        )
        return [NotEstimable(CONSTANT if constant else few) for constant in totals.constant]

    day_mean = totals.day_mean
    moments: Moments | None = None
    for chunk in chunks:
        found = moments_of(read, chunk, sharing, totals, usable, weight)
        moments = found if moments is None else moments + found
    assert moments is not None
    count = totals.clusters.astype(np.float64)
    of_arms = count if weight is None else moments.weight
    about = moments.sums / np.maximum(of_arms, 1e-300)[:, np.newaxis]
    of_days = np.where(usable, of_arms.sum(axis=0), 0.0)
    share = of_days / of_days.sum()
    level = day_mean + np.where(usable, moments.forecast, 0.0) / np.where(of_days > 0, of_days, 1.0)
    mean = about + level
    _, group = np.unique(sharing.group[usable], return_inverse=True)
    spreads: list[_Spread] | None = None
    if within and weight is None and sharing.alone and not moments.overlapping:
        spreads = _within_days(moments, count, about, share, usable)
    elif within:
        parts = ((part_of(read, chunk, sharing, totals), chunk.clusters) for chunk in chunks)
        arms = _Arms(of_arms, count if weight is None else moments.weight_squares, weight)
        spreads = _within_groups(parts, arms, about, share, usable, group)

    def difference(metric: int) -> ClusterDayDifference:
        control_mean, treated_mean = mean[:, metric]
        tau, base = float(share @ (treated_mean - control_mean)), float(share @ control_mean)
        if spreads is not None:
            spread, freedom = spreads[metric].whole()
        else:
            spread, freedom = _between_groups(treated_mean[usable], control_mean[usable], share[usable], group)
        variance = spread.variance(1.0)
        if variance <= 0:
            raise NotEstimable(UNVARIED)
        relative, absent = relative_effect(tau, base, spread, freedom, confidence)
        return ClusterDayDifference(
            absolute=absolute_effect(tau, variance, freedom, confidence),
            relative=relative,
            relative_absent=absent,
            control_mean=base,
            clusters=moments.clusters,
            groups=int(group.max()) + 1,
            days=int(usable.sum()),
            units=moments.units,
            cells=int(totals.cells[usable].sum()),
            left_out={reason: number for reason, number in left_out.items() if number},
        )

    answers: list[ClusterDayDifference | NotEstimable] = []
    for metric in range(metrics):
        try:
            answers.append(NotEstimable(CONSTANT) if totals.constant[metric] else difference(metric))
        except NotEstimable as absent:
            answers.append(absent)
    return answers


@dataclass(frozen=True, slots=True)
class _Arms:
    """What the clusters of each arm and day weigh together: (2, T) sums and sums of squares."""

    weight: FloatArray
    squares: FloatArray
    #: (G,); None where all weigh the same
    of_cluster: FloatArray | None


@dataclass(frozen=True, slots=True)
class _Spread:
    """Sums of squares about the arms' means, over groups of days and two parts of the clusters."""

    #: (2, B): of treated, of both, of control
    treated: FloatArray
    both: FloatArray
    control: FloatArray
    #: (2, B) degrees of freedom of each
    freedom: FloatArray

    def whole(self) -> tuple[Spread, float]:
        """Added up, with Satterthwaite's degrees of freedom of the difference."""
        parts = self.treated - 2.0 * self.both + self.control
        total = Spread(float(self.treated.sum()), float(self.both.sum()), float(self.control.sum()))
        squares = float((parts**2 / np.maximum(self.freedom, 1.0)).sum())
        return total, total.variance(1.0) ** 2 / squares if squares > 0 else 1.0


def _within_days(
    moments: Moments, count: FloatArray, mean: FloatArray, share: FloatArray, days: BoolArray
) -> list[_Spread]:
    """Each day a group of its own, each cluster in one arm: the squares about the arm's mean are known already."""
    n = count[:, days]
    scale = share[days] / n * (n / (n - 1)) ** 0.5
    squares = moments.squares[:, :, days]
    about = squares - n[:, np.newaxis] * mean[:, :, days] ** 2
    control, treated = np.where(about > ROUNDING * squares, about, 0.0) * (scale**2)[:, np.newaxis]
    none = np.zeros((control.shape[1],))
    return [
        _Spread(np.stack([of_arm, none]), np.stack([none, none]), np.stack([none, of_control]), n[::-1] - 1.0)
        for of_control, of_arm in zip(control, treated, strict=True)
    ]


def _within_groups(
    parts: Iterable[tuple[Part, IntArray]],
    arms: _Arms,
    mean: FloatArray,
    share: FloatArray,
    days: BoolArray,
    group: IntArray,
) -> list[_Spread]:
    """Squares over clusters within groups of days: clusters that were mostly treated, and the rest, apart.

    With as many days in both arms, the arm of the group's first day tells.
    """
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(group[order]) > 0])
    single = len(starts) == len(group)
    total = arms.weight[:, days, np.newaxis]
    squares = arms.squares[:, days, np.newaxis] / total**2

    def by_group(cells: FloatArray) -> FloatArray:
        return cells[order] if single else np.asarray(np.add.reduceat(cells[order], starts, axis=0))

    sums = np.zeros((mean.shape[1], 3, 2, len(starts)))
    forms = FormSums((2, len(starts)))
    every = bool(days.all())
    for part, clusters in parts:
        present = part.present if every else tuple(which[days] for which in part.present)
        in_control, in_arm = (by_group(which.astype(np.float64)) for which in present)
        # A crossover's clusters have as many days in both arms, and each half has means of its own: in one part they
        # would pass for clusters about a single mean, with a degree of freedom too many.
        mostly_treated = np.where(in_arm == in_control, present[1][order[starts]], in_arm > in_control)
        halves = mostly_treated, ~mostly_treated & (in_control > 0)
        weight = np.ones(len(clusters)) if arms.of_cluster is None else arms.of_cluster[clusters]
        # (days, clusters): what a cluster's residual on a day counts for
        scale = []
        for which in (0, 1):
            of = weight / total[which]
            scale.append(present[which] * share[days, np.newaxis] * of * inflation(of, squares[which]) ** 0.5)
        form = (by_group(scale[0]) + by_group(scale[1])) ** 2
        for number, mostly in enumerate(halves):
            forms.add((number,), np.where(mostly, weight, 0.0), np.where(mostly, form, 0.0))
        for metric, sum_of in enumerate(sums):
            about = []
            for which, residual in enumerate(part.residual):
                cells = residual[metric]
                centred = (cells if every else cells[days]) - mean[which, metric, days, np.newaxis]
                centred *= scale[which]
                about.append(centred)
            control, treated = by_group(about[0]), by_group(about[1])
            for number, mostly in enumerate(halves):
                for row, values in enumerate((treated * treated, treated * control, control * control)):
                    sum_of[row, number] += np.where(mostly, values, 0.0).sum(axis=1)
    freedom = forms.freedom()
    return [_Spread(treated, both, control, freedom) for treated, both, control in sums]


def _between_groups(
    treated: FloatArray, control: FloatArray, share: FloatArray, group: IntArray
) -> tuple[Spread, float]:
    """The variance of the arms' means between groups of days, and its degrees of freedom."""
    groups = int(group.max()) + 1
    if groups < 2:
        raise NotEstimable(
            f"one draw of fewer than {CLUSTERS_FOR_DAILY_VARIANCE} clusters: nothing tells how much of it is chance"
        )
    of_arm, of_control = (np.bincount(group, share * (mean - share @ mean)) for mean in (treated, control))
    factor = groups / (groups - 1)
    spread = Spread(float(of_arm @ of_arm), float(of_arm @ of_control), float(of_control @ of_control))
    return Spread(spread.treated * factor, spread.both * factor, spread.control * factor), groups - 1.0
