"""What the analysis must know of each design: which draws decided a day's usable cells, and which cells are washed out.

Both follow from the calendar and from the arms that the log says were held, never from the seed, which an owner may
keep to himself until the end; and a flip that came late is washed out from the day on which it came.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from analysis.panel_data.panel import BoolArray, IntArray
from controller.definition.experiment import Experiment
from controller.definition.parameters import (
    BlockedSwitchback,
    Crossover,
    RandomDays,
    StaggeredRollout,
    TimeBound,
    Triggered,
)
from controller.designs import design_of


@dataclass(frozen=True, slots=True)
class Method:
    """How a design is estimated."""

    #: the name that estimates are published under
    estimator: str
    #: (experiment, days) -> (days, L), the draws that decided each day; no draw where everyone has control
    draws: Callable[[Experiment, int], BoolArray]
    #: (experiment, arm or a negative number (days, U)) -> (days, U), the cells that are washed out
    washout: Callable[[Experiment, IntArray], BoolArray]
    #: only the pre-period tells what a unit would have sold: its days are all of one draw
    needs_pre_period: bool


#: designs in which something else than a coin decides when a cluster is treated
UNDRAWN = (StaggeredRollout, Triggered)


def is_undrawn(experiment: Experiment) -> bool:
    """Whether an experiment gets a panel estimate beside the design-based one."""
    return isinstance(experiment.design, UNDRAWN)


def method_of(experiment: Experiment) -> Method:
    """How an experiment's design is estimated."""
    return METHODS[type(experiment.design)]


def _each_day(experiment: Experiment, days: int) -> BoolArray:
    """With weekday balance, one draw serves the same weekday of as many weeks as there are arms."""
    assert isinstance(experiment.design, RandomDays)
    day = np.arange(days)
    if experiment.design.weekday_balance:
        day = day // (7 * len(experiment.arms)) * 7 + day % 7
    return np.asarray(day[:, np.newaxis] == np.arange(day.max(initial=-1) + 1))


def _each_block(experiment: Experiment, days: int) -> BoolArray:
    """The draw of the day's block; and without a burn-in those of the blocks that its window reaches back to."""
    assert isinstance(experiment.design, BlockedSwitchback)
    design = design_of(experiment)
    blocks = [design.block_on(experiment, experiment.start + timedelta(days=k)) for k in range(days)]
    own = np.array([-1 if block is None else block.index for block in blocks], dtype=np.int64)
    reach = 0 if experiment.design.burn_in_days else experiment.carryover_order
    first = own[np.maximum(np.arange(days) - reach, 0)]
    label = np.arange(own.max(initial=-1) + 1)
    return (first[:, np.newaxis] <= label) & (label <= own[:, np.newaxis])


def _once(experiment: Experiment, days: int) -> BoolArray:
    return np.ones((days, 1), dtype=np.bool_)


def _entries(experiment: Experiment, days: int) -> BoolArray:
    """Before the first step nothing was drawn: those days are as good as a pre-period."""
    assert isinstance(experiment.design, StaggeredRollout)
    return (np.arange(days) >= experiment.design.steps[0].day - 1)[:, np.newaxis]


def _nowhere(experiment: Experiment, arm: IntArray) -> BoolArray:
    return np.broadcast_to(np.bool_(False), arm.shape)


def _by_calendar(experiment: Experiment, arm: IntArray) -> BoolArray:
    """Days that are washed out in all clusters alike."""
    design, anyone = design_of(experiment), experiment.cluster_names()[0]
    out = [design.washout(experiment, anyone, experiment.start + timedelta(days=k)) for k in range(len(arm))]
    return np.broadcast_to(np.array(out, dtype=np.bool_)[:, np.newaxis], arm.shape)


def _unless_held(experiment: Experiment, arm: IntArray) -> BoolArray:
    """The burn-in; without one, cells whose arm was not held on each of the carryover order's days before."""
    assert isinstance(experiment.design, BlockedSwitchback)
    if experiment.design.burn_in_days:
        return _by_calendar(experiment, arm)
    out = np.zeros(arm.shape, dtype=np.bool_)
    out[: experiment.carryover_order] = True
    for lag in range(1, min(experiment.carryover_order, len(arm)) + 1):
        out[lag:] |= arm[lag:] != arm[:-lag]
    return out


def _after_entry(experiment: Experiment, arm: IntArray) -> BoolArray:
    """The first days under treatment of each unit."""
    assert isinstance(experiment.design, StaggeredRollout)
    treated = arm == 1
    entered = np.where(treated.any(axis=0), treated.argmax(axis=0), len(arm))
    since = np.arange(len(arm))[:, np.newaxis] - entered
    return (since >= 0) & (since < experiment.design.washout_days)


ACROSS, SINCE, ENTRIES = "cluster_day_difference", "pre_period_difference", "event_time_difference"
#: design -> how it is estimated; all but the triggered one by analysis/randomised/cluster_day.py
METHODS: dict[type, Method] = {
    RandomDays: Method(ACROSS, _each_day, _nowhere, needs_pre_period=False),
    BlockedSwitchback: Method(ACROSS, _each_block, _unless_held, needs_pre_period=False),
    TimeBound: Method(SINCE, _once, _by_calendar, needs_pre_period=True),
    Crossover: Method(SINCE, _once, _by_calendar, needs_pre_period=True),
    StaggeredRollout: Method(SINCE, _entries, _after_entry, needs_pre_period=True),
    Triggered: Method(ENTRIES, _once, _nowhere, needs_pre_period=False),
}
NO_PRE_PERIOD = (
    "no pre-period: changes are measured against the days before the start, and none was read on which these units sold"
    " at list price; start the experiment some weeks after the sales begin"
)
