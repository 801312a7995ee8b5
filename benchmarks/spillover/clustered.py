"""What clusters of an estimated graph take from the naive estimate's bias, and what they cost in precision.

A year of the frozen scenario gives the graph; then an experiment of four weeks on the days that follow, with half of
the products or clusters at a price ten per cent higher. Outcome: mean log sales of the four weeks less those of the
four before. `python -m benchmarks.spillover.clustered --markets 20 --write benchmarks/results/graph_clustered.json`.
"""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from analysis.spillover.clustering import clusters
from analysis.spillover.graph import Evidence, Graph, substitute_graph
from analysis.spillover.market import Market, draw_market, scenario, year_of
from benchmarks.spillover.judging import Score, each_seed, judging_seeds

CROSS = (0.1, 0.3, 0.6)
PRICE_CHANGE, STRETCH, DRAWS = 0.1, 28, 200
SIZES = (10, 20)
#: what clusters are cut by
EVIDENCE: tuple[Evidence, ...] = ("edges", "all")
#: the first seed of which nobody had seen what clusters by all evidence do
FIRST_SEED = 100_201


def change_without_effect(market: Market) -> np.ndarray:
    """Of each product, shape (products,): days without sales are left out."""
    with np.errstate(divide="ignore"):
        logs = np.where(market.quantity > 0, np.log(market.quantity), np.nan)
    means = [np.nanmean(logs[:, :, a:b], axis=2) for a, b in ((-STRETCH, None), (-2 * STRETCH, -STRETCH))]
    change: np.ndarray = (means[0] - means[1]).mean(axis=1)
    return change


def errors_of(
    market: Market, label: np.ndarray, rng: np.random.Generator, price_change: float = PRICE_CHANGE
) -> np.ndarray:
    """Naive contrast less the total effect, shape (DRAWS,)."""
    groups = int(label.max()) + 1
    base, moved = change_without_effect(market), np.log1p(price_change)
    total = moved * market.elasticities.sum(axis=1).mean()
    found = []
    for _ in range(DRAWS):
        treated = np.isin(label, rng.permutation(groups)[: groups // 2])
        outcome = base + market.elasticities @ (moved * treated)
        found.append(outcome[treated].mean() - outcome[~treated].mean() - total)
    return np.array(found)


def label_of(graph: Graph, size: int, evidence: Evidence) -> np.ndarray:
    """Clusters; every product alone where the graph has no edge."""
    if not graph.weights(evidence).nnz:
        return np.arange(len(graph.products))
    return clusters(graph, size, evidence=evidence).label


def one(cross: float, seed: int) -> Score:
    """Units, bias, standard deviation and mean square of the error, by what is randomised, over draws of the arms."""
    given = replace(scenario(), cross_elasticity=cross, days=scenario().days + 2 * STRETCH)
    market, rng = draw_market(given, seed), np.random.default_rng(seed)
    year = year_of(market)
    kept = slice(0, scenario().days)
    graph = substitute_graph(
        replace(year, days=year.days[kept], price=year.price[..., kept], quantity=year.quantity[..., kept])
    )
    labels = {"products": np.arange(len(graph.products))} | {
        f"clusters of at most {size} by {evidence}": label_of(graph, size, evidence)
        for evidence in EVIDENCE
        for size in SIZES
    }
    found: Score = {}
    for name, label in labels.items():
        errors = errors_of(market, label, rng)
        found |= {
            f"{name}: units": float(label.max()) + 1,
            f"{name}: bias": float(errors.mean()),
            f"{name}: sd": float(errors.std()),
            f"{name}: mean square": float((errors**2).mean()),
        }
    for name in labels:
        found[f"{name}: bias cut"] = 1 - found[f"{name}: bias"] / found["products: bias"]
    return found


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markets", type=int, default=20)
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    for cross in CROSS:
        each_seed(judging_seeds(asked.markets, FIRST_SEED), partial(one, cross), asked.write, f"cross {cross}")


if __name__ == "__main__":
    main()
