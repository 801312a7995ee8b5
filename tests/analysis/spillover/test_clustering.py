from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import sparse

from analysis.spillover import Graph, clusters, substitute_graph
from analysis.spillover.clustering import agreement, partition, share_within
from analysis.spillover.market import draw_market, scenario, year_of
from controller.errors import NotEstimable


def planted(groups: int = 20, size: int = 10, leaves: float = 0.1) -> tuple[sparse.csr_array, np.ndarray]:
    """Every product has a share `leaves` of its weight outside of its cluster."""
    rng = np.random.default_rng(2)
    label = np.repeat(np.arange(groups), size)
    inside = (label[:, None] == label[None, :]) & (rng.random((groups * size,) * 2) < 0.6)
    inside = np.triu(inside, 1)
    weights = inside + inside.T.astype(float)
    outside = np.zeros_like(weights)
    for step in (size + 3, 7 * size + 1):
        to = (np.arange(len(label)) + step) % len(label)
        outside[np.arange(len(label)), to] = outside[to, np.arange(len(label))] = 1
    outside *= leaves / (1 - leaves) * weights.sum() / outside.sum()
    return sparse.csr_array(weights + outside), label


def test_the_planted_partition_is_found_where_a_tenth_of_the_weight_leaves() -> None:
    weights, label = planted()
    found = partition(weights, 10)
    assert agreement(found, label) >= 0.95
    np.testing.assert_allclose(1 - share_within(weights, label).sum(), 0.1, atol=1e-9)


@pytest.mark.parametrize("largest", [1, 3, 7])
def test_no_cluster_is_larger_than_is_asked_for(largest: int) -> None:
    weights, _ = planted()
    assert np.bincount(partition(weights, largest)).max() <= largest


def test_a_complete_graph_is_divided_too() -> None:
    assert np.bincount(partition(sparse.csr_array(np.ones((12, 12)) - np.eye(12)), 5)).max() <= 5


def test_products_without_edges_are_clusters_of_their_own() -> None:
    weights = np.zeros((5, 5))
    weights[0, 1] = weights[1, 0] = 1
    assert partition(sparse.csr_array(weights), 3).tolist() == [0, 0, 1, 2, 3]


def test_the_same_graph_gives_the_same_clusters() -> None:
    weights, _ = planted()
    assert (partition(weights, 8) == partition(weights, 8)).all()


def test_a_graph_with_a_self_loop_is_refused() -> None:
    with pytest.raises(NotEstimable, match="no self-loops"):
        partition(sparse.csr_array(np.eye(3)), 2)


def test_agreement_is_one_for_equal_partitions_and_nothing_by_chance() -> None:
    rng = np.random.default_rng(1)
    one, two = rng.integers(0, 8, 4000), rng.integers(0, 8, 4000)
    assert agreement(one, one) == 1
    assert abs(agreement(one, two)) < 0.01


@pytest.mark.parametrize(("groups", "size", "degree"), [(25, 20, 5), (50, 10, 5), (12, 40, 8), (100, 5, 4)])
def test_planted_clusters_are_found_whatever_their_size_and_number(groups: int, size: int, degree: int) -> None:
    """A tenth of the weight leaves; modularity alone joins small clusters and cuts sparse ones."""
    weights, label = sparse_planted(groups, size, degree, seed=1)
    for largest in (size, 2 * size):
        found = partition(weights, largest)
        assert agreement(found, label) >= 0.95
        assert np.bincount(found).max() <= largest


def sparse_planted(groups: int, size: int, degree: int, seed: int) -> tuple[sparse.csr_array, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(groups), size)
    same = label[:, None] == label[None, :]
    inside = np.triu(same & (rng.random(same.shape) < degree / (size - 1)), 1) * rng.lognormal(0, 0.3, same.shape)
    share = degree / 9 / (len(label) - size)
    outside = np.triu(~same & (rng.random(same.shape) < share), 1) * rng.lognormal(0, 0.3, same.shape)
    outside *= inside.sum() / 9 / outside.sum()
    return sparse.csr_array(inside + inside.T + outside + outside.T), label


@cache
def drawn_graph(seed: int = 3) -> Graph:
    return substitute_graph(year_of(draw_market(replace(scenario(), products=80, categories=4), seed)))


def test_clusters_of_another_year_of_the_same_market_move_only_with_a_reason() -> None:
    graph, later = drawn_graph(), drawn_graph(4)
    first = clusters(graph, 10)
    members = first.members(graph.products)
    assert clusters(graph, 10, before=members).members(graph.products) == members
    again = clusters(later, 10, before=members)
    was = {product: name for name, held in members.items() for product in held}
    now = {product: name for name, held in again.members(later.products).items() for product in held}
    changed = {product for product in now if now[product] != was[product]}
    assert changed
    assert all(any(product in reason for reason in again.reasons) for product in changed)
    assert again.sizes.max() <= 10


def test_too_large_a_cluster_of_before_is_cut_and_said_so() -> None:
    graph = drawn_graph()
    before = {"everything": graph.products}
    found = clusters(graph, 20, before=before)
    assert found.sizes.max() <= 20
    assert found.reasons[0].startswith("everything had 80 products, more than 20")


def test_a_product_of_two_clusters_before_is_refused() -> None:
    graph = drawn_graph()
    with pytest.raises(NotEstimable, match="a product is in one"):
        clusters(graph, 20, before={"a": graph.products, "b": graph.products[:1]})


def test_where_no_edge_can_be_told_weak_signs_still_keep_more_substitution_together_than_chance() -> None:
    market = draw_market(replace(scenario(), products=80, categories=4, cross_elasticity=0.1), 5)
    graph = substitute_graph(year_of(market))
    found = clusters(graph, 10, evidence="all")
    true = sparse.csr_array(np.where(market.elasticities > 0, market.elasticities, 0.0))
    # Clusters of these sizes drawn by chance from categories of 20.
    by_chance = (found.sizes * (found.sizes - 1)).sum() / (80 * 19)
    assert share_within(true, found.label).sum() > 1.2 * by_chance
    assert found.sizes.max() <= 10
    assert agreement(clusters(graph, 20, evidence="all").label, market.category) >= 0.95
