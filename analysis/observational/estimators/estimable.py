"""When a treated cell has a counterfactual under unit and period effects, and the reason when it has none."""

import numpy as np

from analysis.observational.estimators.low_rank import Groups
from analysis.panel_data.panel import BoolArray, FloatArray
from controller.errors import NotEstimable


def require_estimable(Y: FloatArray, treated: BoolArray, control: BoolArray) -> None:
    """Refuse, with the reason, a panel where some treated cell has no counterfactual. Rows and columns count from one.

    A cell has one when its unit has control cells, its period has control cells, and a chain of control cells links
    the two. Raises NotEstimable.
    """
    if not treated.any():
        raise NotEstimable("no treated cell with an outcome: there is no effect to estimate")
    units = treated.any(axis=1)
    from_start = units & ~control.any(axis=1)
    if from_start.any():
        raise NotEstimable(
            f"unit in row {int(np.argmax(from_start)) + 1} has no control cell with an outcome (treated from its first "
            "period, or never observed before): leave it out, or add earlier periods"
        )
    alone = treated.any(axis=0) & ~control.any(axis=0)
    if alone.any():
        column = int(np.argmax(alone)) + 1
        raise NotEstimable(
            f"period in column {column} has no control unit, because every unit is treated then: leave the period out, "
            "or add units that are not treated"
        )
    require_variation(Y, control)
    cut_off = first_cut_off(treated, control)
    if cut_off is not None:
        raise NotEstimable(
            f"no chain of control cells links the unit in row {cut_off[0] + 1} with the period in column "
            f"{cut_off[1] + 1}, "
            "where it is treated: unit and period effects cannot be told apart there"
        )


def require_variation(Y: FloatArray, used: BoolArray) -> None:
    """Refuse outcomes that are all the same number. Raises NotEstimable."""
    lowest = float(np.min(Y, where=used, initial=np.inf))
    if lowest == float(np.max(Y, where=used, initial=-np.inf)):
        raise NotEstimable(f"all outcomes in use are {lowest:g}: there is nothing to learn from a constant")


def first_cut_off(treated: BoolArray, control: BoolArray) -> tuple[int, int] | None:
    """Row and column of a treated cell that no chain of control cells links to both its unit and its period."""
    groups = Groups.of(control)
    reach = groups.masks > 0
    label = np.arange(len(reach))
    nowhere = len(reach)
    # units that miss the same cells stand and fall together: spread the smallest label until nothing changes
    while True:
        by_period = np.where(reach, label[:, None], nowhere).min(axis=0)
        spread = np.where(reach, by_period, nowhere).min(axis=1)
        if (spread == label).all() or not reach.any():
            break
        label = spread
    for group, members in enumerate(groups.members):
        cut_off = treated[members] & (by_period != label[group])
        if cut_off.any():
            member, column = np.argwhere(cut_off)[0]
            return int(members[member]), int(column)
    return None
