"""Clusters of products that are randomised together: dense regions of the graph, none larger than is asked for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from analysis.spillover.graph import Evidence, Graph
from analysis.spillover.refinement import joined, moved
from controller.errors import NotEstimable

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

#: Share of its weight by which another cluster must hold more of a product's substitution before it leaves its own.
MARGIN = 0.1


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
    #: Name of each cluster: that of a product which was in it when it was first made.
    names: tuple[str, ...]
    #: Products that are in another cluster than before, and why; a sentence each.
    reasons: tuple[str, ...] = ()

    def members(self, products: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Name -> the products of each cluster; `products` are those of the graph."""
        found: dict[str, list[str]] = {name: [] for name in self.names}
        for product, number in zip(products, self.label.tolist(), strict=True):
            found[self.names[number]].append(product)
        return {name: tuple(held) for name, held in found.items()}


def clusters(
    graph: Graph,
    max_size: int,
    *,
    seed: int = 0,
    before: Mapping[str, Sequence[str]] | None = None,
    evidence: Evidence = "edges",
) -> Clusters:
    """Cut the graph into clusters of at most `max_size` products; a product without edges is a cluster of its own.

    Louvain (Blondel and others 2008, scikit-network) on the graph, then on each region by itself while it falls apart:
    dense regions are severed from the rest however large the graph is. Pieces are joined again while enough of their
    weight goes to each other, and products moved or exchanged while that cuts less (`analysis.spillover.refinement`).

    Args:
        before: clusters of an earlier version, name -> products. They stay as they are: a product leaves its cluster
            only for one that has a tenth of its weight more, or because its cluster is too large; `reasons` says why.

    Raises:
        NotEstimable: the graph has no substitutes, `max_size` is below 1, or a product was in two clusters before.
    """
    if max_size < 1:
        raise NotEstimable(f"clusters of at most {max_size} products hold nothing; max_size is at least 1")
    weights = graph.weights(evidence)
    if not weights.nnz:
        raise NotEstimable(
            "the graph has no substitutes: every product is a cluster of its own, randomise products; or cut by weaker"
            ' signs with evidence="all"'
        )
    kept: dict[int, str]
    reasons: tuple[str, ...]
    if before is None:
        raw, kept, reasons = partition(weights, max_size, seed=seed), {}, ()
    else:
        raw, kept, reasons = _kept(graph, weights, max_size, before)
    label = by_size(raw)
    within = share_within(weights, label)
    names = _names(graph.products, label, {int(label[at]): kept[one] for at, one in enumerate(raw) if one in kept})
    cut = max(0.0, 1 - float(within.sum()))
    return Clusters(graph.version, label, np.bincount(label), cut, float(within.max()), names, reasons)


def _kept(
    graph: Graph, weights: sparse.csr_array, max_size: int, before: Mapping[str, Sequence[str]]
) -> tuple[Ints, dict[int, str], tuple[str, ...]]:
    """Labels that start from those before, the names of those before by label, and why products have moved."""
    known: dict[str, str] = {}
    for name, members in before.items():
        for product in members:
            if known.setdefault(product, name) != name:
                raise NotEstimable(f"{product} was in clusters {known[product]} and {name}: a product is in one")
    number = {name: at for at, name in enumerate(before)}
    groups = len(before)
    start = np.empty(len(graph.products), dtype=np.intp)
    free: dict[int, bool] = {}
    said: list[str] = []
    for at, product in enumerate(graph.products):
        if product in known:
            start[at] = number[known[product]]
        else:
            start[at], groups = groups, groups + 1
            free[at] = True
    for one in np.flatnonzero(np.bincount(start, minlength=groups) > max_size).tolist():
        region = np.flatnonzero(start == one)
        pieces = partition(sparse.csr_array(weights[region][:, region]), max_size)
        start[region[pieces > 0]] = groups + pieces[pieces > 0] - 1
        groups += int(pieces.max())
        name = list(before)[one]
        said.append(f"{name} had {len(region)} products, more than {max_size}: it is cut into {int(pieces.max()) + 1}")
    label, moves = moved(weights, start, max_size, margin=MARGIN, free=free)
    for move in moves:
        product = graph.products[move.product]
        if product in known:
            said.append(
                f"{product} left {known[product]}: its substitution there is {move.stayed:.3f}, in the cluster that it"
                f" joined {move.joined:.3f}"
            )
        else:
            said.append(f"{product} is new: its substitution in the cluster that it joined is {move.joined:.3f}")
    return label, {at: name for name, at in number.items()}, tuple(said)


def _names(products: Sequence[str], label: Ints, kept: Mapping[int, str]) -> tuple[str, ...]:
    """A cluster keeps its name; a new one is named by its first product."""
    first: dict[int, str] = {}
    for product, number in zip(products, label.tolist(), strict=True):
        first.setdefault(number, product)
    names, taken = dict(kept), set(kept.values())
    for number in sorted(set(first) - set(names)):
        names[number] = next(name for name in _offers(first[number]) if name not in taken)
        taken.add(names[number])
    return tuple(names[number] for number in sorted(first))


def _offers(product: str) -> Iterator[str]:
    yield f"with-{product}"
    yield from (f"with-{product}.{number}" for number in count(2))


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
        found = joined(part, _louvain(part, resolution, seed), max_size)
        if found.max() == 0:
            if len(members) <= max_size:
                done.append(members)
            elif resolution > 256:
                done += _divided(weights, members, max_size)
            else:
                open_.append((members, 2 * resolution))
            continue
        open_ += [(members[found == one], 1.0) for one in range(int(found.max()) + 1)]
    label = np.empty(weights.shape[0], dtype=np.intp)
    for number, region in enumerate(done):
        label[region] = number
    label, _ = moved(weights, joined(weights, label, max_size), max_size)
    return by_size(label)


def by_size(label: Ints) -> Ints:
    """The same partition, numbered by size, the largest first and ties by the first product."""
    groups = int(label.max(initial=-1)) + 1
    sizes, first = np.bincount(label, minlength=groups), np.full(groups, len(label))
    np.minimum.at(first, label, np.arange(len(label)))
    rank = np.empty(groups, dtype=np.intp)  # an empty one comes last, where nobody has its number
    rank[np.lexsort((first, -sizes))] = np.arange(groups)
    return rank[label]


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
