"""Forecasts from the pre-period."""

import numpy as np
import pytest

from analysis.randomised.forecast import adjust, fit_forecast, theta_from_history, theta_within_arms

WEEKDAY = np.arange(56) % 7
PATTERN = np.array([0.0, -1.0, -1.0, 0.0, 1.0, 3.0, -2.0])


def test_an_exact_line_with_weekdays_is_carried_on() -> None:
    level = np.array([10.0, 20.0, 50.0])[:, None]
    whole = level + 0.1 * np.arange(56) + PATTERN[WEEKDAY]
    forecast = fit_forecast(whole[:, :28], WEEKDAY[:28])
    np.testing.assert_allclose(forecast.ahead(WEEKDAY[28:]), whole[:, 28:], atol=1e-6)
    np.testing.assert_allclose(forecast.behind(WEEKDAY[:28]), whole[:, :28], atol=1e-6)


def test_missing_days_are_missing_not_zero() -> None:
    whole = 10.0 + PATTERN[WEEKDAY[None, :28]] + np.zeros((4, 1))
    holes = whole.copy()
    holes[0, 3:9] = np.nan
    holes[2, ::5] = np.nan
    np.testing.assert_allclose(
        fit_forecast(holes, WEEKDAY[:28]).ahead(WEEKDAY[28:35]), 10 + PATTERN + 0 * whole[:, :7], atol=1e-2
    )


def test_a_unit_without_history_has_no_forecast() -> None:
    outcome = np.random.default_rng(1).normal(size=(3, 28))
    outcome[1] = np.nan
    ahead = fit_forecast(outcome, WEEKDAY[:28]).ahead(WEEKDAY[:7])
    assert np.isnan(ahead[1]).all()
    assert np.isfinite(ahead[[0, 2]]).all()


def test_slopes_of_pure_noise_shrink_to_almost_nothing() -> None:
    outcome = np.random.default_rng(2).normal(size=(200, 28))
    raw = np.array([np.polyfit(np.arange(28), row, 1)[0] for row in outcome])
    assert fit_forecast(outcome, WEEKDAY[:28]).slope.std() < 0.35 * raw.std()


def test_slopes_that_differ_between_units_are_kept() -> None:
    rng = np.random.default_rng(3)
    slope = rng.normal(0.0, 1.0, (200, 1))
    outcome = slope * np.arange(28) + rng.normal(size=(200, 28))
    np.testing.assert_allclose(fit_forecast(outcome, WEEKDAY[:28]).slope, slope[:, 0], atol=0.15)


def test_categories_keep_their_own_weekdays() -> None:
    category = np.array(["beer", "beer", "milk", "milk"])
    whole = np.where(category[:, None] == "beer", PATTERN[WEEKDAY], -PATTERN[WEEKDAY])
    forecast = fit_forecast(whole[:, :28], WEEKDAY[:28], category)
    np.testing.assert_allclose(forecast.ahead(WEEKDAY[28:]), whole[:, 28:], atol=1e-6)


def test_an_adjustment_keeps_the_mean_and_takes_off_what_the_covariate_explains() -> None:
    rng = np.random.default_rng(4)
    covariate = rng.normal(size=(100, 2))
    outcome = covariate @ np.array([3.0, -1.0]) + 0.1 * rng.normal(size=100)
    theta = theta_from_history(covariate, outcome)
    adjusted = adjust(outcome, covariate, theta)
    assert adjusted.mean() == pytest.approx(outcome.mean())
    assert adjusted.std() < 0.05 * outcome.std()


def test_slopes_within_arms_ignore_the_effect_itself() -> None:
    rng = np.random.default_rng(5)
    treated = rng.permutation(200) < 100
    covariate = rng.normal(size=200) + 2.0 * treated
    outcome = 3.0 * covariate + 50.0 * treated + 0.1 * rng.normal(size=200)
    assert theta_within_arms(covariate, outcome, treated)[0] == pytest.approx(3.0, abs=0.05)
