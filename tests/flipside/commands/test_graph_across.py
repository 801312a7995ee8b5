"""`flipside graph build --across`: substitutes of two categories, named and explained."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from analysis.spillover.market import draw_market, scenario
from flipside.cli import app

run = CliRunner().invoke


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two categories; p00002 of the first and p00013 of the second take buyers from each other."""
    folder = tmp_path_factory.mktemp("across")
    market = draw_market(replace(scenario(), products=20, categories=2, substitutes=4), seed=2)
    quantity = market.quantity.copy()
    quantity[2] *= np.exp(0.5 * market.log_price[13])
    quantity[13] *= np.exp(0.5 * market.log_price[2])
    frame = pd.DataFrame(replace(market, quantity=quantity).columns())
    frame.drop(columns="category").to_csv(folder / "sales.csv", index=False)
    units = frame[["market", "product", "category"]].drop_duplicates()
    entries = [
        {
            "unit": f"{row.market}/{row.product}",
            "time_zone": "Europe/Vienna",
            "currency": "EUR",
            "list_price_minor": 100,
            "category": row.category,
        }
        for row in units.itertuples()
    ]
    (folder / "catalog.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return folder


def built(shop: Path, *more: str) -> Result:
    graph = str(shop / f"graph{len(more)}.parquet")
    catalog = str(shop / "catalog.jsonl")
    return run(app, ["graph", "build", str(shop / "sales.csv"), "--catalog", catalog, "--out", graph, "--json", *more])


def test_a_pair_across_categories_becomes_an_edge_and_is_explained(shop: Path) -> None:
    pairs = shop / "pairs.csv"
    pairs.write_text("first,second\np00013,p00002\np00004,p00015\n")
    result = built(shop, "--across", str(pairs))
    assert result.exit_code == 0, result.stderr
    sales, catalog = str(shop / "sales.csv"), str(shop / "catalog.jsonl")
    arguments = ["--graph", str(shop / "graph2.parquet"), "--history", sales, "--catalog", catalog, "--json"]
    result = run(app, ["graph", "explain", "p00013", "p00002", *arguments])
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["edge"]
    assert found["mean"] == pytest.approx(0.5, abs=0.15)
    result = run(app, ["graph", "explain", "p00004", "p00015", *arguments])
    assert not json.loads(result.stdout.splitlines()[-1])["edge"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("first,second\np00001,p00002\n", "are of one category"),
        ("first,second\np00001,\n", "line 2: a pair has two products"),
        ("one,two\np00001,p00012\n", "in the columns first and second"),
        ("first,second\np00001,ghost\n", "ghost of the pair"),
    ],
)
def test_a_pair_that_cannot_be_tried_is_refused(shop: Path, text: str, message: str) -> None:
    pairs = shop / "broken.csv"
    pairs.write_text(text)
    result = built(shop, "--across", str(pairs))
    assert result.exit_code != 0
    assert message in str(result.exception) + result.stderr
