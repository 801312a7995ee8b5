"""Edges of products without history: a student that learned from the graph what attributes its edges have in common.

Every product with history is a node of the graph, and has attributes. The student learns an embedding of the nodes
from attributes alone: an axis a numerical attribute, stretched so that neighbours of the graph lie close together (a
diagonal Mahalanobis metric, by logistic regression on squared differences; the idea is that of Xing, Ng, Jordan and
Russell 2003). The chance of an edge falls with the squared distance, and is learned from pairs of one category. A
product without history is placed by its attributes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.spillover.graph import Graph
from controller.errors import NotEstimable

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

#: With fewer edges or pairs without an edge nothing is learned.
_LEAST = 20


@dataclass(frozen=True, slots=True)
class Student:
    """An embedding of products by their attributes, and the chance of an edge by their distance in it."""

    #: Of the graph that it learned from.
    graph: str
    attributes: tuple[str, ...]
    #: How far one unit of each attribute moves a product; 0 where it says nothing. Shape (attributes,).
    stretch: Floats
    #: Log odds of an edge between two products of one category in the same place.
    together: float

    def embedded(self, values: Floats) -> Floats:
        """Places of products, shape (products, attributes), from their attributes in the same shape."""
        places: Floats = values * self.stretch
        return places

    def chance(self, one: Floats, two: Floats) -> Floats:
        """Chance of an edge between products of one category, from their attributes, shape (pairs, attributes)."""
        apart = ((self.embedded(one) - self.embedded(two)) ** 2).sum(axis=1)
        chance: Floats = 1 / (1 + np.exp(np.clip(apart - self.together, -500, 500)))
        return chance


@dataclass(frozen=True, slots=True)
class PredictedEdge:
    """An edge that no sales have told: marked, and never counted among the estimated ones."""

    first: str
    second: str
    #: By the student.
    chance: float
    #: Mean elasticity of the graph's substitutes, taken for want of an own one.
    weight: float


def learned(graph: Graph, values: Floats, attributes: Sequence[str]) -> Student:
    """The student of a graph.

    Args:
        values: attributes of the graph's products in its order, on scales of their own, shape (products, attributes).

    Raises:
        NotEstimable: an attribute is missing or not finite, or the graph has too few substitutes to learn from.
    """
    from sklearn.linear_model import LogisticRegression

    if values.shape != (len(graph.products), len(attributes)):
        raise NotEstimable(
            f"attributes have shape {values.shape}; needed is a row for each of {len(graph.products)} products and a"
            f" column for each of {len(attributes)} attributes"
        )
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise NotEstimable(f"{graph.products[row]} has no {attributes[column]}: fill it, or leave the attribute out")
    pairs = graph.candidates
    edge = _substitutes(graph)
    if min(edge.sum(), (~edge).sum()) < _LEAST:
        raise NotEstimable(
            f"{int(edge.sum())} substitutes among {len(edge)} pairs: a student needs {_LEAST} of both kinds"
        )
    apart = (values[pairs.first] - values[pairs.second]) ** 2
    scale = apart.mean(axis=0)
    used = np.flatnonzero(scale > 0)
    fit = None
    while used.size:
        fit = LogisticRegression(C=1.0, max_iter=1000).fit(apart[:, used] / scale[used], edge)
        if (fit.coef_[0] < 0).all():
            break
        # Farther apart and more alike contradicts a place: such an attribute says nothing.
        used = used[fit.coef_[0] < 0]
    if fit is None or not used.size:
        raise NotEstimable("no attribute is more alike among substitutes than among other pairs: nothing to predict by")
    stretch = np.zeros(len(attributes))
    stretch[used] = np.sqrt(-fit.coef_[0] / scale[used])
    return Student(graph.version, tuple(attributes), stretch, float(fit.intercept_[0]))


def predicted(
    graph: Graph,
    student: Student,
    known: Floats,
    fresh: Mapping[str, tuple[str, Floats]],
    least: float = 0.5,
) -> tuple[PredictedEdge, ...]:
    """Edges of products without history to those of their category that have one.

    Args:
        known: attributes of the graph's products, as `learned` took them.
        fresh: product -> its category and its attributes, shape (attributes,).
        least: chance from which on there is an edge.

    Raises:
        NotEstimable: a product is in the graph already, or its category is not.
    """
    weight = float(graph.edges.mean[graph.edges.mean > 0].mean())
    found: list[PredictedEdge] = []
    categories = np.array(graph.categories)
    for product, (category, values) in sorted(fresh.items()):
        if product in graph.products:
            raise NotEstimable(f"{product} has history: its edges are estimated, see `flipside graph show`")
        others = np.flatnonzero(categories == category)
        if not others.size:
            raise NotEstimable(f"{product} is of category {category}, of which the graph has no product")
        chance = student.chance(np.broadcast_to(values, (len(others), len(values))), known[others])
        found += [
            PredictedEdge(product, graph.products[other], float(p), weight)
            for other, p in zip(others.tolist(), chance.tolist(), strict=True)
            if p >= least
        ]
    return tuple(found)


def corrected(graph: Graph, student: Student, known: Floats) -> Floats:
    """Chance of substitution of each candidate pair, by its own number and by its attributes; shape (pairs,).

    The student's odds times the likelihood of the pair's mean under the graph's mean substitute over that under none,
    both normal with the pair's error. A tail product's spurious edge has a large error, and attributes decide; a
    well-told one is decided by its sales.
    """
    pairs = graph.candidates
    chance = np.clip(student.chance(known[pairs.first], known[pairs.second]), 1e-9, 1 - 1e-9)
    typical = float(graph.edges.mean[graph.edges.mean > 0].mean())
    with np.errstate(invalid="ignore"):
        told = (pairs.mean**2 - (pairs.mean - typical) ** 2) / (2 * pairs.error**2)
    odds = np.log(chance / (1 - chance)) + np.where(np.isfinite(told), told, 0.0)
    found: Floats = 1 / (1 + np.exp(-np.clip(odds, -500, 500)))
    return found


def _substitutes(graph: Graph) -> NDArray[np.bool_]:
    kept = {
        (one, two)
        for one, two, mean in zip(graph.edges.first, graph.edges.second, graph.edges.mean, strict=True)
        if mean > 0
    }
    pairs = zip(graph.candidates.first, graph.candidates.second, strict=True)
    return np.array([pair in kept for pair in pairs], dtype=bool)
