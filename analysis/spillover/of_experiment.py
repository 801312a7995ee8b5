"""An experiment's unit-days under a graph of substitutes: naive, direct, total and spillover, as they are published."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from analysis.panel_data.analysis_context import METRICS, Case, Metric
from analysis.panel_data.design_facts import NO_PRE_PERIOD, method_of
from analysis.panel_data.study import State, numbers
from analysis.panel_data.substitutes import Substitutes, weights_between
from analysis.spillover.effects import Rows, SpilloverEffects, chances_of, effects_of_rows
from analysis.spillover.exposure import Chances, Floats, exact_chances, redraws, share_treated
from controller.definition.experiment import Experiment
from controller.definition.parameters import BlockedSwitchback, Crossover, RandomDays, TimeBound, Triggered
from controller.errors import NotEstimable
from controller.schedule import redraw

#: Assignments behind each probability that has no formula.
REDRAWS = 1000
#: So many redraws tell days of one assignment from days of two.
TOLD_BY = 12
#: A cluster with more of the weight of substitution decides the result.
HEAVY = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """What the design says, whatever was sold."""

    #: Shape (days,), of the days so far: which stretch, and which draw decided it.
    stretch: NDArray[np.intp]
    draw: NDArray[np.intp]
    chances: Chances
    #: The probabilities follow from a formula.
    exact: bool


@dataclass(frozen=True, slots=True)
class Spillover:
    """What is said of one metric: effects, or why there are none."""

    graph: str
    effects: SpilloverEffects | None
    reason: str | None
    #: Share of the weight between the experiment's units that leaves its cluster, and the largest within one.
    cut: float
    heaviest: float
    #: The probabilities follow from a formula.
    exact: bool


def spillover_of(case: Case, substitutes: Substitutes) -> dict[Metric, Spillover]:
    """Each metric's effects on the unit-days of a case, in the metric's unit per unit-day."""
    weights = weights_between(substitutes, case.units)
    cut, heaviest = _weight_cut(weights, case.days.cluster)

    def absent(reason: str) -> Spillover:
        return Spillover(substitutes.version, None, reason, cut, heaviest, False)

    reason = _refused(case, weights, substitutes.version)
    if reason is not None:
        return {metric: absent(reason) for metric in METRICS}
    plan = plan_of(case, weights)
    found = {}
    for metric in METRICS:
        try:
            effects = effects_of_rows(rows_of(case, metric, weights, plan), weights, plan.chances)
            found[metric] = Spillover(substitutes.version, effects, None, cut, heaviest, plan.exact)
        except NotEstimable as why:
            found[metric] = absent(str(why))
    return found


def _refused(case: Case, weights: sparse.csr_array, version: str) -> str | None:
    experiment = case.roster.experiment
    if len(experiment.arms) > 2:
        return "effects with spillover compare two arms, and this experiment has more"
    if isinstance(experiment.design, Triggered):
        return "in a triggered design events decide who is exposed to whom, and their probabilities are not known"
    if not weights.nnz:
        return (
            f"graph {version} has no pair among the experiment's units: only the naive number can be given;"
            " build a graph of these products"
        )
    return None


def _weight_cut(weights: sparse.csr_array, cluster: NDArray[np.int64]) -> tuple[float, float]:
    entries = sparse.coo_array(weights)
    total = float(entries.data.sum())
    if not total > 0:
        return 0.0, 0.0
    kept = cluster[entries.row] == cluster[entries.col]
    within = np.bincount(cluster[entries.row[kept]], entries.data[kept], minlength=1)
    return 1 - float(within.sum()) / total, float(within.max()) / total


def plan_of(case: Case, weights: sparse.csr_array) -> Plan:
    """Stretches, draws and probabilities of a case's days; the same whatever was sold."""
    experiment = case.roster.experiment
    days = len(case.days.state) - case.days.before
    told = redraw.redraws(experiment, TOLD_BY, case.roster.design_hash)[:, :, :days]
    _, stretch = np.unique(told.reshape(-1, days), axis=1, return_inverse=True)
    deciding = method_of(experiment).draws(experiment, days)
    draw = np.where(deciding.any(axis=1), deciding.shape[1] - 1 - deciding[:, ::-1].argmax(axis=1), -1)
    treated = treated_clusters(experiment)
    if treated is not None:
        return Plan(stretch.ravel(), draw, exact_chances(case.days.cluster, weights, treated), True)
    first = np.unique(stretch.ravel(), return_index=True)[1]
    arms = redraw.redraws(experiment, max(1, REDRAWS // len(first)), f"chances-{case.roster.design_hash}")
    pooled = arms[:, :, first].transpose(0, 2, 1).reshape(-1, arms.shape[1]) == 1
    return Plan(stretch.ravel(), draw, chances_of(redraws(pooled[:, case.days.cluster]), weights), False)


def treated_clusters(experiment: Experiment) -> dict[int, float] | None:
    """How many clusters a stretch treats, with probabilities, where any set of them is as likely; None otherwise."""
    balance = experiment.balance
    plain = isinstance(experiment.design, RandomDays | BlockedSwitchback | TimeBound | Crossover)
    if not plain or balance.strata is not None or balance.max_distance is not None:
        return None
    share = Fraction(1, 2) if isinstance(experiment.design, Crossover) else experiment.shares()[1]
    expected = len(experiment.cluster_names()) * share
    low = expected.numerator // expected.denominator
    rest = float(expected - low)
    return {low: 1 - rest, low + 1: rest} if rest else {low: 1.0}


def rows_of(case: Case, metric: Metric, weights: sparse.csr_array, plan: Plan) -> Rows:
    """Means of each unit's usable days in a stretch, less its mean over days that other draws, or none, decided.

    Raises:
        NotEstimable: no unit has both.
    """
    days, before = case.days, case.days.before
    values, known = numbers(days, metric)
    draw, stretch = (np.r_[np.full(before, -1), part] for part in (plan.draw, plan.stretch))
    usable = known & (days.state >= 0)
    usable[:before] = False
    undrawn = draw < 0
    history = (known & (days.state == State.PRE_PERIOD)) | (usable & undrawn[:, None])
    treated = days.assigned == 1
    share = share_treated(treated, weights)
    past = values
    if not method_of(case.roster.experiment).needs_pre_period:
        history |= usable
        past = _less_arms(values, history, treated, np.nan_to_num(share))
    centred = _less_day(past, history)
    level, seen = centred.sum(axis=0), history.sum(axis=0)
    parts: list[tuple[NDArray[np.generic], ...]] = []
    for one in np.unique(plan.stretch[plan.draw >= 0]):
        at = stretch == one
        which = int(draw[at][0])
        # A unit whose arm changed within the stretch, as after a blackout, counts with the arm of most of its days.
        arm = 2 * (usable[at] & treated[at]).sum(axis=0) > usable[at].sum(axis=0)
        cells = usable[at] & (treated[at] == arm)
        own = history & (draw == which)[:, None] if which >= 0 else np.zeros_like(history)
        forecast, behind = level - np.where(own, centred, 0).sum(axis=0), seen - own.sum(axis=0)
        there = np.flatnonzero(cells.any(axis=0) & (behind > 0))
        cells = cells[:, there]
        mean = np.where(cells, values[at][:, there], 0).sum(axis=0) / cells.sum(axis=0)
        neighbours = np.where(cells, share[at][:, there], 0).sum(axis=0) / cells.sum(axis=0)
        same = np.ones(len(there), dtype=np.intp)
        parts.append((mean - forecast[there] / behind[there], arm[there], neighbours, there, one * same, which * same))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    if not columns or not len(columns[0]):
        raise NotEstimable(NO_PRE_PERIOD)
    outcome, arms, shares, unit, of_stretch, of_draw = columns
    return Rows(outcome, arms, shares, unit, of_stretch, of_draw, days.cluster[unit])


def _less_day(values: Floats, cells: NDArray[np.bool_]) -> Floats:
    """Cells less their day's mean over units, 0 elsewhere: units were not all seen on the same days."""
    kept = np.where(cells, values, 0.0)
    mean = kept.sum(axis=1) / np.maximum(cells.sum(axis=1), 1)
    return np.where(cells, kept - mean[:, None], 0.0)


def _less_arms(values: Floats, cells: NDArray[np.bool_], treated: NDArray[np.bool_], share: Floats) -> Floats:
    """Cells less what a regression on the own arm and the neighbours' share gives them, beside units' and days' levels.

    A forecast from days under other arms would carry those arms' effects as noise; two numbers, fitted on all cells,
    take most of it off and know next to nothing of one draw.
    """
    columns = [_less_unit(_less_day(part, cells), cells)[cells] for part in (values, treated.astype(float), share)]
    slopes = np.linalg.lstsq(np.column_stack(columns[1:]), columns[0])[0]
    return np.asarray(values - slopes[0] * treated - slopes[1] * share)


def _less_unit(values: Floats, cells: NDArray[np.bool_]) -> Floats:
    return _less_day(values.T, cells.T).T
