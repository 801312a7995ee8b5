"""The error of a contrast by redrawing clusters, beside the linearised one."""

import numpy as np

from analysis.spillover.effects import Rows, exposures_of
from analysis.spillover.exposure import Chances
from analysis.spillover.linear_forms import contrast_form
from controller.errors import NotEstimable


def cluster_bootstrap(rows: Rows, chances: Chances, name: str, rng: np.random.Generator, count: int = 500) -> float:
    """Standard error of a Hajek contrast over redraws of whole clusters, with replacement.

    Takes clusters for independent, as they are where the graph's cut is small; where clusters share neighbours it is
    too small, and the linearised error is the one to use.

    Raises:
        NotEstimable: fewer than half of the redraws have units in both exposures.
    """
    exposed = exposures_of(rows) | {"treated": rows.treated, "control": ~rows.treated}
    of = {key: getattr(chances, key) for key in Chances.__slots__} | {"control": 1 - chances.treated}
    one, two = {
        "naive": ("treated", "control"), "total": ("all_treated", "all_control"),
        "direct": ("direct", "none"), "spillover": ("indirect", "none"),
    }[name]  # fmt: skip
    possible = ((of[one] > 0) & (of[two] > 0))[rows.unit]
    labels, at = np.unique(rows.cluster, return_inverse=True)
    times = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=count)
    values = []
    for often in times[:, at]:
        sides = [
            np.where(possible & exposed[key], often / np.maximum(of[key][rows.unit], 1e-300), 0.0) for key in (one, two)
        ]
        form = contrast_form(sides[0], sides[1], rows.stretch)
        if form is not None:
            values.append(float(form.coefficient @ rows.outcome))
    if len(values) < count / 2:
        raise NotEstimable(f"{name}: {len(values)} of {count} redraws have units in both exposures; use more clusters")
    return float(np.std(values, ddof=1))
