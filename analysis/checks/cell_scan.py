"""One reading of an experiment's cells for all that its checks count, some units at a time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.checks.anytime import look_days
from analysis.checks.expected_sales import expected
from analysis.checks.nuisances import Nuisance, Nuisances
from analysis.panel_data.cell_counts import by_day, by_unit
from analysis.panel_data.cluster_cells import chunks_of
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from analysis.panel_data.study import NOT_REPORTED, State, UnitDays, Unseen
from analysis.sequential.block_sums import clusters_of
from controller.definition.experiment import Experiment


@dataclass(frozen=True, slots=True)
class Survey:
    """Counts of the T days since the start, A arms and G clusters."""

    #: cells under some arm by the draw, and the others by State
    assigned: int
    by_state: dict[State, int]
    #: (A, T) cells assigned to each arm, those of them with a live price, and with the right one
    planned: IntArray
    reported: IntArray
    right: IntArray
    #: (A, T) cells that count under each arm, and those of them with a known outcome
    under: IntArray
    observed: IntArray
    #: (A, len(Unseen)) cells that count under each arm, by why nothing is known of them; those that are known first
    unseen: IntArray
    #: (T,) clusters under an arm of the draw, and under the first arm beside control
    clusters_assigned: IntArray
    clusters_treated: IntArray
    #: (G,) cells that count under the arms, and under control
    treated: FloatArray
    control: FloatArray
    #: by name; the looks so far, and as it stands now
    nuisances: dict[str, Nuisance]
    #: looks so far
    looks: int


def survey(days: UnitDays, experiment: Experiment) -> Survey:
    """Read all cells since the start once, and the history of what is told by it."""
    arms = len(experiment.arms)
    begin, rows = days.before, len(days.state) - days.before
    width = days.state.shape[1]
    whole = _Counts(rows, arms, width)
    looks = look_days(rows, experiment.days)
    nuisances = Nuisances([*looks, rows], [arm.price for arm in experiment.arms], expected(days))
    for chunk in chunks_of(days.cluster, rows):
        units = chunk.units
        assigned, state = days.assigned[begin:, units], days.state[begin:, units]
        observed, live = days.observed[begin:, units], days.live[begin:, units]
        whole.deliveries(assigned, live)
        whole.arms(state, observed, days.unseen[begin:, units], units)
        nuisances.add(days, chunk)
        if chunk.starts is not None:
            assigned = np.maximum.reduceat(assigned, chunk.starts, axis=1)
        whole.clusters += np.stack([by_day(assigned >= 0), by_day(assigned == 1)])
    return whole.survey(days, nuisances.done(), len(looks))


class _Counts:
    """What a survey adds up while it reads."""

    def __init__(self, rows: int, arms: int, units: int) -> None:
        self.number = arms
        before = (State.PRE_PERIOD, State.OTHER_EXPERIMENT)
        self.by_state = dict.fromkeys((state for state in State if state not in before), 0)
        self.planned, self.reported, self.right, self.under, self.observed = (
            np.zeros((arms, rows), dtype=np.int64) for _ in range(5)
        )
        self.unseen = np.zeros((arms, len(Unseen)), dtype=np.int64)
        self.clusters = np.zeros((2, rows), dtype=np.int64)
        self.treated, self.control = np.zeros((2, units), dtype=np.int64)

    def deliveries(self, assigned: NDArray[np.int8], live: NDArray[np.int8]) -> None:
        drawn = assigned >= 0
        if not drawn.all():
            for state in self.by_state:
                self.by_state[state] += int(np.count_nonzero(assigned == state))
        told = live != NOT_REPORTED
        anything = bool(told.any())
        for arm in range(self.number):
            cells = assigned == arm
            self.planned[arm] += by_day(cells)
            if anything:
                self.reported[arm] += by_day(cells & told)
                self.right[arm] += by_day(cells & (live == arm))

    def arms(
        self, state: NDArray[np.int8], observed: BoolArray, why: NDArray[np.int8], units: slice | IntArray
    ) -> None:
        under = state >= 0
        lost = under & ~observed
        complete = not lost.any()
        for arm in range(self.number):
            cells = state == arm
            count = by_day(cells)
            self.under[arm] += count
            if not complete:
                self.unseen[arm] += np.bincount(why[cells & lost], minlength=len(Unseen))
                count = by_day(cells & observed)
            self.observed[arm] += count
            self.unseen[arm, Unseen.OBSERVED] += count.sum()
            if arm == 0:
                self.control[units] = by_unit(cells)
        self.treated[units] = by_unit(state > 0)

    def survey(self, days: UnitDays, nuisances: dict[str, Nuisance], looks: int) -> Survey:
        clusters = clusters_of(days.cluster)
        treated, control = (clusters.sums(part[np.newaxis])[0] for part in (self.treated, self.control))
        return Survey(
            int(self.planned.sum()), self.by_state, self.planned, self.reported, self.right, self.under, self.observed,
            self.unseen, self.clusters[0], self.clusters[1], treated, control, nuisances, looks,
        )  # fmt: skip
