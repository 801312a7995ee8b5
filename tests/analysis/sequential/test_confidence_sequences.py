"""Running estimates: what a look may say, and what it may not."""

from itertools import combinations

import numpy as np
import pytest

from analysis.sequential.block_differences import block_differences, mean_of_blocks
from analysis.sequential.confidence_sequences import (
    confidence_sequence,
    expected_variance,
    guardrail_sequence,
    per_arm_sequence,
    sequence_of_entries,
    sequence_of_pairs,
)
from benchmarks.randomised.worlds import balanced_blocks, white, with_effect
from controller.decisions.always_valid_bounds import mixing_for, two_sided_bound, upper_limit


def blocks(seed: int = 1, clusters: int = 8, count: int = 12, effect: float = 0.0):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    arm = balanced_blocks(rng, clusters, count, 3)
    return block_differences(with_effect(white(rng, clusters, 3 * count), arm, effect), arm, np.arange(3 * count) // 3)


def test_block_differences_counted_by_hand() -> None:
    outcome = np.array([[9.0, 4.0, 2.0], [9.0, 6.0, 2.0], [9.0, 1.0, 4.0], [9.0, 1.0, np.nan], [9.0, 4.0, 8.0]])
    arm = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1]])
    clean = np.array([[False, True, True]] * 5)
    found = block_differences(outcome, arm, np.array([0, 0, 1]), clean=clean)
    # block 0: (4 + 6) / 2 - (1 + 1 + 4) / 3; s = 2 / 2 + 3 / 3; block 1: (4 + 8) / 2 - 2, s = 8 / 2 + 0 / 2
    assert found.difference.tolist() == pytest.approx([3.0, 4.0])
    assert found.variance.tolist() == pytest.approx([2.0, 4.0])
    assert (found.clusters_treated.tolist(), found.clusters_control.tolist()) == ([2, 2], [3, 2])


def test_a_block_with_a_lone_cluster_in_an_arm_is_left_out_by_name() -> None:
    outcome = np.arange(8.0).reshape(4, 2)
    arm = np.array([[1, 1], [1, 0], [0, 0], [0, 0]])
    assert block_differences(outcome, arm, np.array([3, 4])).left_out == (4,)


def test_an_arm_that_changes_inside_a_block_is_refused_with_the_way_out() -> None:
    outcome, arm = np.arange(8.0).reshape(4, 2), np.array([[1, 0], [1, 1], [0, 0], [0, 0]])
    with pytest.raises(ValueError, match=r"cluster 0 changes arm inside block 0.*`clean`"):
        block_differences(outcome, arm, np.array([0, 0]))


def test_over_all_halves_a_block_is_unbiased_and_its_variance_is_not_understated() -> None:
    rng = np.random.default_rng(2)
    base, effects = rng.normal(size=(6, 1)), rng.normal(size=(6, 1))
    halves = [np.array([[int(row in chosen)] for row in range(6)]) for chosen in combinations(range(6), 3)]
    found = [block_differences(base + effects * arm, arm, np.array([0])) for arm in halves]
    differences = [one.difference[0] for one in found]
    assert np.mean(differences) == pytest.approx(effects.mean(), abs=1e-12)
    # effects differ between clusters, so that the variance is overstated: by their variance over the clusters
    excess = effects.var(ddof=1) / 6
    assert np.mean([one.variance[0] for one in found]) == pytest.approx(np.var(differences) + excess)


def test_the_interval_is_the_papers_formula() -> None:
    found = blocks()
    sequence = confidence_sequence(found, planned_variance=2.0)
    total, variance = found.difference[:5].sum(), found.variance[:5].sum()
    radius = two_sided_bound(variance, mixing_for(2.0, 0.05), 0.05)
    assert sequence.upper[4] == pytest.approx((total + radius) / 5)
    assert sequence.lower[4] == pytest.approx((total - radius) / 5)


def test_later_blocks_never_change_what_earlier_looks_said() -> None:
    whole = blocks(count=12)
    part = block_differences(*_first(whole_days=18, count=12), np.arange(18) // 3)
    early, late = (confidence_sequence(one, planned_variance=2.0) for one in (part, whole))
    np.testing.assert_array_equal(early.lower, late.lower[:6])


def _first(whole_days: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    arm = balanced_blocks(rng, 8, count, 3)
    return with_effect(white(rng, 8, 3 * count), arm, 0.0)[:, :whole_days], arm[:, :whole_days]


def test_the_p_value_reaches_alpha_when_the_interval_leaves_zero_and_never_rises() -> None:
    sequence = confidence_sequence(blocks(effect=0.8), planned_variance=2.0)
    assert sequence.p is not None
    outside = np.maximum.accumulate((sequence.lower > 0.0) | (sequence.upper < 0.0))
    np.testing.assert_array_equal(sequence.p <= 0.05, outside)
    assert outside.any()
    assert not outside[0]
    assert (np.diff(sequence.p) <= 0.0).all()


@pytest.mark.parametrize("harm", ["decrease", "increase"])
def test_a_guardrails_p_value_reaches_alpha_when_its_limit_passes_zero(harm: str) -> None:
    sign = -1.0 if harm == "decrease" else 1.0
    sequence = guardrail_sequence(blocks(effect=sign * 0.8), planned_variance=2.0, harm=harm)
    breached = sequence.upper < 0.0 if harm == "decrease" else sequence.lower > 0.0
    assert sequence.p is not None
    np.testing.assert_array_equal(sequence.p <= 0.05, np.maximum.accumulate(breached))
    assert breached.any()


def test_a_guardrail_acts_on_the_number_that_is_published() -> None:
    found = blocks()
    published = guardrail_sequence(found, planned_variance=2.0)
    acted_on = upper_limit(
        float(found.difference.sum()), float(found.variance.sum()), 12, mixing_for(2.0, 0.05, sides=1), 0.05
    )
    assert published.upper[-1] == pytest.approx(acted_on, rel=1e-12)


def test_the_planned_variance_is_what_a_null_experiment_then_shows() -> None:
    rng = np.random.default_rng(3)
    outcome = white(rng, 20, 560)
    planned = expected_variance(outcome[:, :280], 4, 70, washout=1)
    arm = balanced_blocks(rng, 20, 70, 4)
    clean = np.broadcast_to(np.arange(280) % 4 >= 1, (20, 280))
    seen = block_differences(outcome[:, 280:], arm, np.arange(280) // 4, clean=clean).variance.sum()
    assert planned == pytest.approx(seen, rel=0.25)


def test_entries_that_ripen_between_looks_wait_for_the_next_look() -> None:
    sequence = sequence_of_entries(np.array([1.0, 3.0, 2.0]), np.array([1, 1, 3]), 4, planned_entries=3, planned_sd=1.0)
    assert sequence.count.tolist() == [0, 2, 2, 3]
    assert np.isneginf(sequence.lower[0])
    assert sequence.effect[1:].tolist() == [2.0, 2.0, 2.0]
    assert np.isfinite(sequence.lower[1:]).all()


def test_arms_subtract_at_the_sum_of_their_error_rates() -> None:
    one = sequence_of_entries(np.array([1.0, 3.0]), np.array([0, 0]), 1, planned_entries=2, planned_sd=1.0)
    other = sequence_of_entries(np.array([0.0, 1.0]), np.array([0, 0]), 1, planned_entries=2, planned_sd=1.0)
    both = per_arm_sequence(one, other)
    assert both.alpha == pytest.approx(0.05)
    assert both.effect[0] == pytest.approx(1.5)
    assert both.upper[0] - both.lower[0] == pytest.approx((one.upper - one.lower + other.upper - other.lower)[0])


def test_pairs_use_as_many_of_the_longer_arm_as_the_shorter_one_has() -> None:
    pairs = sequence_of_pairs(
        (np.array([5.0, 6.0, 9.0]), np.array([0, 1, 1])),
        (np.array([1.0, 4.0]), np.array([0, 2])),
        3,
        planned_pairs=2,
        planned_sd=1.0,
    )
    assert pairs.count.tolist() == [1, 1, 2]
    assert pairs.effect[-1] == pytest.approx(3.0)


def test_a_fixed_horizon_mean_of_blocks_counted_by_hand() -> None:
    found = blocks(count=4)
    mean = mean_of_blocks(found)
    assert mean.effect == pytest.approx(found.difference.mean())
    assert mean.se == pytest.approx(found.variance.sum() ** 0.5 / 4)
    assert mean.degrees > 6.0
