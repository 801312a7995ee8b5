"""The bounds that guardrails and analysis share, against their definitions."""

import math

import numpy as np
import pytest
from scipy import optimize, special, stats

from controller.decisions.always_valid_bounds import (
    lower_limit,
    mixing_for,
    one_sided_bound,
    tuning_ratio,
    two_sided_bound,
    upper_limit,
)
from controller.errors import NotEstimable


def test_the_tuning_ratio_at_five_percent_is_the_published_one() -> None:
    assert tuning_ratio(0.05) == pytest.approx(8.21, abs=0.005)


@pytest.mark.parametrize("alpha", [1e-6, 0.001, 0.01, 0.025, 0.05, 0.1, 0.3, 0.9])
def test_the_tuning_ratio_is_that_of_lamberts_lower_branch(alpha: float) -> None:
    lambert = special.lambertw(-(alpha**2) / math.e, -1).real
    assert tuning_ratio(alpha) == pytest.approx(-lambert - 1.0, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1])
def test_no_other_mixing_is_narrower_at_the_expected_variance(alpha: float) -> None:
    best = optimize.minimize_scalar(
        lambda log_mixing: two_sided_bound(100.0, math.exp(log_mixing), alpha), bounds=(-3.0, 8.0), method="bounded"
    )
    assert two_sided_bound(100.0, mixing_for(100.0, alpha), alpha) == pytest.approx(best.fun, rel=1e-6)
    assert math.exp(best.x) == pytest.approx(mixing_for(100.0, alpha), rel=1e-2)


def test_the_price_of_looking_any_time_is_1549_thousandths_of_a_fixed_interval() -> None:
    price = two_sided_bound(100.0, mixing_for(100.0, 0.05), 0.05) / 10.0 / stats.norm.ppf(0.975)
    assert price == pytest.approx(1.549, abs=5e-4)


@pytest.mark.parametrize("alpha", [0.01, 0.025, 0.05])
@pytest.mark.parametrize("variance", [0.1, 1.0, 10.0, 1000.0])
def test_the_one_sided_bound_lies_just_above_the_root_of_the_half_normal_mixture(variance: float, alpha: float) -> None:
    mixing = 2.0

    def log_mixture(total: float) -> float:
        spread = variance + mixing
        z = total / spread**0.5
        return float(math.log(2.0) + 0.5 * math.log(mixing / spread) + z * z / 2.0 + stats.norm.logcdf(z))

    exact = optimize.brentq(lambda total: log_mixture(total) + math.log(alpha), 0.0, 1e6)
    assert exact <= one_sided_bound(variance, mixing, alpha) <= 1.02 * exact


def test_one_side_is_narrower_than_two_sides() -> None:
    assert one_sided_bound(50.0, 5.0, 0.05) < two_sided_bound(50.0, 5.0, 0.05)


def test_limits_mirror_each_other() -> None:
    assert lower_limit(3.0, 2.0, 4, 1.0, 0.05) == pytest.approx(-upper_limit(-3.0, 2.0, 4, 1.0, 0.05))


def test_a_random_walk_crosses_neither_bound_more_often_than_alpha() -> None:
    paths = np.cumsum(np.random.default_rng(1).standard_normal((4000, 400)), axis=1)
    variance = np.arange(1.0, 401.0)
    one = np.array([one_sided_bound(v, mixing_for(400.0, 0.05, sides=1), 0.05) for v in variance])
    two = np.array([two_sided_bound(v, mixing_for(400.0, 0.05), 0.05) for v in variance])
    error = 3.0 * (0.05 * 0.95 / 4000) ** 0.5
    assert (paths > one).any(axis=1).mean() <= 0.05 + error
    assert (np.abs(paths) > two).any(axis=1).mean() <= 0.05 + error


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1])
def test_an_impossible_error_rate_is_refused_by_name(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha ="):
        tuning_ratio(alpha)


@pytest.mark.parametrize("expected", [0.0, -1.0, math.inf, math.nan])
def test_a_planned_variance_of_nothing_is_refused(expected: float) -> None:
    with pytest.raises(NotEstimable, match="expected variance"):
        mixing_for(expected, 0.05)


def test_no_block_no_limit() -> None:
    with pytest.raises(NotEstimable, match="no block has closed"):
        upper_limit(0.0, 0.0, 0, 1.0, 0.05)
