"""Matrix completion and the doubly weighted forms behind the common front door."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.observational.estimators.by_name import ESTIMATORS, METHODS, MaskedEstimator
from analysis.observational.estimators.masked import MaskedFit
from analysis.observational.panel_diagnostics import diagnose
from analysis.observational.panel_estimate import estimate_all
from analysis.observational.panel_fit import fit_panel
from analysis.panel_data.panel import BoolArray, FloatArray
from tests.analysis.panels import factor_panel

#: what a first fit would have chosen: no cross-validation in these tests
CHOSEN = {"mc": (("penalty", 0.1),), **dict.fromkeys(("trop", "trop-block", "homogeneous-effect"))}
TRIPLE = (("unit", 0.3), ("time", 0.1), ("nuclear", 0.3))
SLOW = tuple(CHOSEN)
#: solved to a relative gap of 1e-6: effects to about its root times the noise
_SOLVED = 5e-3


def effect(method: str, outcome: FloatArray, treated: BoolArray, usable: BoolArray | None = None) -> float:
    estimator = ESTIMATORS[method]
    assert isinstance(estimator, MaskedEstimator)
    first = MaskedFit(0.0, outcome, settings=CHOSEN[method] or TRIPLE)
    usable = np.ones(outcome.shape, dtype=np.bool_) if usable is None else usable
    return estimator.refit(outcome, usable, treated, first).effect


@pytest.mark.parametrize("method", SLOW)
def test_shifts_permutations_and_constant_effects(method: str) -> None:
    rng = np.random.default_rng(0)
    drawn = factor_panel(rng, n_control=14, n_treated=2, n_pre=10, n_post=4)
    outcome, treated = drawn.outcome, drawn.treated
    base = effect(method, outcome, treated)
    assert effect(method, outcome + 4.5 * treated, treated) - base == pytest.approx(4.5, abs=_SOLVED) or (
        method == "homogeneous-effect"  # its scale is that of all cells, treated ones included
    )
    order = rng.permutation(16)
    assert effect(method, outcome[order], treated[order]) == pytest.approx(base, abs=_SOLVED)
    if method == "mc":  # the doubly weighted forms measure distances between levels, and outcomes by their spread
        shifted = outcome + 10 * rng.normal(size=(16, 1)) + 10 * rng.normal(size=14)
        assert effect(method, shifted, treated) == pytest.approx(base, abs=_SOLVED)


@pytest.mark.parametrize("method", SLOW)
def test_what_lies_in_cells_that_may_not_be_used_does_not_matter(method: str) -> None:
    rng = np.random.default_rng(1)
    drawn = factor_panel(rng, n_control=14, n_treated=2, n_pre=10, n_post=4)
    usable = rng.random(drawn.outcome.shape) > 0.1
    spoilt = np.where(usable, drawn.outcome, 1e5)
    assert effect(method, spoilt, drawn.treated, usable) == pytest.approx(
        effect(method, drawn.outcome, drawn.treated, usable), abs=_SOLVED
    )


def test_every_method_answers_or_says_why_not_on_a_switchback_with_holes() -> None:
    rng = np.random.default_rng(2)
    drawn = factor_panel(rng, n_control=6, n_treated=6, n_pre=9, n_post=9, rank=1)
    arm = np.repeat(rng.random((12, 6)) < 0.5, 3, axis=1).astype(np.int64)
    arm[:, :3] = 0
    arm[:4] = 0
    outcome = np.where(rng.random(arm.shape) < 0.05, np.nan, drawn.outcome + 2 * arm)
    panel = replace(drawn.panel(), outcome=outcome, arm=arm)
    answers = {
        one.method: one for one in estimate_all(panel, ("did", "sc", "difp", "sdid", "twfe", "mc"), draws=20, rng=rng)
    }
    for method in ("did", "sc", "difp", "sdid"):
        assert answers[method].effect is None
        assert "use twfe, mc or trop" in answers[method].warnings[0]
    for method in ("twfe", "mc"):
        assert answers[method].effect == pytest.approx(2, abs=0.6)


def test_diagnostics_of_forms_that_impute_treated_cells_only_leave_out_the_pre_period_fit() -> None:
    drawn = factor_panel(np.random.default_rng(3), n_control=8, n_treated=1, n_pre=8, n_post=3)
    found = diagnose(fit_panel(drawn.panel(), "mc"))[0]
    assert found.pre_fit is not None
    assert len(found.time_placebos) >= 2


def test_all_means_the_seven_that_let_effects_differ() -> None:
    assert set(METHODS) == set(ESTIMATORS) - {"trop-block", "homogeneous-effect"}
