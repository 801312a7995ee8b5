"""How an experiment's clusters cut the weight of substitution between its units. Pure, without a graph library."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from controller.definition.experiment import Experiment
from controller.definition.field_types import market_of, product_of

#: (product, product, elasticity): positive between substitutes, negative between complements
Pair = tuple[str, str, float]


@dataclass(frozen=True, slots=True)
class WeightCut:
    """Pairs of substitutes of which both units are in the experiment, and their weight."""

    graph: str
    pairs: int
    #: share of the weight that leaves its cluster, and the largest share within one; 0 where there is no pair
    cut: float
    heaviest: float


def weight_cut(experiment: Experiment, graph: str, pairs: Iterable[Pair]) -> WeightCut:
    """By the experiment's clusters as they are resolved. O(pairs x markets)."""
    clusters = experiment.cluster_by_unit()
    markets: defaultdict[str, set[str]] = defaultdict(set)
    for unit in experiment.units:
        markets[product_of(unit)].add(market_of(unit))
    within: defaultdict[str, float] = defaultdict(float)
    count, total = 0, 0.0
    for first, second, weight in pairs:
        if weight <= 0 or first not in markets or second not in markets:
            continue
        for market in sorted(markets[first] & markets[second]):
            one, two = clusters[f"{market}/{first}"], clusters[f"{market}/{second}"]
            count, total = count + 1, total + weight
            if one == two:
                within[one] += weight
    if not count:
        return WeightCut(graph, 0, 0.0, 0.0)
    kept, heaviest = sum(within.values()), max(within.values(), default=0.0)
    return WeightCut(graph, count, max(0.0, 1 - kept / total), heaviest / total)
