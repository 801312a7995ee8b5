from itertools import combinations, permutations

import numpy as np
import pytest
from scipy import sparse

from analysis.spillover.bootstrap import cluster_bootstrap
from analysis.spillover.effects import (
    chances_of,
    effects_of_arrays,
    horvitz_thompson,
    rows_of_one_draw,
)
from analysis.spillover.exposure import (
    Chances,
    conditions,
    every_assignment,
    exact_chances,
    probabilities,
    redraws,
    share_treated,
    wholly,
)
from controller.errors import NotEstimable

DIRECT, SPILL = 1.0, -0.6
TOTAL = 0.4


def toy(groups: int, size: int = 4) -> tuple[sparse.csr_array, np.ndarray]:
    """Clusters on a ring: 64 % of a unit's substitution stays inside, a part of the units has the rest next door."""
    n = groups * size
    label = np.repeat(np.arange(groups), size)
    weights = (label[:, None] == label[None, :]).astype(float)
    np.fill_diagonal(weights, 0)
    for unit in range(0, n, 2):
        other = (unit + size + 1) % n
        weights[unit, other] = weights[other, unit] = (size - 1) * 0.36 / 0.64
    return sparse.csr_array(weights), label


def by_cluster(label: np.ndarray, draws: int, seed: int) -> np.ndarray:
    arms = np.random.default_rng(seed).random((draws, label.max() + 1)) < 0.5
    return arms[:, label]


def answers(treated: np.ndarray, weights: sparse.csr_array, base: np.ndarray) -> np.ndarray:
    return base + DIRECT * treated + SPILL * np.nan_to_num(share_treated(treated, weights))


def ring_chances(label: np.ndarray, weights: sparse.csr_array) -> np.ndarray:
    """A neighbourhood of c clusters is wholly in one arm with probability 1/2 to the c."""
    reached = np.array([len({*label[weights[[unit]].indices], label[unit]}) for unit in range(len(label))])
    return 0.5**reached


def test_the_toy_market_shows_its_total_to_hajek_and_hides_it_from_the_naive_number() -> None:
    weights, label = toy(40)
    base = np.random.default_rng(1).normal(0, 0.3, len(label))
    chance = ring_chances(label, weights)
    rng = np.random.default_rng(8)
    items = rng.random((2000, len(label))) < 0.5
    outcome = answers(items, weights, base)
    naive = [float(y[d].mean() - y[~d].mean()) for y, d in zip(outcome, items, strict=True)]
    treated = by_cluster(label, 6000, 9)
    outcome = answers(treated, weights, base)
    every, nothing = wholly(treated, weights)
    # In one draw of five thousand no neighbourhood is wholly in one arm: the product gives no number then.
    known = every.any(axis=1) & nothing.any(axis=1)
    assert known.mean() > 0.999
    every, nothing, outcome = every[known], nothing[known], outcome[known]
    means = [(np.where(seen, outcome, 0) / chance).sum(1) / (seen / chance).sum(1) for seen in (every, nothing)]
    total = means[0] - means[1]
    assert abs(np.mean(naive) - 1.0) < 0.02
    assert total.std() / 6000**0.5 <= 0.005
    assert abs(total.mean() - TOTAL) <= 0.02


def test_intervals_of_the_total_cover_at_forty_clusters() -> None:
    weights, label = toy(40)
    n = len(label)
    rng = np.random.default_rng(2)
    chances = chances_of(redraws(by_cluster(label, 2000, 3)), weights)
    covered = 0
    for treated in by_cluster(label, 1000, 4):
        y = answers(treated[None], weights, rng.normal(0, 0.3, n) + np.repeat(rng.normal(0, 0.2, 40), 4))[0]
        effect = effects_of_arrays(y, treated, weights, chances, label).total
        assert effect.interval is not None
        covered += effect.interval[0] <= TOTAL <= effect.interval[1]
    assert 920 <= covered <= 980


def unbiased(weights: sparse.csr_array, outcomes: np.ndarray) -> None:
    """Averaged over every assignment, Horvitz-Thompson is the mean contrast of the units that can have both."""
    n = weights.shape[0]
    draws = every_assignment(np.arange(n), 0.4)
    drawn = conditions(draws.treated, weights)
    for one, two in ((1, 0), (3, 0)):
        a, b = drawn == one, drawn == two
        possible = (probabilities(a, draws) > 0) & (probabilities(b, draws) > 0)
        if not possible.any():
            continue
        estimates, variances = [], []
        for row in range(len(drawn)):
            y = outcomes[drawn[row], np.arange(n)]
            value, variance, dropped = horvitz_thompson(y, a[row], b[row], a, b, draws)
            assert dropped == (~possible).sum()
            estimates.append(value)
            variances.append(variance)
        truth = (outcomes[one] - outcomes[two])[possible].mean()
        mean = draws.probability @ estimates
        np.testing.assert_allclose(mean, truth, atol=1e-10)
        assert draws.probability @ variances >= draws.probability @ (np.array(estimates) - mean) ** 2 - 1e-9


def graph_of(n: int, links: list[tuple[int, int]]) -> sparse.csr_array:
    matrix = np.zeros((n, n))
    for i, j in links:
        matrix[i, j] = matrix[j, i] = 1
    return sparse.csr_array(matrix)


def every_graph(n: int) -> list[sparse.csr_array]:
    """All graphs of n units but for the names of the units: of six units 156, as is known."""
    pairs = list(combinations(range(n), 2))
    place = {pair: at for at, pair in enumerate(pairs)}
    codes = np.arange(2 ** len(pairs))
    least = codes.copy()
    for order in permutations(range(n)):
        renamed = np.zeros_like(codes)
        for at, (i, j) in enumerate(pairs):
            moved = place[min(order[i], order[j]), max(order[i], order[j])]
            renamed |= (codes >> at & 1) << moved
        np.minimum(least, renamed, out=least)
    return [
        graph_of(n, [pair for at, pair in enumerate(pairs) if code >> at & 1]) for code in np.unique(least).tolist()
    ]


@pytest.mark.parametrize(("n", "graphs"), [(2, 2), (3, 4), (4, 11), (5, 34), (6, 156)])
def test_horvitz_thompson_is_unbiased_on_every_graph_of_up_to_six_units(n: int, graphs: int) -> None:
    outcomes = np.random.default_rng(n).normal(size=(4, n))
    found = every_graph(n)
    assert len(found) == graphs
    for weights in found:
        unbiased(weights, outcomes)


@pytest.mark.parametrize("seed", range(4))
def test_horvitz_thompson_is_unbiased_on_drawn_graphs_of_eight(seed: int) -> None:
    rng = np.random.default_rng(seed)
    links = [pair for pair in combinations(range(8), 2) if rng.random() < 0.3]
    unbiased(graph_of(8, links), rng.normal(size=(4, 8)))


def test_probabilities_of_ten_thousand_redraws_agree_with_exact_ones() -> None:
    weights, label = toy(8)
    exact, drawn = every_assignment(label), redraws(by_cluster(label, 10_000, 5))
    for part in (0, 1):
        p = probabilities(wholly(exact.treated, weights)[part], exact)
        np.testing.assert_allclose(p, ring_chances(label, weights), atol=1e-12)
        near = probabilities(wholly(drawn.treated, weights)[part], drawn)
        assert (np.abs(near - p) < 5 * np.sqrt(p * (1 - p) / 10_000)).all()


def test_the_four_conditions_are_told_apart() -> None:
    treated = np.array([[True, False, False, True, False]])
    assert conditions(treated, graph_of(5, [(0, 1), (3, 4), (0, 3)]))[0].tolist() == [3, 1, 0, 3, 1]
    assert conditions(treated, graph_of(5, [(0, 1)]))[0].tolist() == [2, 1, 0, 2, 0]


def test_the_linear_model_recovers_direct_and_spillover_without_noise() -> None:
    weights, label = toy(10)
    treated = np.random.default_rng(3).random((1, len(label))) < 0.5
    y = answers(treated, weights, np.zeros(len(label)))[0]
    found = effects_of_arrays(y, treated[0], weights, redraws(by_cluster(label, 9, 1)), label).linear
    assert found is not None
    for one, known in ((found.direct, 1.0), (found.spillover, -0.6), (found.total, 0.4)):
        assert one.value == pytest.approx(known, rel=1e-7, abs=1e-10)


def test_all_four_effects_stand_beside_the_naive_one() -> None:
    weights, label = toy(40)
    treated = by_cluster(label, 1, 6)
    y = answers(treated, weights, np.random.default_rng(7).normal(0, 0.1, len(label)))[0]
    found = effects_of_arrays(y, treated[0], weights, redraws(by_cluster(label, 2000, 8)), label)
    assert found.naive.value is not None
    assert found.total.interval is not None
    assert found.total.value is not None
    assert abs(found.total.value - TOTAL) < abs(found.naive.value - TOTAL)
    assert found.direct.value is None
    assert found.direct.dropped == len(label)
    assert found.direct.reason == "no unit was in one of the two exposures"


def test_fewer_than_six_clusters_are_refused() -> None:
    weights, label = toy(5)
    with pytest.raises(NotEstimable, match="at least six"):
        effects_of_arrays(np.zeros(20), label < 2, weights, redraws(by_cluster(label, 9, 1)), label)


def test_a_graph_of_other_units_is_refused() -> None:
    weights, label = toy(8)
    with pytest.raises(NotEstimable, match="other units"):
        effects_of_arrays(np.zeros(31), label < 2, weights, redraws(by_cluster(label, 9, 1)), label)


def test_too_many_clusters_to_list_are_refused() -> None:
    with pytest.raises(NotEstimable, match="redraw instead"):
        every_assignment(np.arange(17))


def small_draws(groups: int, treated: int) -> np.ndarray:
    """Every choice of so many clusters."""
    return np.array([[g in chosen for g in range(groups)] for chosen in combinations(range(groups), treated)])


@pytest.mark.parametrize("treated", [1, 3, 4])
def test_the_formula_for_exposures_is_what_enumeration_gives(treated: int) -> None:
    rng = np.random.default_rng(treated)
    label = np.r_[np.arange(7), rng.integers(0, 7, 11)]
    weights = graph_of(18, [pair for pair in combinations(range(17), 2) if rng.random() < 0.1])
    exact = exact_chances(label, weights, {treated: 1.0})
    listed = chances_of(redraws(small_draws(7, treated)[:, label]), weights)
    for name in Chances.__slots__:
        np.testing.assert_allclose(getattr(exact, name), getattr(listed, name), atol=1e-12, err_msg=name)


def test_two_thousand_clusters_have_probabilities_too() -> None:
    label = np.arange(2000)
    found = exact_chances(label, graph_of(2000, [(k, k + 1) for k in range(0, 2000, 2)]), {1000: 1.0})
    np.testing.assert_allclose(found.all_treated, 0.5 * 999 / 1999, rtol=1e-8)


def test_the_bootstrap_of_clusters_agrees_where_clusters_share_no_neighbours() -> None:
    label = np.repeat(np.arange(60), 4)
    weights = sparse.csr_array(np.kron(np.eye(60), np.ones((4, 4)) - np.eye(4)))
    rng = np.random.default_rng(11)
    treated = (rng.permutation(60) < 30)[label]
    y = 0.4 * treated + rng.normal(0, 0.3, 240) + rng.normal(0, 0.2, 60)[label]
    chances = exact_chances(label, weights, {30: 1.0})
    error = effects_of_arrays(y, treated, weights, chances, label).total.standard_error
    drawn = cluster_bootstrap(rows_of_one_draw(y, treated, weights, label), chances, "total", rng)
    # 500 redraws know an error to 1 / sqrt(2 x 500) = 3 %
    assert error is not None
    assert drawn == pytest.approx(error, rel=0.12)


def test_the_bootstrap_gives_no_error_of_an_effect_that_nobody_was_exposed_to() -> None:
    weights, label = toy(20)
    treated = (np.random.default_rng(1).permutation(20) < 10)[label]
    chances = exact_chances(label, weights, {10: 1.0})
    rows = rows_of_one_draw(np.zeros(80), treated, weights, label)
    with pytest.raises(NotEstimable, match="direct: 0 of 50 redraws"):
        cluster_bootstrap(rows, chances, "direct", np.random.default_rng(2), 50)
