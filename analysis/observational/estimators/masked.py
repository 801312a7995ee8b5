"""What the masking estimators have in common: fit the untreated outcome on control cells, impute it on treated ones."""

from dataclasses import dataclass

import numpy as np

from analysis.panel_data.panel import BoolArray, FloatArray
from controller.errors import NotEstimable


@dataclass(frozen=True, slots=True)
class MaskedFit:
    """Imputed untreated outcomes, and the mean difference to them over the treated cells."""

    #: in units of the outcome: mean over the usable treated cells
    effect: float
    #: (N, T), the untreated outcome that the model gives; NaN where it gives none
    counterfactual: FloatArray
    #: relative optimality gaps: name -> bound
    certificates: tuple[tuple[str, float], ...] = ()
    #: what was assumed or chosen: name -> number
    settings: tuple[tuple[str, float], ...] = ()


def imputed_effect(outcome: FloatArray, counterfactual: FloatArray, target: BoolArray) -> float:
    """Mean of outcome less counterfactual over the target cells (N, T).

    Raises:
        NotEstimable: no target cell, or one without a counterfactual.

    """
    if not target.any():
        raise NotEstimable("no usable cell is treated: there is no effect to average")
    differences = outcome[target] - counterfactual[target]
    if not np.isfinite(differences).all():
        rows, columns = np.nonzero(target)
        k = int(np.flatnonzero(~np.isfinite(differences))[0])
        raise NotEstimable(
            f"the treated cell in row {rows[k] + 1}, period {columns[k] + 1} has no counterfactual: no chain of "
            "control cells ties its unit to its period; leave the unit or the period out, or add control cells"
        )
    return float(differences.mean())
