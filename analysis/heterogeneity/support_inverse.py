"""The optimum on a support of donors, kept up while donors enter and leave.

``min w'Gw - 2 linear'w + ridge |w|^2`` with ``1'w = 1`` is solved by the inverse K of ``[[0, 1'], [1, G + ridge]]``. A
donor enters by a border, leaves by a rank-one change, and G loses an observation's ``x x'`` by Sherman and Morrison's
formula: each of them costs the square of the support, a new inverse its cube.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg.blas import dger

from analysis.panel_data.panel import BoolArray, FloatArray, IntArray

#: donors that may enter before room is made for more
ROOM = 64
#: of a solution for the rounding of many changes
CORRECTIONS = 4
#: a pivot below this share of what it is made of is rounding
PIVOT = 1e-10


@dataclass(slots=True)
class SupportInverse:
    """Row and column 0 are the constraint's; those of a donor that left are zeros."""

    #: (n, n) Gram matrix of all donors, with the ridge
    gram: FloatArray
    #: (c, c) K, and around it zeros
    inverse: FloatArray
    #: (c,) donor of each row from the second on, -1 where it left or none is there
    donors: IntArray
    used: int
    #: what G has lost: (n,) columns, each with its factor
    lost: tuple[tuple[FloatArray, float], ...] = ()

    @classmethod
    def of(cls, gram: FloatArray, donors: IntArray) -> "SupportInverse":
        """Of a first support.

        Raises:
            numpy.linalg.LinAlgError: more donors than can be told apart.

        """
        n = len(donors) + 1
        system = np.ones((n, n))
        system[0, 0] = 0.0
        system[1:, 1:] = gram[np.ix_(donors, donors)]
        inverse = np.zeros((n + ROOM, n + ROOM))
        inverse[:n, :n] = np.linalg.inv(system)
        of_rows = np.full(n + ROOM, -1)
        of_rows[1:n] = donors
        return cls(gram, inverse, of_rows, n)

    def copy(self) -> "SupportInverse":
        """One that may be changed."""
        return SupportInverse(self.gram, self.inverse.copy(), self.donors.copy(), self.used, self.lost)

    def lose(self, column: FloatArray, factor: float) -> None:
        """G loses ``factor column column'``.

        Raises:
            numpy.linalg.LinAlgError: donors can no longer be told apart; as `leave` and `enter`.

        """
        pushed = self.inverse @ self._on_rows(column)
        left = 1.0 - factor * float(pushed @ self._on_rows(column))
        if left < PIVOT:
            raise np.linalg.LinAlgError("the observation alone told two donors apart")
        self._add(factor / left, pushed)
        self.lost = (*self.lost, (column, factor))

    def leave(self, row: int) -> None:
        """The donor of a row leaves."""
        column = self.inverse[:, row].copy()
        if not column[row] > 0:
            raise np.linalg.LinAlgError("no donor would be left")
        self._add(-1.0 / float(column[row]), column)
        self.inverse[row] = 0.0
        self.inverse[:, row] = 0.0
        self.donors[row] = -1

    def enter(self, donor: int) -> None:
        """A donor enters."""
        if self.used == len(self.donors):
            self.inverse = np.pad(self.inverse, (0, ROOM))
            self.donors = np.pad(self.donors, (0, ROOM), constant_values=-1)
        column = self.gram[donor]
        for lost, factor in self.lost:
            column = column - (factor * lost[donor]) * lost
        border = self._on_rows(column)
        border[0] = 1.0
        pushed = self.inverse @ border
        free = float(column[donor] - border @ pushed)
        if free < PIVOT * float(column[donor]):
            raise np.linalg.LinAlgError("a donor is a mixture of those inside")
        pushed[self.used] = -1.0
        self._add(1.0 / free, pushed)
        self.donors[self.used] = donor
        self.used += 1

    def solved(self, linear: FloatArray, tolerance: float) -> tuple[FloatArray, FloatArray, list[int]]:
        """(n,) weights and gradient, and the rows of negative weights, the most negative one first.

        Raises:
            numpy.linalg.LinAlgError: too much was lost to rounding.

        """
        aim = self._on_rows(linear)
        aim[0] = 1.0
        found = self.inverse @ aim
        here = self.donors >= 0
        for _ in range(CORRECTIONS):
            negative = np.flatnonzero((found < 0) & here)
            weights = np.zeros(len(self.gram))
            weights[self.donors[here]] = found[here]
            if negative.size:
                return weights, weights, [int(row) for row in negative[np.argsort(found[negative], kind="stable")]]
            gradient = self.gram @ weights - linear
            for lost, factor in self.lost:
                gradient = gradient - (factor * float(lost @ weights)) * lost
            missed = -np.where(here, gradient[self.donors] + found[0], 0.0)
            missed[0] = 1.0 - weights.sum()
            if np.abs(missed).max() <= tolerance:
                return weights, gradient, []
            found = found + self.inverse @ missed
        raise np.linalg.LinAlgError("an inverse lost its digits")

    def rows_of(self, which: BoolArray) -> list[int]:
        """Rows of some donors (n,) that are inside."""
        return [int(row) for row in np.flatnonzero((self.donors >= 0) & which[self.donors])]

    def _add(self, factor: float, vector: FloatArray) -> None:
        """``factor vector vector'``, in place: K is symmetric, so that its order in memory does not matter."""
        self.inverse = dger(factor, vector, vector, a=self.inverse.T, overwrite_a=1).T

    def _on_rows(self, of_donors: FloatArray) -> FloatArray:
        found: FloatArray = np.where(self.donors >= 0, of_donors[self.donors], 0.0)
        return found
