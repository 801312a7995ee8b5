"""The estimators that a person can ask for by name."""

from collections.abc import Callable
from dataclasses import dataclass

from analysis.observational.estimators.did import fit_did, placebo_did
from analysis.observational.estimators.masked import MaskedFit
from analysis.observational.estimators.penalised import TropForm, fit_mc, fit_trop, refit_mc, refit_trop
from analysis.observational.estimators.synthetic_control import (
    fit_difp,
    fit_synthetic_control,
    placebo_difp,
    placebo_synthetic_control,
)
from analysis.observational.estimators.synthetic_did import fit_synthetic_did, placebo_synthetic_did
from analysis.observational.estimators.twfe import fit_twfe
from analysis.observational.estimators.weighted import WeightedFit
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray


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
    #: it solves for a nuclear norm: a refit takes milliseconds instead of microseconds
    slow: bool = False
    #: what a reader must know of its refits
    note: str = ""


Estimator = WeightedEstimator | MaskedEstimator


def _doubly_weighted(title: str, form: TropForm, refit_form: TropForm, note: str = "") -> MaskedEstimator:
    return MaskedEstimator(
        title,
        lambda outcome, usable, treated: fit_trop(outcome, usable, treated, form),
        lambda outcome, usable, treated, first: refit_trop(outcome, usable, treated, first, refit_form),
        slow=True,
        note=note,
    )


#: what ``--method`` names
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
    "mc": MaskedEstimator("matrix completion", fit_mc, refit_mc, slow=True),
    "trop": _doubly_weighted(
        "doubly weighted, masked",
        "masked",
        "block-masked",
        "placebos, resamples and the bake-off refit the block-masked form: one fit, not one for each treated cell",
    ),
    "trop-block": _doubly_weighted("doubly weighted, block-masked", "block-masked", "block-masked"),
    "homogeneous-effect": _doubly_weighted(
        "doubly weighted, one effect for all treated cells",
        "homogeneous effect",
        "homogeneous effect",
        "this form assumes one effect for all treated cells; where the effect grows, fades or differs it errs",
    ),
}
#: what ``--method all`` means and a bake-off compares, simplest first
METHODS = ("did", "twfe", "sc", "difp", "sdid", "mc", "trop")
