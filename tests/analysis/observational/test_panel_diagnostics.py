"""Diagnostics in closed form are what recomputing gives."""

import numpy as np
import pytest

from analysis.observational.estimators.by_name import ESTIMATORS, WeightedEstimator
from analysis.observational.inference.placebo import placebo_effects
from analysis.observational.panel_diagnostics import diagnose
from analysis.observational.panel_fit import fit_panel
from tests.analysis.panels import factor_panel

WEIGHTED = tuple(name for name, estimator in ESTIMATORS.items() if isinstance(estimator, WeightedEstimator))


@pytest.mark.parametrize("method", WEIGHTED)
def test_influence_is_the_formula_without_that_unit_or_period(method: str) -> None:
    drawn = factor_panel(np.random.default_rng(0), n_treated=1)
    fit = fit_panel(drawn.panel(), method)
    found = diagnose(fit)[0]
    weights, times = fit.fits[0].unit_weights, fit.fits[0].time_weights  # type: ignore[union-attr]
    outcome, n_control, n_pre = drawn.outcome, drawn.n_control, drawn.n_pre
    treated = outcome[n_control:].mean(axis=0)

    def effect(omega: np.ndarray, lam: np.ndarray, post: np.ndarray) -> float:
        gap = treated - omega @ outcome[:n_control]
        return float(post @ gap[n_pre:] - lam @ gap[:n_pre])

    every = np.full(5, 0.2)
    by_unit = {one.label: one.effect_without for one in found.unit_influence}
    for i in range(n_control):
        left = np.where(np.arange(n_control) == i, 0.0, weights)
        assert by_unit[f"u{i}"] == pytest.approx(effect(left / left.sum(), times, every), abs=1e-10)
    assert f"u{n_control}" not in by_unit  # nothing is left without the one treated unit
    by_period = {one.label: one.effect_without for one in found.period_influence}
    for t in range(n_pre):
        left = np.where(np.arange(n_pre) == t, 0.0, times)
        left = left / left.sum() if left.any() else left
        assert by_period[f"{t:03d}"] == pytest.approx(effect(weights, left, every), abs=1e-10)
    for t in range(5):
        post = np.where(np.arange(5) == t, 0.0, 0.25)
        assert by_period[f"{n_pre + t:03d}"] == pytest.approx(effect(weights, times, post), abs=1e-10)


def test_the_largest_influence_comes_first_and_weights_name_the_control() -> None:
    drawn = factor_panel(np.random.default_rng(1))
    fit = fit_panel(drawn.panel(), "sdid")
    found = diagnose(fit)[0]
    moves = [abs(one.effect_without - fit.effect) for one in found.unit_influence]
    assert moves == sorted(moves, reverse=True)
    assert sum(one.weight for one in found.unit_weights) == pytest.approx(1)
    assert found.unit_weights[0].weight == max(one.weight for one in found.unit_weights)
    assert found.effective_controls is not None
    assert 1 <= found.effective_controls <= 20


def test_equal_weights_make_every_control_count() -> None:
    drawn = factor_panel(np.random.default_rng(2))
    assert diagnose(fit_panel(drawn.panel(), "did"))[0].effective_controls == pytest.approx(20)


def test_a_pre_trend_that_goes_on_explains_all_of_its_effect() -> None:
    drawn = factor_panel(np.random.default_rng(3), rank=0)
    outcome = drawn.outcome + 0.8 * np.arange(17) * (np.arange(24) >= 20)[:, None]
    fit = fit_panel(type(drawn)(outcome, 20, 12).panel(), "did")
    trend = diagnose(fit)[0].pre_trend
    assert trend is not None
    # middle of the post-period 14, of the pre-period 5.5: 8.5 periods at .8 make an effect of 6.8 out of nothing
    assert fit.effect == pytest.approx(6.8, abs=0.5)
    assert trend.slope == pytest.approx(0.8, abs=0.1)
    assert abs(trend.effect_if_continued) < 0.6


def test_time_placebos_of_a_good_control_are_small_and_use_nothing_from_after_the_start() -> None:
    drawn = factor_panel(np.random.default_rng(4), rank=0, n_control=60, n_treated=20)
    spoilt = drawn.outcome + 1000 * drawn.treated
    for method in (*WEIGHTED, "twfe"):
        placebos = diagnose(fit_panel(type(drawn)(spoilt, 60, 12).panel(), method))[0].time_placebos
        assert len(placebos) >= 3
        assert all(abs(one.effect) < 1 for one in placebos)


def test_placebo_quantiles_and_p_value_come_from_the_placebos() -> None:
    drawn = factor_panel(np.random.default_rng(5), n_treated=1)
    fit = fit_panel(drawn.panel(), "sdid")
    placebos = placebo_effects(fit, 100, np.random.default_rng(0))
    found = diagnose(fit, placebos)[0]
    larger = sum(abs(effect) >= abs(fit.effect) for effect in placebos.effects)
    assert found.p_value == pytest.approx((1 + larger) / 21)
    assert found.placebo_quantiles is not None
    assert found.placebo_quantiles[2] == pytest.approx(np.median(placebos.effects))


def test_a_masking_method_has_no_weights_but_a_fit_and_period_influence() -> None:
    drawn = factor_panel(np.random.default_rng(6), rank=0)
    fit = fit_panel(drawn.panel(), "twfe")
    found = diagnose(fit)[0]
    assert found.unit_weights == ()
    assert found.effective_controls is None
    gaps = (drawn.outcome - fit.fit.counterfactual)[20:]  # type: ignore[union-attr]
    assert found.pre_fit == pytest.approx(np.sqrt(np.mean(gaps[:, :12].mean(axis=0) ** 2)))
    without_last = {one.label: one.effect_without for one in found.period_influence}["016"]
    assert without_last == pytest.approx(gaps[:, 12:16].mean())
