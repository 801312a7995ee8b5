"""Influence on the cluster-day difference against brute force: the production estimator without each part."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest

from analysis.heterogeneity.cluster_day_influence import cluster_day_influence
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from analysis.randomised.cluster_day import cluster_day_difference
from controller.errors import NotEstimable

#: a design, as how many days share a draw; 0: one draw for all days after a pre-period
DESIGNS = {"random days": 1, "blocks of three days": 3, "one draw": 0}


def estimate(
    outcome: FloatArray,
    treated: BoolArray,
    cluster: IntArray,
    draws: BoolArray | None = None,
    weight: FloatArray | None = None,
) -> float:
    return cluster_day_difference(outcome, treated, cluster, draws=draws, weight=weight).absolute.value


def shop(
    design: str,
    seed: int,
    *,
    units_of: tuple[int, ...] = (1, 2, 3),
    clusters: int = 9,
    days: int = 12,
    missing: float = 0.15,
    within: bool = False,
) -> tuple[FloatArray, BoolArray, IntArray, BoolArray | None]:
    """Clusters of several sizes with levels, day shocks and missing cells; every cluster in one arm on a day."""
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(clusters), rng.choice(units_of, clusters))
    draws, before = None, 0
    if design == "one draw":
        before = days // 3
        arm = np.repeat((rng.permutation(clusters) % 2 == 0)[None], days, axis=0)
        draws = (np.arange(days) >= before)[:, None]
    else:
        block = np.arange(days) // DESIGNS[design]
        halves = np.stack([rng.permutation(clusters) % 2 == 0 for _ in range(block.max() + 1)])
        arm = halves[block]
        draws = None if DESIGNS[design] == 1 else block[:, None] == np.arange(block.max() + 1)
    treated = arm[:, cluster]
    if within:
        treated = treated ^ (rng.random(treated.shape) < 0.3)
    treated[:before] = False
    y = rng.normal(5, 1, len(cluster)) + rng.normal(0, 1, (days, 1)) + rng.normal(0, 0.5, treated.shape) + 0.4 * treated
    y[rng.random(y.shape) < missing] = np.nan
    return y, treated, cluster, draws


def without(
    y: FloatArray,
    treated: BoolArray,
    cluster: IntArray,
    draws: BoolArray | None,
    weight: FloatArray | None,
    gone: BoolArray,
) -> float:
    """The estimator without units, clusters numbered anew."""
    kept = ~gone
    names, cluster = np.unique(cluster[kept], return_inverse=True)
    weight = None if weight is None else weight[names]
    return estimate(y[:, kept], treated[:, kept], cluster, draws, weight)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("design", DESIGNS)
def test_leaving_out_units_clusters_and_days_is_what_estimating_anew_gives(
    design: str, within: bool, weighted: bool
) -> None:
    y, treated, cluster, draws = shop(design, 3, within=within)
    size = np.bincount(cluster).astype(float)
    weight = size if weighted else None
    names = tuple(f"store-{g}" for g in range(len(size)))
    found = cluster_day_influence(y, treated, cluster, names, estimate, draws, weight)
    assert found.effect == pytest.approx(estimate(y, treated, cluster, draws, weight), abs=1e-9)
    for g in range(len(size)):
        anew = without(y, treated, cluster, draws, weight, cluster == g)
        assert found.without_cluster[g] == pytest.approx(anew, abs=1e-9)
    for u in range(len(cluster)):
        anew = without(y, treated, cluster, draws, weight, np.arange(len(cluster)) == u)
        assert found.without_unit[u] == pytest.approx(anew, abs=1e-9)
    for t in range(len(y)):
        kept = np.arange(len(y)) != t
        anew = estimate(y[kept], treated[kept], cluster, None if draws is None else draws[kept], weight)
        assert found.without_day[t] == pytest.approx(anew, abs=1e-9)


def test_a_day_that_alone_foretold_a_unit_is_left_out_as_the_estimator_does() -> None:
    y, treated, cluster, _ = shop("random days", 5, missing=0.0)
    y[2:, 0] = np.nan
    found = cluster_day_influence(y, treated, cluster, tuple("abcdefghi"), estimate)
    for t in range(len(y)):
        kept = np.arange(len(y)) != t
        assert found.without_day[t] == pytest.approx(estimate(y[kept], treated[kept], cluster), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_no_smaller_set_of_clusters_turns_the_sign(seed: int) -> None:
    y, treated, cluster, _ = shop("random days", seed, clusters=8, units_of=(1, 2), days=8)
    y -= 0.3 * treated
    found = cluster_day_influence(y, treated, cluster, tuple("abcdefgh"), estimate, most=3)

    def turns(gone: Sequence[int]) -> bool:
        try:
            return without(y, treated, cluster, None, None, np.isin(cluster, gone)) * found.effect < 0
        except NotEstimable:
            return False

    smallest = next((k for k in (1, 2, 3) if any(turns(c) for c in combinations(range(8), k))), None)
    assert (None if found.turning is None else len(found.turning)) == smallest
    assert found.turning_is_smallest
    assert found.turning is None or turns(["abcdefgh".index(name) for name in found.turning])


def test_planted_clusters_that_carry_the_sign_are_found_among_many() -> None:
    rng = np.random.default_rng(8)
    arm = np.stack([rng.permutation(60) % 2 == 0 for _ in range(30)])
    y = rng.normal(0, 0.05, arm.shape) - 0.1 * arm
    planted = [4, 17, 42]
    y[:, planted] += 3.0 * arm[:, planted]
    found = cluster_day_influence(y, arm, np.arange(60), tuple(str(g) for g in range(60)), estimate)
    assert found.effect > 0
    assert found.turning is not None
    assert set(found.turning) <= {"4", "17", "42"}
    assert {name for name, _ in found.largest(3)} == {"4", "17", "42"}


def test_of_twenty_clusters_the_planted_turn_the_sign_and_no_smaller_set_does() -> None:
    rng = np.random.default_rng(9)
    arm = np.stack([rng.permutation(20) % 2 == 0 for _ in range(16)])
    y = rng.normal(0, 0.05, arm.shape) - 0.1 * arm
    planted = [4, 11, 17]
    y[:, planted] += 1.0 * arm[:, planted]
    cluster = np.arange(20)
    found = cluster_day_influence(y, arm, cluster, tuple(str(g) for g in cluster), estimate)
    assert found.effect > 0
    assert found.turning_is_smallest
    assert found.turning is not None
    assert {int(name) for name in found.turning} <= set(planted)

    def effect(gone: Sequence[int]) -> float:
        return without(y, arm, cluster, None, None, np.isin(cluster, gone))

    assert effect([int(name) for name in found.turning]) < 0
    smaller = (sets for size in range(1, len(found.turning)) for sets in combinations(range(20), size))
    assert all(effect(sets) > 0 for sets in smaller)


def test_one_cluster_is_refused_by_its_reason() -> None:
    with pytest.raises(NotEstimable, match="two clusters"):
        cluster_day_influence(np.ones((3, 1)), np.ones((3, 1), bool), np.zeros(1, int), ("a",), estimate)
