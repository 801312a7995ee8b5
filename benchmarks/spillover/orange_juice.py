"""Cross-price elasticities of eleven brands of orange juice: what clustering and week effects do to their errors.

    python -m benchmarks.spillover.orange_juice FOLDER \
        --write benchmarks/results/graph_orange_juice.json

The sales are those of 83 stores in 121 weeks that Montgomery (1997, Marketing Science 16) used; none of them is kept.
"""

import argparse
import csv
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from scipy import stats

from analysis.spillover.graph import Clustering, Graph, substitute_graph
from analysis.spillover.regression import clustered, effects_basis, joint_fit
from analysis.spillover.sales import CategorySales, SalesYear, sales_year
from benchmarks.spillover.judging import write

CLUSTERINGS: tuple[Clustering, ...] = ("week", "market", "both")
RATE, LEAST = 0.05, 0.05


def orange_juice(folder: Path) -> SalesYear:
    """One category; a store is a market, a week a period."""
    with (folder / "brands.csv").open(encoding="utf-8") as file:
        names = {row["brand"]: row["name"] for row in csv.DictReader(file)}
    with gzip.open(folder / "sales.csv.gz", "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return sales_year({
        "product": [names[row["brand"]] for row in rows],
        "category": ["orange juice"] * len(rows),
        "market": [row["store"] for row in rows],
        "day": [int(row["week"]) for row in rows],
        "price": [float(row["price_per_ounce"]) for row in rows],
        "quantity": [float(row["ounces"]) for row in rows],
    })  # fmt: skip


@dataclass(frozen=True, slots=True)
class Crossed:
    """What each brand's price does to each other brand's sales; shapes (110,)."""

    value: np.ndarray
    error: np.ndarray
    #: clusters, less one
    freedom: int

    def told(self) -> dict[str, float]:
        """How many look like substitutes, by a test of each and after Benjamini and Hochberg; the median error."""
        p = 2 * stats.t.sf(np.abs(self.value) / self.error, self.freedom)
        up = self.value >= LEAST
        return {
            "positive": int((self.value > 0).sum()),
            "substitutes_by_a_test_each": int((up & (p < RATE)).sum()),
            "substitutes": int((up & (stats.false_discovery_control(p) < RATE)).sum()),
            "median_error": round(float(np.median(self.error)), 4),
        }


def one_by_one(block: CategorySales, week_effects: bool) -> dict[Clustering, Crossed]:
    """Sales on the own price and the price of one other brand, on the weeks of stores that have all prices."""
    week, market = (np.unique(codes, return_inverse=True)[1] for codes in (block.day, block.market))
    ways = {"week": week, "market": market, "cells": market * (int(week.max()) + 1) + week}
    ways["cells"] = np.unique(ways["cells"], return_inverse=True)[1]
    basis = effects_basis(market, week) if week_effects else effects_basis(market)
    sales = np.log(block.quantity)
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for i, j in _ordered(len(block.members)):
        fit = joint_fit(sales[:, [i, j]], block.log_price[:, [i, j]], basis, tuple(ways.values()))
        for way, moved in zip(ways, fit.moved, strict=True):
            found[way].append((float(fit.elasticities[0, 1]), float(clustered(moved)[0, 1])))
    value = np.array(found["week"])[:, 0]
    variance = {way: np.array(pairs)[:, 1] for way, pairs in found.items()}
    both = variance["week"] + variance["market"] - variance["cells"]
    weeks, markets = int(week.max()), int(market.max())
    return {
        "week": Crossed(value, np.sqrt(variance["week"]), weeks),
        "market": Crossed(value, np.sqrt(variance["market"]), markets),
        "both": Crossed(value, np.sqrt(both), min(weeks, markets)),
    }


def _ordered(count: int) -> Iterator[tuple[int, int]]:
    return ((i, j) for i, j in product(range(count), repeat=2) if i != j)


def jointly(graph: Graph, freedom: int) -> Crossed:
    """The same of regressions on all prices at once."""
    pairs = graph.candidates
    value = np.concatenate([pairs.on_first, pairs.on_second])
    return Crossed(value, np.concatenate([pairs.error_on_first, pairs.error_on_second]), freedom)


def compared(year: SalesYear) -> dict[str, object]:
    """All figures; rounded, so that they are the same on every machine."""
    (block,) = year.blocks(np.zeros(len(year.products), dtype=bool))
    weeks, stores = len(np.unique(block.day)), len(np.unique(block.market))
    freedom = {"week": weeks - 1, "market": stores - 1, "both": min(weeks, stores) - 1}
    rows, own = [], []
    for week_effects in (False, True):
        alone = one_by_one(block, week_effects)
        for way in CLUSTERINGS:
            graph = substitute_graph(year, cluster=way, week_effects=week_effects, days_a_period=7)
            rows.append({
                "week_effects": week_effects,
                "clustered_by": way,
                "one_price_at_a_time": alone[way].told(),
                "all_prices": jointly(graph, freedom[way]).told(),
                "edges": len(graph.edges),
            })  # fmt: skip
            own += [
                {"brand": name, "week_effects": week_effects, "clustered_by": way, "own": round(float(value), 3),
                 "error": round(float(error), 3)}
                for name, value, error in zip(graph.products, graph.own, graph.own_error, strict=True)
            ]  # fmt: skip
    graph = substitute_graph(year, cluster="both", days_a_period=7)
    edges, cross = graph.edges, jointly(graph, freedom["both"]).value
    return {
        "rows": len(block.day),
        "stores": stores,
        "weeks": weeks,
        "cross_mean": round(float(cross.mean()), 3),
        "cross_median": round(float(np.median(cross)), 3),
        "own_mean": round(float(graph.own.mean()), 3),
        "errors": rows,
        "own_price": own,
        "edges": [
            {"first": year.products[i], "second": year.products[j], "mean": round(float(mean), 3),
             "error": round(float(error), 3)}
            for i, j, mean, error in zip(edges.first, edges.second, edges.mean, edges.error, strict=True)
        ],
    }  # fmt: skip


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    found = compared(orange_juice(asked.folder))
    print(json.dumps(found, indent=1))
    if asked.write:
        write(asked.write, found)


if __name__ == "__main__":
    main()
