from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from analysis.spillover import Graph, substitute_graph
from analysis.spillover.comparison import compared
from analysis.spillover.explanation import explained
from analysis.spillover.graph_table import from_table, read_graph, to_table, write_graph
from analysis.spillover.market import draw_market, scenario, year_of
from controller.errors import NotEstimable

MARKET = draw_market(replace(scenario(), products=40, categories=2), 7)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return substitute_graph(year_of(MARKET))


def test_a_graph_is_read_from_its_file_as_it_was_written(graph: Graph, tmp_path: Path) -> None:
    write_graph(graph, tmp_path / "g.parquet")
    read = read_graph(tmp_path / "g.parquet")
    assert (read.version, read.products, read.categories) == (graph.version, graph.products, graph.categories)
    np.testing.assert_array_equal(read.edges.first, graph.edges.first)
    np.testing.assert_array_equal(read.candidates.mean, graph.candidates.mean)
    assert compared(graph, read).kept == len(graph.edges) > 0


def test_a_pair_of_one_product_is_refused(graph: Graph) -> None:
    table = to_table(graph)
    table = table.set_column(1, "second", table.column("first"))
    with pytest.raises(NotEstimable, match="substitute of itself"):
        from_table(table)


def test_a_pair_of_an_unknown_product_is_refused_by_its_name(graph: Graph) -> None:
    table = to_table(graph)
    table = table.set_column(1, "second", pa.array(["stranger"] * table.num_rows))
    with pytest.raises(NotEstimable, match="stranger is in a pair, but not among"):
        from_table(table)


def test_another_table_is_no_graph() -> None:
    with pytest.raises(NotEstimable, match="no graph of substitutes"):
        from_table(pa.table({"first": ["a"]}))


def test_the_weeks_that_tell_a_price_are_those_in_which_it_alone_has_moved(graph: Graph) -> None:
    year = year_of(MARKET)
    one, two = (graph.products[part[0]] for part in (graph.edges.first, graph.edges.second))
    found = explained(graph, year, two, one)
    assert (found.first, found.second, found.edge) == (one, two, True)
    shares = [week.share for week in found.of_second]
    assert shares == sorted(shares, reverse=True)
    assert 0.01 < sum(shares) < 1


def test_the_error_of_a_pair_is_what_the_told_variation_allows(graph: Graph) -> None:
    """A regression of one pair with the other prices taken out has the graph's number (Frisch, Waugh, Lovell)."""
    from analysis.spillover.regression import effects_basis

    year = replace(year_of(MARKET), quantity=np.exp(np.log(np.maximum(MARKET.quantity, 0.5))))
    whole = substitute_graph(year)
    block = next(year.blocks(np.zeros(40, dtype=bool)))
    basis = effects_basis(block.market, block.day // 7, block.day % 7)
    x = block.log_price - basis @ (basis.T @ block.log_price)
    others = np.delete(x, 1, axis=1)
    left = x[:, 1] - others @ np.linalg.lstsq(others, x[:, 1], rcond=None)[0]
    e = left @ np.log(block.quantity[:, 0]) / (left @ left)
    at = np.flatnonzero((whole.candidates.first == 0) & (whole.candidates.second == 1))
    np.testing.assert_allclose(whole.candidates.on_first[at], e, atol=1e-8)


def test_products_of_two_categories_were_no_candidates(graph: Graph) -> None:
    with pytest.raises(NotEstimable, match="were no candidates"):
        explained(graph, year_of(MARKET), graph.products[0], graph.products[-1])


def test_the_penalised_estimate_is_nothing_for_most_pairs_without_substitution(graph: Graph) -> None:
    true = MARKET.elasticities[graph.candidates.first, graph.candidates.second] > 0
    assert (graph.candidates.penalised[~true] == 0).mean() > 0.7
    assert (graph.candidates.penalised[true] > 0).mean() > 0.8
    assert graph.candidates.penalised[true].mean() < graph.candidates.mean[true].mean()


def test_a_comparison_names_edges_gained_and_lost(graph: Graph) -> None:
    fewer = replace(graph, version="fewer", edges=graph.edges.where(np.arange(len(graph.edges)) > 1))
    found = compared(graph, fewer)
    assert len(found.lost) == 2
    assert found.gained == ()
    assert compared(fewer, graph).gained == found.lost
