"""Do substitutes have different arms at the same time? By the pairs of the graph, the worst of them named."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from analysis.checks.verdict import Check, unknown

#: pairs that the evidence names
WORST = 5
DO_CLUSTERS = (
    "Substitutes have different arms: read the total and the spillover effect beside the naive one, and randomise"
    " clusters of the graph next time."
)


def interference_of_pairs(
    arm: NDArray[Any], weights: sparse.csr_array, units: Sequence[str], version: str, *, threshold: float = 0.1
) -> tuple[Check, tuple[str, ...]]:
    """Share of the weight of substitution, over days, that lies between units of different arms; units of the worst.

    Args:
        arm: (N, T), a negative number where there is none.
        weights: symmetric, shape (N, N).
        version: of the graph.
    """
    entries = sparse.coo_array(sparse.triu(weights, k=1))
    if not entries.nnz:
        why = f"graph {version} has no pair among the experiment's units"
        return unknown("interference", threshold, why), ()
    one, two = arm[entries.row], arm[entries.col]
    known = (one >= 0) & (two >= 0)
    if not known.any():
        return unknown("interference", threshold, "no pair of substitutes has arms yet"), ()
    days, apart = known.sum(axis=1), (known & (one != two)).sum(axis=1)
    between = entries.data * apart / np.maximum(days, 1)
    share = float((entries.data * apart).sum() / (entries.data * days).sum())
    order = [k for k in np.lexsort((entries.col, entries.row, -between))[:WORST] if between[k] > 0]
    pairs = [(units[entries.row[k]], units[entries.col[k]]) for k in order]
    named = [
        f"{first} and {second} (weight {entries.data[k]:.2g}, {apart[k]} of {days[k]} days)"
        for k, (first, second) in zip(order, pairs, strict=True)
    ]
    worst = tuple(dict.fromkeys(unit for pair in pairs for unit in pair))
    found = share > threshold
    said = f"{share:.1%} of the weight of graph {version} lies between units of different arms"
    check = Check(
        "interference",
        share,
        threshold,
        "warn" if found else "pass",
        DO_CLUSTERS if found else "Nothing.",
        f"{said}; worst pairs: {', '.join(named)}" if named else said,
    )
    return check, worst if found else ()
