"""Differences between arms on frames small enough to count."""

import numpy as np
import pytest

from analysis.randomised.contrasts import arm_contrast, demand_curve, event_time_outcomes, stratified_difference
from analysis.randomised.variance import cluster_interval, cluster_jackknife, cluster_linearised
from controller.errors import NotEstimable


def masks(arm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (arm == 1).astype(float), (arm == 0).astype(float)


def test_the_difference_of_cluster_day_means_counted_by_hand() -> None:
    outcome = np.array([[5.0, 3.0], [7.0, np.nan], [1.0, 4.0]])
    arm = np.array([[1, 0], [1, 0], [0, 1]])
    found = arm_contrast(outcome, np.ones((3, 2)), *masks(arm))
    # treated: (5 + 7 + 4) / 3, control: (3 + 1) / 2, the missing cell in neither
    assert found.effect == pytest.approx(16 / 3 - 2)
    assert (found.cells_treated, found.cells_control) == (3, 2)
    assert found.influence.sum() == pytest.approx(0.0)


def test_a_ratio_metric_divides_the_sums_not_the_days() -> None:
    margin = np.array([[2.0, 30.0], [1.0, 8.0]])
    revenue = np.array([[10.0, 100.0], [10.0, 20.0]])
    arm = np.array([[1, 1], [0, 0]])
    found = arm_contrast(margin, revenue, *masks(arm), relative=True)
    # 32 / 110 against 9 / 30
    assert found.effect == pytest.approx(32 / 110 / 0.3 - 1)


def test_the_closed_form_jackknife_is_the_one_that_leaves_each_cluster_out() -> None:
    rng = np.random.default_rng(1)
    margin, revenue = rng.normal(3, 1, (8, 10)), rng.uniform(5, 10, (8, 10))
    arm = rng.integers(0, 2, (8, 10))
    for relative in (False, True):
        found = arm_contrast(margin, revenue, *masks(arm), relative=relative)
        left = []
        for row in range(8):
            keep = np.arange(8) != row
            part = arm_contrast(margin[keep], revenue[keep], *masks(arm[keep]), relative=relative)
            left.append(part.effect)
        by_hand = 7 / 8 * ((np.array(left) - found.effect) ** 2).sum()
        assert cluster_jackknife(found) == pytest.approx(by_hand)
        assert cluster_linearised(found) == pytest.approx(by_hand, rel=0.5)


def test_clusters_in_both_arms_lose_one_degree_of_freedom_and_clusters_in_one_arm_lose_two() -> None:
    outcome = np.random.default_rng(1).normal(size=(8, 10))
    flipping = np.tile([1, 0], (8, 5))
    for_good = np.repeat([[1], [0]] * 4, 10, axis=1)
    for arm, degrees in ((flipping, 7.0), (for_good, 6.0)):
        assert cluster_interval(arm_contrast(outcome, np.ones((8, 10)), *masks(arm))).degrees == degrees


def test_the_influence_is_the_derivative_of_the_effect_in_the_weight_of_a_cluster() -> None:
    rng = np.random.default_rng(2)
    margin, revenue = rng.normal(3, 1, (6, 10)), rng.uniform(5, 10, (6, 10))
    treated, control = masks(rng.integers(0, 2, (6, 10)))
    for relative in (False, True):
        found = arm_contrast(margin, revenue, treated, control, relative=relative)
        for row in range(6):
            heavier = np.ones((6, 1))
            heavier[row] += 1e-6
            moved = arm_contrast(margin, revenue, treated * heavier, control * heavier, relative=relative)
            assert (moved.effect - found.effect) / 1e-6 == pytest.approx(found.influence[row], rel=1e-3, abs=1e-6)


def test_a_stratified_difference_weighs_strata_by_their_clusters() -> None:
    outcome = np.array([4.0, 6.0, 1.0, 1.0, 9.0, 11.0, 5.0, 7.0, 6.0, 6.0])
    treated = np.array([1, 1, 0, 0, 1, 1, 0, 0, 0, 0], bool)
    stratum = np.array(list("aaaabbbbbb"))
    found = stratified_difference(outcome, treated, stratum)
    # a: 5 - 1 = 4 (weight .4), b: 10 - 6 = 4 (weight .6)
    assert found.effect == pytest.approx(4.0)
    # a: s1^2 = 2, s0^2 = 0 -> 1; b: s1^2 = 2 -> 1, s0^2 = 2/3 -> 1/6
    assert found.se == pytest.approx((0.4**2 * 1 + 0.6**2 * (1 + (2 / 3) / 4)) ** 0.5)


def test_pairs_take_their_error_from_the_spread_of_the_pairs() -> None:
    outcome = np.array([3.0, 1.0, 10.0, 7.0, 5.0, 1.0])
    treated = np.array([1, 0] * 3, bool)
    found = stratified_difference(outcome, treated, np.array([0, 0, 1, 1, 2, 2]))
    # differences 2, 3, 4: mean 3, s^2 / 3 = 1 / 3
    assert found.effect == pytest.approx(3.0)
    assert found.se == pytest.approx((1 / 3) ** 0.5)


def test_a_stratum_without_both_arms_is_counted_not_used() -> None:
    outcome = np.array([3.0, 1.0, 10.0, 7.0, 100.0])
    treated = np.array([1, 0, 1, 0, 1], bool)
    assert stratified_difference(outcome, treated, np.array([0, 0, 1, 1, 2])).strata_left_out == 1


def test_event_time_averages_each_cluster_over_its_own_days() -> None:
    outcome = np.arange(20.0).reshape(2, 10)
    found = event_time_outcomes(outcome, np.array([2, 5]), days=3, washout=1, days_before=2)
    # first: days 3, 4 against 0, 1; second: days 16, 17 against 13, 14
    assert found.tolist() == [3.0, 3.0]


def test_a_cluster_that_has_not_entered_or_not_ripened_has_no_outcome() -> None:
    found = event_time_outcomes(np.ones((3, 10)), np.array([-1, 8, 7]), days=3)
    assert np.isnan(found).tolist() == [True, True, False]


def test_three_price_levels_give_back_slope_and_curvature() -> None:
    prices = np.array([1.0, 0.9, 1.15])
    x = np.log(prices)
    mean = 50.0 * np.exp(-2.0 * x + 1.5 * x**2)
    level = np.tile(np.arange(3), (6, 10))
    found = demand_curve(mean[level], level, prices)
    assert found.slope == pytest.approx(-2.0)
    assert found.curvature == pytest.approx(1.5)


def test_the_errors_of_a_demand_curve_match_its_scatter_over_repetitions() -> None:
    rng = np.random.default_rng(3)
    prices = np.array([1.0, 0.8, 1.25])
    mean = 20.0 * prices**-1.5
    slopes, errors = [], []
    for _ in range(300):
        level = np.stack([rng.permutation(np.arange(30) % 3) for _ in range(20)])
        found = demand_curve(rng.poisson(mean[level]).astype(float), level, prices)
        slopes.append(found.slope)
        errors.append(found.slope_se)
    assert np.mean(slopes) == pytest.approx(-1.5, abs=4 * np.std(slopes) / 300**0.5)
    assert np.mean(errors) == pytest.approx(np.std(slopes), rel=0.15)


@pytest.mark.parametrize("prices", [[1.0, 0.9], [1.0, 0.9, 0.9], [1.0, 0.9, 0.0]])
def test_two_price_levels_are_refused_a_demand_curve(prices: list[float]) -> None:
    level = np.tile(np.arange(len(prices)), (4, 6))
    with pytest.raises(NotEstimable, match="three different positive price levels"):
        demand_curve(np.ones(level.shape), level, np.array(prices))


def test_an_effect_relative_to_nothing_is_refused() -> None:
    outcome = np.array([[1.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    arm = np.array([[1, 0]] * 3)
    with pytest.raises(NotEstimable, match="control mean is zero"):
        arm_contrast(outcome, np.ones((3, 2)), *masks(arm), relative=True)
