"""What each unit of a panel shows of the effect: its own difference between arms, or its change under one arm."""

import numpy as np

from analysis.heterogeneity.group_statistics import UnitEffects
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray, Panel, mean_of_cells
from controller.errors import InvalidPanel, NotEstimable
from controller.validation.cluster_minima import CLUSTERS_FOR_HETEROGENEITY

#: share of units seen under both arms from which units are compared with themselves
BOTH_ARMS = 0.5


def unit_effects(panel: Panel, blocks: IntArray | None = None) -> tuple[UnitEffects, IntArray, tuple[str, ...]]:
    """Unit effects, the (N,) rows of the panel that have one, and sentences on how they were made.

    Switchbacks, random days and crossovers: mean over the unit's treated cells less mean over its control cells since
    the start, each less the middle of its day's two arms. Parallel arms: mean since the start less mean before it.

    Where fewer than six clusters flip, units of one cluster share the noise of its days, and there are too few clusters
    to tell it: the outcomes are the unit's means by block of periods, and the blocks of each cluster are the clusters.

    Args:
        panel: two arms.
        blocks: (T,) number of the draw that decided each period; absent, each run of periods under one arm is a block.

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
    if both.mean() >= BOTH_ARMS and len(np.unique(clusters[both])) < CLUSTERS_FOR_HETEROGENEITY:
        return _by_block(panel.outcome, arm, control, both, _numbered(clusters), blocks)
    if both.mean() >= BOTH_ARMS:
        with_both: BoolArray = np.asarray(arm.any(axis=0) & control.any(axis=0))
        middle = 0.5 * (mean_of_cells(panel.outcome, arm, 0) + mean_of_cells(panel.outcome, control, 0))
        centred = panel.outcome - middle
        value = mean_of_cells(centred, arm & with_both, 1) - mean_of_cells(centred, control & with_both, 1)
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
    value = mean_of_cells(panel.outcome, since, 1) - mean_of_cells(panel.outcome, before, 1)
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


def _by_block(
    outcome: FloatArray, arm: BoolArray, control: BoolArray, both: BoolArray, cluster: IntArray, blocks: IntArray | None
) -> tuple[UnitEffects, IntArray, tuple[str, ...]]:
    """A row for each unit, block and arm: the mean outcome, less the middle of the unit's two arms."""
    unit, period = np.nonzero((arm | control) & both[:, None])
    block = (
        _runs(arm, control, cluster)
        if blocks is None
        else np.broadcast_to(blocks, (int(cluster.max()) + 1, len(blocks)))
    )
    label = cluster[unit] * (int(block.max()) + 1) + block[cluster[unit], period]
    key = np.stack([unit, label, arm[unit, period]], axis=1)
    rows, inverse = np.unique(key, axis=0, return_inverse=True)
    inverse = inverse.ravel()
    middle = 0.5 * (mean_of_cells(outcome, arm, 1) + mean_of_cells(outcome, control, 1))
    value = np.bincount(inverse, outcome[unit, period] - middle[unit]) / np.bincount(inverse)
    shown = UnitEffects(value, rows[:, 2] > 0, _numbered(rows[:, 1]))
    flipping, found = len(np.unique(cluster[both])), len(np.unique(rows[:, 1]))
    note = (
        f"all units flip in {flipping} cluster(s), so that what a day does to all of them cannot be told from the "
        f"effect by comparing units: blocks of days are compared, {found} of them. Groups are compared on the same "
        "days, which a day's noise leaves alone; the average, and a group's own effect, hold the noise of the blocks"
    )
    return shown, rows[:, 0], (note,)


def _runs(arm: BoolArray, control: BoolArray, cluster: IntArray) -> IntArray:
    """(G, T): by cluster, the number of its run of periods with one arm; a period without any belongs to the last."""
    found = np.zeros((int(cluster.max()) + 1, arm.shape[1]), dtype=np.int64)
    for group, runs in enumerate(found):
        mine = cluster == group
        treated, all_of = arm[mine].sum(axis=0), (arm | control)[mine].sum(axis=0)
        there = np.flatnonzero(all_of)
        mostly = 2 * treated[there] > all_of[there]
        runs[there[1:]] = mostly[1:] != mostly[:-1]
        np.cumsum(runs, out=runs)
    return found


def _numbered(labels: np.ndarray) -> IntArray:
    return np.unique(labels, return_inverse=True)[1].ravel().astype(np.int64)
