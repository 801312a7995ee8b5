"""Clusters of products that are randomised together: dense regions of the graph, none larger than is asked for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from analysis.spillover.graph import Graph
from controller.errors import NotEstimable

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Clusters:
    """A partition of a graph's products."""

    #: Of the graph that it was cut from.
    graph: str
    #: Cluster of each product, counted from 0 by size, the largest first; shape (products,).
    label: Ints
    sizes: Ints
    #: Share of the weight of substitution that leaves its cluster.
    cut: float
    #: The largest share of all weight that lies within one cluster.
    heaviest: float


def clusters(graph: Graph, max_size: int, *, seed: int = 0) -> Clusters:
    """Cut the graph into clusters of at most `max_size` products; a product without edges is a cluster of its own.

    Louvain (Blondel and others 2008, scikit-network); a region that is too large is cut again at twice the resolution
    until none is; a complete one that no resolution cuts is divided in the order of its leading eigenvector.

    Raises:
        NotEstimable: the graph has no substitutes, or `max_size` is below 1.
    """
    if max_size < 1:
        raise NotEstimable(f"clusters of at most {max_size} products hold nothing; max_size is at least 1")
    weights = graph.weights()
    if not weights.nnz:
        raise NotEstimable("the graph has no substitutes: every product is a cluster of its own, randomise products")
    label = partition(weights, max_size, seed=seed)
    within = share_within(weights, label)
    return Clusters(graph.version, label, np.bincount(label), max(0.0, 1 - float(within.sum())), float(within.max()))


def partition(weights: sparse.csr_array, max_size: int, *, seed: int = 0) -> Ints:
    """Labels by size, the largest first and ties by the first product; shape (n,).

    Args:
        weights: symmetric and not negative, without self-loops, shape (n, n).
    """
    if weights.diagonal().any():
        at = int(np.flatnonzero(weights.diagonal())[0])
        raise NotEstimable(f"product {at} is its own substitute: a graph has no self-loops")
    if weights.nnz and weights.data.min() < 0:
        raise NotEstimable("weights of substitution are not negative; leave complements out of clusters")
    done: list[Ints] = []
    open_: list[tuple[Ints, float]] = [(np.arange(weights.shape[0]), 1.0)]
    while open_:
        members, resolution = open_.pop()
        part = sparse.csr_array(weights[members][:, members])
        found = _louvain(part, resolution, seed)
        for one in range(int(found.max()) + 1):
            region = members[found == one]
            if len(region) <= max_size:
                done.append(region)
            elif resolution > 256:
                done += _divided(weights, region, max_size)
            else:
                open_.append((region, 2 * resolution))
    label = np.empty(weights.shape[0], dtype=np.intp)
    for number, region in enumerate(sorted(done, key=lambda region: (-len(region), int(region.min())))):
        label[region] = number
    return label


def share_within(weights: sparse.csr_array, label: Ints) -> Floats:
    """Share of all weight within each cluster, shape (clusters,)."""
    entries = sparse.coo_array(weights)
    kept = label[entries.row] == label[entries.col]
    within = np.bincount(label[entries.row[kept]], entries.data[kept], minlength=int(label.max()) + 1)
    share: Floats = within / max(float(entries.data.sum()), 1e-300)
    return share


def agreement(one: Ints, two: Ints) -> float:
    """The adjusted Rand index of two partitions (Hubert and Arabie 1985): 1 if equal, 0 as by chance."""
    table = sparse.coo_array((np.ones(len(one)), (one, two))).tocsr()
    table.sum_duplicates()

    def pairs(counts: Floats) -> float:
        return float((counts * (counts - 1) / 2).sum())

    together, rows = pairs(table.data), pairs(np.asarray(table.sum(axis=1)).ravel())
    columns, every = pairs(np.asarray(table.sum(axis=0)).ravel()), len(one) * (len(one) - 1) / 2
    chance, most = rows * columns / every, (rows + columns) / 2
    return 1.0 if most == chance else (together - chance) / (most - chance)


def _louvain(weights: sparse.csr_array, resolution: float, seed: int) -> Ints:
    """A region without edges falls into single products."""
    if not weights.nnz:
        return np.arange(weights.shape[0])
    from sknetwork.clustering import Louvain

    found = Louvain(resolution=resolution, random_state=seed).fit_predict(sparse.csr_matrix(weights))
    return np.unique(np.asarray(found), return_inverse=True)[1].astype(np.intp)


def _divided(weights: sparse.csr_array, region: Ints, max_size: int) -> list[Ints]:
    dense = weights[region][:, region].toarray()
    order = np.argsort(np.linalg.eigh(dense)[1][:, -1], kind="stable")
    return [region[part] for part in np.array_split(order, -(-len(region) // max_size))]
