"""A panel: outcomes and arms by unit and period, and which cells may be used."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.errors import InvalidPanel

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Panel:
    """Outcomes of N units (or clusters) over T periods, with the arm that each cell was under.

    A cell that was not observed is NaN in ``outcome``: missing is missing, never zero. A cell that was observed but
    must not be used (washout after a transition, a blackout, an undelivered flip) is named in ``left_out`` with its
    reason.
    """

    #: N labels, in the order of the rows
    units: tuple[str, ...]
    #: T labels, increasing in time, in the order of the columns
    periods: tuple[str, ...]
    #: (N, T), NaN where missing
    outcome: FloatArray
    #: (N, T), index into ``arms``; 0 is control; -1 where no arm is known
    arm: IntArray
    #: the names of the arms, control first
    arms: tuple[str, ...] = ("control", "treatment")
    #: (N, T), hours for which the cell was exposed to its arm; None where every cell has the same exposure
    exposure: FloatArray | None = None
    #: reason -> (N, T) mask of cells that estimators must not use
    left_out: tuple[tuple[str, BoolArray], ...] = ()
    #: name -> (N, T), NaN where missing: what the outcome may be adjusted for
    covariates: tuple[tuple[str, FloatArray], ...] = ()
    #: N labels: units that share one were randomised, or err, together; None where every unit stands alone
    clusters: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        shape = (len(self.units), len(self.periods))
        exposure = () if self.exposure is None else (("exposure", self.exposure),)
        for name, array in (
            ("outcome", self.outcome),
            ("arm", self.arm),
            *exposure,
            *self.left_out,
            *self.covariates,
        ):
            if array.shape != shape:
                raise InvalidPanel(
                    f"{name} has shape {array.shape}, but there are {shape[0]} units and {shape[1]} periods"
                )
        for name, labels in (("unit", self.units), ("period", self.periods)):
            if len(set(labels)) < len(labels):
                twice = next(label for k, label in enumerate(labels) if label in labels[:k])
                raise InvalidPanel(f"{name} {twice} stands in the panel twice: give each {name} one label")
        if self.clusters is not None and len(self.clusters) != shape[0]:
            raise InvalidPanel(f"{len(self.clusters)} cluster labels for {shape[0]} units: give one to each unit")
        self._check_range("arm", (self.arm < -1) | (self.arm >= len(self.arms)), f"arms are -1 to {len(self.arms) - 1}")
        self._check_range("outcome", np.isinf(self.outcome), "outcomes are finite, or NaN where missing")

    def _check_range(self, name: str, wrong: BoolArray, rule: str) -> None:
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            value = getattr(self, name)[row, column]
            raise InvalidPanel(f"{name} of {self.units[row]} in {self.periods[column]} is {value}: {rule}")

    @property
    def observed(self) -> BoolArray:
        """(N, T): cells with an outcome and a known arm."""
        return np.isfinite(self.outcome) & (self.arm >= 0)

    @property
    def usable(self) -> BoolArray:
        """(N, T): observed cells that no reason leaves out."""
        usable: BoolArray = self.observed
        for _, mask in self.left_out:
            usable &= ~mask
        return usable

    @property
    def treated(self) -> BoolArray:
        """(N, T): cells under any arm but control."""
        return self.arm > 0


def mean_of_cells(values: FloatArray, cells: BoolArray, axis: int) -> FloatArray:
    """Means of the chosen cells along an axis; NaN where none is chosen."""
    count = cells.sum(axis=axis)
    total = np.where(cells, values, 0.0).sum(axis=axis)
    return np.asarray(np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0))
