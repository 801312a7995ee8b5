"""Two arms that ripen at different paces: the joint bound, against its one-dimensional cousin and by simulation."""

import numpy as np
import pytest

from analysis.sequential.arm_sequences import ACROSS, Ripe, sequence_of_arms
from analysis.sequential.confidence_sequences import sequence_of_pairs
from controller.decisions.always_valid_bounds import tuning_ratio
from controller.errors import NotEstimable


def entries(rng: np.random.Generator, count: int, level: float, looks: int, first: int = 0) -> Ripe:
    look = np.sort(rng.integers(first, looks, count))
    return level + rng.standard_normal(count), look


def joint(treated: Ripe, control: Ripe, looks: int = 20, planned: int = 100):  # type: ignore[no-untyped-def]
    return sequence_of_arms(treated, control, looks, planned_entries=(planned, planned), planned_sd=(1.0, 1.0))


def test_on_the_planned_day_the_width_is_that_of_the_tuned_bound() -> None:
    """sqrt(1 + x) standard errors, x tuned at alpha / sqrt(1 + ACROSS), up to the estimated variances."""
    rng = np.random.default_rng(1)
    planned = 4000
    sequence = joint(entries(rng, planned, 0.3, 20), entries(rng, planned, 0.0, 20), planned=planned)
    half = (sequence.upper[-1] - sequence.lower[-1]) / 2
    errors = half / (2.0 / planned) ** 0.5
    assert errors == pytest.approx((1 + tuning_ratio(0.05 / (1 + ACROSS) ** 0.5)) ** 0.5, rel=0.02)
    assert errors / 1.959964 < 1.6


def test_no_look_ever_misses_often_though_one_arm_lags_and_the_plan_is_wrong() -> None:
    rng, missed = np.random.default_rng(2), []
    for _ in range(300):
        sequence = joint(entries(rng, 60, 0.3, 20, first=8), entries(rng, 150, 0.0, 20), planned=400)
        missed.append(bool(((sequence.lower > 0.3) | (sequence.upper < 0.3)).any()))
    assert np.mean(missed) <= 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5


def test_arms_that_are_planned_unequal_lose_nothing_and_pairs_waste_the_surplus() -> None:
    """60 against 240 entries: sqrt(2/60) over sqrt(1/60 + 1/240) is 1.26."""
    rng = np.random.default_rng(3)
    treated, control = entries(rng, 60, 0.3, 20), entries(rng, 240, 0.0, 20)
    together = sequence_of_arms(treated, control, 20, planned_entries=(60, 240), planned_sd=(1.0, 1.0))
    paired = sequence_of_pairs(treated, control, 20, planned_pairs=60, planned_sd=2**0.5)
    ratio = (paired.upper - paired.lower)[-1] / (together.upper - together.lower)[-1]
    assert ratio == pytest.approx(1.26, rel=0.1)


def test_swapping_the_arms_turns_the_sign_and_a_shift_of_both_changes_nothing() -> None:
    rng = np.random.default_rng(4)
    treated, control = entries(rng, 80, 0.3, 20), entries(rng, 120, 0.0, 20)
    one, other = joint(treated, control), joint(control, treated)
    np.testing.assert_allclose(one.effect, -other.effect)
    np.testing.assert_allclose(one.lower, -other.upper)
    shifted = joint((treated[0] + 50.0, treated[1]), (control[0] + 50.0, control[1]))
    np.testing.assert_allclose(shifted.upper, one.upper)


def test_the_p_value_falls_under_alpha_where_the_interval_leaves_out_zero() -> None:
    rng = np.random.default_rng(5)
    for effect in (0.0, 0.4, 0.8):
        sequence = joint(entries(rng, 100, effect, 20), entries(rng, 100, 0.0, 20))
        assert sequence.p is not None
        excluded = np.logical_or.accumulate((sequence.lower > 0) | (sequence.upper < 0))
        np.testing.assert_array_equal(sequence.p < 0.05, excluded)
        assert (np.diff(sequence.p) <= 0).all()


def test_before_two_entries_of_each_arm_nothing_is_said() -> None:
    treated = (np.array([1.0, 2.0, 3.0]), np.array([2, 4, 5]))
    control = (np.array([0.5, 1.5, 1.0]), np.array([0, 1, 2]))
    sequence = joint(treated, control, looks=6, planned=3)
    assert np.isinf(sequence.upper[:4]).all()
    assert np.isfinite(sequence.upper[4:]).all()
    assert sequence.effect[4] == pytest.approx(0.5)


def test_bad_entries_are_refused_by_name() -> None:
    good = (np.array([1.0, 2.0]), np.array([0, 1]))
    with pytest.raises(ValueError, match="order in which they ripened"):
        joint((np.array([1.0, 2.0]), np.array([1, 0])), good)
    with pytest.raises(ValueError, match="has not ripened"):
        joint((np.array([1.0, np.nan]), np.array([0, 1])), good)
    with pytest.raises(NotEstimable, match="both arms need entries"):
        joint(good, good, planned=0)
    constant = (np.ones(3), np.arange(3))
    with pytest.raises(NotEstimable):
        joint(constant, constant)
