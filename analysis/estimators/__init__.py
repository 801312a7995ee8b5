"""Estimators of effects on panels: functions of arrays, and the table of those a person can ask for by name."""

from collections.abc import Callable
from dataclasses import dataclass

from analysis.estimators.did import fit_did, placebo_did
from analysis.estimators.masked import MaskedFit
from analysis.estimators.synthetic_control import (
    fit_difp,
    fit_synthetic_control,
    placebo_difp,
    placebo_synthetic_control,
)
from analysis.estimators.synthetic_did import fit_synthetic_did, placebo_synthetic_did
from analysis.estimators.twfe import fit_twfe
from analysis.estimators.weighted import WeightedFit
from analysis.panel import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class WeightedEstimator:
    """A weighted double difference on complete blocks; staggered panels cohort by cohort, no switchbacks."""

    title: str
    #: (outcome (N, T), N0, T0)
    fit: Callable[[FloatArray, int, int], WeightedFit]
    #: (control outcomes (N0, T), T0, subsets (B, N1), the fit whose ridges hold) -> (B,) effects of no treatment
    placebo: Callable[[FloatArray, int, IntArray, WeightedFit], FloatArray]


@dataclass(frozen=True, slots=True)
class MaskedEstimator:
    """An imputation from control cells; any pattern of treated, missing and left-out cells."""

    title: str
    #: (outcome (N, T), usable (N, T), treated (N, T)) -> fit; chooses penalties where it has any
    fit: Callable[[FloatArray, BoolArray, BoolArray], MaskedFit]
    #: the same on other cells with the penalties of an earlier fit
    refit: Callable[[FloatArray, BoolArray, BoolArray, MaskedFit], MaskedFit]


Estimator = WeightedEstimator | MaskedEstimator

#: what ``--method`` names, simplest first: the order in which ties of a bake-off are broken
ESTIMATORS: dict[str, Estimator] = {
    "did": WeightedEstimator("difference in differences", fit_did, placebo_did),
    "twfe": MaskedEstimator(
        "two-way fixed effects by imputation",
        fit_twfe,
        lambda outcome, usable, treated, _: fit_twfe(outcome, usable, treated),
    ),
    "sc": WeightedEstimator("synthetic control", fit_synthetic_control, placebo_synthetic_control),
    "difp": WeightedEstimator("demeaned synthetic control", fit_difp, placebo_difp),
    "sdid": WeightedEstimator("synthetic difference in differences", fit_synthetic_did, placebo_synthetic_did),
}
