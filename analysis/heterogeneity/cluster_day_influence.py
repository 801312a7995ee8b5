"""How far each unit, cluster and day moves the cluster-day difference, exactly and without computing it anew.

The estimate (`analysis.randomised.cluster_day`) is ``sum over days of share_t (mean of treated clusters - mean of
control clusters)`` of residuals ``e = (1 - K)(y - m)``: m the day's mean over units, K what a unit's other days count
for in its forecast. Leaving units out takes them out of the arms' means and moves m, in which the residuals are linear.
With ``Kbar_t`` each arm's mean of the rows of K, the day means' change d moves an arm's mean by ``Kbar_t d``: one
matrix product for all clusters. Leaving a day out takes one summand out of each forecast.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from analysis.heterogeneity.influence import Influence
from analysis.heterogeneity.sign_change import ENUMERATED_CLUSTERS, fewest_by_trial
from analysis.panel_data.cluster_cells import Sharing
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from controller.errors import NotEstimable
from controller.validation.cluster_minima import needed as clusters_needed

#: (outcome, treated, cluster, draws, weight) -> the absolute effect; for days whose removal empties a forecast
Estimate = Callable[[FloatArray, BoolArray, IntArray, BoolArray | None, FloatArray | None], float]
#: forecasts are mixed of days in the arm and under control; they are linear in the share, so that two shares tell all
SHARES = (0.0, 1.0)
#: units of clusters that are left out, worked on at once
UNITS_AT_ONCE = 2048


def cluster_day_influence(
    outcome: FloatArray,
    treated: BoolArray,
    cluster: IntArray,
    names: tuple[str, ...],
    estimate: Estimate,
    draws: BoolArray | None = None,
    weight: FloatArray | None = None,
    most: int = 5,
    only_clusters: bool = False,
) -> Influence:
    """Influence on the absolute cluster-day difference.

    Args:
        outcome: (T, U), NaN where a cell was not observed or must not be used.
        treated: (T, U).
        cluster: (U,), 0 to G - 1; ``names`` (G,) are their labels.
        estimate: the estimator, for the days without which some unit has no other day to be forecast from.
        draws: (T, L), as the estimator takes them.
        weight: (G,), as the estimator takes it.
        most: the largest set of clusters that is looked for to turn the sign.
        only_clusters: leave units and days out of the answer.

    Raises:
        NotEstimable: fewer than two clusters, or fewer than two days with both arms.

    """
    cells = _Cells.of(outcome, treated, cluster, len(names), draws, weight)
    none = np.zeros(len(names))
    effect = float(cells.without_clusters(none[None])[0])
    if np.isnan(effect):
        raise NotEstimable("two clusters and two days with both arms are needed: there is no number to be moved")
    each = cells.without_clusters(np.eye(len(names)))
    turning, smallest = fewest_by_trial(effect, len(names), cells.without_clusters, most)
    return Influence(
        effect=effect,
        without_unit=np.empty(0) if only_clusters else cells.without_units(each),
        without_cluster=each,
        clusters=names,
        without_day=np.empty(0) if only_clusters else cells.without_days(estimate, outcome, treated, draws),
        turning=tuple(names[g] for g in turning) or None,
        turning_is_smallest=smallest,
    )


@dataclass(frozen=True, slots=True)
class _Cells:
    """Residuals of all unit-days, and their sums by cluster. Axis of arms: control first; of shares: 0, then 1."""

    sharing: Sharing
    cluster: IntArray
    #: (T, U) outcomes about their day's mean, 0 where not observed
    centred: FloatArray
    observed: BoolArray
    #: (T, U) cells that are compared, by arm
    kept: tuple[BoolArray, BoolArray]
    #: (T, T) whether day s may forecast day t
    other: FloatArray
    #: by share: (T, U) what each of the unit's other days in the arm, and under control, counts for
    of_arm: tuple[FloatArray, FloatArray]
    of_control: tuple[FloatArray, FloatArray]
    #: by share: (T, U) residuals
    residual: tuple[FloatArray, FloatArray]
    shown: FloatArray
    #: (T, U) days of other draws under control and in the arm
    control: FloatArray
    in_arm: FloatArray
    sums: FloatArray
    #: (G,)
    weight: FloatArray
    #: (T,) sums and counts of the observed cells, and (T, G) of each cluster
    day_sum: FloatArray
    day_count: FloatArray
    sum_by_cluster: FloatArray
    count_by_cluster: FloatArray
    #: (2, T, G) units that are compared
    size: FloatArray
    #: (2, 2, T, G) by arm and share: mean residual of a cluster
    mean: FloatArray
    #: (2, 2, T, T) by arm and share: sum over clusters of weight times mean row of K
    rows: FloatArray
    #: (G, 2, 2, T, T) mean row of K of each cluster, where all sets of clusters are tried
    rows_by_cluster: FloatArray | None

    @classmethod
    def of(
        cls,
        outcome: FloatArray,
        treated: BoolArray,
        cluster: IntArray,
        clusters: int,
        draws: BoolArray | None,
        weight: FloatArray | None,
    ) -> "_Cells":
        observed = np.isfinite(outcome)
        value = np.where(observed, outcome, 0.0)
        days = len(outcome)
        sharing = Sharing(draws, days)
        own = sharing.own(np.eye(days))
        other = (own == 0.0).astype(np.float64)
        day_sum, day_count = value.sum(axis=1), observed.sum(axis=1).astype(np.float64)
        centred = np.where(observed, value - (day_sum / np.maximum(day_count, 1))[:, None], 0.0)
        shown, seen = (observed & treated).astype(np.float64), observed.astype(np.float64)
        others = partial(_others_of, other, sharing.alone)
        in_arm, control = others(shown), others(seen - shown)
        kept = observed & sharing.drawn[:, None] & (in_arm + control > 0)
        arms = kept & ~treated, kept & treated
        coefficients = [_mixed(control, in_arm, share) for share in SHARES]
        sum_arm, sum_control = others(centred * shown), others(centred * (seen - shown))
        residual = tuple(centred - c * sum_control - a * sum_arm for c, a in coefficients)
        weights = np.ones(clusters) if weight is None else np.asarray(weight, dtype=np.float64)
        size = np.stack([_by_cluster(which.astype(np.float64), cluster, clusters) for which in arms])
        mean = np.stack(
            [
                [_by_cluster(e * which, cluster, clusters) / np.maximum(n, 1.0) for e in residual]
                for which, n in zip(arms, size, strict=True)
            ]
        )

        def rows_of(units: IntArray, of: FloatArray) -> FloatArray:
            found = np.empty((2, 2, days, days))
            for number, (which, n) in enumerate(zip(arms, size, strict=True)):
                part = which[:, units] * (of / np.maximum(n, 1.0))[:, cluster[units]]
                for share, (c, a) in enumerate(coefficients):
                    in_arms = (part * a[:, units]) @ shown[:, units].T
                    found[number, share] = other * (in_arms + (part * c[:, units]) @ (seen - shown)[:, units].T)
            return found

        rows = rows_of(np.arange(len(cluster)), weights)
        each = None
        if clusters <= ENUMERATED_CLUSTERS:
            each = np.stack([rows_of(np.flatnonzero(cluster == g), np.ones(clusters)) for g in range(clusters)])
        return cls(
            sharing, cluster, centred, observed, arms, other,
            (coefficients[0][1], coefficients[1][1]), (coefficients[0][0], coefficients[1][0]),
            (residual[0], residual[1]), shown, control, in_arm, value, weights, day_sum, day_count,
            _by_cluster(value, cluster, clusters), _by_cluster(seen, cluster, clusters), size, mean, rows, each,
        )  # fmt: skip

    @property
    def _drawn(self) -> FloatArray:
        return self.sharing.drawn.astype(np.float64)

    def _shares(self, count: FloatArray) -> FloatArray:
        """(B,) what days in the arm count for, from (T, B) counts of observed cells."""
        return np.asarray(0.5 * (self._drawn @ count) / np.maximum(count.sum(axis=0), 1.0))

    def _others(self, cells: FloatArray) -> FloatArray:
        return _others_of(self.other, self.sharing.alone, cells)

    def without_clusters(self, gone: FloatArray) -> FloatArray:
        """(B,) effects without sets of clusters (B, G) of 0 and 1; NaN where nothing is left to compare."""
        answers = []
        for begin in range(0, len(gone), 256):
            answers.append(self._without(gone[begin : begin + 256].T))
        return np.concatenate(answers)

    def _without(self, gone: FloatArray) -> FloatArray:
        moved, share = self._moved(self.sum_by_cluster @ gone, self.count_by_cluster @ gone)
        kept = (1.0 - gone) * self.weight[:, None]
        clusters = (gone.shape[0] - gone.sum(axis=0)).astype(np.int64)
        differences, totals, present = [], [], []
        for arm in (0, 1):
            there = (self.size[arm] > 0).astype(np.float64)
            totals.append(there @ kept)
            present.append(there @ (1.0 - gone))
            parts = []
            for number in (0, 1):
                own = self._of_gone(arm, number, moved, gone)
                parts.append(self.mean[arm, number] @ kept + self.rows[arm, number] @ moved - own)
            sums = (1.0 - share) * parts[0] + share * parts[1]
            differences.append(sums / np.where(totals[-1] > 0, totals[-1], 1.0))
        return _over_days(differences[1] - differences[0], totals, present, clusters)

    def _of_gone(self, arm: int, number: int, moved: FloatArray, gone: FloatArray) -> FloatArray:
        """(T, B) weighted rows of K of the clusters that are left out, times the change of the day means."""
        found = np.zeros(moved.shape)
        if self.rows_by_cluster is not None:
            for g, rows in enumerate(self.rows_by_cluster):
                found += (rows[arm, number] @ moved) * (self.weight[g] * gone[g])
            return found
        part = self.kept[arm] * (self.weight / np.maximum(self.size[arm], 1.0))[:, self.cluster]
        # units of all sets, one after the other, each with its set's change
        column, which = np.nonzero(gone[self.cluster].T)
        for begin in range(0, len(column), UNITS_AT_ONCE):
            units, sets = which[begin : begin + UNITS_AT_ONCE], column[begin : begin + UNITS_AT_ONCE]
            changes, shown = moved[:, sets], self.shown[:, units]
            forecast = self.of_arm[number][:, units] * self._others(changes * shown)
            forecast += self.of_control[number][:, units] * self._others(changes * (self.observed[:, units] - shown))
            forecast *= part[:, units]
            starts = np.flatnonzero(np.r_[True, np.diff(sets) > 0])
            found[:, sets[starts]] += np.add.reduceat(forecast, starts, axis=1)
        return found

    def _moved(self, sums: FloatArray, counts: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(T, B) change of the day means without (T, B) sums and counts, and (B,) shares."""
        left = self.day_count[:, None] - counts
        mean = np.where(left > 0, (self.day_sum[:, None] - sums) / np.maximum(left, 1.0), 0.0)
        old = (self.day_sum / np.maximum(self.day_count, 1.0))[:, None]
        return np.where(left > 0, mean - old, 0.0), self._shares(left)

    def without_units(self, each: FloatArray) -> FloatArray:
        """(U,) effects without each unit; a unit that is its cluster goes with it."""
        answers = np.empty(len(self.cluster))
        numbers = np.bincount(self.cluster)
        seen = self.observed.astype(np.float64)
        for g in np.unique(self.cluster):
            units = np.flatnonzero(self.cluster == g)
            if numbers[g] == 1:
                answers[units] = each[g]
                continue
            moved, share = self._moved(self.sums[:, units], seen[:, units])
            differences, totals, present = [], [], []
            for arm in (0, 1):
                kept = self.kept[arm][:, units].astype(np.float64)
                size = self.size[arm][:, g, None]
                left = size - kept
                there = (self.size[arm] > 0).astype(np.float64)
                total = (there @ self.weight)[:, None] - self.weight[g] * ((size > 0) & (left == 0))
                present.append(there.sum(axis=1)[:, None] - ((size > 0) & (left == 0)))
                totals.append(total)
                parts = []
                for number in (0, 1):
                    a, c = self.of_arm[number][:, units], self.of_control[number][:, units]
                    shown, control = self.shown[:, units], seen[:, units] - self.shown[:, units]
                    rows = self.other * ((kept * a) @ shown.T + (kept * c) @ control.T)
                    own = a * (self._others(moved * shown)) + c * (self._others(moved * control))
                    inside = rows @ moved - kept * own
                    whole = self.mean[arm, number][:, g, None] * size
                    changed = (whole - kept * self.residual[number][:, units] + inside) / np.maximum(left, 1.0)
                    rest = self.mean[arm, number] @ self.weight - self.mean[arm, number][:, g] * self.weight[g]
                    of_rest = self.rows[arm, number] @ moved - self.weight[g] * (rows @ moved) / np.maximum(size, 1.0)
                    parts.append(rest[:, None] + of_rest + self.weight[g] * np.where(left > 0, changed, 0.0))
                sums = (1.0 - share) * parts[0] + share * parts[1]
                differences.append(sums / np.where(total > 0, total, 1.0))
            clusters = np.full(len(units), len(numbers))
            answers[units] = _over_days(differences[1] - differences[0], totals, present, clusters)
        return answers

    def without_days(
        self, estimate: Estimate, outcome: FloatArray, treated: BoolArray, draws: BoolArray | None
    ) -> FloatArray:
        """(T,) effects without each day."""
        days, clusters = self.size.shape[1:]
        seen = self.observed.astype(np.float64)
        control_cells = seen - self.shown
        last = (self.in_arm + self.control == 1) & (self.kept[0] | self.kept[1])
        # days that are some compared cell's only other day: without them that cell is gone too
        emptied = ((self.other.T @ last) * seen).any(axis=1)
        changes = np.zeros((2, 2, days, days))
        sum_arm = self._others(self.centred * self.shown)
        sum_control = self._others(self.centred * control_cells)
        for number, share in enumerate(SHARES):
            forecast = self.of_control[number] * sum_control + self.of_arm[number] * sum_arm
            for cells, fewer in (
                (self.shown, _mixed(self.control, self.in_arm - 1.0, share)),
                (control_cells, _mixed(self.control - 1.0, self.in_arm, share)),
            ):
                own = fewer[1] if cells is self.shown else fewer[0]
                change = fewer[0] * sum_control + fewer[1] * sum_arm - forecast
                for arm in (0, 1):
                    part = self.kept[arm] * (self.weight / np.maximum(self.size[arm], 1.0))[:, self.cluster]
                    changes[arm, number] -= self.other * (
                        (part * change) @ cells.T - (part * own) @ (cells * self.centred).T
                    )
        drawn = self._drawn * self.day_count
        share = 0.5 * (drawn.sum() - drawn) / np.maximum(self.day_count.sum() - self.day_count, 1.0)
        differences, totals, present = [], [], []
        for arm in (0, 1):
            there = (self.size[arm] > 0).astype(np.float64)
            total = np.repeat((there @ self.weight)[:, None], days, axis=1)
            parts = [(self.mean[arm, number] @ self.weight)[:, None] + changes[arm, number] for number in (0, 1)]
            sums = (1.0 - share) * parts[0] + share * parts[1]
            differences.append(sums / np.where(total > 0, total, 1.0))
            totals.append(total)
            present.append(np.repeat(there.sum(axis=1)[:, None], days, axis=1) * (1.0 - np.eye(days)))
        found = _over_days(differences[1] - differences[0], totals, present, np.full(days, clusters))
        for r in np.flatnonzero(emptied):
            kept = np.arange(days) != r
            weight = None if (self.weight == 1.0).all() else self.weight
            try:
                found[r] = estimate(
                    outcome[kept], treated[kept], self.cluster, None if draws is None else draws[kept], weight
                )
            except NotEstimable:
                found[r] = np.nan
        return found


def _others_of(other: FloatArray, alone: bool, cells: FloatArray) -> FloatArray:
    """(T, n) sums over the days that may forecast each day: all but itself, where each day is a draw of its own."""
    return np.asarray(cells.sum(axis=0) - cells if alone else other @ cells)


def _mixed(control: FloatArray, in_arm: FloatArray, share: float) -> tuple[FloatArray, FloatArray]:
    """What each other day under control, and each in the arm, counts for in a forecast; as `cluster_cells` has it."""
    of_arm = np.where(control > 0, share, 1.0) * (in_arm > 0)
    of_control = np.where(in_arm > 0, 1.0 - share, 1.0) * (control > 0)
    return of_control / np.maximum(control, 1.0), of_arm / np.maximum(in_arm, 1.0)


def _by_cluster(cells: FloatArray, cluster: IntArray, clusters: int) -> FloatArray:
    """(T, U) -> (T, G) sums."""
    found = np.zeros((len(cells), clusters))
    for g in range(clusters):
        found[:, g] = cells[:, cluster == g].sum(axis=1)
    return found


def _over_days(
    difference: FloatArray, totals: list[FloatArray], present: list[FloatArray], clusters: IntArray
) -> FloatArray:
    """(B,) means over the days (T, B) on which both arms have clusters enough, weighted by the arms' weights."""
    needed = np.where(clusters >= clusters_needed("fixed"), 2, 1)
    usable = (present[0] >= needed) & (present[1] >= needed)
    share = np.where(usable, totals[0] + totals[1], 0.0)
    whole = share.sum(axis=0)
    found = (np.where(usable, difference, 0.0) * share).sum(axis=0) / np.where(whole > 0, whole, 1.0)
    return np.where((usable.sum(axis=0) >= 2) & (clusters >= 2), found, np.nan)
