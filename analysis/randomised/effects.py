"""From an experiment's unit-days to the effects of its arms: every metric and arm, on the average and on the total."""

from collections.abc import Sequence

import numpy as np

from analysis.panel_data.analysis_context import CONFIDENCE, METRICS, Case, Metric
from analysis.panel_data.design_facts import NO_PRE_PERIOD, Method, method_of
from analysis.panel_data.panel import BoolArray, FloatArray
from analysis.panel_data.study import UNKNOWN, State, UnitDays, numbers, outcome
from analysis.randomised.cluster_day import ClusterDayDifference, ReadCells, Units, differences_by_chunks
from analysis.randomised.triggered_entries import difference_by_entry
from controller.definition.experiment import Target
from controller.definition.parameters import Triggered
from controller.errors import NotEstimable

#: an estimate, or why there is none
Answer = tuple[ClusterDayDifference | None, str | None]
Answers = dict[tuple[Metric, int], Answer]


def cluster_weights(days: UnitDays) -> FloatArray | None:
    """(G,) units of each cluster: what its mean counts for in the total. None where all have as many."""
    units = np.bincount(days.cluster)
    return None if len(np.unique(units)) <= 1 else units.astype(np.float64)


def effects_by_target(case: Case, days: UnitDays) -> dict[Target, Answers]:
    """Both targets' effects; the very same where all clusters have equally many units."""
    weight = cluster_weights(days)
    average = effects(case, days, None)
    return {"average": average, "total": average if weight is None else effects(case, days, weight)}


def effects(
    case: Case, days: UnitDays, weight: FloatArray | None, metrics_asked: Sequence[Metric] = METRICS
) -> Answers:
    """Each arm against control; ``weight`` (G,): what clusters count for, None where all count the same."""
    experiment = case.roster.experiment
    arms = range(1, len(experiment.arms))
    if isinstance(experiment.design, Triggered):
        return {(metric, arm): _by_entry(case, days, metric, arm, weight) for metric in metrics_asked for arm in arms}
    method = method_of(experiment)
    draws = draws_of(method, case)
    found: Answers = {}
    for arm in arms:
        for together in _read_together(days):
            metrics = [metric for metric in together if metric in metrics_asked]
            told = [one for one in metrics if not method.needs_pre_period or _has_history(draws, days, one, arm)]
            answers = _estimate(draws, days, told, arm, weight) if told else []
            found |= {(metric, arm): (None, NO_PRE_PERIOD) for metric in metrics}
            found |= {(metric, arm): answer for metric, answer in zip(told, answers, strict=True)}
    return found


def draws_of(method: Method, case: Case) -> BoolArray:
    """(T, L): none in the pre-period, then those of the design."""
    days = case.days
    during = method.draws(case.roster.experiment, len(days.state) - days.before)
    return np.vstack([np.zeros((days.before, during.shape[1]), dtype=np.bool_), during])


def _read_together(days: UnitDays) -> list[tuple[Metric, ...]]:
    """Metrics that are known in the same cells."""
    if (days.observed & (days.cost == UNKNOWN)).any():
        return [("units", "revenue"), ("margin",)]
    return [METRICS]


def _estimate(
    draws: BoolArray, days: UnitDays, metrics: Sequence[Metric], arm: int, weight: FloatArray | None
) -> list[Answer]:
    def read(units: Units) -> ReadCells:
        """The cells that may be used for an arm against control, and those of the pre-period."""
        state = days.state[:, units]
        treated = state == arm
        kept = state == 0
        kept |= treated
        kept |= state == State.PRE_PERIOD
        cells = [numbers(days, metric, units) for metric in metrics]
        kept &= cells[0][1]
        values = cells[0][0][np.newaxis] if len(cells) == 1 else np.stack([number for number, _ in cells])
        if not kept.all():
            values *= kept
        return values, kept, treated

    try:
        found = differences_by_chunks(read, len(metrics), len(days.state), days.cluster, CONFIDENCE, draws, weight)
    except NotEstimable as reason:
        return [(None, str(reason))] * len(metrics)
    return [(None, str(one)) if isinstance(one, NotEstimable) else (one, None) for one in found]


def _by_entry(case: Case, days: UnitDays, metric: Metric, arm: int, weight: FloatArray | None) -> Answer:
    """A triggered design, whose entries have clocks of their own."""
    values = outcome(days, metric)
    values[(days.state != 0) & (days.state != arm) & (days.state != State.PRE_PERIOD)] = np.nan
    try:
        return difference_by_entry(case.roster.experiment, case.entries, days, values, arm, CONFIDENCE, weight), None
    except NotEstimable as reason:
        return None, str(reason)


def _has_history(draws: BoolArray, days: UnitDays, metric: Metric, arm: int) -> bool:
    """Whether anything usable was read of a day on which nothing was drawn."""
    undrawn = np.flatnonzero(~draws.any(axis=1))
    state = days.state[undrawn]
    usable = np.isfinite(outcome(days, metric, rows=undrawn))
    return bool((usable & ((state == 0) | (state == arm) | (state == State.PRE_PERIOD))).any())
