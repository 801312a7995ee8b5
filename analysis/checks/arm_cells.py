"""What became of each arm's unit-days, and both policies for those that were sold out."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from analysis.panel_data.cell_counts import by_unit
from analysis.panel_data.cluster_cells import CHUNK_CELLS, chunks_of
from analysis.panel_data.panel import FloatArray
from analysis.panel_data.study import Metric, State, UnitDays, Unseen, numbers
from controller.definition.experiment import Arm
from controller.messages.events import ArmCells

SoldOutPolicy = Literal["zero", "missing"]
#: in `UnitDays.out_of_stock`
SOLD_OUT = 1


def cells_by_arm(days: UnitDays, arms: Sequence[Arm]) -> dict[str, ArmCells]:
    """By the name of the arm, its unit-days since the start: those that the draw gave it and no rule leaves out."""
    begin, count = days.before, len(arms)
    #: per arm: cells, sold, zeros, sold out, corrected, events, late events
    found = np.zeros((count, 7), dtype=np.int64)
    missing = np.zeros((count, len(Unseen)), dtype=np.int64)
    for chunk in chunks_of(days.cluster, len(days.state) - begin):
        units = chunk.units
        state, observed = days.state[begin:, units], days.observed[begin:, units]
        events, late = days.events[begin:, units], days.late[begin:, units]
        sold = observed & (events > 0)
        empty = days.out_of_stock[begin:, units] == SOLD_OUT
        again = days.corrected[begin:, units]
        delayed, complete = bool(late.any()), bool(observed.all())
        marks = [mask if mask.any() else None for mask in (sold, empty, again)]
        for arm in range(count):
            cells = state == arm
            known = cells if complete else cells & observed
            number, seen = int(np.count_nonzero(cells)), int(np.count_nonzero(known))
            with_sale, out, corrected = (0 if m is None else int(np.count_nonzero(m & cells)) for m in marks)
            total = int(np.multiply(events, known).sum(dtype=np.int64))
            behind = int(np.multiply(late, known).sum(dtype=np.int64)) if delayed else 0
            found[arm] += (number, with_sale, seen - with_sale, out, corrected, total, behind)
            if seen < number:
                missing[arm] += np.bincount(days.unseen[begin:, units][cells & ~observed], minlength=len(Unseen))
    return {
        arm.name: ArmCells(
            cells=int(row[0]),
            sold=int(row[1]),
            zeros=int(row[2]),
            missing={reason.name.lower(): int(why[reason]) for reason in Unseen if reason and why[reason]},
            sold_out=int(row[3]),
            corrected=int(row[4]),
            events=int(row[5]),
            late_events=int(row[6]),
        )
        for arm, row, why in zip(arms, found, missing, strict=True)
    }


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
    width = max(1, CHUNK_CELLS // max(len(days.state), 1))
    for first in range(0, len(mean), width):
        units = slice(first, first + width)
        values, known = numbers(days, metric, units)
        state = days.state[:, units]
        cells = known & ((state == 0) | (state == State.PRE_PERIOD))
        values *= cells
        mean[units] = values.sum(axis=0) / np.maximum(by_unit(cells), 1)
    total = np.bincount(days.cluster, mean)
    whole = float(total.sum())
    return total / whole if whole > 0 and (total >= 0).all() else np.zeros(0)
