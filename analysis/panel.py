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

    def __post_init__(self) -> None:
        shape = (len(self.units), len(self.periods))
        for name, array in (("outcome", self.outcome), ("arm", self.arm), *self.left_out):
            if array.shape != shape:
                raise InvalidPanel(
                    f"{name} has shape {array.shape}, but there are {shape[0]} units and {shape[1]} periods"
                )
        if np.isinf(self.outcome).any():
            row, column = np.argwhere(np.isinf(self.outcome))[0]
            raise InvalidPanel(
                f"outcome of {self.units[row]} in {self.periods[column]} is infinite: outcomes are finite or missing"
            )

    @property
    def observed(self) -> BoolArray:
        """(N, T): cells with an outcome and a known arm."""
        return np.isfinite(self.outcome) & (self.arm >= 0)

    @property
    def usable(self) -> BoolArray:
        """(N, T): observed cells that no reason leaves out."""
        usable = self.observed
        for _, mask in self.left_out:
            usable = usable & ~mask
        return usable

    @property
    def treated(self) -> BoolArray:
        """(N, T): cells under any arm but control."""
        return self.arm > 0
