"""What became of each arm's unit-days: sold, zeros, missing and why, sold out, corrected, late."""

from dataclasses import replace
from typing import Literal

import numpy as np

from analysis.panel import FloatArray
from analysis.study import Metric, State, UnitDays, Unseen, numbers
from controller.events import ArmCells
from controller.experiment import Experiment

SoldOutPolicy = Literal["zero", "missing"]


def arm_cells(days: UnitDays, experiment: Experiment) -> dict[str, ArmCells]:
    """Arm -> counts over the unit-days that the draw gave it and that no rule leaves out."""
    begin = slice(days.before, None)
    state, events = days.state[begin], days.events[begin]
    unseen, late = days.unseen[begin], days.late[begin]
    corrected, sold_out = days.corrected[begin], days.out_of_stock[begin] == 1
    found = {}
    for number, arm in enumerate(experiment.arms):
        mine = state == number
        why = np.bincount(unseen[mine], minlength=len(Unseen))
        sold = int(np.count_nonzero(mine & (events > 0)))
        found[arm.name] = ArmCells(
            cells=int(np.count_nonzero(mine)),
            sold=sold,
            zeros=int(why[Unseen.OBSERVED]) - sold,
            missing={reason.name.lower(): int(why[reason]) for reason in Unseen if reason and why[reason]},
            sold_out=int(np.count_nonzero(mine & sold_out)),
            corrected=int(np.count_nonzero(mine & corrected)),
            events=int(events[mine].sum(dtype=np.int64)),
            late_events=int(late[mine].sum(dtype=np.int64)),
        )
    return found


def any_sold_out(days: UnitDays) -> bool:
    """Whether the catalog said of any unit-day under an arm that it was out of stock."""
    begin = slice(days.before, None)
    return bool(((days.assigned[begin] >= 0) & (days.out_of_stock[begin] == 1)).any())


def under_policy(days: UnitDays, policy: SoldOutPolicy) -> UnitDays:
    """The unit-days with those that were out of stock counted, or left out."""
    state = days.state.copy()
    during, assigned = state[days.before :], days.assigned[days.before :]
    if policy == "missing":
        during[(during >= 0) & (days.out_of_stock[days.before :] == 1)] = State.SOLD_OUT
    else:
        np.copyto(during, assigned, where=during == State.SOLD_OUT)
    return replace(days, state=state)


def cluster_shares(days: UnitDays, metric: Metric) -> FloatArray:
    """(G,) each cluster's share of control's outcome: the means of its units under control and before, added up.

    Empty where nothing is known, or the outcomes do not add up to something positive.
    """
    mean = np.zeros(days.state.shape[1])
    for first in range(0, len(mean), 4096):
        units = slice(first, first + 4096)
        values, known = numbers(days, metric, units)
        state = days.state[:, units]
        cells = known & ((state == 0) | (state == State.PRE_PERIOD))
        mean[units] = np.where(cells, values, 0.0).sum(axis=0) / np.maximum(cells.sum(axis=0), 1)
    total = np.bincount(days.cluster, mean)
    whole = float(total.sum())
    return total / whole if whole > 0 and (total >= 0).all() else np.zeros(0)
