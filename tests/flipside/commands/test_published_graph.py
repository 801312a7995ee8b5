"""`flipside graph publish --out` and what `design`, `validate` and `replay` make of it, without a broker."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from analysis.spillover.graph_table import write_graph
from flipside.cli import app
from flipside.topics.graphs import from_file
from tests.analysis.spillover.small_graph import small_graph
from tests.flipside.commands.shop import EARLY, catalog, definition

GRAPH = small_graph(
    "g1", ("coffee", "espresso", "tea", "mate"),
    [("coffee", "espresso", 0.4), ("tea", "mate", 0.3), ("mate", "coffee", 0.1)],
)  # fmt: skip


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """The published form of the graph, with clusters of at most two products."""
    write_graph(GRAPH, tmp_path / "graph.parquet")
    out = tmp_path / "published.jsonl"
    done = run("graph", "publish", tmp_path / "graph.parquet", "--max-size", 2, "--out", out)
    assert done.exit_code == 0, done.exception
    assert "2 clusters, 12.5% of the substitution leaves its cluster, the heaviest holds 50.0%" in done.output
    assert "an error needs 6 clusters" in done.output
    return out


def designed(folder: Path, file: Path | None, *more: str, command: str = "design", **asked: Any) -> Result:
    body = definition(clusters_from={"graph": "g1", "max_size": 2} | asked)
    del body["clusters"]
    (folder / "definition.json").write_text(json.dumps(body))
    (folder / "catalog.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in catalog()))
    given = [] if file is None else ["--graph", file]
    at = ["--at", EARLY] if command == "design" else []
    words = ["experiment", "validate"] if command == "validate" else ["design"]
    return run(*words, folder / "definition.json", "--catalog", folder / "catalog.jsonl", *given, *at, *more)


def test_design_shows_the_clusters_of_the_graph_and_the_share_of_cut_weight(tmp_path: Path, published: Path) -> None:
    done = designed(tmp_path, published, "--json")
    assert done.exit_code == 0, done.exception
    preview = json.loads(done.output.splitlines()[-1])["preview"]
    assert sorted(preview["by_cluster"].values()) == [2] * 6, "two clusters in each of three markets"
    assert preview["graph"] == {
        "graph": "g1", "pairs": 9, "cut": pytest.approx(0.125), "heaviest": pytest.approx(0.4 / 2.4),
    }  # fmt: skip
    text = " ".join(designed(tmp_path, published).output.split())
    assert "clusters of graph g1: 9 pairs of substitutes among the units, 12.5% of their weight leaves" in text


def test_the_level_says_whether_clusters_span_markets_and_few_of_them_are_a_warning(
    tmp_path: Path, published: Path
) -> None:
    done = designed(tmp_path, published, "--json", level="product")
    preview = json.loads(done.output.splitlines()[-1])["preview"]
    assert sorted(preview["by_cluster"].values()) == [6, 6]
    rules = {one["rule"] for one in preview["warnings"]}
    assert "effects with spillover need 6 clusters; with fewer only the naive number is published" in rules
    assert "a cluster with half of the weight of substitution decides the result" in rules


@pytest.mark.parametrize("command", ["design", "validate"])
def test_a_version_or_size_that_is_not_there_is_refused_with_the_way_out(
    tmp_path: Path, published: Path, command: str
) -> None:
    gone = str(designed(tmp_path, published, command=command, graph="g0").exception)
    assert "graph g0 is not published; there are g1; `flipside graph publish FILE` publishes it" in gone
    small = str(designed(tmp_path, published, command=command, max_size=40).exception)
    assert "not 40; `flipside graph publish FILE --max-size 40` adds them" in small
    assert "give it with --graph FILE" in str(designed(tmp_path, None, command=command).exception)


def test_the_file_is_the_published_form_and_a_foreign_record_in_it_is_named(tmp_path: Path, published: Path) -> None:
    assert from_file(published).clusters("g1", 2).cut == pytest.approx(0.125)
    foreign = tmp_path / "foreign.jsonl"
    foreign.write_text('{"type": "flipside.tick.v1", "value": {"version": 1, "at": "2026-01-01T00:00:00Z"}}\n')
    assert "has a record of type flipside.tick.v1" in str(designed(tmp_path, foreign).exception)


def test_half_of_a_published_form_is_not_used(tmp_path: Path, published: Path) -> None:
    lines = published.read_text().splitlines(keepends=True)
    half = tmp_path / "half.jsonl"
    half.write_text("".join(line for line in lines if "graph-clusters" not in line))
    assert "not whole on their topic: 0 of 1 parts" in str(designed(tmp_path, half).exception)


def test_a_graph_without_substitutes_is_not_published(tmp_path: Path) -> None:
    write_graph(small_graph("g0", ("a", "b"), [("a", "b", -0.2)]), tmp_path / "graph.parquet")
    done = run("graph", "publish", tmp_path / "graph.parquet", "--out", tmp_path / "published.jsonl")
    assert "the graph has no substitutes" in str(done.exception)
