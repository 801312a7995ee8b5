"""Which cells count under a carryover order, and with what probability: held windows and their propensities."""

from collections.abc import Sequence

import numpy as np

from analysis.panel_data.panel import BoolArray, FloatArray, IntArray


def held(under_arm: BoolArray, carryover_order: int) -> BoolArray:
    """Cells whose arm was held on that day and on the ``carryover_order`` days before it.

    ``under_arm``: (..., T), True where the cell was under the arm in question. The first m days are False: what came
    before the experiment is not under one of its arms.
    """
    if carryover_order < 0:
        raise ValueError(f"carryover_order = {carryover_order}: a number of days, 0 or more")
    cells = np.array(under_arm, dtype=bool)
    under_arm = cells.copy()
    periods = cells.shape[-1]
    for lag in range(1, min(carryover_order, periods) + 1):
        cells[..., lag:] &= under_arm[..., : periods - lag]
    cells[..., : min(carryover_order, periods)] = False
    return cells


def coins_in_windows(points: Sequence[int], periods: int, carryover_order: int) -> IntArray:
    """(T,) number of coins that the window [t - m, t] touches; 0 where the window starts before the experiment.

    ``points``: the columns at which a coin is tossed, increasing, the first one 0.
    """
    starts = np.asarray(points, dtype=np.int64)
    if starts.size == 0 or starts[0] != 0 or (np.diff(starts) <= 0).any() or starts[-1] >= periods:
        raise ValueError(
            f"randomisation points {list(points)}: they start at column 0, increase, and stay under {periods}"
        )
    coin = np.searchsorted(starts, np.arange(periods), side="right") - 1
    touched = np.zeros(periods, dtype=np.int64)
    touched[carryover_order:] = coin[carryover_order:] - coin[: periods - carryover_order] + 1
    return touched


def propensities(
    points: Sequence[int], periods: int, carryover_order: int, probability: float = 0.5
) -> tuple[FloatArray, FloatArray]:
    """(T,) chance that a window is wholly treated, and (T,) that it is wholly control, under independent coins.

    ``probability`` of treatment at each randomisation point. NaN on the first m days.
    """
    if not 0.0 < probability < 1.0:
        raise ValueError(f"probability = {probability}: a coin that can only fall on one side randomises nothing")
    coins = coins_in_windows(points, periods, carryover_order)
    inside = coins > 0
    treated = np.where(inside, probability ** coins.astype(np.float64), np.nan)
    control = np.where(inside, (1.0 - probability) ** coins.astype(np.float64), np.nan)
    return treated, control


def inverse_weights(cells: BoolArray, propensity: FloatArray | float) -> FloatArray:
    """``1{cell} / propensity``, zero outside the cells.

    Raises:
        ValueError: a cell that occurred has a propensity outside (0, 1]: propensities and schedule disagree.
    """
    spread = np.broadcast_to(np.asarray(propensity, dtype=np.float64), cells.shape)
    inside = spread[cells]
    if not ((inside > 0.0) & (inside <= 1.0)).all():
        wrong = inside[~((inside > 0.0) & (inside <= 1.0))][0]
        raise ValueError(f"a cell that occurred has propensity {wrong}: propensities and schedule disagree")
    return np.divide(1.0, spread, out=np.zeros(cells.shape), where=cells)
