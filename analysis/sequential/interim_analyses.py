"""When a running sequence may move: once for each draw of a design, after the last day that the draw decides."""

from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from analysis.panel_data.panel import BoolArray, IntArray
from analysis.panel_data.study import State
from analysis.sequential.block_sums import BlockPlan
from controller.definition.experiment import Experiment
from controller.definition.parameters import (
    BlockedSwitchback,
    Crossover,
    RandomDays,
    StaggeredRollout,
    TimeBound,
    Triggered,
    fraction,
)
from controller.designs import design_of
from controller.errors import NotEstimable


def plans_of(experiment: Experiment) -> list[BlockPlan]:
    """The draws of an experiment in the order in which they close.

    Raises:
        NotEstimable: triggered entries, which have no common calendar.
    """
    plans = PLANS[type(experiment.design)](experiment)
    return sorted((plan for plan in plans if len(plan.rows)), key=lambda plan: int(plan.rows[-1]))


def points_of(experiment: Experiment) -> list[int]:
    """The rows on which a switchback tosses its coins.

    Raises:
        NotEstimable: the design is no switchback.
    """
    if isinstance(experiment.design, RandomDays):
        return list(range(experiment.days))
    if isinstance(experiment.design, BlockedSwitchback):
        own = _block_of_each_day(experiment)
        return [int(np.flatnonzero(own == label)[0]) for label in np.unique(own[own >= 0])]
    raise NotEstimable("only designs in which clusters change arms from block to block can tell")


def _block_of_each_day(experiment: Experiment) -> IntArray:
    """(days,) -1 where a day lies in no block."""
    design = design_of(experiment)
    blocks = [design.block_on(experiment, experiment.start + timedelta(days=k)) for k in range(experiment.days)]
    return np.array([-1 if block is None else block.index for block in blocks], dtype=np.int64)


def _each_day(experiment: Experiment) -> list[BlockPlan]:
    """A day; with weekday balance the same weekday of as many weeks as there are arms, foretold from earlier weeks."""
    assert isinstance(experiment.design, RandomDays)
    return list(_days(experiment.days, len(experiment.arms), experiment.design.weekday_balance))


@lru_cache(maxsize=256)
def _days(days: int, arms: int, weekday_balance: bool) -> tuple[BlockPlan, ...]:
    """Many experiments of a shop have the same calendar."""
    day = np.arange(days)
    if not weekday_balance:
        return tuple(BlockPlan(int(row), np.array([row]), int(row)) for row in day)
    cohort = 7 * arms
    draw = day // cohort * 7 + day % 7
    return tuple(BlockPlan(int(one), np.flatnonzero(draw == one), int(one) // 7 * cohort) for one in np.unique(draw))


def _each_block(experiment: Experiment) -> list[BlockPlan]:
    """A block, less the first days on which without a burn-in the arm before may still act."""
    assert isinstance(experiment.design, BlockedSwitchback)
    skipped = 0 if experiment.design.burn_in_days else experiment.carryover_order
    own = _block_of_each_day(experiment)
    plans = []
    for label in np.unique(own[own >= 0]):
        rows = np.flatnonzero(own == label)
        plans.append(BlockPlan(int(label), rows[skipped:], int(rows[0])))
    return plans


def _once(experiment: Experiment) -> list[BlockPlan]:
    """One draw decides all: one look, at the end."""
    return [BlockPlan(0, np.arange(experiment.days), 0)]


def _steps(experiment: Experiment) -> list[BlockPlan]:
    """From one step to the next: those that entered at it against those that had not entered yet."""
    assert isinstance(experiment.design, StaggeredRollout)
    starts = [step.day - 1 for step in experiment.design.steps]
    return [
        BlockPlan(number, np.arange(start, end), start)
        for number, (start, end) in enumerate(zip(starts, [*starts[1:], experiment.days], strict=True), 1)
    ]


def _never(experiment: Experiment) -> list[BlockPlan]:
    raise NotEstimable(
        "triggered entries have clocks of their own: there are no blocks to look after; wait for the planned day"
    )


PLANS: dict[type, Callable[[Experiment], list[BlockPlan]]] = {
    RandomDays: _each_day,
    BlockedSwitchback: _each_block,
    TimeBound: _once,
    Crossover: _once,
    StaggeredRollout: _steps,
    Triggered: _never,
}


def compared(experiment: Experiment, during: NDArray[np.int8], plan: BlockPlan, arm: int) -> BoolArray:
    """(k, U) cells of a draw that are under an arm or under control; ``during`` (T, U), the arms and States held.

    In a staggered roll-out, units that entered at an earlier step are no part of this one.
    """
    cells = during[plan.rows]
    kept = (cells == 0) | (cells == arm)
    if isinstance(experiment.design, StaggeredRollout):
        before = during[: plan.known_before]
        kept &= ~((before == 1) | (before == State.WASHOUT)).any(axis=0)
    return np.asarray(kept)


def variance_factor(experiment: Experiment, arm: int) -> float:
    """``(1 / p_arm + 1 / p_control) / 4``: how much wider than with exact halves, the average over draws."""
    if isinstance(experiment.design, StaggeredRollout):
        treated = np.array([float(fraction(step.share)) for step in experiment.design.steps])
        entering, left = np.diff(np.r_[0.0, treated]), 1.0 - treated
        telling = (entering > 0.0) & (left > 0.0)
        return float((1.0 / entering[telling] + 1.0 / left[telling]).mean() / 4.0) if telling.any() else 1.0
    shares = experiment.shares()
    return float(1 / shares[arm] + 1 / shares[0]) / 4.0
