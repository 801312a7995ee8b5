import numpy as np
import pytest
from scipy import sparse

from analysis.spillover.clustering import agreement, partition, share_within
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
