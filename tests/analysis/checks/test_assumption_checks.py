"""Each check passes on a healthy experiment, speaks up on a sick one, and says so when it cannot tell."""

import numpy as np
import pytest

from analysis.checks.balance import (
    interference,
    missingness,
    pre_period_balance,
    staleness,
    stock_outs,
    treated_share,
    weekday_balance,
)
from analysis.checks.carryover import carryover_test, non_anticipation_test
from analysis.checks.delivery import activation_lag, fidelity, reporting
from analysis.checks.trigger_rates import sequential_ratio_p, shortfall, trigger_rates
from benchmarks.randomised.worlds import balanced_blocks, white, with_effect

HALVES = np.array([0.5, 0.5])
POINTS = tuple(range(0, 42, 3))


def switchback(seed: int, spill: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    outcome = white(rng, 40, 28 + 42)
    arm = balanced_blocks(rng, 40, 14, 3)
    return with_effect(outcome[:, 28:], arm, 1.0, spill) - outcome[:, :28].mean(axis=1, keepdims=True), arm


def test_a_spill_into_the_next_day_is_found_and_the_order_to_raise_is_named() -> None:
    outcome, arm = switchback(1, spill=0.4)
    found = carryover_test(outcome, arm, POINTS, assumed_order=0, longer_order=1, rng=np.random.default_rng(2))
    assert found.verdict == "fail"
    assert "raise the order to 1" in found.what_to_do


def test_an_effect_that_ends_with_the_day_passes() -> None:
    outcome, arm = switchback(3)
    found = carryover_test(outcome, arm, POINTS, assumed_order=0, longer_order=2, rng=np.random.default_rng(2))
    assert found.verdict == "pass"
    assert found.value is not None
    assert found.value >= found.threshold


def test_an_order_that_is_long_enough_passes_where_a_shorter_one_fails() -> None:
    outcome, arm = switchback(8, spill=0.4)
    found = carryover_test(outcome, arm, POINTS, assumed_order=1, longer_order=2, rng=np.random.default_rng(2))
    assert found.verdict == "pass"


def test_buyers_who_know_tomorrows_price_are_found() -> None:
    outcome, arm = switchback(5)
    outcome[:, :-1] += 0.6 * arm[:, 1:]
    found = non_anticipation_test(outcome, arm, POINTS, lead=1, rng=np.random.default_rng(2))
    assert found.verdict == "fail"


def test_a_spill_backward_is_not_mistaken_for_one_forward() -> None:
    outcome, arm = switchback(6, spill=0.4)
    assert non_anticipation_test(outcome, arm, POINTS, lead=1, rng=np.random.default_rng(2)).verdict == "pass"


def test_a_schedule_that_never_flips_cannot_tell_about_carryover() -> None:
    outcome, arm = switchback(7)
    held = np.repeat(arm[:, :1], 42, axis=1)
    found = carryover_test(outcome, held, (0,), assumed_order=0, longer_order=1, rng=np.random.default_rng(2))
    assert (found.verdict, found.value) == ("unknown", None)
    assert "no day's window" in found.evidence


def test_the_sequential_p_value_is_the_papers_bayes_factor() -> None:
    # kappa = 2, fair: prior (1, 1) is uniform, so BF = B(1 + 9, 1 + 1) / .5^10 = 9! 1! / 11! * 1024 = 9.309
    assert sequential_ratio_p(np.array([[9, 1]]), HALVES, 2.0)[0] == pytest.approx(110 / 1024)


def test_the_sequential_p_value_never_rises() -> None:
    counts = np.cumsum(np.array([[400, 100], [100, 400], [500, 500]]), axis=0)
    assert (np.diff(sequential_ratio_p(counts, HALVES)) <= 0.0).all()


def test_three_arms_are_judged_by_their_own_planned_shares() -> None:
    planned = np.array([0.5, 0.25, 0.25])
    assert shortfall(np.array([1000, 500, 500]), planned) == 0.0
    assert shortfall(np.array([1000, 500, 400]), planned) == pytest.approx(0.2)


def test_counts_that_fall_are_refused() -> None:
    with pytest.raises(ValueError, match="never fall"):
        sequential_ratio_p(np.array([[5, 5], [4, 6]]), HALVES)


def test_a_rival_who_reacts_to_our_price_shows_in_the_trigger_rates() -> None:
    found = trigger_rates(np.array([[200, 320]]), np.array([9000.0, 9000.0]))
    assert found.verdict == "warn"
    assert trigger_rates(np.array([[200, 215]]), np.array([9000.0, 9000.0])).verdict == "pass"


def test_a_pricing_system_that_ignores_one_arm_for_one_day_in_ninety_is_named() -> None:
    arm = balanced_blocks(np.random.default_rng(1), 100, 90, 1)
    applied = arm.copy()
    applied[:, 89] = 0
    days = [f"day {day}" for day in range(90)]
    found = fidelity(arm, applied, days)
    assert (found.verdict, found.value) == ("fail", 0.0)
    assert "treatment on day 89" in found.evidence
    assert fidelity(arm, arm, days).verdict == "pass"


def test_unreported_prices_are_unknown_not_right() -> None:
    arm = balanced_blocks(np.random.default_rng(1), 10, 4, 1)
    silent = np.full(arm.shape, -1)
    assert fidelity(arm, silent, list("abcd")).verdict == "unknown"
    assert reporting(arm, silent).verdict == "warn"
    assert reporting(arm, arm).verdict == "pass"


def test_the_activation_lag_is_its_95th_percentile() -> None:
    assert activation_lag(np.arange(101.0)).value == pytest.approx(95.0)
    assert activation_lag(np.r_[np.ones(90), np.full(10, 3600.0)]).verdict == "warn"
    assert activation_lag(np.array([np.nan])).verdict == "unknown"


def test_an_arm_that_runs_on_weekends_only_is_out_of_balance() -> None:
    weekday = np.arange(28) % 7
    alike = np.tile(np.array([[1], [0]]), (5, 28))
    usable = np.ones((10, 28), bool)
    assert weekday_balance(alike, weekday, usable).verdict == "pass"
    weekends = np.tile((weekday >= 5).astype(int), (10, 1))
    assert weekday_balance(weekends, weekday, usable).verdict == "warn"


def test_a_block_without_exact_halves_is_named() -> None:
    arm = balanced_blocks(np.random.default_rng(1), 20, 4, 2)
    block = np.repeat(np.arange(4), 2)
    assert treated_share(arm, block).verdict == "pass"
    arm[:5, 4:6] = 1
    found = treated_share(arm, block)
    assert found.verdict == "fail"
    assert "block 2" in found.evidence


def test_a_treated_half_with_another_history_is_found() -> None:
    rng = np.random.default_rng(1)
    treated = (np.arange(40) < 20).astype(float)
    history = rng.normal(size=40)
    assert pre_period_balance(history, rng.permutation(treated)).verdict == "pass"
    assert pre_period_balance(history + 2.0 * treated, treated).verdict == "warn"
    assert pre_period_balance(history, np.full(40, 0.5)).verdict == "unknown"


def test_missing_stock_and_stale_cells_of_one_arm_are_found() -> None:
    rng = np.random.default_rng(1)
    arm = balanced_blocks(rng, 40, 14, 3)
    outcome = rng.normal(size=arm.shape)
    assert missingness(outcome, arm).verdict == "pass"
    lossy = np.where((arm == 1) & (rng.random(arm.shape) < 0.1), np.nan, outcome)
    assert missingness(lossy, arm).verdict == "warn"
    sold_out = (rng.random(arm.shape) < np.where(arm == 1, 0.15, 0.05)).astype(float)
    assert stock_outs(sold_out, arm).verdict == "warn"
    assert stock_outs(np.zeros(arm.shape), arm).verdict == "pass"
    hours = rng.exponential(5.0, arm.shape)
    assert staleness(hours, arm).verdict == "pass"
    assert staleness(hours + 12.0 * arm, arm).verdict == "warn"


def test_units_of_one_category_in_two_arms_may_interfere() -> None:
    together = np.repeat(np.array([[1], [1], [0], [0]]), 6, axis=1)
    assert interference(together, ["tea", "tea", "rum", "rum"]).verdict == "pass"
    found = interference(together, ["tea", "rum", "tea", "rum"])
    assert (found.verdict, found.value) == ("warn", 1.0)
    assert interference(np.full((4, 6), -1), ["tea"] * 4).verdict == "unknown"
