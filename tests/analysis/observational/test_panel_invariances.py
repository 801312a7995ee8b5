"""What must not move an estimate, and what must move it by exactly as much; exceptions are stated with their reason."""

from collections.abc import Callable

import numpy as np
import pytest

from analysis.observational.estimators.by_name import ESTIMATORS, MaskedEstimator, WeightedEstimator
from analysis.observational.estimators.doubly_weighted import Penalties
from analysis.observational.estimators.doubly_weighted_cv import cross_validate
from analysis.observational.estimators.masked import MaskedFit
from analysis.observational.estimators.penalised import fit_mc, fit_trop
from analysis.panel_data.panel import BoolArray, FloatArray
from tests.analysis.panels import Drawn, factor_panel

#: penalties for outcomes of the panels here, so that tests need no cross-validation
PENALTIES = Penalties(0.3, 0.1, 0.3)
#: those that are minimised until a certified gap, at a given penalty: (outcome, usable, treated) -> fit
MINIMISED: dict[str, Callable[[FloatArray, BoolArray, BoolArray], MaskedFit]] = {
    "mc": lambda y, usable, treated: fit_mc(y, usable, treated, 0.02),
    "trop": lambda y, usable, treated: fit_trop(y, usable, treated, "masked", PENALTIES),
    "trop-block": lambda y, usable, treated: fit_trop(y, usable, treated, "block-masked", PENALTIES),
    "homogeneous-effect": lambda y, usable, treated: fit_trop(y, usable, treated, "homogeneous effect", PENALTIES),
}
#: those solved to rounding; matrix completion and the doubly weighted forms have tests of their own tolerance
METHODS = tuple(m for m, e in ESTIMATORS.items() if isinstance(e, WeightedEstimator) or not e.slow)
#: the synthetic control compares levels: a unit's level is information to it
LEVEL_FREE = tuple(method for method in METHODS if method != "sc")
#: rounding of a solver that is exact, on outcomes of size ten
_EXACT = 1e-7


def effect(method: str, drawn: Drawn) -> float:
    estimator = ESTIMATORS[method]
    if isinstance(estimator, MaskedEstimator):
        return MINIMISED.get(method, estimator.fit)(
            drawn.outcome, np.ones(drawn.outcome.shape, dtype=np.bool_), drawn.treated
        ).effect
    return estimator.fit(drawn.outcome, drawn.n_control, drawn.n_pre).effect


@pytest.fixture(params=range(3))
def drawn(request: pytest.FixtureRequest) -> Drawn:
    return factor_panel(np.random.default_rng(request.param))


def changed(drawn: Drawn, change: Callable[[FloatArray], FloatArray]) -> Drawn:
    return Drawn(change(drawn.outcome), drawn.n_control, drawn.n_pre)


@pytest.mark.parametrize("method", METHODS)
def test_a_shift_of_each_period_changes_nothing(method: str, drawn: Drawn) -> None:
    shift: FloatArray = 10 * np.random.default_rng(1).normal(size=drawn.outcome.shape[1:])
    # the noise level of sdid comes from first differences, of which a common shift moves the mean path only when equal
    if method == "sdid":
        shift[:] = np.linspace(0, 30, len(shift))
    assert effect(method, changed(drawn, lambda y: y + shift)) == pytest.approx(effect(method, drawn), abs=_EXACT)


@pytest.mark.parametrize("method", LEVEL_FREE)
def test_a_shift_of_each_unit_changes_nothing(method: str, drawn: Drawn) -> None:
    shift = 10 * np.random.default_rng(2).normal(size=(len(drawn.outcome), 1))
    assert effect(method, changed(drawn, lambda y: y + shift)) == pytest.approx(effect(method, drawn), abs=_EXACT)


def test_a_shift_of_each_unit_moves_the_synthetic_control_because_it_compares_levels(drawn: Drawn) -> None:
    shift = np.zeros((len(drawn.outcome), 1))
    shift[: drawn.n_control : 2] = 10
    assert abs(effect("sc", changed(drawn, lambda y: y + shift)) - effect("sc", drawn)) > 1e-3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [-1.0, 1e-3, 250.0])
def test_scaling_the_outcome_scales_the_effect(method: str, factor: float, drawn: Drawn) -> None:
    scaled = effect(method, changed(drawn, lambda y: factor * y))
    assert scaled == pytest.approx(factor * effect(method, drawn), rel=1e-6, abs=_EXACT * abs(factor))


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_units_does_not_matter(method: str, drawn: Drawn) -> None:
    rng = np.random.default_rng(3)
    order = np.concatenate(
        [rng.permutation(drawn.n_control), drawn.n_control + rng.permutation(len(drawn.outcome) - drawn.n_control)]
    )
    assert effect(method, changed(drawn, lambda y: y[order])) == pytest.approx(effect(method, drawn), abs=_EXACT)


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_periods_does_not_matter_within_before_and_after(method: str, drawn: Drawn) -> None:
    rng = np.random.default_rng(4)
    n_post = drawn.outcome.shape[1] - drawn.n_pre
    # the noise level of sdid is the spread of differences between neighbouring pre-periods: only their reverse keeps it
    before = np.arange(drawn.n_pre)[::-1] if method == "sdid" else rng.permutation(drawn.n_pre)
    order = np.concatenate([before, drawn.n_pre + rng.permutation(n_post)])
    assert effect(method, changed(drawn, lambda y: y[:, order])) == pytest.approx(effect(method, drawn), abs=_EXACT)


@pytest.mark.parametrize("method", ESTIMATORS)
def test_a_constant_effect_moves_the_estimate_by_exactly_that(method: str, drawn: Drawn) -> None:
    moved = effect(method, changed(drawn, lambda y: y + 7.25 * drawn.treated))
    assert moved - effect(method, drawn) == pytest.approx(7.25, abs=_EXACT)


# the homogeneous form assumes one effect, and an uneven one bends it: tested where its ramp is
@pytest.mark.parametrize("method", [method for method in ESTIMATORS if method != "homogeneous-effect"])
def test_an_uneven_effect_moves_the_estimate_by_its_mean(method: str, drawn: Drawn) -> None:
    uneven = np.where(drawn.treated, np.random.default_rng(5).normal(size=drawn.outcome.shape), 0.0)
    moved = effect(method, changed(drawn, lambda y: y + uneven))
    assert moved - effect(method, drawn) == pytest.approx(uneven[drawn.treated].mean(), abs=_EXACT)


def test_penalties_that_are_chosen_do_not_see_a_constant_effect(drawn: Drawn) -> None:
    observed = np.ones(drawn.outcome.shape, dtype=np.bool_)
    grids = ((0.0, 0.5), (0.0, 0.2), (0.1, np.inf))
    before, after = (
        cross_validate(y, drawn.treated, observed, *grids, n_placebos=5)
        for y in (drawn.outcome, drawn.outcome + 7.25 * drawn.treated)
    )
    np.testing.assert_allclose(after.rmse, before.rmse, rtol=1e-12)
