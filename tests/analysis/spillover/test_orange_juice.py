"""Real sales: what week effects and clustering do to cross-price elasticities of eleven brands."""

import json
from pathlib import Path

import numpy as np
import pytest

from analysis.spillover import substitute_graph
from analysis.spillover.sales import SalesYear
from benchmarks.spillover.orange_juice import one_by_one, orange_juice
from flipside.schemas import ROOT

KEPT = json.loads((ROOT / "benchmarks/results/graph_orange_juice.json").read_text("utf-8"))

pytestmark = pytest.mark.shared_data


@pytest.fixture(scope="module")
def year(shared_data: Path) -> SalesYear:
    return orange_juice(shared_data / "orange_juice")


def test_errors_by_store_without_week_effects_take_promotions_for_substitution(year: SalesYear) -> None:
    (block,) = year.blocks(np.zeros(len(year.products), dtype=bool))
    found = one_by_one(block, week_effects=False)
    assert found["market"].told()["substitutes"] == 104
    for row in KEPT["errors"]:
        if not row["week_effects"]:
            assert found[row["clustered_by"]].told() == pytest.approx(row["one_price_at_a_time"], abs=2e-4)
    ratio = found["week"].error / found["market"].error
    assert np.quantile(ratio, 0.1) > 2


def test_every_brand_loses_buyers_by_its_own_price(year: SalesYear) -> None:
    graph = substitute_graph(year, cluster="both", days_a_period=7)
    kept = {
        row["brand"]: row["own"] for row in KEPT["own_price"] if row["week_effects"] and row["clustered_by"] == "both"
    }
    assert dict(zip(graph.products, graph.own.round(3).tolist(), strict=True)) == pytest.approx(kept, abs=2e-3)
    assert (graph.own < 0).all()
    edges = {(graph.products[i], graph.products[j]) for i, j in zip(graph.edges.first, graph.edges.second, strict=True)}
    assert edges == {(edge["first"], edge["second"]) for edge in KEPT["edges"]}
