"""Effects with spillover from a frame of measured units."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from analysis.panel_data.substitutes import Substitutes, weights_between
from analysis.spillover.effects import SpilloverEffects, effects_of_arrays
from analysis.spillover.exposure import Bools, Draws, exact_chances
from analysis.spillover.graph import Graph
from controller.errors import NotEstimable

COLUMNS = ("unit", "cluster", "treated", "outcome")


def spillover_effects(
    frame: Mapping[str, Any] | Any,
    graph: Graph | Substitutes,
    *,
    draws: Draws | None = None,
) -> SpilloverEffects:
    """Naive, total, direct and spillover effects of one experiment whose units each had one arm.

    Args:
        frame: columns unit (`market/product`, or the product alone), cluster, treated (0 or 1) and outcome, one row a
            unit; a pandas frame or a mapping. The outcome is best a change against the time before.
        graph: of substitutes; pairs of which a product is not in the frame are left out.
        draws: assignments that the design could have made, in the order of the rows (`exposure.redraws` of the
            production generator's). Without them: as many clusters treated as were, any of them as likely as another.

    Raises:
        NotEstimable: a column is missing or unreadable, a unit comes twice, a cluster has both arms, there are fewer
            than six clusters, or the graph has no pair among the units.
    """
    unit, cluster, treated, outcome = _columns(frame)
    names, label = np.unique(cluster, return_inverse=True)
    weights = weights_of(graph, unit)
    if not weights.nnz:
        raise NotEstimable(
            f"graph {graph.version} has no pair among the {len(unit)} units: only the naive number can be given;"
            " build a graph of these products"
        )
    if draws is not None:
        return effects_of_arrays(outcome, treated, weights, draws, label)
    mixed = [name for k, name in enumerate(names) if 0 < treated[label == k].mean() < 1]
    if mixed:
        raise NotEstimable(
            f"cluster {mixed[0]} has units of both arms: name the clusters that were drawn, or give draws"
        )
    on = int(np.bincount(label, treated).astype(bool).sum())
    return effects_of_arrays(outcome, treated, weights, exact_chances(label, weights, {on: 1.0}), label)


def substitutes_of(graph: Graph) -> Substitutes:
    """The graph's substitutes by name, complements left out."""
    kept = graph.edges.where(graph.edges.mean > 0)
    triples = zip(kept.first, kept.second, kept.mean, strict=True)
    pairs = tuple((graph.products[i], graph.products[j], float(weight)) for i, j, weight in triples)
    return Substitutes(graph.version, pairs)


def weights_of(graph: Graph | Substitutes, units: Sequence[str]) -> sparse.csr_array:
    """Weights between units `market/product`, or between products, shape (units, units)."""
    if isinstance(graph, Graph):
        graph = substitutes_of(graph)
    return weights_between(graph, [unit if "/" in unit else f"/{unit}" for unit in units])


def _columns(frame: Mapping[str, Any] | Any) -> tuple[list[str], np.ndarray, Bools, np.ndarray]:
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise NotEstimable(f"the frame has no column {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
    unit = [str(one) for one in frame["unit"]]
    twice = len(unit) - len(set(unit))
    if twice:
        seen = next(one for one in unit if unit.count(one) > 1)
        raise NotEstimable(f"unit {seen} has more than one row: take the mean of its days first")
    treated, outcome = np.asarray(frame["treated"]), np.asarray(frame["outcome"], dtype=np.float64)
    if not np.isin(treated, (0, 1)).all():
        raise NotEstimable("treated is 1 for units of the treated arm and 0 for control, and nothing else")
    if not np.isfinite(outcome).all():
        at = int(np.flatnonzero(~np.isfinite(outcome))[0])
        raise NotEstimable(f"outcome of {unit[at]} is {outcome[at]}: leave out units of which nothing was measured")
    return unit, np.asarray(frame["cluster"]).astype(str), treated == 1, outcome
