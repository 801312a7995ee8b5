"""Influence on sc and sdid against refits without each unit, cluster and period."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from analysis.heterogeneity.influence import Influence
from analysis.heterogeneity.weighted_influence import Weights, weighted_influence
from analysis.observational.estimators.by_name import ESTIMATORS, WeightedEstimator
from analysis.observational.estimators.weighted import WeightedFit
from analysis.panel_data.panel import BoolArray, FloatArray
from controller.errors import NotEstimable

#: units, periods, treated units, treated periods
Shape = tuple[int, int, int, int]
SHAPES: list[Shape] = [(30, 30, 5, 8), (60, 50, 10, 12)]
LARGE = pytest.param((200, 150, 60, 20), marks=pytest.mark.slow)


def panel(shape: Shape, seed: int) -> FloatArray:
    """Three common factors, units and periods with levels of their own, an effect of one."""
    n, periods, treated, post = shape
    rng = np.random.default_rng(seed)
    y: FloatArray = 10 + rng.normal(0, 2, (n, 1)) + rng.normal(0, 0.2, periods).cumsum()
    y = (
        y
        + rng.normal(0, 1, (n, 3)) @ rng.normal(0, 0.3, (3, periods)).cumsum(axis=1)
        + rng.normal(0, 0.5, (n, periods))
    )
    y[n - treated :, periods - post :] += 1.0
    return y


def fitted(method: str, y: FloatArray, n_control: int, n_pre: int) -> WeightedFit:
    estimator = ESTIMATORS[method]
    assert isinstance(estimator, WeightedEstimator)
    return estimator.fit(y, n_control, n_pre)


def influence(method: str, y: FloatArray, n_control: int, n_pre: int, **options: Any) -> Influence:
    fit = fitted(method, y, n_control, n_pre)
    weights = Weights(fit.unit_weights, fit.time_weights, dict(fit.settings).get("zeta", 0.0))
    return weighted_influence(y, n_control, n_pre, weights, lambda *less: fitted(method, *less).effect, **options)


def anew(method: str, y: FloatArray, n_control: int, n_pre: int, gone: BoolArray) -> float:
    kept = ~gone
    try:
        return fitted(method, y[kept], int(kept[:n_control].sum()), n_pre).effect
    except NotEstimable:
        return np.nan


def agree(effect: float, found: FloatArray, truth: FloatArray) -> None:
    """The ten largest within 5 %, rank correlation .99; moves below a billionth of the effect are rounding."""
    moves, real = np.round(found - effect, 9), np.round(truth - effect, 9)
    known = np.isfinite(real)
    assert (np.isfinite(moves) == known).all()
    moves, real = moves[known], real[known]
    largest = np.argsort(-np.abs(real))[:10]
    assert np.abs(moves - real)[largest] == pytest.approx(0, abs=0.05 * np.abs(real[largest]).min())
    assert spearmanr(moves, real).statistic >= 0.99


@pytest.mark.parametrize("shape", [*SHAPES, LARGE], ids=str)
@pytest.mark.parametrize("method", ["sc", "sdid"])
def test_without_any_refit_the_moves_are_those_of_fitting_anew(method: str, shape: Shape) -> None:
    y, n_control, n_pre = panel(shape, 1), shape[0] - shape[2], shape[1] - shape[3]
    found = influence(method, y, n_control, n_pre, refits=0)
    assert found.refitted == 0
    units = [anew(method, y, n_control, n_pre, np.arange(len(y)) == i) for i in range(len(y))]
    agree(found.effect, found.without_unit, np.array(units))
    days = [fitted(method, np.delete(y, t, axis=1), n_control, n_pre - (t < n_pre)).effect for t in range(y.shape[1])]
    agree(found.effect, found.without_day, np.array(days))


@pytest.mark.parametrize("method", ["sc", "sdid"])
def test_clusters_that_hold_controls_and_treated_are_left_out_together(method: str) -> None:
    y, n_control, n_pre = panel(SHAPES[1], 2), 50, 38
    cluster = np.arange(60) % 12
    found = influence(method, y, n_control, n_pre, clusters=cluster, refits=0)
    truth = np.array([anew(method, y, n_control, n_pre, cluster == g) for g in range(12)])
    order = [int(name) for name in found.clusters]
    agree(found.effect, found.without_cluster, truth[order])


@pytest.mark.parametrize("method", ["sc", "sdid"])
def test_a_small_panel_is_fitted_anew_throughout_and_says_how_far_off_the_closed_form_was(method: str) -> None:
    y, n_control, n_pre = panel(SHAPES[0], 3), 25, 22
    found = influence(method, y, n_control, n_pre)
    assert found.refitted == 30 + 30
    assert found.closed_form_gap is not None
    assert 0 <= found.closed_form_gap < 0.05
    for i in (0, 10, 27):
        assert found.without_unit[i] == anew(method, y, n_control, n_pre, np.arange(30) == i)


@pytest.mark.parametrize("method", ["sc", "sdid"])
def test_planted_units_that_turn_the_sign_are_found(method: str) -> None:
    y, n_control, n_pre = panel(SHAPES[1], 4), 50, 38
    y[50:, 38:] -= 1.3
    y[[52, 57], 38:] += 12.0
    found = influence(method, y, n_control, n_pre)
    assert found.effect > 0
    assert found.turning is not None
    assert set(found.turning) <= {"52", "57"}
    assert anew(method, y, n_control, n_pre, np.isin(np.arange(60), [int(k) for k in found.turning])) < 0


def test_a_single_treated_unit_or_a_control_with_all_the_weight_cannot_be_left_out() -> None:
    y = panel((6, 20, 1, 4), 5)
    found = influence("sc", y, 5, 16)
    assert np.isnan(found.without_unit[5])
    assert all(name != "5" for name, _ in found.largest())


def test_weights_that_are_not_unique_are_fitted_anew_throughout_and_the_reader_is_told() -> None:
    y = panel((120, 30, 40, 10), 1)
    found = influence("sc", y, 80, 20, refits=0)
    assert "not unique" in found.note
    for i in (0, 50, 100):
        assert found.without_unit[i] == anew("sc", y, 80, 20, np.arange(120) == i)
