"""Matrix completion and the doubly weighted estimator as the table of estimators wants them: choose penalties, refit.

A refit elsewhere (a placebo, a resample) keeps the penalties of the first fit: choosing them anew each time would cost
a cross-validation per placebo, and they are settings of the estimator, not part of the noise.
"""

from typing import Literal

import numpy as np

from analysis.observational.estimators.doubly_weighted import (
    DoublyWeightedEffect,
    Penalties,
    doubly_weighted,
    homogeneous_effect,
)
from analysis.observational.estimators.doubly_weighted_cv import cross_validate
from analysis.observational.estimators.masked import MaskedFit
from analysis.observational.estimators.matrix_completion import matrix_completion
from analysis.panel_data.panel import BoolArray, FloatArray

TropForm = Literal["masked", "block-masked", "homogeneous effect"]


def fit_mc(outcome: FloatArray, usable: BoolArray, treated: BoolArray, penalty: float | None = None) -> MaskedFit:
    """Matrix completion, its penalty by placebo blocks unless given; arguments (N, T) as in `fit_twfe`."""
    found = matrix_completion(outcome, treated, usable, penalty)
    counterfactual = np.full(outcome.shape, np.nan)
    control = usable & ~treated
    counterfactual[np.ix_(control.any(axis=1), control.any(axis=0))] = found.fit.counterfactual()
    return MaskedFit(
        found.effect,
        counterfactual,
        (("nuclear norm", found.fit.relative_gap),),
        (("penalty", found.fit.penalty), ("rank", float(found.fit.rank))),
    )


def refit_mc(outcome: FloatArray, usable: BoolArray, treated: BoolArray, first: MaskedFit) -> MaskedFit:
    """The same with the penalty of ``first``."""
    return fit_mc(outcome, usable, treated, dict(first.settings)["penalty"])


def fit_trop(
    outcome: FloatArray,
    usable: BoolArray,
    treated: BoolArray,
    form: TropForm = "masked",
    penalties: Penalties | None = None,
) -> MaskedFit:
    """Doubly weighted estimator in one of its forms, its penalties by placebo blocks unless given."""
    if penalties is None:
        penalties = cross_validate(outcome, treated, usable).best
    found: DoublyWeightedEffect
    if form == "homogeneous effect":
        found = homogeneous_effect(outcome, treated, usable, penalties)
    else:
        found = doubly_weighted(outcome, treated, usable, penalties, form)
    counterfactual = np.full(outcome.shape, np.nan)
    target = usable & treated
    counterfactual[target] = outcome[target] - found.cell_effects
    return MaskedFit(
        found.effect,
        counterfactual,
        (("nuclear norm", found.relative_gap),),
        (("unit", penalties.unit), ("time", penalties.time), ("nuclear", penalties.nuclear)),
    )


def refit_trop(
    outcome: FloatArray,
    usable: BoolArray,
    treated: BoolArray,
    first: MaskedFit,
    form: TropForm = "block-masked",
) -> MaskedFit:
    """The same with the penalties of ``first``; block-masked by default, which costs one fit instead of one a cell."""
    settings = dict(first.settings)
    return fit_trop(outcome, usable, treated, form, Penalties(settings["unit"], settings["time"], settings["nuclear"]))
