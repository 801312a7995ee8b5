"""Who is a substitute of whom among an experiment's units: the published graph, read as weights between units."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from controller.definition.experiment import Experiment
from controller.definition.field_types import market_of, product_of
from controller.definition.weight_cut import Pair
from controller.errors import NotEstimable, NotPublished
from controller.messages.graphs import PublishedGraphs


@dataclass(frozen=True, slots=True)
class Substitutes:
    """The pairs of one version of the graph: products without their market, and how strongly they substitute.

    Raises:
        NotEstimable: a product is its own substitute, or a weight is not positive.
    """

    version: str
    #: (product, product, weight), each pair once
    pairs: tuple[tuple[str, str, float], ...]

    def __post_init__(self) -> None:
        for first, second, weight in self.pairs:
            if first == second:
                raise NotEstimable(
                    f"graph {self.version}: {first} is its own substitute; a graph has no self-loops: build it again"
                )
            if not weight > 0:
                raise NotEstimable(
                    f"graph {self.version}: {first} and {second} have weight {weight}; substitutes have positive"
                    " weights: leave complements out"
                )


@dataclass(frozen=True, slots=True)
class NoGraph:
    """A version that cannot be used, and the reason that is published in place of the effects."""

    version: str
    reason: str


def as_substitutes(version: str, pairs: Iterable[Pair]) -> Substitutes:
    """The substitutes among a graph's pairs; complements are left out.

    Raises:
        NotEstimable: a product is its own substitute.
    """
    return Substitutes(version, tuple(pair for pair in pairs if pair[2] > 0 or pair[0] == pair[1]))


@dataclass(slots=True)
class Graphs:
    """The published graphs, and which of them is an experiment's."""

    published: PublishedGraphs = field(default_factory=PublishedGraphs)
    _read: dict[str, tuple[tuple[Pair, ...], Substitutes]] = field(default_factory=dict)

    def of(self, experiment: Experiment) -> Substitutes | NoGraph | None:
        """The version that its clusters come from, and no other; where they come from none, the newest that is whole.

        None where nothing is published and nothing was asked for.
        """
        named = experiment.clusters_from
        if named is not None:
            return self._version(named.graph)
        # The parts of a version that is being published may be read after its head.
        refused: list[NoGraph] = []
        for version in self.published.newest_first:
            found = self._version(version)
            if isinstance(found, Substitutes):
                return found
            refused.append(found)
        return refused[0] if refused else None

    def _version(self, version: str) -> Substitutes | NoGraph:
        try:
            pairs = self.published.pairs(version)
            held = self._read.get(version)
            if held is None or held[0] is not pairs:
                held = self._read[version] = pairs, as_substitutes(version, pairs)
        except (NotPublished, NotEstimable) as why:
            return NoGraph(version, str(why)[:500])
        return held[1]


def weights_between(substitutes: Substitutes, units: Sequence[str]) -> sparse.csr_array:
    """Symmetric weights between the units of one market that are substitutes, shape (units, units).

    Units outside the experiment keep their price whatever is drawn, so that they are nobody's neighbour here.
    """
    place = {unit: number for number, unit in enumerate(units)}
    markets = sorted({market_of(unit) for unit in units})
    rows, columns, values = [], [], []
    for first, second, weight in substitutes.pairs:
        for market in markets:
            one, two = place.get(f"{market}/{first}"), place.get(f"{market}/{second}")
            if one is not None and two is not None:
                rows += [one, two]
                columns += [two, one]
                values += [weight, weight]
    found = sparse.csr_array((np.array(values, dtype=np.float64), (rows, columns)), shape=(len(units),) * 2)
    found.sum_duplicates()
    return found


def strangers(substitutes: Substitutes, units: Iterable[str]) -> int:
    """How many of the graph's products are none of the units'."""
    known = {product_of(unit) for unit in units}
    return len({product for pair in substitutes.pairs for product in pair[:2]} - known)
