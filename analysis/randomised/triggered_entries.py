"""Triggered designs: from the entries on the log and the unit-days to what the event-time estimator asks for."""

from collections.abc import Collection
from datetime import timedelta

import numpy as np

from analysis.panel_data.panel import BoolArray, FloatArray
from analysis.panel_data.study import State, UnitDays
from analysis.randomised.cluster_day import ClusterDayDifference
from analysis.randomised.event_time import Clock, event_time_difference
from controller.definition.experiment import Experiment
from controller.designs.entries import Entry
from controller.designs.triggered import entry_washout


def difference_by_entry(
    experiment: Experiment,
    entries: Collection[Entry],
    days: UnitDays,
    usable: FloatArray,
    arm: int,
    confidence: float,
    weight: FloatArray | None = None,
) -> ClusterDayDifference:
    """The effect of one arm over the entries that are over by the last day. Raises NotEstimable.

    ``usable``: (T, U) outcomes of control, of the arm and of the pre-period, NaN elsewhere. Within an entry only days
    count on which its own arm was shown.
    """
    number = {name: index for index, name in enumerate(experiment.cluster_names())}
    rows = len(days.state)
    outcome = usable.copy()
    free: BoolArray = (days.state == 0) | (days.state == State.PRE_PERIOD)
    clocks = []
    for entry in sorted(entries, key=lambda one: (one.first_day, one.cluster, one.trigger)):
        first, end = ((day - days.first_day).days for day in (entry.first_day, entry.end_day))
        units = np.flatnonzero(days.cluster == number[entry.cluster])
        within = slice(max(first, 0), min(end, rows))
        block = np.ix_(np.arange(rows)[within], units)
        outcome[block] = np.where(days.state[block] == entry.arm, outcome[block], np.nan)
        free[max(first, 0) : end + experiment.carryover_order, units] = False
        washed = sum(
            entry_washout(experiment, entry, entry.first_day + timedelta(days=k)) for k in range(min(end - first, rows))
        )
        if end <= rows:
            clocks.append(Clock(number[entry.cluster], entry.arm, first, first + washed, end))
    return event_time_difference(outcome, free, days.cluster, clocks, arm, confidence, weight)
