"""What each unit of a panel shows of the effect: its own difference between arms, or its change under one arm."""

import numpy as np

from analysis.heterogeneity.group_statistics import UnitEffects
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray, Panel
from controller.errors import InvalidPanel, NotEstimable

#: share of units seen under both arms from which units are compared with themselves
BOTH_ARMS = 0.5


def unit_effects(panel: Panel) -> tuple[UnitEffects, IntArray, tuple[str, ...]]:
    """Unit effects, the (N,) rows of the panel that have one, and sentences on how they were made.

    Switchbacks, random days and crossovers: mean over the unit's treated cells less mean over its control cells since
    the start, each less the middle of its day's two arms. Parallel arms: mean since the start less mean before it.

    Raises:
        InvalidPanel: more than two arms.
        NotEstimable: no usable treated or control cell, no unit with both, or a history that is too short.

    """
    if len(panel.arms) > 2:
        raise InvalidPanel(f"{len(panel.arms)} arms: compare two at a time")
    usable: BoolArray = panel.usable
    treated: BoolArray = panel.treated
    if not (usable & treated).any():
        raise NotEstimable("no usable cell is treated: there is no effect whose groups could differ")
    start = int((treated & usable).any(axis=0).argmax())
    since: BoolArray = usable & (np.arange(usable.shape[1]) >= start)
    control = since & ~treated
    if not control.any():
        raise NotEstimable("no usable cell is under control since the start: there is nothing to compare with")
    arm = since & treated
    both: BoolArray = np.asarray(np.any(arm, axis=1) & np.any(control, axis=1))
    clusters = np.asarray(panel.units if panel.clusters is None else panel.clusters)
    if both.mean() >= BOTH_ARMS:
        with_both: BoolArray = np.asarray(arm.any(axis=0) & control.any(axis=0))
        middle = 0.5 * (_mean(panel.outcome, arm, 0) + _mean(panel.outcome, control, 0))
        centred = panel.outcome - middle
        value = _mean(centred, arm & with_both, 1) - _mean(centred, control & with_both, 1)
        rows = np.flatnonzero(np.isfinite(value))
        if not rows.size:
            raise NotEstimable("no day has both arms: units cannot be compared with themselves")
        notes = [f"each unit is compared with itself: {len(rows)} of {len(value)} units were seen under both arms"]
        return UnitEffects(value[rows], None, _numbered(clusters[rows])), rows, tuple(notes)
    if start < 2:
        raise NotEstimable(
            f"the history has {start} period(s) before the treatment begins in {panel.periods[start]}: units that stay "
            "in one arm are compared by their change since then, which needs two at least; add earlier periods"
        )
    before = usable & (np.arange(usable.shape[1]) < start)
    value = _mean(panel.outcome, since, 1) - _mean(panel.outcome, before, 1)
    rows = np.flatnonzero(np.isfinite(value))
    notes = [
        f"units stay in one arm: each is its change since {panel.periods[start]}, {len(rows)} of {len(value)} units "
        "were seen before and after"
    ]
    return (
        UnitEffects(value[rows], np.asarray(np.any(arm, axis=1))[rows], _numbered(clusters[rows])),
        rows,
        tuple(notes),
    )


def _mean(values: FloatArray, cells: BoolArray, axis: int) -> FloatArray:
    count = cells.sum(axis=axis)
    total = np.where(cells, values, 0.0).sum(axis=axis)
    return np.asarray(np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0))


def _numbered(labels: np.ndarray) -> IntArray:
    return np.unique(labels, return_inverse=True)[1].ravel().astype(np.int64)
