"""Adds up ratios by arm, cluster and look, some units at a time."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from analysis.checks.anytime import ArmSums
from analysis.panel_data.cell_counts import by_unit
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray

#: (K, n) sums by look and unit, up to each look
ByLook = FloatArray


def counted(cells: BoolArray, looks: Sequence[int]) -> ByLook:
    """How many of (T, n) cells up to each look, by unit."""
    edges = [0, *looks]
    parts = [by_unit(cells[a:b]) for a, b in pairwise(edges)]
    return np.cumsum(np.stack(parts), axis=0, dtype=np.float64)


def summed(numbers: NDArray[np.generic], cells: BoolArray, looks: Sequence[int]) -> ByLook:
    """The sum of (T, n) numbers over some cells up to each look, by unit; the numbers of other cells may be NaN."""
    edges = [0, *looks]
    # whole numbers: a sixth of the time of a sum with a mask
    kept = np.where(cells, numbers, 0.0) if numbers.dtype.kind == "f" else np.multiply(numbers, cells)
    kind = np.float64 if numbers.dtype.kind == "f" else np.int64
    parts = [np.add.reduce(kept[a:b], axis=0, dtype=kind) for a, b in pairwise(edges)]
    return np.cumsum(np.stack(parts), axis=0, dtype=np.float64)


class Adding:
    """One ratio while it is added up."""

    def __init__(self, looks: int, *, share: bool) -> None:
        self.share = share
        self.total, self.product = np.zeros((looks, 4)), np.zeros((looks, 4, 4))
        self.clusters, self.either = np.zeros((looks, 2), dtype=np.int64), np.zeros(looks, dtype=np.int64)

    def add(self, parts: tuple[ByLook | float, ByLook, ByLook | float, ByLook], starts: IntArray | None) -> None:
        """Numerator and denominator under the arms, and under control, of whole clusters."""
        sums: FloatArray = np.stack([np.broadcast_to(part, parts[1].shape) for part in parts], axis=1)
        if starts is not None:
            sums = np.add.reduceat(sums, starts, axis=2)
        self.total += sums.sum(axis=2)
        self.product += sums @ sums.transpose(0, 2, 1)
        held = sums[:, [1, 3]] > 0.0
        self.clusters += held.sum(axis=2)
        self.either += held.any(axis=1).sum(axis=1)

    def done(self) -> ArmSums:
        return ArmSums(self.total, self.product, self.clusters, self.either, self.share)
