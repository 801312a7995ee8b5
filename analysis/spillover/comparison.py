"""What changes from one graph of substitutes to the next."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.spillover.graph import Graph

Pair = tuple[str, str]
#: Names in a sentence; the rest is counted.
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Comparison:
    """Edges by names; a turned one was a substitute and is a complement, or the other way round."""

    old: str
    new: str
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]
    gained: tuple[Pair, ...]
    lost: tuple[Pair, ...]
    turned: tuple[Pair, ...]
    kept: int
    #: Root mean square of the kept edges' changes, and of the errors of those changes were the two independent.
    change: float | None
    expected: float | None

    def as_object(self) -> dict[str, Any]:
        """For JSON."""
        return {name: getattr(self, name) for name in self.__slots__}

    def lines(self) -> list[str]:
        """A sentence each."""
        said = [f"graph {self.old} to {self.new}: {self.kept} edges stay"]
        if self.change is not None and self.expected is not None:
            said[0] += f", their elasticities move by {self.change:.3f} (errors alone: {self.expected:.3f})"
        for word, pairs in (("gained", self.gained), ("lost", self.lost), ("turned", self.turned)):
            said.append(f"{word}: {_named([' - '.join(pair) for pair in pairs])}")
        for word, names in (("gone", self.only_old), ("new", self.only_new)):
            said += [f"products {word}: {_named(list(names))}"] if names else []
        return said


def compared(old: Graph, new: Graph) -> Comparison:
    """Compare two graphs, by the names of their products."""
    before, after = _edges(old), _edges(new)
    both = sorted(set(before) & set(after))
    turned = tuple(pair for pair in both if before[pair][0] * after[pair][0] < 0)
    kept = [pair for pair in both if pair not in set(turned)]
    change = [after[pair][0] - before[pair][0] for pair in kept]
    errors = [np.hypot(after[pair][1], before[pair][1]) for pair in kept]
    return Comparison(
        old.version,
        new.version,
        tuple(sorted(set(old.products) - set(new.products))),
        tuple(sorted(set(new.products) - set(old.products))),
        tuple(sorted(set(after) - set(before))),
        tuple(sorted(set(before) - set(after))),
        turned,
        len(kept),
        float(np.sqrt(np.mean(np.square(change)))) if kept else None,
        float(np.sqrt(np.mean(np.square(errors)))) if kept else None,
    )


def _edges(graph: Graph) -> dict[Pair, tuple[float, float]]:
    found = {}
    edges = graph.edges
    for one, two, mean, error in zip(edges.first, edges.second, edges.mean, edges.error, strict=True):
        a, b = sorted((graph.products[one], graph.products[two]))
        found[a, b] = (float(mean), float(error))
    return found


def _named(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED]) or 'none'}{more}"
