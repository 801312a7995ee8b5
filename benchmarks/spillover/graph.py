"""The graph of substitutes on seeds that only judge: recall, false discoveries, edges where there is no substitution.

`python -m benchmarks.spillover.graph --part without_substitution --markets 400 --write benchmarks/results/graph.json`.
"""

import argparse
import json
import os
import resource
import time
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

from analysis.spillover.graph import Pairs, substitute_graph
from analysis.spillover.market import Market, Scenario, draw_market, scenario, without_substitution, year_of
from analysis.spillover.sales import SalesYear
from benchmarks.spillover.joint_regression import named_by_joint_regression
from benchmarks.spillover.judging import Score, each_seed, judging_seeds, read, write

#: what the curve is drawn over: price moves a year, and the standard deviation of one
CURVE = tuple(product((6, 12, 26), (0.1, 0.2)))


def judged(seed: int) -> Score:
    """Recall and false discovery proportion."""
    market = draw_market(scenario(), seed)
    return _scored(market, substitute_graph(year_of(market)).edges)


def nothing_there(seed: int) -> Score:
    """Whether a market without substitution gets an edge, and how many."""
    edges = len(substitute_graph(year_of(draw_market(without_substitution(scenario()), seed))).edges)
    return {"with_any_edge": float(edges > 0), "edges": float(edges)}


def beside_joint_regression(given: Scenario, seed: int) -> Score:
    """Recall and false discovery proportion, ours and those of plain regressions on all prices of the category."""
    market = draw_market(given, seed)
    year = year_of(market)
    named, true = named_by_joint_regression(year), market.elasticities > 0
    return _scored(market, substitute_graph(year).edges) | {
        "joint_regression_recall": float((named & true).sum() / true.sum()),
        "joint_regression_false_discovery_proportion": float((named & ~true).sum() / max(named.sum(), 1)),
    }


def _scored(market: Market, edges: Pairs) -> Score:
    """Recall, and the share of edges that are none (0 where no edge is named)."""
    true = market.elasticities > 0
    hits = true[edges.first, edges.second] & (edges.mean > 0)
    return {
        "recall": float(2 * hits.sum() / true.sum()),
        "false_discovery_proportion": float((~hits).sum() / max(len(edges), 1)),
    }


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
    load, before, cpu = os.getloadavg()[0], time.perf_counter(), time.process_time()
    graph = substitute_graph(year)
    return {
        "products": products,
        "directed_pairs": 2 * len(graph.candidates),
        "seconds": time.perf_counter() - before,
        "cpu_seconds": time.process_time() - cpu,
        "load": load,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Run the parts that are asked for, print them, and put them into the file beside those that it has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--part", choices=("large", "judged", "without_substitution", "curve"), action="append", required=True
    )
    parser.add_argument("--markets", type=int, default=10)
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    seeds = judging_seeds(asked.markets)
    for part in asked.part:
        if part == "large":
            found = large()
            print(json.dumps(found), flush=True)
            if asked.write:
                held: dict[str, object] = {**read(asked.write)}
                write(asked.write, held | {part: found})
        elif part == "curve":
            for moves, sd in CURVE:
                given = replace(scenario(), move_sd=sd, moves_a_year=moves)
                name = f"{moves} moves of sd {sd}"
                each_seed(seeds, partial(beside_joint_regression, given), asked.write, name)
        else:
            each_seed(seeds, judged if part == "judged" else nothing_there, asked.write, part)


if __name__ == "__main__":
    main()
