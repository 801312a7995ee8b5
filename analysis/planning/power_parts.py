"""What the closed form of `analysis.planning.power` asks for, estimated from sales: cells, counts, spread between and
within."""

from dataclasses import dataclass

import numpy as np

from analysis.panel_data.panel import FloatArray, IntArray
from analysis.planning.rehearsal import History
from controller.definition.field_types import market_of, product_of
from controller.errors import InvalidPanel

#: sweeps that take unit and period means out of a table with gaps
SWEEPS = 20
LEAST_BLOCKS = 4


@dataclass(frozen=True, slots=True)
class Parts:
    """An observation is one unit in one period of the history, less its unit's and its period's mean."""

    clusters: int
    #: mean observations in a cluster and block, and the coefficient of variation of their number
    observations: float
    cv: float
    #: of one observation, in the metric's unit
    sd: float
    #: share of its variance that lies between cells of a cluster and a block
    macro_share: float
    #: of one observation, in the metric's unit: what effects are a share of
    mean: float


def parts_of(history: History, block: int = 1) -> Parts:
    """Estimate from a history; ``block``: periods in a block.

    Unit and period means are taken out as the analysis does, and the degrees of freedom that they take are given back.

    Raises:
        InvalidPanel: one cluster, fewer than four blocks, or sales that do not vary.
    """
    cluster = clusters_of(history)
    blocks, count = len(history.outcome) // block, int(cluster.max()) + 1
    if count < 2 or blocks < LEAST_BLOCKS:
        raise InvalidPanel(
            f"{count} clusters and {blocks} blocks of {block}: two clusters and {LEAST_BLOCKS} blocks at least are"
            " needed to tell how much cells differ; give a longer history, or cluster by unit"
        )
    outcome = history.outcome[: blocks * block]
    known = np.isfinite(outcome)
    rest = _without_means(outcome, known)
    cell = (np.arange(len(outcome)) // block)[:, None] * count + cluster[None, :]
    held = cell[known]
    numbers = np.bincount(held, minlength=blocks * count).astype(np.float64)
    full = numbers > 0
    sums = np.bincount(held, weights=rest[known], minlength=blocks * count)
    means = np.where(full, sums / np.maximum(numbers, 1.0), 0.0)
    inner = rest[known] - means[held]
    within = float((inner**2).sum() / max(len(held) - int(full.sum()), 1))
    lost = (1.0 - 1.0 / count) * (1.0 - 1.0 / blocks)
    spread = float((means[full] ** 2).mean() / lost)
    between = max(0.0, spread - within * float((1.0 / numbers[full]).mean()))
    if within + between <= 0:
        raise InvalidPanel("the sales do not vary: nothing can be told from them; choose another metric")
    used = numbers[full]
    return Parts(
        count,
        float(used.mean()),
        float(used.std() / used.mean()),
        float((within + between) ** 0.5),
        between / (within + between),
        float(outcome[known].mean()),
    )


def clusters_of(history: History) -> IntArray:
    """The number of each unit's cluster."""
    if isinstance(history.clusters, dict):
        of = {unit: name for name, members in history.clusters.items() for unit in members}
        names = [of[unit] for unit in history.units]
    elif history.clusters == "market":
        names = [market_of(unit) for unit in history.units]
    else:
        names = [product_of(unit) if history.clusters == "product" else unit for unit in history.units]
    number = {name: k for k, name in enumerate(sorted(set(names)))}
    return np.array([number[name] for name in names], dtype=np.int64)


def _without_means(outcome: FloatArray, known: np.ndarray) -> FloatArray:
    """Residuals of unit and period means; zero where nothing is known."""
    rest = np.where(known, outcome, 0.0)
    for _ in range(SWEEPS):
        for axis in (0, 1):
            counts = np.maximum(known.sum(axis=axis, keepdims=True), 1)
            rest = np.where(known, rest - rest.sum(axis=axis, keepdims=True) / counts, 0.0)
    return rest
