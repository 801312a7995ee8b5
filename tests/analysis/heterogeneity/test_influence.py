"""Influence against brute force: the estimate computed anew without each unit, cluster, day, and set of clusters."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest

from analysis.heterogeneity.influence import did_influence, means_influence
from analysis.panel_data.panel import BoolArray, FloatArray
from controller.errors import NotEstimable


def difference(u: FloatArray, arm: BoolArray) -> float:
    return float(u[arm].mean() - u[~arm].mean())


def test_leaving_out_units_and_clusters_is_what_estimating_anew_gives() -> None:
    rng = np.random.default_rng(0)
    u, arm, cluster = rng.standard_t(3, 60), rng.random(60) < 0.5, rng.integers(0, 12, 60)
    found = means_influence(u, arm, cluster)
    for i in range(60):
        keep = np.arange(60) != i
        assert found.without_unit[i] == pytest.approx(difference(u[keep], arm[keep]), abs=1e-9)
    for g in range(12):
        keep = cluster != g
        assert found.without_cluster[g] == pytest.approx(difference(u[keep], arm[keep]), abs=1e-9)


def test_did_without_a_cluster_or_a_day_is_what_estimating_anew_gives() -> None:
    rng = np.random.default_rng(1)
    y, cluster = rng.normal(5, 2, (20, 9)), np.arange(20) // 2

    def did(panel: FloatArray, n_control: int, n_pre: int) -> float:
        u = panel[:, n_pre:].mean(axis=1) - panel[:, :n_pre].mean(axis=1)
        return float(u[n_control:].mean() - u[:n_control].mean())

    found = did_influence(y, 12, 5, cluster)
    assert found.effect == pytest.approx(did(y, 12, 5), abs=1e-12)
    for g in range(10):
        assert found.without_cluster[g] == pytest.approx(did(y[cluster != g], 12 - 2 * (g < 6), 5), abs=1e-9)
    for t in range(9):
        assert found.without_day[t] == pytest.approx(did(np.delete(y, t, axis=1), 12, 5 - (t < 5)), abs=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_no_smaller_set_of_clusters_turns_the_sign(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(12), rng.integers(1, 6, 12))
    arm = cluster % 2 == 1
    u = rng.normal(0, 1, len(cluster)) + 0.3 * (seed - 4) * arm
    found = means_influence(u, arm, cluster)

    def turns(left: Sequence[int]) -> bool:
        keep = ~np.isin(cluster, left)
        both = arm[keep].any() and (~arm[keep]).any()
        return bool(both) and difference(u[keep], arm[keep]) * found.effect < 0

    smallest = next((k for k in range(1, 11) if any(turns(c) for c in combinations(range(12), k))), None)
    assert (None if found.turning is None else len(found.turning)) == smallest
    if found.turning is not None:
        assert turns([int(name) for name in found.turning])


def test_planted_clusters_that_carry_the_sign_are_found() -> None:
    u = np.r_[np.full(500, -0.1), np.full(500, 0.0)] + np.random.default_rng(3).normal(0, 0.01, 1000)
    arm = np.arange(1000) < 500
    planted = np.array([3, 77, 200])
    u[planted] += 30.0
    found = means_influence(u, arm)
    assert found.effect > 0
    assert found.turning is not None
    assert set(found.turning) <= {"3", "77", "200"}
    assert {name for name, _ in found.largest(3)} == {"3", "77", "200"}


def test_of_twenty_clusters_the_planted_four_turn_the_sign_and_no_three_do() -> None:
    rng = np.random.default_rng(5)
    cluster = np.repeat(np.arange(20), 5)
    arm = cluster % 2 == 1
    u = rng.normal(0, 0.05, 100) - 0.2 * arm
    planted = [1, 3, 9, 15]
    u[np.isin(cluster, planted)] += 2.0
    found = means_influence(u, arm, cluster)
    assert found.effect > 0

    def without(gone: Sequence[int]) -> float:
        kept = ~np.isin(cluster, gone)
        return difference(u[kept], arm[kept])

    assert found.turning is not None
    assert {int(name) for name in found.turning} <= set(planted)
    assert without([int(name) for name in found.turning]) < 0
    smaller = (sets for size in range(1, len(found.turning)) for sets in combinations(range(20), size))
    assert all(without(sets) > 0 for sets in smaller)


def test_an_arm_without_units_or_a_missing_value_is_refused_by_its_reason() -> None:
    with pytest.raises(NotEstimable, match="one arm has no units"):
        means_influence([1.0, 2.0], [True, True])
    with pytest.raises(NotEstimable, match="value of unit 1 is missing"):
        means_influence([1.0, np.nan], [True, False])
