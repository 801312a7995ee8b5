"""Relative effects and weighted means: Fieller against slow oracles, and the examples that showed the need."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize
from scipy.special import stdtrit

from analysis.panel_data.panel import BoolArray
from analysis.randomised.cluster_day import ClusterDayDifference, Effect, cluster_day_difference
from analysis.randomised.cluster_weights import FormSums, inflation
from analysis.randomised.event_time import Clock, event_time_difference
from analysis.randomised.relative_effect import Spread, absolute_effect, relative_effect

NUMBERS = st.floats(0.01, 5.0)


def holds(effect: Effect, value: float) -> bool:
    """Whether the interval has a value; one that cannot be bounded has all."""
    return (effect.ci_low is None or effect.ci_low <= value) and (effect.ci_high is None or value <= effect.ci_high)


@given(tau=st.floats(-20, 20), base=st.floats(1, 50), treated=NUMBERS, control=NUMBERS, r=st.floats(-0.9, 0.9))
def test_a_relative_interval_is_where_the_difference_that_it_implies_is_not_rejected(
    tau: float, base: float, treated: float, control: float, r: float
) -> None:
    spread, freedom = Spread(treated, r * (treated * control) ** 0.5, control), 9.0
    found, absent = relative_effect(tau, base, spread, freedom, 0.95)
    t = float(stdtrit(freedom, 0.975))
    if found is None:
        assert base <= 3 * control**0.5
        assert absent is not None
        assert f"{base:.4g}" in absent
        return

    def rejected(rho: float) -> float:
        return (tau - rho * base) ** 2 - t**2 * spread.variance(1 + rho)

    if found.ci_low is None or found.ci_high is None:
        assert base**2 <= t**2 * control
        assert found.unbounded is not None
        return
    assert found.ci_low <= found.value <= found.ci_high
    for side, far in ((found.ci_low, -1e6), (found.ci_high, 1e6)):
        slow = optimize.brentq(rejected, found.value, far, xtol=1e-12)
        assert side == pytest.approx(slow, rel=1e-6, abs=1e-9)


@given(tau=st.floats(-20, 20), base=st.floats(1, 50), treated=NUMBERS, control=NUMBERS, freedom=st.floats(1, 60))
def test_the_relative_interval_holds_zero_exactly_where_the_absolute_one_does_and_has_its_p_value(
    tau: float, base: float, treated: float, control: float, freedom: float
) -> None:
    spread = Spread(treated, 0.0, control)
    absolute = absolute_effect(tau, spread.variance(1.0), freedom, 0.95)
    relative, _ = relative_effect(tau, base, spread, freedom, 0.95)
    if relative is not None and abs(absolute.p - 0.05) > 1e-9:
        assert relative.p == pytest.approx(absolute.p)
        if relative.unbounded is None:
            assert holds(relative, 0.0) == holds(absolute, 0.0)


def test_eight_clusters_of_which_one_control_is_huge_have_no_significant_relative_decrease() -> None:
    """Control 4, 6, 5, 60 and treated 3, 5, 4, 4 was -78.7 % [-127.9, -29.4], p = .014, beside an absolute p of .36."""
    control, treated = np.array([4.0, 6.0, 5.0, 60.0]), np.array([3.0, 5.0, 4.0, 4.0])
    entries = [Clock(k, int(k >= 4), 1, 1, 2) for k in range(8)]
    outcome = np.vstack([np.zeros(8), np.r_[control, treated]])
    free = np.array([[True] * 8, [False] * 8])
    free[1, 0] = False
    # Without a forecast for the second day the first day's level of zero is what each would have sold.
    outcome = np.vstack([outcome[0], outcome[0], outcome[1]])
    free = np.array([[True] * 9, [True] * 9, [False] * 8 + [True]])
    outcome = np.hstack([outcome, np.zeros((3, 1))])
    entries = [Clock(k, int(k >= 4), 2, 2, 3) for k in range(8)]
    found = event_time_difference(outcome, free, np.arange(9), entries, arm=1)
    assert found.absolute.p == pytest.approx(0.36, abs=0.01)
    assert found.relative is None, "18.75 +- 13.76 is no base"
    assert found.relative_absent is not None
    assert "18.75" in found.relative_absent


def test_the_degrees_of_freedom_of_a_weighted_mean_are_those_of_its_quadratic_form() -> None:
    rng = np.random.default_rng(3)
    for clusters in (2, 3, 8, 25):
        weight = rng.lognormal(0, 1, clusters)
        share = weight / weight.sum()
        form = share**2 * inflation(share, np.square(share).sum())
        sums = FormSums(())
        for part in np.array_split(np.arange(clusters), 2):
            sums.add((), weight[part], form[part])
        centre = np.eye(clusters) - share
        b = centre.T @ np.diag(form) @ centre
        assert float(sums.freedom()) == pytest.approx(max(np.trace(b) ** 2 / np.trace(b @ b), 1.0))
        # unbiased where the clusters' means have equal variances
        assert np.trace(b) == pytest.approx(np.square(share).sum())


def test_equal_weights_are_no_weights() -> None:
    rng = np.random.default_rng(5)
    outcome, cluster = rng.lognormal(2, 0.5, (14, 12)), np.repeat(np.arange(6), 2)
    treated = (rng.permuted(np.tile([0, 0, 0, 1, 1, 1], (14, 1)), axis=1) > 0)[:, cluster]
    kinds: tuple[BoolArray | None, ...] = (
        None,
        np.ones((14, 1), dtype=bool),
        np.arange(14)[:, None] // 2 == np.arange(7),
    )
    for draws in kinds:
        draws_: BoolArray | None
        if draws is not None and draws.all():
            outcome_, treated_ = np.vstack([outcome[:7], outcome]), np.vstack([treated[:7], treated])
            draws_ = np.vstack([np.zeros((7, 1), dtype=bool), draws])
            treated_[7:] = treated_[7]
        else:
            outcome_, treated_, draws_ = outcome, treated, draws
        plain = cluster_day_difference(outcome_, treated_, cluster, draws=draws_)
        weighed = cluster_day_difference(outcome_, treated_, cluster, draws=draws_, weight=np.full(6, 7.0))
        assert weighed.control_mean == pytest.approx(plain.control_mean)
        for a, b in ((plain.absolute, weighed.absolute), (plain.relative, weighed.relative)):
            assert a is not None
            assert b is not None
            assert (b.value, b.se, b.ci_low, b.ci_high, b.p) == pytest.approx((a.value, a.se, a.ci_low, a.ci_high, a.p))


def unequal(rng: np.random.Generator, days: int, effects: tuple[float, float]) -> tuple[ClusterDayDifference, ...]:
    """Ten clusters of one unit and ten of fifty, each day a draw of exact halves: average, and total."""
    size = np.r_[np.ones(10, dtype=int), np.full(10, 50)]
    cluster = np.repeat(np.arange(20), size)
    treated = (rng.permuted(np.tile(np.arange(20) % 2, (days, 1)), axis=1) > 0)[:, cluster]
    base = 20.0 * np.exp(rng.normal(0, 0.1, (days, 1)) + rng.normal(0, 0.1, (days, len(cluster))))
    effect = np.where(size[cluster] == 1, effects[0], effects[1])
    outcome = base * np.where(treated, 1 + effect, 1.0)
    return tuple(
        cluster_day_difference(outcome, treated, cluster, weight=weight) for weight in (None, size.astype(float))
    )


def test_ten_clusters_of_one_unit_and_ten_of_fifty_have_two_effects_and_both_are_covered() -> None:
    """+10 % in the small ones, -30 % in the large ones: -10 % on average, and -29.2 % of all that is sold."""
    rng, hits, values = np.random.default_rng(11), np.zeros(2), []
    for _ in range(200):
        average, total = (found.relative for found in unequal(rng, 14, (0.1, -0.3)))
        assert average is not None
        assert total is not None
        values.append((average.value, total.value))
        hits += holds(average, -0.1), holds(total, (0.1 * 10 - 0.3 * 500) / 510)
    means, errors = np.mean(values, axis=0), np.std(values, axis=0) / 200**0.5
    assert np.abs(means - (-0.1, -0.2922)).max() < 0.003 + 3 * errors.max()
    # 95 % less three Monte-Carlo errors of 1.5 points
    assert hits.min() / 200 >= 0.905


def test_scaling_the_outcome_scales_the_absolute_effect_and_leaves_the_relative_one() -> None:
    rng = np.random.default_rng(8)
    outcome, cluster = rng.lognormal(3, 0.3, (10, 30)), np.repeat(np.arange(6), 5)
    treated = (rng.permuted(np.tile([0, 1] * 3, (10, 1)), axis=1) > 0)[:, cluster]
    weight = rng.lognormal(0, 0.5, 6)
    one, other = (cluster_day_difference(outcome * k, treated, cluster, weight=weight) for k in (1.0, 250.0))
    assert one.relative is not None
    assert other.relative is not None
    assert other.absolute.value == pytest.approx(250 * one.absolute.value)
    assert (other.relative.ci_low, other.relative.ci_high) == pytest.approx((one.relative.ci_low, one.relative.ci_high))
