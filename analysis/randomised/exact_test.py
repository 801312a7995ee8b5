"""The exact test of an experiment: its schedule redrawn by the production draw, and held against what was sold."""

from datetime import date

import numpy as np

from analysis.panel_data.panel import BoolArray, FloatArray, Panel
from analysis.randomised.randomisation_test import RandomizationTest, randomization_test
from controller.definition.experiment import Experiment, design_hash
from controller.definition.parameters import BlockedSwitchback
from controller.errors import NotEstimable
from controller.schedule.redraw import redraws

REDRAWS = 10_000


def exact_test(panel: Panel, experiment: Experiment, *, count: int = REDRAWS, alpha: float = 0.05) -> RandomizationTest:
    """Test of no effect at all, and the constant effects per cluster-day that it would not reject.

    ``panel``: units or clusters of the experiment by day, as `panel_of_days` and `panel_of_unit_days` make them; the
    test is of cluster-days, means over their usable cells. Levels of clusters may be taken off beforehand by a forecast
    from before the start. Redraws are those of the design, and follow from its hash alone: anyone gets the same p.

    Raises:
        NotEstimable: more than two arms; days or clusters that are not the experiment's; what `randomization_test`
            refuses.
    """
    if len(experiment.arms) > 2:
        raise NotEstimable("the exact test compares two arms, and this experiment has more")
    names = {name: row for row, name in enumerate(experiment.cluster_names())}
    labels = panel.units if panel.clusters is None else panel.clusters
    strange = next((label for label in labels if label not in names), None)
    if strange is not None:
        raise NotEstimable(f"{strange} is no cluster of {experiment.name}: name each unit's cluster in the panel")
    columns = np.array([(date.fromisoformat(day) - experiment.start).days for day in panel.periods])
    if columns.min() < 0 or columns.max() >= experiment.days:
        raise NotEstimable(f"the panel has days on which {experiment.name} was not running: leave them out")
    value, arm = _cluster_days(panel, np.array([names[label] for label in labels]), len(names))
    design = experiment.design
    burnt_in = isinstance(design, BlockedSwitchback) and design.burn_in_days > 0
    drawn = redraws(experiment, count, design_hash(experiment))
    return randomization_test(
        value,
        arm,
        drawn if len(columns) == experiment.days else drawn[:, :, columns],
        carryover_order=0 if burnt_in else experiment.carryover_order,
        alpha=alpha,
    )


def _cluster_days(panel: Panel, row: np.ndarray, clusters: int) -> tuple[FloatArray, np.ndarray]:
    """(G, T) means over usable cells, NaN where there is none or where they are under both arms; and the arms."""
    usable = panel.usable & ((panel.arm == 0) | (panel.arm == 1))

    def summed(cells: FloatArray | BoolArray) -> FloatArray:
        found = np.zeros((clusters, len(panel.periods)))
        np.add.at(found, row, cells)
        return found

    count, treated = summed(usable), summed(usable & (panel.arm == 1))
    mixed = (treated > 0) & (treated < count)
    total = summed(np.where(usable, panel.outcome, 0.0))
    mean = np.divide(total, count, out=np.full(count.shape, np.nan), where=(count > 0) & ~mixed)
    return mean, np.where(count > 0, treated > 0, -1).astype(np.int8)
