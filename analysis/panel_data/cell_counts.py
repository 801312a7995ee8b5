"""How many cells of a mask: by day and by unit, without turning each into a number first."""

import numpy as np
from numpy.typing import NDArray

from analysis.panel_data.panel import BoolArray, IntArray

#: so many ones fit into a byte
BYTE = 255


def by_day(cells: BoolArray) -> IntArray:
    """(T,) how many of (T, n); eight at a time."""
    return np.asarray(np.bitwise_count(np.packbits(cells, axis=1)).sum(axis=1, dtype=np.int64))


def by_unit(cells: BoolArray) -> IntArray:
    """(n,) how many of (T, n)."""
    numbers: NDArray[np.uint8] = cells.view(np.uint8)
    count = np.zeros(cells.shape[1], dtype=np.int64)
    for first in range(0, len(cells), BYTE):
        count += np.add.reduce(numbers[first : first + BYTE], axis=0, dtype=np.uint8)
    return count
