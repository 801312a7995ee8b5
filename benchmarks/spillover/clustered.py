"""What clusters of an estimated graph take from the naive estimate's bias, and what they cost in precision.

A year of the frozen scenario gives the graph; then an experiment of four weeks on the days that follow, with half of
the products or clusters at a price ten per cent higher. Outcome: mean log sales of the four weeks less those of the
four before. `python -m benchmarks.spillover.clustered --markets 4 --write benchmarks/results/graph_clustered.json`.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from analysis.spillover.clustering import clusters
from analysis.spillover.graph import Evidence, Graph, substitute_graph
from analysis.spillover.market import Market, draw_market, scenario, year_of

PRICE_CHANGE, STRETCH, DRAWS = 0.1, 28, 200
SIZES = (10, 20)
#: what clusters are cut by
EVIDENCE: tuple[Evidence, ...] = ("edges", "all")


def change_without_effect(market: Market) -> np.ndarray:
    """Of each product, shape (products,): days without sales are left out."""
    with np.errstate(divide="ignore"):
        logs = np.where(market.quantity > 0, np.log(market.quantity), np.nan)
    means = [np.nanmean(logs[:, :, a:b], axis=2) for a, b in ((-STRETCH, None), (-2 * STRETCH, -STRETCH))]
    return (means[0] - means[1]).mean(axis=1)


def errors_of(market: Market, label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Naive contrast less the total effect, shape (DRAWS,)."""
    groups = int(label.max()) + 1
    base, moved = change_without_effect(market), np.log1p(PRICE_CHANGE)
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


def one(cross: float, markets: int) -> dict[str, object]:
    """Bias, standard deviation and RMSE by what is randomised, over judging seeds."""
    given = replace(scenario(), cross_elasticity=cross, days=scenario().days + 2 * STRETCH)
    ways = [(size, evidence) for evidence in EVIDENCE for size in SIZES]
    names = ["products", *(f"clusters of at most {size} by {evidence}" for size, evidence in ways)]
    errors: dict[str, list[np.ndarray]] = {name: [] for name in names}
    counts: dict[str, list[float]] = {name: [] for name in names}
    first = scenario().judging_seeds[0]
    for seed in range(first, first + markets):
        market, rng = draw_market(given, seed), np.random.default_rng(seed)
        year = year_of(market)
        kept = slice(0, scenario().days)
        before = replace(year, days=year.days[kept], price=year.price[..., kept], quantity=year.quantity[..., kept])
        graph = substitute_graph(before)
        labels = [np.arange(len(graph.products)), *(label_of(graph, size, evidence) for size, evidence in ways)]
        for name, label in zip(names, labels, strict=True):
            errors[name].append(errors_of(market, label, rng))
            counts[name].append(int(label.max()) + 1)
    found: dict[str, object] = {"cross": cross, "markets": markets}
    naive = float(np.mean(errors["products"]))
    for name in names:
        values = np.array(errors[name])
        bias = float(values.mean())
        found[name] = {
            "units": float(np.mean(counts[name])),
            "bias": bias,
            "bias_error": float(values.mean(axis=1).std(ddof=1) / np.sqrt(markets)) if markets > 1 else None,
            "sd": float(values.std(axis=1).mean()),
            "rmse": float(np.sqrt((values**2).mean())),
            "bias_cut": 1 - bias / naive,
        }
    return found


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markets", type=int, default=4)
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    results = []
    for cross in (0.1, 0.3, 0.6):
        results.append(one(cross, asked.markets))
        print(json.dumps(results[-1]), flush=True)
        if asked.write:
            asked.write.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
