"""Louvain's regions under a limit on size: pieces joined again, and products moved where their weight is."""

import heapq
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Ints = NDArray[np.intp]

#: Two regions belong together if at least this share of the lighter one's weight goes to the other.
TOGETHER = 0.15
#: Passes of moves over all products; each lowers the weight that is cut, so they end by themselves, mostly after three.
_PASSES = 50


@dataclass(frozen=True, slots=True)
class Move:
    """A product that has left its cluster, and the weights that are the reason."""

    product: int
    #: Its weight to the products of the cluster that it left, and to those of the one that it joined.
    stayed: float
    joined: float


def joined(weights: sparse.csr_array, label: Ints, max_size: int) -> Ints:
    """Regions joined while `TOGETHER` of the lighter one's weight goes to the other, the strongest tie first.

    The rule has no resolution limit: it does not depend on the rest of the graph, as modularity does.
    """
    sizes = np.bincount(label).tolist()
    ties, volume = _ties(weights, label)
    parent = list(range(len(sizes)))
    heap: list[tuple[float, int, int]] = []

    def offer(one: int, two: int) -> None:
        share = ties[one][two] / max(min(volume[one], volume[two]), 1e-300)
        if share >= TOGETHER and sizes[one] + sizes[two] <= max_size:
            heapq.heappush(heap, (-share, min(one, two), max(one, two)))

    for one in range(len(sizes)):
        for two in ties[one]:
            if one < two:
                offer(one, two)
    while heap:
        share, one, two = heapq.heappop(heap)
        if parent[one] != one or parent[two] != two or sizes[one] + sizes[two] > max_size:
            continue
        if -share != ties[one][two] / max(min(volume[one], volume[two]), 1e-300):
            continue  # offered before one of them grew; the offer of today is on the heap too
        parent[two] = one
        sizes[one] += sizes[two]
        volume[one] += volume[two]
        for other, value in ties[two].items():
            del ties[other][two]
            if other != one:
                ties[one][other] = ties[other][one] = ties[one].get(other, 0.0) + value
        for other in ties[one]:
            offer(one, other)
    roots = np.array([_root(parent, region) for region in range(len(sizes))])
    return np.unique(roots[label], return_inverse=True)[1].astype(np.intp)


def _ties(weights: sparse.csr_array, label: Ints) -> tuple[list[dict[int, float]], list[float]]:
    """The weight between each two regions, and all weight of each."""
    count = int(label.max()) + 1
    ties: list[dict[int, float]] = [{} for _ in range(count)]
    volume = [0.0] * count
    entries = sparse.coo_array(weights)
    for one, two, value in zip(label[entries.row].tolist(), label[entries.col].tolist(), entries.data, strict=True):
        volume[one] += float(value)
        if one != two:
            ties[one][two] = ties[one].get(two, 0.0) + float(value)
    return ties, volume


def _root(parent: list[int], region: int) -> int:
    while parent[region] != region:
        region = parent[region]
    return region


def moved(
    weights: sparse.csr_array, label: Ints, max_size: int, margin: float = 0.0, free: Mapping[int, bool] | None = None
) -> tuple[Ints, tuple[Move, ...]]:
    """Products moved to the cluster that holds most of their weight, where it has room, or exchanged for one of it.

    Args:
        margin: share of a product's weight by which the other cluster must be ahead.
        free: products to which no margin applies, because they have no cluster to be kept in.

    Returns:
        New labels, of the same clusters (some may be empty), and each product whose cluster has changed, once.
    """
    label = label.copy()
    first = label.copy()
    sizes = np.bincount(label).tolist()
    members: list[set[int]] = [set(np.flatnonzero(label == one).tolist()) for one in range(len(sizes))]
    near = [weights.indices[a:b].tolist() for a, b in zip(weights.indptr, weights.indptr[1:], strict=False)]
    far = [weights.data[a:b].tolist() for a, b in zip(weights.indptr, weights.indptr[1:], strict=False)]
    free = free or {}

    def held(product: int) -> dict[int, float]:
        found: dict[int, float] = {}
        for other, value in zip(near[product], far[product], strict=True):
            found[int(label[other])] = found.get(int(label[other]), 0.0) + value
        return found

    def place(product: int, where: int) -> None:
        members[int(label[product])].discard(product)
        members[where].add(product)
        label[product] = where

    for _ in range(_PASSES):
        changed = False
        for product in range(len(near)):
            if not near[product]:
                continue
            here, to = int(label[product]), held(product)
            need = to.get(here, 0.0) + (0.0 if free.get(product) else margin * sum(far[product])) + 1e-12
            for where in sorted(to, key=lambda one: (-to[one], one)):
                if where == here or to[where] <= need:
                    break
                if len(members[where]) < max_size:
                    place(product, where)
                    changed = True
                    break
                if margin == 0.0 and (other := _exchange(product, here, where, to, members, held, near, far)) >= 0:
                    place(other, here)
                    place(product, where)
                    changed = True
                    break
        if not changed:
            break
    said = []
    for product in np.flatnonzero(label != first).tolist():
        to_first = sum(v for o, v in zip(near[product], far[product], strict=True) if label[o] == first[product])
        said.append(Move(product, to_first, held(product).get(int(label[product]), 0.0)))
    return label, tuple(said)


def _exchange(
    product: int,
    here: int,
    where: int,
    to: Mapping[int, float],
    members: Sequence[Collection[int]],
    held: Callable[[int], Mapping[int, float]],
    near: Sequence[Sequence[int]],
    far: Sequence[Sequence[float]],
) -> int:
    """The product of a full cluster whose place the other should have: the exchange that cuts least; -1 if none."""
    best, found = 1e-12, -1
    tied = dict(zip(near[product], far[product], strict=True))
    for other in sorted(members[where]):
        back = held(other)
        gain = to[where] - to.get(here, 0.0) + back.get(here, 0.0) - back.get(where, 0.0) - 2 * tied.get(other, 0.0)
        if gain > best:
            best, found = gain, other
    return found
