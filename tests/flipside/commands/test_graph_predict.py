"""`flipside graph predict` as a person and a machine meet it."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from analysis.spillover import substitute_graph
from analysis.spillover.attributed_market import with_attributes
from analysis.spillover.graph_table import write_graph
from flipside.cli import app

run = CliRunner().invoke
NAMES = ("size", "sugar", "fat", "colour", "lid", "label")
FRESH = 3


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, set[str]]:
    """A graph of three categories without one product, attributes of all, and that product's true substitutes."""
    folder = tmp_path_factory.mktemp("predict")
    market, values, _ = with_attributes(seed=1)
    frame = market.columns()
    kept = np.isin(frame["category"], ["c0000", "c0001", "c0002"]) & (frame["product"] != f"p{FRESH:05d}")
    graph = substitute_graph({name: column[kept] for name, column in frame.items()})
    write_graph(graph, folder / "graph.parquet")
    lines = [",".join(("product", "category", *NAMES))]
    lines += [f"p{k:05d},c{k // 20:04d}," + ",".join(map(str, values[k].tolist())) for k in range(60)]
    (folder / "attributes.csv").write_text("\n".join(lines) + "\n")
    true = {f"p{k:05d}" for k in np.flatnonzero(market.elasticities[FRESH] > 0)}
    return folder / "graph.parquet", folder / "attributes.csv", true


def test_a_product_without_sales_gets_edges_that_are_marked_and_the_attributes_that_told_them(
    shop: tuple[Path, Path, set[str]],
) -> None:
    graph, attributes, true = shop
    result = run(app, ["graph", "predict", str(graph), "--attributes", str(attributes), "--json"])
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["products"] == ["p00003"]
    assert {edge["first"] for edge in found["edges"]} == {"p00003"}
    assert all(edge["predicted"] for edge in found["edges"])
    named = {edge["second"] for edge in found["edges"]}
    assert len(named & true) > len(named) / 2
    assert min(found["attributes"][name] for name in NAMES[:3]) > max(found["attributes"][name] for name in NAMES[3:])


def test_a_person_sees_the_chances_and_that_they_are_predicted(shop: tuple[Path, Path, set[str]]) -> None:
    result = run(app, ["graph", "predict", str(shop[0]), "--attributes", str(shop[1])])
    assert result.exit_code == 0, result.stderr
    assert "1 products without sales" in result.stdout
    assert "predicted edges" in result.stdout
    assert "told by size" in result.stdout


@pytest.mark.parametrize(
    ("was", "now", "message"),
    [
        ("p00007,", "p00008,", "p00008 has two rows"),
        ("p00007,", "p00099,", "no row for p00007"),
        ("p00003,", "", "cannot be read as a table"),
        ("category", "kind", "no column category"),
        ("p00003,c0000", "p00003,c0077", "of which the graph has no product"),
    ],
)
def test_a_table_that_teaches_nothing_is_refused_by_name(
    shop: tuple[Path, Path, set[str]], tmp_path: Path, was: str, now: str, message: str
) -> None:
    broken = tmp_path / "attributes.csv"
    broken.write_text(shop[1].read_text().replace(was, now, 1))
    result = run(app, ["graph", "predict", str(shop[0]), "--attributes", str(broken)])
    assert result.exit_code != 0
    assert message in str(result.exception) + result.stderr


def test_words_are_no_attribute_and_the_way_out_is_named(shop: tuple[Path, Path, set[str]], tmp_path: Path) -> None:
    words = tmp_path / "attributes.csv"
    first, *rest = shop[1].read_text().splitlines()
    words.write_text("\n".join([f"{first},taste", *(f"{line},sweet" for line in rest)]) + "\n")
    result = run(app, ["graph", "predict", str(shop[0]), "--attributes", str(words)])
    assert "a column of 0 and 1" in str(result.exception) + result.stderr


def test_a_table_of_the_graphs_own_products_is_refused(shop: tuple[Path, Path, set[str]], tmp_path: Path) -> None:
    known = tmp_path / "attributes.csv"
    known.write_text("".join(line + "\n" for line in shop[1].read_text().splitlines() if "p00003" not in line))
    result = run(app, ["graph", "predict", str(shop[0]), "--attributes", str(known)])
    assert "estimated from sales" in str(result.exception) + result.stderr
