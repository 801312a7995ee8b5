"""Running sequences: one look for each closed draw, published whole, and the last look beside each estimate."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from math import isfinite
from typing import Literal

import numpy as np
from scipy import special

from analysis.panel_data.analysis_context import CONFIDENCE, METRICS, Case, Metric
from analysis.panel_data.panel import FloatArray
from analysis.panel_data.study import State, UnitDays, outcome
from analysis.randomised.effects import cluster_weights
from analysis.sequential.block_differences import BlockDifferences
from analysis.sequential.block_sums import (
    TOO_FEW,
    BlockPlan,
    BlockSum,
    BlockSums,
    Levels,
    block_sums,
    clusters_of,
    differences,
)
from analysis.sequential.confidence_sequences import Sequence, confidence_sequence, expected_variance
from analysis.sequential.interim_analyses import compared, variance_factor
from analysis.sequential.relative_sequences import relative_looks
from controller.definition.experiment import Experiment
from controller.definition.parameters import BlockedSwitchback
from controller.errors import NotEstimable
from controller.messages.events import AnytimeEffect
from controller.messages.findings import Look, RunningSequence
from controller.validation.cluster_minima import NEEDS, requirement

METHOD = "block_sequence"
ALPHA = 1.0 - CONFIDENCE
#: with fewer clusters in an arm its variance says too little for an interval at any time
CLUSTERS_NEEDED = NEEDS["always_valid"].an_arm
SPENT = "spent on planning the interval, because there is no pre-period to plan it from"

Sums = dict[tuple[Metric, int], BlockSums]


def advance(sums: Sums, days: UnitDays, experiment: Experiment, plans: list[BlockPlan], changed: date | None) -> None:
    """Add the draws that have closed; those that rest on a day from ``changed`` on are added anew.

    What closed before ``changed`` stays: a closed day costs its own cells.
    """
    closed = len(days.state) - days.before
    changed_row = closed if changed is None else (changed - days.first_day).days - days.before
    clusters = clusters_of(days.cluster)
    weight = cluster_weights(days) if experiment.target == "total" else None
    during = days.state[days.before :]
    for arm in range(1, len(experiment.arms)):
        every = [_kept(sums, days, metric, arm, changed_row) for metric in METRICS]
        for plan in plans[len(every[0].done) :]:
            if int(plan.rows[-1]) >= closed:
                break
            left_out = ~compared(experiment, during, plan, arm)
            values = []
            for metric, held in zip(METRICS, every, strict=True):
                _foretell(held.levels, days, metric, plan.known_before)
                value = outcome(days, metric, rows=days.before + plan.rows)
                value[left_out] = np.nan
                values.append(value)
            forecasts = [held.levels.forecast() for held in every]
            found = block_sums(plan, values, during[plan.rows] == arm, forecasts, clusters, weight)
            for held, one in zip(every, found, strict=True):
                held.done.append(one)


def _kept(sums: Sums, days: UnitDays, metric: Metric, arm: int, changed_row: int) -> BlockSums:
    """What was added up before the first row that changed; of all metrics as much."""
    held = sums.get((metric, arm))
    if held is None or changed_row < 0:
        held = sums[metric, arm] = BlockSums(_levels(days, metric))
    held.done = [one for one in held.done if one.last < changed_row]
    if held.levels.row > changed_row:
        held.levels = _levels(days, metric)
    return held


def _levels(days: UnitDays, metric: Metric) -> Levels:
    """The units' levels from the pre-period."""
    levels = Levels(np.zeros(days.state.shape[1]), np.zeros(days.state.shape[1], dtype=np.int64), -days.before)
    _foretell(levels, days, metric, 0)
    return levels


def _foretell(levels: Levels, days: UnitDays, metric: Metric, until: int) -> None:
    """Take in the days before a row, a few at a time."""
    while levels.row < until:
        rows = slice(days.before + levels.row, days.before + min(until, levels.row + 8))
        value, state = outcome(days, metric, rows=rows), days.state[rows]
        value[(state < 0) & (state != State.PRE_PERIOD)] = np.nan
        levels.add(value)


def sequence_of(
    case: Case,
    metric: Metric,
    arm: int,
    sums: BlockSums | None,
    plans: list[BlockPlan] | str,
    left_out: Mapping[str, int],
) -> RunningSequence:
    """The whole sequence as it is published; ``plans``: the design's draws, or why it has none to look after."""
    experiment = case.roster.experiment
    if isinstance(plans, str) or sums is None:
        found = _Found((), None, None, (), {}, plans if isinstance(plans, str) else None)
    else:
        closed = len(case.days.state) - case.days.before
        found = _found(case, metric, arm, plans, [one for one in sums.done if one.last < closed])
    decided = next((look for look in found.looks if _side(look) is not None), None)
    return RunningSequence(
        metric=metric,
        arm=experiment.arms[arm].name,
        method=METHOD,
        target=experiment.target,
        alpha=round(ALPHA, 12),
        looks=found.looks,
        reason_absent=found.reason,
        planned_day=experiment.end - timedelta(days=1),
        planned_looks=0 if isinstance(plans, str) else len(plans),
        planned_variance=found.planned_variance,
        mixing=found.mixing,
        decided=None if decided is None else _side(decided),
        decided_on=None if decided is None else decided.last_day,
        blocks_left_out=found.left_out,
        left_out=dict(left_out),
        cells=sum(one.cells for one in found.used),
        settings=settings_of(experiment),
        **case.words,
    )


def settings_of(experiment: Experiment) -> dict[str, str | int | float | bool]:
    """What else decided the number."""
    design = experiment.design
    settings: dict[str, str | int | float | bool] = {
        "design": design.kind,
        "carryover_order": experiment.carryover_order,
    }
    for name in ("washout_days", "burn_in_days", "weekday_balance"):
        if hasattr(design, name):
            settings[name] = getattr(design, name)
    return settings


def anytime(sequence: RunningSequence) -> tuple[AnytimeEffect | None, str | None]:
    """The last look, or why there is none."""
    if not sequence.looks:
        return None, sequence.reason_absent
    last = sequence.looks[-1]
    if last.ci_low is None or last.ci_high is None:
        return None, "the interval is still open on one side"
    effect = AnytimeEffect(
        value=last.effect,
        ci_low=last.ci_low,
        ci_high=last.ci_high,
        p=last.p,
        blocks=len(sequence.looks),
        relative=last.relative,
        relative_low=last.relative_low,
        relative_high=last.relative_high,
    )
    return effect, None


@dataclass(frozen=True, slots=True)
class _Found:
    looks: tuple[Look, ...]
    planned_variance: float | None
    mixing: float | None
    used: tuple[BlockSum, ...]
    left_out: dict[str, str]
    reason: str | None


def _found(case: Case, metric: Metric, arm: int, plans: list[BlockPlan], done: list[BlockSum]) -> _Found:
    experiment = case.roster.experiment
    left_out = {str(one.label): one.reason or TOO_FEW for one in done if one.difference is None}
    used = [one for one in done if one.difference is not None]
    if not used:
        reason = _no_block(experiment, plans, done)
        return _Found((), None, None, (), left_out, reason)
    try:
        try:
            planned = _planned_variance(case, metric, arm, plans)
        except NotEstimable:
            first, used = used[0], used[1:]
            left_out[str(first.label)] = SPENT
            planned = sum(first.arm_variance) * max(len(plans) - 1, 1)
            if not used:
                return _Found((), None, None, (), left_out, f"the only block so far is {SPENT}")
        blocks = differences(used)
        sequence = confidence_sequence(blocks, planned_variance=planned, alpha=ALPHA)
    except NotEstimable as absent:
        return _Found((), None, None, (), left_out, str(absent))
    looks = _looks(experiment, used, blocks, sequence)
    return _Found(looks, planned, sequence.mixing, tuple(used), left_out, None)


def _no_block(experiment: Experiment, plans: list[BlockPlan], done: list[BlockSum]) -> str:
    if done:
        return (
            "no closed block has two clusters or more with usable cells in each arm;"
            f" {requirement('always_valid', len(experiment.arms))}"
        )
    design = experiment.design
    if isinstance(design, BlockedSwitchback) and not plans:
        return (
            f"no block is longer than the carryover order of {experiment.carryover_order} days: no day of it is clean"
        )
    ends = experiment.start + timedelta(days=int(plans[0].rows[-1]))
    return f"no block has closed yet: the first one does with {ends}"


def _planned_variance(case: Case, metric: Metric, arm: int, plans: list[BlockPlan]) -> float:
    """S*, from the pre-period alone: its first half foretells the second, which is cut into blocks."""
    days, half = case.days, case.days.before // 2
    if not half:
        raise NotEstimable("no pre-period: the interval is planned from two days or more before the start")
    value = outcome(days, metric, rows=slice(0, days.before))
    value[days.state[: days.before] != State.PRE_PERIOD] = np.nan
    levels = Levels(np.zeros(value.shape[1]), np.zeros(value.shape[1], dtype=np.int64), 0)
    levels.add(value[:half])
    later = value[half:]
    seen = np.isfinite(later)
    clusters = clusters_of(days.cluster)
    units = clusters.sums(seen)
    residual = clusters.sums(np.where(seen, later - levels.forecast(), 0.0))
    means = np.divide(residual, units, out=np.full(units.shape, np.nan), where=units > 0)
    # A draw that is longer than half of the history is planned for by the longest blocks that fit: shorter ones vary
    # more, so the interval is a little wider than it need be. The plan tunes its width, never its validity.
    length = min(int(np.median([len(plan.rows) for plan in plans])), len(later))
    expected = expected_variance(means.T, length, len(plans)) * variance_factor(case.roster.experiment, arm)
    weight = cluster_weights(days) if case.roster.experiment.target == "total" else None
    if weight is not None:
        # The mean of clusters with shares h of the weight varies as one of 1 / sum h^2 clusters.
        expected *= len(weight) * float(np.square(weight / weight.sum()).sum())
    if not expected > 0.0:
        raise NotEstimable("the pre-period does not vary")
    return expected


def _looks(
    experiment: Experiment, used: list[BlockSum], blocks: BlockDifferences, sequence: Sequence
) -> tuple[Look, ...]:
    freedom = _freedom(used, blocks)
    quantile = np.full(len(used), np.nan)
    quantile[freedom > 0.0] = -special.stdtrit(freedom[freedom > 0.0], ALPHA / 2.0)
    fixed_low, fixed_high = (side.tolist() for side in _fixed(blocks, quantile))
    assert sequence.mixing is not None
    found = relative_looks(used, sequence.mixing, ALPHA, quantile**2)
    relative = [_plain(side) for side in (found.effect, found.low, found.high, found.fixed_low, found.fixed_high)]
    control = (np.cumsum(blocks.arm_mean[0]) / np.arange(1, len(used) + 1)).tolist()
    difference, error = blocks.difference.tolist(), [one**0.5 for one in blocks.variance.tolist()]
    treated, under_control = blocks.clusters_treated.tolist(), blocks.clusters_control.tolist()
    effect, lower, upper = (part.tolist() for part in (sequence.effect, sequence.lower, sequence.upper))
    p = [None] * len(used) if sequence.p is None else sequence.p.tolist()
    return tuple(
        Look(
            block=one.label,
            first_day=experiment.start + timedelta(days=one.first),
            last_day=experiment.start + timedelta(days=one.last),
            difference=difference[k],
            difference_se=error[k],
            clusters_treated=treated[k],
            clusters_control=under_control[k],
            effect=effect[k],
            ci_low=_finite(lower[k]),
            ci_high=_finite(upper[k]),
            p=p[k],
            fixed_low=_finite(fixed_low[k]),
            fixed_high=_finite(fixed_high[k]),
            control_mean=control[k],
            relative=relative[0][k],
            relative_low=relative[1][k],
            relative_high=relative[2][k],
            relative_fixed_low=relative[3][k],
            relative_fixed_high=relative[4][k],
        )
        for k, one in enumerate(used)
    )


def _freedom(used: list[BlockSum], blocks: BlockDifferences) -> FloatArray:
    """(K,) degrees of freedom of the fixed interval at each look, as `blocks.mean_of_blocks`; 0 at the first."""
    sizes = np.maximum(np.array([one.sizes for one in used]).T - 1.0, 1.0)
    total, parts = np.cumsum(blocks.variance), np.cumsum((blocks.arm_variance**2 / sizes).sum(axis=0))
    clusters = np.maximum.accumulate(np.array([sum(one.sizes) for one in used]))
    freedom = np.maximum(clusters - 2.0, np.divide(total**2, parts, out=np.zeros(len(used)), where=parts > 0.0))
    freedom[(np.arange(len(used)) < 1) | (total <= 0.0)] = 0.0
    return np.asarray(freedom)


def _fixed(blocks: BlockDifferences, quantile: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(K,) the fixed-horizon interval had one stopped at each look: `blocks.mean_of_blocks`, for all at once."""
    count = np.arange(1, len(blocks.difference) + 1)
    mean, total = np.cumsum(blocks.difference) / count, np.cumsum(blocks.variance)
    half = quantile * np.sqrt(total) / count
    return mean - half, mean + half


def _plain(values: FloatArray) -> list[float | None]:
    return [_finite(value) for value in values.tolist()]


def _side(look: Look) -> Literal["decrease", "increase"] | None:
    if look.ci_low is not None and look.ci_low > 0.0:
        return "increase"
    return "decrease" if look.ci_high is not None and look.ci_high < 0.0 else None


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
