"""The graph of substitutes on seeds that only judge: recall, false discoveries, edges where there is no substitution.

`python -m benchmarks.spillover.graph --judge 20 --null 40 --write benchmarks/results/graph.json`.
"""

import argparse
import json
import resource
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from analysis.spillover.graph import substitute_graph
from analysis.spillover.market import draw_market, scenario, without_substitution, year_of
from analysis.spillover.sales import SalesYear


def judged(markets: int) -> dict[str, float]:
    """Recall and false discovery proportion, means over judging seeds, with Monte-Carlo errors."""
    rows = []
    for seed in range(scenario().judging_seeds[0], scenario().judging_seeds[0] + markets):
        market = draw_market(scenario(), seed)
        edges = substitute_graph(year_of(market)).edges
        hits = (market.elasticities > 0)[edges.first, edges.second] & (edges.mean > 0)
        rows.append((2 * hits.sum() / (market.elasticities > 0).sum(), 1 - hits.mean()))
    (recall, false), spread = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1) / np.sqrt(markets)
    return {
        "markets": markets,
        "recall": float(recall),
        "recall_error": float(spread[0]),
        "false_discovery_proportion": float(false),
        "false_discovery_error": float(spread[1]),
    }


def nothing_there(markets: int) -> dict[str, float]:
    """In how many markets without substitution any edge is named."""
    given = without_substitution(scenario())
    first = given.judging_seeds[0]
    named = sum(
        len(substitute_graph(year_of(draw_market(given, seed))).edges) > 0 for seed in range(first, first + markets)
    )
    return {"markets": markets, "with_any_edge": int(named), "share": named / markets}


def large() -> dict[str, float]:
    """Seconds for 10,000 products of 500 categories over 365 days: 190,000 directed pairs, no zero days."""
    rng = np.random.default_rng(1)
    products, days, size = 10_000, 365, 20
    price = np.exp(0.14 * np.repeat(rng.normal(size=(products, 1, 73)), 5, axis=2))
    quantity = np.exp(rng.normal(4, 0.3, price.shape))
    names = tuple(f"p{i:05d}" for i in range(products))
    category = np.repeat(np.arange(products // size), size)
    labels = tuple(f"c{i:04d}" for i in range(products // size))
    year = SalesYear(names, labels, ("m0",), category, np.arange(days), price, quantity)
    before = time.perf_counter()
    graph = substitute_graph(year)
    seconds = time.perf_counter() - before
    return {
        "products": products,
        "directed_pairs": 2 * len(graph.candidates),
        "seconds": seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def curve() -> list[dict[str, float]]:
    """Recall by the size and number of price moves, one market of 500 products each."""
    rows = []
    for sd in (0.1, 0.2):
        for moves in (6, 12, 26):
            market = draw_market(replace(scenario(), move_sd=sd, moves_a_year=moves), scenario().judging_seeds[0])
            edges = substitute_graph(year_of(market)).edges
            hits = (market.elasticities > 0)[edges.first, edges.second] & (edges.mean > 0)
            recall = float(2 * hits.sum() / (market.elasticities > 0).sum())
            rows.append({"sd": sd, "moves": moves, "recall": recall, "edges": len(edges), "false": int((~hits).sum())})
    return rows


def main() -> None:
    """Run what is asked for, print it and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--judge", type=int, default=10)
    parser.add_argument("--null", type=int, default=20)
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    results = {
        "large": large(),
        "judged": judged(asked.judge),
        "without_substitution": nothing_there(asked.null),
        "curve": curve(),
    }
    print(json.dumps(results, indent=2))
    if asked.write:
        asked.write.parent.mkdir(parents=True, exist_ok=True)
        asked.write.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
