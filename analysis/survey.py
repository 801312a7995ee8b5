"""One reading of an experiment's cells for all that its checks count, some units at a time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.block_sums import clusters_of
from analysis.counting import by_day, by_unit
from analysis.estimators.cluster_cells import chunks_of
from analysis.panel import BoolArray, FloatArray, IntArray
from analysis.study import NOT_REPORTED, State, UnitDays


@dataclass(frozen=True, slots=True)
class Nuisance:
    """Something that the price should not change, as sums by cluster of its values on cells where it is known."""

    #: (G, 4) sum and cells under the arms, sum and cells under control
    sums: FloatArray
    #: cells under the arms, and under control
    cells: tuple[int, int]
    #: whether it is known of any cell of the experiment, under an arm or not
    known: bool


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
    #: (A, T) cells that count under each arm, those of them with sales, and how many of them the units' own rates of
    #: having any let expect
    under: IntArray
    observed: IntArray
    expected: FloatArray
    #: (T,) clusters under an arm of the draw, and under the first arm beside control
    clusters_assigned: IntArray
    clusters_treated: IntArray
    #: (G,) cells that count under the arms, and under control
    treated: FloatArray
    control: FloatArray
    missing: Nuisance
    out_of_stock: Nuisance
    stale_hours: Nuisance


def survey(days: UnitDays, arms: int) -> Survey:
    """Read all cells since the start once."""
    begin, rows = days.before, len(days.state) - days.before
    width = days.state.shape[1]
    whole = _Counts(rows, arms, width)
    for chunk in chunks_of(days.cluster, rows):
        units = chunk.units
        assigned, state = days.assigned[begin:, units], days.state[begin:, units]
        observed, live = days.observed[begin:, units], days.live[begin:, units]
        whole.deliveries(assigned, live)
        whole.arms(state, observed, units)
        nuisances = (~observed, days.out_of_stock[begin:, units], days.stale_hours[begin:, units])
        whole.nuisances(state, nuisances, units)
        if chunk.starts is not None:
            assigned = np.maximum.reduceat(assigned, chunk.starts, axis=1)
        whole.clusters += np.stack([by_day(assigned >= 0), by_day(assigned == 1)])
    return whole.survey(days)


class _Counts:
    """What a survey adds up while it reads."""

    def __init__(self, rows: int, arms: int, units: int) -> None:
        self.number = arms
        before = (State.PRE_PERIOD, State.OTHER_EXPERIMENT)
        self.by_state = dict.fromkeys((state for state in State if state not in before), 0)
        self.planned, self.reported, self.right, self.under, self.observed = (
            np.zeros((arms, rows), dtype=np.int64) for _ in range(5)
        )
        self.expected = np.zeros((arms, rows))
        self.clusters = np.zeros((2, rows), dtype=np.int64)
        self.treated, self.control = np.zeros((2, units), dtype=np.int64)
        #: nuisance -> (4, units)
        self.sums = np.zeros((3, 4, units))
        self.known = [False, False, False]

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

    def arms(self, state: NDArray[np.int8], observed: BoolArray, units: slice | IntArray) -> None:
        under = state >= 0
        seen = observed & under
        complete = bool((seen == under).all())
        rate = by_unit(seen) / np.maximum(by_unit(under), 1)
        for arm in range(self.number):
            cells = state == arm
            count = by_day(cells)
            self.under[arm] += count
            if complete:  # then each cell under an arm is expected
                self.observed[arm] += count
                self.expected[arm] += count
            else:
                self.observed[arm] += by_day(cells & observed)
                self.expected[arm] += np.einsum("tu,u->t", cells, rate)
            if arm == 0:
                self.control[units] = by_unit(cells)
        self.treated[units] = by_unit(state > 0)

    def nuisances(
        self,
        state: NDArray[np.int8],
        found: tuple[BoolArray, NDArray[np.int8], NDArray[np.float32]],
        units: slice | IntArray,
    ) -> None:
        missing, stock, stale = found
        treated, control = state > 0, state == 0
        self.known[0] |= bool(missing.size)
        for row, cells in ((0, treated), (2, control)):
            self.sums[0, row, units] = by_unit(missing & cells)
            self.sums[0, row + 1, units] = by_unit(cells)
        said = stock >= 0
        if said.any():
            self.known[1] = True
            empty = stock > 0
            for row, cells in ((0, treated), (2, control)):
                self.sums[1, row, units] = by_unit(empty & cells)
                self.sums[1, row + 1, units] = by_unit(said & cells)
        dated = np.isfinite(stale)
        if dated.any():
            self.known[2] = True
            for row, cells in ((0, treated & dated), (2, control & dated)):
                self.sums[2, row, units] = np.where(cells, stale, np.float32(0)).sum(axis=0, dtype=np.float64)
                self.sums[2, row + 1, units] = by_unit(cells)

    def survey(self, days: UnitDays) -> Survey:
        clusters = clusters_of(days.cluster)
        missing, stock, stale = (
            Nuisance(clusters.sums(sums).T, (int(sums[1].sum()), int(sums[3].sum())), known)
            for sums, known in zip(self.sums, self.known, strict=True)
        )
        treated, control = (clusters.sums(part[np.newaxis])[0] for part in (self.treated, self.control))
        return Survey(
            int(self.planned.sum()), self.by_state, self.planned, self.reported, self.right, self.under, self.observed,
            self.expected, self.clusters[0], self.clusters[1], treated, control, missing, stock, stale,
        )  # fmt: skip
