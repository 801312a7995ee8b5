"""Heterogeneous panel treatment effect: who responds, in four steps.

1. **First difference**: each unit's outcomes after the start less its forecast from before (`forecasts.py`,
   `differences.py`), washout skipped. In a crossover, by arm.
2. **Outliers**: at most 5 %, else three units, are cut about their arm's median.
3. **Second difference**: an honest causal forest. Each unit's effect is the mean of treated less control units that
   share its leaves; a unit counts if both arms have an effective size of five there. A mean of doubly robust scores is
   the cross-check.
4. **Noise**: clusters are drawn again and steps 2 and 3 repeated, up to 300 units; above, scores are drawn with Poisson
   weights and their centring refitted. Below 30 clusters refits are studentised.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from analysis.heterogeneity.attributes import matrix_of
from analysis.heterogeneity.differences import differences, start_of
from analysis.heterogeneity.forecasts import Forecaster
from analysis.heterogeneity.hpte_average import Rows, average, fitted
from analysis.heterogeneity.hpte_result import Hpte, described
from analysis.panel_data.attribute_table import Attributes, attributes_of_frame
from analysis.panel_data.panel import BoolArray, Panel
from analysis.panel_data.panel_files import panel_from_table
from controller.errors import NotEstimable
from controller.validation.cluster_minima import CLUSTERS_FOR_HETEROGENEITY

Noise = Literal["auto", "refits", "scores"]
#: units below which it is said
FEW_UNITS = 100
NARROW = (
    "with few units read the average: slopes of attributes hold no noise of the cut and are too narrow, and units' "
    "intervals cover less than they say"
)
#: units up to which the whole is refitted
MOST_FOR_REFITS = 300


def hpte(
    frame: Any,
    attributes: Any,
    *,
    unit: str = "unit",
    time: str = "time",
    outcome: str = "outcome",
    treatment: str = "treatment",
    cluster: str | None = None,
    category: str | None = None,
    leave_out: str | None = None,
    sort: bool = False,
    drop_incomplete: bool = False,
    washout: int = 0,
    forecaster: Forecaster = "auto",
    noise: Noise = "auto",
    level: float = 0.95,
    draws: int = 200,
    trees: int = 500,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Hpte:
    """Effects by unit of a randomised treatment.

    Args:
        frame: a pandas frame or pyarrow table, one row for each unit and period; columns as in `panel_from_table`.
        attributes: a pandas frame (or what `read_attributes` returns), one row for each unit, from before the start.
        unit: column of the unit, in both.
        time: column of the period.
        outcome: column of the outcome; effects are in its units.
        treatment: column of 0 and 1.
        cluster: column of units that were randomised together.
        category: attribute that forecasts are shrunk to; "category" where there is one.
        leave_out: column of reasons (washout, blackout).
        sort: accept rows out of order.
        drop_incomplete: leave out units without all attributes.
        washout: periods after each change that are skipped.
        forecaster: "auto" chooses on held-out pre-periods.
        noise: "refits", "scores", or "auto": refits up to 300 units.
        level: of intervals.
        draws: of the bootstrap, at least 200.
        trees: of the forest.
        seed: of all chance: the same seed, the same numbers.
        progress: is told draws done and draws in all.

    Raises:
        InvalidPanel: a table that breaks a rule; units without attributes; attributes from after the start.
        NotEstimable: too short a history, fewer than six clusters, attributes that do not differ, one arm only.

    """
    if draws < 200:
        raise NotEstimable(f"{draws} draws: a standard error of a bootstrap needs at least 200")
    panel = panel_from_table(
        frame,
        unit=unit,
        time=time,
        outcome=outcome,
        treatment=treatment,
        cluster=cluster,
        leave_out=leave_out,
        sort=sort,
    )
    start = start_of(panel)
    table = attributes if isinstance(attributes, Attributes) else attributes_of_frame(attributes, unit)
    told = table.of(panel.units).from_before(panel.periods[start])
    known, whole = matrix_of(told, category=category, drop_incomplete=drop_incomplete)
    notes = list(known.notes)
    if not whole.all():
        panel = _of_units(panel, whole)
        notes.append(f"{int((~whole).sum())} unit(s) lack attributes: left out, nothing is said of them")
    first = differences(panel, known.category, washout=washout, forecaster=forecaster, seed=seed)
    notes += first.notes
    labels = panel.units if panel.clusters is None else panel.clusters
    cluster_of = np.unique(np.asarray(labels, dtype=object)[first.unit], return_inverse=True)[1].astype(np.int64)
    groups = int(cluster_of.max()) + 1
    if groups < CLUSTERS_FOR_HETEROGENEITY:
        raise NotEstimable(
            f"{groups} clusters have usable outcomes: who responds cannot be told below {CLUSTERS_FOR_HETEROGENEITY}; "
            "the average effect can still be estimated (flipside estimate)"
        )
    rows = Rows(
        known.matrix[first.unit], first.treated, first.value, first.unit, cluster_of, first.design == "crossover"
    )
    how: Noise = noise if noise != "auto" else ("refits" if len(np.unique(first.unit)) <= MOST_FOR_REFITS else "scores")
    if len(np.unique(first.unit)) < FEW_UNITS:
        notes.append(NARROW)
    second = fitted(rows, trees=trees, seed=seed, centring="auto")
    found = average(rows, second, refits=how == "refits", draws=draws, level=level, seed=seed, progress=progress)
    return described(panel.units, known, first, rows, second, found, level, seed, tuple(notes))


def _of_units(panel: Panel, chosen: BoolArray) -> Panel:
    """The panel without the other units."""
    return replace(
        panel,
        units=tuple(name for name, stays in zip(panel.units, chosen, strict=True) if stays),
        outcome=panel.outcome[chosen],
        arm=panel.arm[chosen],
        left_out=tuple((reason, mask[chosen]) for reason, mask in panel.left_out),
        clusters=None
        if panel.clusters is None
        else tuple(name for name, stays in zip(panel.clusters, chosen, strict=True) if stays),
    )
