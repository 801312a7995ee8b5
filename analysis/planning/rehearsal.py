"""One rehearsal: a schedule from the production generator, an effect planted in what was sold, the production estimate.

The same schedule is estimated twice, without an effect (A/A) and with it, so that the bias is the difference of the
two less the effect, almost free of noise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np

from analysis.panel_data.design_facts import method_of
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from analysis.planning.candidates import Clusters
from analysis.randomised.cluster_day import Effect, cluster_day_difference
from controller.definition.experiment import Experiment
from controller.definition.money import NO_CURRENCY
from controller.errors import NotEstimable
from controller.schedule.calendar import Calendar, calendar, price_changes


@dataclass(frozen=True, slots=True)
class History:
    """What was sold before anybody experimented: T periods, U units."""

    #: U names, ``market/product``
    units: tuple[str, ...]
    #: (T, U), NaN where nothing is known
    outcome: FloatArray
    #: T labels, in the order of time
    periods: tuple[str, ...]
    #: days in a period: 1, or 7 where the history has weeks
    period_days: int
    #: units that are randomised together
    clusters: Clusters
    metric: str
    currency: str = NO_CURRENCY


@dataclass(frozen=True, slots=True)
class Truth:
    """The effect that is planted: a share of the outcome, for treatment that is held."""

    effect: float
    #: periods that an arm still acts after it ended
    carryover: int = 0
    #: part of the effect that comes from those periods, in equal parts
    carryover_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What one schedule showed, as shares of control's mean."""

    #: row of the history on which the experiment began
    first: int
    aa: Effect
    planted: Effect
    #: (periods, standard error) of beginnings of the experiment
    ladder: tuple[tuple[int, float], ...]
    #: price changes of a unit, mean over units: the first from control and the last back to it included
    changes: float


def pre_periods(period_days: int) -> tuple[int, int]:
    """The least and the most periods before the start that are used: two weeks and four periods, 56 periods."""
    return max(4, ceil(14 / period_days)), 56


def rehearse(
    history: History, experiment: Experiment, before: int, first: int, truth: Truth, *, rungs: int = 0
) -> Rehearsed:
    """Run ``experiment`` (its seed put in) from row ``first`` on, with ``before`` rows ahead of it as the pre-period.

    ``rungs``: also the standard errors after so many equal parts of the experiment, for designs that may end early.

    Raises:
        NotEstimable: the design gives no number on this history; the message says why.
    """
    plan = calendar(experiment)
    cluster = _columns(history.units, experiment, plan)
    held = plan.arms.T[:, cluster].astype(np.int64)
    sold = history.outcome[first - before : first + len(held)]
    method = method_of(experiment)
    arm = np.where(method.washout(experiment, held), -1, held)
    draws = method.draws(experiment, experiment.days)

    def estimate(outcome: FloatArray, days: int) -> Effect:
        inside = before + days
        usable = np.where(_padded(arm[:days] >= 0, before, filled=True), outcome[:inside], np.nan)
        drawn = _padded(draws[:days], before, filled=False)
        treated = _padded(arm[:days] == 1, before, filled=False)
        found = cluster_day_difference(usable, treated, cluster, draws=drawn).relative
        if found is None:
            raise NotEstimable("control's mean is not positive: choose a metric whose mean is")
        return found

    def error(days: int) -> float | None:
        try:
            return estimate(planted, days).se
        except NotEstimable:
            return None

    planted = sold.copy()
    planted[before:] *= 1.0 + truth.effect * exposure(held, truth)
    steps = (ceil(len(held) * k / rungs) for k in range(1, rungs))
    return Rehearsed(
        first,
        estimate(sold, len(held)),
        estimate(planted, len(held)),
        tuple((days, se) for days in steps if (se := error(days)) is not None),
        float(price_changes(plan.arms).mean()),
    )


def exposure(held: IntArray, truth: Truth) -> FloatArray:
    """(T, U): 1 where treatment was held for all of the carryover's periods, less where an arm is taking over."""
    treated: FloatArray = (held == 1).astype(np.float64)
    if truth.carryover == 0:
        return treated
    share: FloatArray = (1.0 - truth.carryover_share) * treated
    for lag in range(1, truth.carryover + 1):
        share[lag:] += truth.carryover_share / truth.carryover * treated[:-lag]
    return share


def covariates(history: History, experiment: Experiment, before: int, first: int) -> Experiment:
    """The experiment with what each cluster sold in its pre-period, where its balance asks for covariates."""
    if experiment.balance.strata != "covariates":
        return experiment
    sold = history.outcome[first - before : first]
    observed = np.isfinite(sold)
    mean = np.where(observed, sold, 0.0).sum(axis=0) / np.maximum(observed.sum(axis=0), 1)
    of_unit = experiment.cluster_by_unit()
    found: dict[str, list[float]] = {}
    for unit, value in zip(history.units, mean, strict=True):
        found.setdefault(of_unit[unit], []).append(float(value))
    values: Mapping[str, tuple[float]] = {name: (float(np.mean(v)),) for name, v in found.items()}
    balance = experiment.balance.model_copy(update={"covariates": values})
    return experiment.model_copy(update={"balance": balance})


def _columns(units: tuple[str, ...], experiment: Experiment, plan: Calendar) -> IntArray:
    of_unit = experiment.cluster_by_unit()
    number = {name: k for k, name in enumerate(plan.clusters)}
    return np.array([number[of_unit[unit]] for unit in units], dtype=np.int64)


def _padded(during: BoolArray, before: int, *, filled: bool) -> BoolArray:
    return np.vstack([np.full((before, during.shape[1]), filled), during])
