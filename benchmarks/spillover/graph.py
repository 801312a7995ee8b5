"""The graph of substitutes on seeds that only judge: recall, false discoveries, edges where there is no substitution.

`python -m benchmarks.spillover.graph --part without_substitution --markets 400 --write benchmarks/results/graph.json`.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from analysis.spillover.graph import substitute_graph
from analysis.spillover.market import Scenario, draw_market, scenario, without_substitution, year_of
from analysis.spillover.sales import SalesYear


def judged(markets: int) -> dict[str, float]:
    """Recall and false discovery proportion, means over judging seeds, with Monte-Carlo errors."""
    recall, false = zip(*(_scored(scenario(), seed) for seed in _judging(markets)), strict=True)
    return {
        "markets": markets,
        "recall": float(np.mean(recall)),
        "recall_error": _error(recall),
        "false_discovery_proportion": float(np.mean(false)),
        "false_discovery_error": _error(false),
    }


def nothing_there(markets: int) -> dict[str, float]:
    """In how many markets without substitution any edge is named."""
    given = without_substitution(scenario())
    named = sum(len(substitute_graph(year_of(draw_market(given, seed))).edges) > 0 for seed in _judging(markets))
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


def curve(markets: int) -> list[dict[str, float]]:
    """Recall and false discovery proportion by the size and number of price moves, means over judging seeds."""
    rows = []
    for sd in (0.1, 0.2):
        for moves in (6, 12, 26):
            found = [_scored(replace(scenario(), move_sd=sd, moves_a_year=moves), seed) for seed in _judging(markets)]
            recall, false = zip(*found, strict=True)
            rows.append(
                {
                    "sd": sd,
                    "moves": moves,
                    "markets": markets,
                    "recall": float(np.mean(recall)),
                    "recall_error": _error(recall),
                    "false_discovery_proportion": float(np.mean(false)),
                    "false_discovery_error": _error(false),
                }
            )
    return rows


def _judging(markets: int) -> range:
    first, last = scenario().judging_seeds
    if markets > last - first + 1:
        raise SystemExit(f"--markets {markets}: seeds {first} to {last} judge, {last - first + 1} in all")
    return range(first, first + markets)


def _scored(given: Scenario, seed: int) -> tuple[float, float]:
    """Recall, and the share of edges that are none (0 where no edge is named)."""
    market = draw_market(given, seed)
    edges = substitute_graph(year_of(market)).edges
    hits = (market.elasticities > 0)[edges.first, edges.second] & (edges.mean > 0)
    return float(2 * hits.sum() / (market.elasticities > 0).sum()), float((~hits).sum() / max(len(edges), 1))


def _error(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


PARTS: dict[str, Callable[[int], object]] = {
    "large": lambda _: large(),
    "judged": lambda markets: judged(markets),
    "without_substitution": lambda markets: nothing_there(markets),
    "curve": lambda markets: curve(markets),
}


def main() -> None:
    """Run the parts that are asked for, print them, and put them into the file beside those that it has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=PARTS, action="append", required=True)
    parser.add_argument("--markets", type=int, default=10)
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    results = {part: PARTS[part](asked.markets) for part in asked.part}
    print(json.dumps(results, indent=2))
    if asked.write:
        held = json.loads(asked.write.read_text()) if asked.write.exists() else {}
        asked.write.write_text(json.dumps(held | results, indent=2) + "\n")


if __name__ == "__main__":
    main()
