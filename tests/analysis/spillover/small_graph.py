"""A graph of a few products with the edges that a test names."""

from collections.abc import Sequence

import numpy as np

from analysis.spillover.graph import Graph, Pairs


def small_graph(version: str, products: Sequence[str], edges: Sequence[tuple[str, str, float]]) -> Graph:
    """Edges as product, product, mean elasticity; every other number of a pair is made up."""
    place = {product: number for number, product in enumerate(products)}
    ends = sorted((*sorted((place[one], place[two])), mean) for one, two, mean in edges)
    first, second = (np.array([edge[k] for edge in ends], dtype=np.intp) for k in (0, 1))
    mean = np.array([edge[2] for edge in ends], dtype=np.float64)
    others = {name: np.full(len(ends), 0.01) for name in Pairs.__slots__ if name not in ("first", "second", "mean")}
    pairs = Pairs(first=first, second=second, mean=mean, **others)
    own = np.full(len(products), -2.0)
    categories = ("food",) * len(products)
    return Graph(version, tuple(products), categories, pairs, pairs, own, np.abs(own) / 10, {})
