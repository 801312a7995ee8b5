"""Who is a substitute of whom among an experiment's units: the published graph, read as weights between units."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from controller.definition.field_types import market_of, product_of
from controller.errors import NotEstimable


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
