from dataclasses import replace

import numpy as np
import pytest

from analysis.spillover import clusters, substitute_graph
from analysis.spillover.design_choice import stretches, verdict, weighed
from analysis.spillover.graph import Graph
from analysis.spillover.market import draw_market, scenario, year_of
from analysis.spillover.sales import SalesYear
from benchmarks.spillover.clustered import errors_of
from controller.errors import NotEstimable


@pytest.fixture(scope="module")
def year() -> SalesYear:
    return year_of(draw_market(replace(scenario(), products=160, categories=8), 3))


@pytest.fixture(scope="module")
def graph(year: SalesYear) -> Graph:
    return substitute_graph(year)


def test_where_spillover_is_large_clusters_are_advised(year: SalesYear, graph: Graph) -> None:
    change, days = stretches(graph, year, 28)
    found = weighed(graph, change, days * 10, 28, 0.1, [5, 20])
    assert found[0].name == "clusters of at most 20"
    assert verdict(found).startswith("randomise clusters of at most 20")
    by_name = {choice.name: choice for choice in found}
    assert abs(by_name["clusters of at most 20"].bias) < 0.63 * abs(by_name["products"].bias)


def test_where_clusters_cost_more_precision_than_they_take_bias_products_are_advised(graph: Graph) -> None:
    """Shocks common to a category, far larger than the effect of a small price change on neighbours."""
    rng = np.random.default_rng(1)
    change = rng.normal(0, 2, (12, 8)).repeat(20, axis=1) + rng.normal(0, 0.1, (12, 160))
    found = weighed(graph, change, rng.normal(0, 3, 364), 28, 0.01, [20])
    assert found[0].name == "products"
    assert "more than it is worth" in verdict(found)


def test_the_bias_of_products_is_what_their_neighbours_do_at_this_price_change(year: SalesYear, graph: Graph) -> None:
    change, days = stretches(graph, year, 28)
    products = next(c for c in weighed(graph, change, days, 28, 0.1, [20]) if c.name == "products")
    np.testing.assert_allclose(products.bias, -5 * 0.3 * np.log(1.1), rtol=0.15)


def test_too_short_a_history_is_refused(year: SalesYear, graph: Graph) -> None:
    with pytest.raises(NotEstimable, match="three are needed"):
        stretches(graph, year, 180)


@pytest.mark.parametrize(("price_change", "better"), [(0.01, "products"), (0.1, "clusters of at most 20")])
def test_the_advice_is_what_the_experiment_would_have_shown(price_change: float, better: str) -> None:
    """Weak substitution: a price change of one per cent is not worth the precision that clusters cost; ten per cent is.

    The market goes on for eight weeks after its history, and the experiment is drawn on them many times.
    """
    given = replace(scenario(), cross_elasticity=0.1, days=scenario().days + 56)
    market = draw_market(given, 1)
    year = year_of(market)
    before = replace(year, days=year.days[:365], price=year.price[..., :365], quantity=year.quantity[..., :365])
    graph = substitute_graph(before)
    change, days = stretches(graph, before, 28)
    found = weighed(graph, change, days * 10, 28, price_change, [20], evidence="all")
    assert found[0].name == better
    assert ("more than it is worth" in verdict(found)) == (better == "products")
    label = {"products": np.arange(500), "clusters of at most 20": clusters(graph, 20, evidence="all").label}
    rmse = {
        name: float(np.sqrt(np.mean(errors_of(market, of, np.random.default_rng(1), price_change) ** 2)))
        for name, of in label.items()
    }
    assert min(rmse, key=lambda name: rmse[name]) == better
