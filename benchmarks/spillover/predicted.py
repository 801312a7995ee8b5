"""Edges of products without history: area under the precision-recall curve on held-out products, beside baselines.

The frozen scenario with attributes: the substitutes of a product are the nearest of its category in three attributes;
three others say nothing, and price levels follow the first. A fifth of the products is held out: it has no history.
`python -m benchmarks.spillover.predicted --markets 10 --write benchmarks/results/graph_predicted.json`.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score

from analysis.spillover.attributed_market import with_attributes
from analysis.spillover.graph import substitute_graph
from analysis.spillover.market import Market, year_of
from analysis.spillover.prediction import corrected, learned
from benchmarks.spillover.judging import Score, each_seed, judging_seeds

TAIL_ERROR = 1.0


def scored(seed: int) -> Score:
    """Average precision over the pairs of one category with a held-out product."""
    market, values, level = with_attributes(seed)
    rng = np.random.default_rng(seed + 2)
    year = year_of(market)
    held_out = np.zeros(len(values), dtype=bool)
    held_out[rng.choice(len(values), len(values) // 5, replace=False)] = True
    kept = np.flatnonzero(~held_out)
    graph = substitute_graph(
        replace(
            year,
            products=tuple(year.products[k] for k in kept),
            category=year.category[kept],
            price=year.price[kept],
            quantity=year.quantity[kept],
        )
    )
    student = learned(graph, values[kept], [f"a{k}" for k in range(values.shape[1])])
    one, two = np.triu_indices(len(values), 1)
    tried = held_out[one] | held_out[two]
    one, two = one[tried], two[tried]
    same = market.category[one] == market.category[two]
    true = market.elasticities[one, two] > 0
    chance = np.where(same, student.chance(values[one], values[two]), 0.0)
    price = -np.abs(level[one] - level[two])
    return {
        "prevalence": float(true.mean()),
        "prevalence_in_category": float(true[same].mean()),
        "student": float(average_precision_score(true, chance)),
        "same_category": float(average_precision_score(true, same)),
        "nearest_price": float(average_precision_score(true, price)),
        "nearest_price_in_category": float(average_precision_score(true, np.where(same, price, -100.0))),
        "nearest_attributes_in_category": float(
            average_precision_score(true, np.where(same, -((values[one] - values[two]) ** 2).sum(axis=1), -1000.0))
        ),
        **_tail(market, values, seed),
    }


def _tail(market: Market, values: np.ndarray, seed: int) -> Score:
    """A third of the products sells with an error of its own of one more in log sales: the edges of such pairs."""
    rng = np.random.default_rng(seed + 3)
    tail = rng.random(len(values)) < 1 / 3
    noise = np.exp(rng.normal(0, TAIL_ERROR, market.quantity.shape) * tail[:, None, None])
    graph = substitute_graph(year_of(replace(market, quantity=market.quantity * noise)))
    student = learned(graph, values, [f"a{k}" for k in range(values.shape[1])])
    pairs = graph.candidates
    of = tail[pairs.first] | tail[pairs.second]
    true = market.elasticities[pairs.first, pairs.second] > 0
    return {
        "tail_by_sales": float(average_precision_score(true[of], np.where(pairs.mean > 0, -pairs.p, pairs.p - 2)[of])),
        "tail_by_both": float(average_precision_score(true[of], corrected(graph, student, values)[of])),
    }


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markets", type=int, default=10)
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    each_seed(judging_seeds(asked.markets), scored, asked.write, "held out")


if __name__ == "__main__":
    main()
