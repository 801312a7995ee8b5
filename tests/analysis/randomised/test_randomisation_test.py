"""The exact test against brute force, and what makes it exact."""

from itertools import combinations

import numpy as np
import pytest

from analysis.randomised.randomisation_test import randomization_test
from analysis.randomised.switchback import hajek
from benchmarks.randomised.worlds import balanced_blocks
from controller.errors import NotEstimable


def experiment(clusters: int = 6, blocks: int = 5, days: int = 3, redraws: int = 199, seed: int = 1):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    outcome = rng.lognormal(size=(clusters, blocks * days)) + 50.0
    outcome[0, 3] = np.nan
    arm = balanced_blocks(rng, clusters, blocks, days)
    draws = np.stack([balanced_blocks(rng, clusters, blocks, days) for _ in range(redraws)])
    return outcome, arm, draws


def treated_share(arm: np.ndarray, order: int) -> np.ndarray:
    return np.array([[row[max(0, t - order) : t + 1].mean() for t in range(arm.shape[1])] for row in arm])


@pytest.mark.parametrize("order", [0, 1, 2])
def test_the_fast_test_is_the_slow_one(order: int) -> None:
    outcome, arm, draws = experiment()
    found = randomization_test(outcome, arm, draws, carryover_order=order)
    effect = hajek(outcome, arm, order).effect
    redrawn = np.array([hajek(outcome, draw, order).effect for draw in draws])
    assert found.effect == pytest.approx(effect)
    assert found.p == pytest.approx((1 + (np.abs(redrawn) >= abs(effect)).sum()) / 200)


@pytest.mark.parametrize("order", [0, 2])
def test_the_interval_holds_exactly_the_effects_that_the_test_does_not_reject(order: int) -> None:
    outcome, arm, draws = experiment()
    found = randomization_test(outcome, arm, draws, carryover_order=order)

    def p(effect: float) -> float:
        return randomization_test(outcome - effect * treated_share(arm, order), arm, draws, carryover_order=order).p

    for limit, inward in ((found.lower, 1.0), (found.upper, -1.0)):
        assert p(limit + inward * 1e-6) > 0.05
        assert p(limit - inward * 1e-6) <= 0.05
    assert p(found.effect) == 1.0


def test_over_all_schedules_a_true_null_is_rejected_at_most_at_alpha() -> None:
    # 8 clusters, 4 treated for good: all 70 schedules, each in turn the drawn one
    outcome = np.random.default_rng(2).lognormal(sigma=2.0, size=(8, 1))
    schedules = np.array([[[int(row in chosen)] for row in range(8)] for chosen in combinations(range(8), 4)])
    rejected = [randomization_test(outcome, drawn, schedules).p <= 0.05 for drawn in schedules]
    assert np.mean(rejected) <= 0.05


def test_redraws_may_come_from_a_function() -> None:
    outcome, arm, draws = experiment()
    given = randomization_test(outcome, arm, draws)
    asked = randomization_test(outcome, arm, lambda k: draws[k], redraws=len(draws))
    assert asked == given


def test_shift_and_scale_of_the_outcomes_change_nothing_else() -> None:
    outcome, arm, draws = experiment()
    plain = randomization_test(outcome, arm, draws)
    other = randomization_test(1e6 + 1000.0 * outcome, arm, draws)
    assert other.p == plain.p
    assert other.lower == pytest.approx(1000.0 * plain.lower, rel=1e-6)


def test_cells_of_neither_arm_are_left_out() -> None:
    outcome, arm, draws = experiment()
    arm[2] = -1
    draws[:, 2] = -1
    rest = np.arange(6) != 2
    whole = randomization_test(outcome, arm, draws)
    without = randomization_test(outcome[rest], arm[rest], draws[:, rest])
    assert (whole.effect, whole.p, whole.lower) == pytest.approx((without.effect, without.p, without.lower))


def test_too_few_redraws_name_how_many_are_needed() -> None:
    outcome, arm, draws = experiment(redraws=18)
    with pytest.raises(NotEstimable, match=r"18 redraws: .* fewer than 19"):
        randomization_test(outcome, arm, draws)


def test_where_too_few_schedules_exist_the_interval_is_unbounded_not_invented() -> None:
    outcome = np.array([[1.0], [2.0], [4.0], [8.0]])
    schedules = np.array([[[int(row in chosen)] for row in range(4)] for chosen in combinations(range(4), 2)] * 10)
    found = randomization_test(outcome, schedules[0], schedules)
    assert (found.lower, found.upper) == (-np.inf, np.inf)
