"""The difference between arms on each cluster's own clock, for entries that come one by one.

Estimand: the average over entries of the effect of the arm on the cluster's mean outcome per unit-day, over the clean
days of the entry; relative: that over the average of control's (counterfactual) outcome on the same days, so that a
constant multiplicative effect E has the relative effect E.

Estimator: what a unit would have sold is forecast from cells that are free (on control, in no entry, with what came
before worn off): its level plus what the day did to everyone, by least squares on the free cells alone, the pre-period
among them (as in Borusyak, Jaravel and Spiess, arXiv 2108.12419). An entry's outcome is the mean over its clean days of
what was sold less that forecast; then the mean over treated entries minus the mean over control entries. Which cells
are free, and which days count, was fixed before the coin fell: no bias, whatever the effects, as long as rivals do not
choose whom to move against by our arms (`controller.decisions.triggers.reaction_p_value` looks at that).

Variance: each entry has a coin of its own, so ``s_T^2/n_T + s_C^2/n_C`` over entries (Neyman 1923), with Welch's
degrees of freedom. An entry that is not over is left out: its first days would weigh more than those of others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from analysis.randomised.cluster_day import ClusterDayDifference
from analysis.randomised.cluster_weights import FormSums, inflation
from analysis.randomised.relative_effect import Spread, absolute_effect, relative_effect
from controller.errors import NotEstimable

#: fewer entries of an arm tell nothing of their own spread
ENTRIES_AN_ARM = 2
#: turns of the least squares, and the largest change of a day's effect at which they end, of the largest outcome
MOST_TURNS, CONVERGED = 500, 1e-12


@dataclass(frozen=True, slots=True)
class Clock:
    """One entry: a cluster and an arm over rows [first, end), its first rows thrown out."""

    cluster: int
    arm: int
    first: int
    #: the first row that counts
    clean: int
    end: int


def event_time_difference(
    outcome: FloatArray,
    free: BoolArray,
    cluster: IntArray,
    entries: Sequence[Clock],
    arm: int,
    confidence: float = 0.95,
    weight: FloatArray | None = None,
) -> ClusterDayDifference:
    """The effect of one arm against control over entries that are over.

    Args:
        outcome: (T, U), unit-days; NaN where a cell was not observed or must not be used.
        free: (T, U), units on control and in no entry, with whatever they were under before worn off.
        cluster: (U,), the cluster of each unit.
        entries: those that are over at row T; rows of days, the pre-period included.
        arm: index of the arm that is compared with arm 0.
        confidence: of the two-sided intervals.
        weight: (G,), what an entry of each cluster counts for; when absent, all count the same.

    Raises:
        NotEstimable: fewer than two entries of an arm with a clean day and a free day before it, or constant outcomes.
            The message is what is published in place of the number.
    """
    observed = np.isfinite(outcome)
    forecast = additive_forecast(outcome, free & observed)
    known = np.isfinite(forecast)
    left_out = {"no_forecast": 0, "no_clean_day": 0}
    residual: dict[int, list[float]] = {0: [], arm: []}
    base: list[float] = []
    of: dict[int, list[float]] = {0: [], arm: []}
    every: list[float] = []
    cells, days, clusters, seen = 0, set[int](), set[int](), set[int]()
    for entry in entries:
        if entry.arm not in residual:
            continue
        units = np.flatnonzero(cluster == entry.cluster)
        shown, foretold = (mask[entry.clean : entry.end, units] for mask in (observed, known))
        clean = shown & foretold
        left_out["no_forecast"] += int((shown & ~foretold).sum())
        usable = clean.any(axis=0)
        left_out["no_clean_day"] += int((~usable).sum())
        if not usable.any():
            continue
        units, clean = units[usable], clean[:, usable]
        predicted = _mean(forecast[entry.clean : entry.end, units], clean)
        value = _mean(outcome[entry.clean : entry.end, units], clean)
        residual[entry.arm].append(float((value - predicted).mean()))
        base.append(float(predicted.mean()))
        of[entry.arm].append(1.0 if weight is None else float(weight[entry.cluster]))
        every.append(of[entry.arm][-1])
        cells += int(clean.sum())
        days |= set((entry.clean + np.flatnonzero(clean.any(axis=1))).tolist())
        clusters.add(entry.cluster)
        seen |= set(units.tolist())
    treated, control = (np.array(residual[which]) for which in (arm, 0))
    fewest = min(len(treated), len(control))
    if fewest < ENTRIES_AN_ARM:
        raise NotEstimable(
            f"{len(treated)} entries with the arm and {len(control)} with control are over and have days to compare:"
            f" {ENTRIES_AN_ARM} of each are needed"
        )
    arms = [_weighted(values, np.array(of[which])) for values, which in ((treated, arm), (control, 0))]
    tau = arms[0].mean - arms[1].mean
    counterfactual = float(np.average(base, weights=every)) + arms[1].mean
    spread = Spread(arms[0].variance, 0.0, arms[1].variance)
    variance = spread.variance(1.0)
    if variance <= 0:
        raise NotEstimable("outcomes do not vary within arms: there is no variation to judge an effect by")
    freedom = variance**2 / sum(one.variance**2 / one.freedom for one in arms)
    relative, absent = relative_effect(tau, counterfactual, spread, freedom, confidence)
    return ClusterDayDifference(
        absolute=absolute_effect(tau, variance, freedom, confidence),
        relative=relative,
        relative_absent=absent,
        control_mean=counterfactual,
        clusters=len(clusters),
        groups=len(treated) + len(control),
        days=len(days),
        units=len(seen),
        cells=cells,
        left_out={reason: count for reason, count in left_out.items() if count},
    )


@dataclass(frozen=True, slots=True)
class _Mean:
    """A weighted mean of entries, its variance, and the degrees of freedom of that."""

    mean: float
    variance: float
    freedom: float


def _weighted(values: FloatArray, weight: FloatArray) -> _Mean:
    share = weight / weight.sum()
    mean = float(share @ values)
    form = share**2 * inflation(share, np.square(share).sum())
    forms = FormSums(())
    forms.add((), weight, form)
    return _Mean(mean, float(form @ (values - mean) ** 2), float(forms.freedom()))


def additive_forecast(outcome: FloatArray, free: BoolArray) -> FloatArray:
    """(T, U) level of the unit plus effect of the day, by least squares on the free cells; NaN where one is not known.

    Solved by turns (Gauss and Seidel): O(T U) a turn, and few turns where most cells are free.
    """
    filled = np.where(free, outcome, 0.0)
    by_unit, by_day = free.sum(axis=0), free.sum(axis=1)
    level, day = np.zeros(free.shape[1]), np.zeros(free.shape[0])
    scale = float(np.abs(filled).max(initial=0.0))
    for _ in range(MOST_TURNS):
        level = (filled - np.where(free, day[:, np.newaxis], 0.0)).sum(axis=0) / np.maximum(by_unit, 1)
        before = day
        day = (filled - np.where(free, level, 0.0)).sum(axis=1) / np.maximum(by_day, 1)
        if float(np.abs(day - before).max(initial=0.0)) <= CONVERGED * scale:
            break
    known = (by_day > 0)[:, np.newaxis] & (by_unit > 0)
    return np.where(known, level + day[:, np.newaxis], np.nan)


def _mean(values: FloatArray, chosen: BoolArray) -> FloatArray:
    """(U,) means of the chosen cells of each column, which has at least one."""
    mean: FloatArray = np.where(chosen, values, 0.0).sum(axis=0) / chosen.sum(axis=0)
    return mean
