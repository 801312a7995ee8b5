from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from analysis.spillover import Graph, substitute_graph
from analysis.spillover.market import Market, draw_market, scenario, without_substitution, year_of
from analysis.spillover.regression import clustered, effects_basis, joint_fit
from analysis.spillover.sales import SalesYear, nearest_across, sales_year, sharing_competitors
from controller.errors import NotEstimable

SMALL = replace(scenario(), products=60, categories=3)


def columns() -> dict[str, np.ndarray]:
    return dict(draw_market(replace(SMALL, products=8, categories=1, days=140), 1).columns())


def dummies(*codes: np.ndarray) -> np.ndarray:
    return np.hstack([(code[:, None] == np.unique(code)).astype(float) for code in codes])


def drawn_category() -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(4)
    market, day = (part.ravel() for part in np.indices((2, 84)))
    sales, prices = rng.normal(size=(168, 4)), rng.normal(size=(168, 4))
    return sales, prices, (market, day // 7, day % 7)


def test_missing_days_are_left_out_as_a_regression_on_the_days_that_are_there() -> None:
    sales, prices, codes = drawn_category()
    sales[np.random.default_rng(1).random(sales.shape) < 0.1] = np.nan
    fit = joint_fit(sales, prices, effects_basis(*codes), (codes[1],))
    for product in range(4):
        there = np.isfinite(sales[:, product])
        plain = np.linalg.lstsq(np.hstack([prices, dummies(*codes)])[there], sales[there, product])[0]
        np.testing.assert_allclose(fit.elasticities[product], plain[:4], atol=1e-8)


def test_errors_by_week_are_the_jackknife_that_leaves_out_each_week() -> None:
    sales, prices, codes = drawn_category()
    week = codes[1]
    fit = joint_fit(sales, prices, effects_basis(week), (week,))
    left_out = []
    for one in np.unique(week):
        there = week != one
        x = np.hstack([prices, dummies(week)])[there]
        left_out.append(np.linalg.lstsq(x, sales[there])[0][:4].T)
    moved = np.stack(left_out) - fit.elasticities
    np.testing.assert_allclose(clustered(fit.moved[0]), (moved**2).sum(axis=0) * 11 / 12, rtol=1e-8)


@pytest.mark.parametrize("weeks_a_cluster", [1, 2])
def test_degrees_of_freedom_are_those_of_the_estimators_matrix_written_out(weeks_a_cluster: int) -> None:
    sales, prices, codes = drawn_category()
    week, basis = codes[1] // weeks_a_cluster, effects_basis(codes[1])
    fit = joint_fit(sales, prices, basis, (week,))
    x = prices - basis @ (basis.T @ prices)
    inverse = np.linalg.inv(x.T @ x)
    maker = np.eye(len(x)) - x @ inverse @ x.T
    matrices = []
    for regressor in range(4):
        rows = []
        for one in np.unique(week):
            there = week == one
            weight = np.zeros(len(x))
            weight[there] = (np.linalg.inv(x[~there].T @ x[~there]) @ x[there].T)[regressor]
            rows.append(weight @ maker)
        matrices.append(np.array(rows) @ np.array(rows).T)
    np.testing.assert_allclose(fit.traces[0], [np.trace(matrix) for matrix in matrices], rtol=1e-8)
    np.testing.assert_allclose(fit.alike[0], [[(a * b).sum() for b in matrices] for a in matrices], rtol=1e-8)


def test_the_graph_finds_substitutes_and_few_pairs_that_are_none() -> None:
    market = draw_market(SMALL, 3)
    graph = substitute_graph(year_of(market))
    true = (market.elasticities > 0)[graph.edges.first, graph.edges.second] & (graph.edges.mean > 0)
    assert true.sum() >= 0.75 * 150
    assert (~true).mean() <= 0.1
    np.testing.assert_allclose(np.nanmean(graph.own), -2, atol=0.03)


def test_tests_of_pairs_without_substitution_have_uniform_p_values() -> None:
    p = [substitute_graph(year_of(draw_market(without_substitution(SMALL), seed))).candidates for seed in range(4, 8)]
    sides = np.concatenate([np.where(part.mean > 0, part.p, 1 - part.p) for part in p])
    assert stats.kstest(sides, "uniform").statistic < 0.06
    assert (sides < 0.01).mean() < 0.018


def test_a_complement_is_a_negative_edge() -> None:
    market = draw_market(SMALL, 5)
    edges = substitute_graph(turned(market)).edges
    assert (edges.mean < 0).sum() > 60
    assert (market.elasticities > 0)[edges.first, edges.second][edges.mean < 0].mean() > 0.9


def turned(market: Market) -> SalesYear:
    """The market with its cross elasticities the other way round."""
    cross = np.where(market.elasticities > 0, market.elasticities, 0)
    change = np.exp(-2 * np.einsum("ij,jmt->imt", cross, market.log_price))
    year = year_of(market)
    return replace(year, quantity=year.quantity * change)


def test_a_frame_and_its_arrays_give_the_same_graph() -> None:
    market = draw_market(SMALL, 6)
    frame, arrays = substitute_graph(market.columns()), substitute_graph(year_of(market))
    assert frame.version == arrays.version
    assert len(frame.edges) > 0


def test_rows_in_another_order_give_the_same_graph() -> None:
    frame = columns()
    order = np.random.default_rng(1).permutation(len(frame["day"]))
    shuffled = {name: values[order] for name, values in frame.items()}
    assert substitute_graph(frame).version == substitute_graph(shuffled).version


def test_a_price_that_never_moves_is_left_out_with_its_reason() -> None:
    frame = columns()
    frame["price"] = np.where(frame["product"] == "p00002", 1.0, frame["price"])
    graph = substitute_graph(frame)
    assert graph.left_out == {"p00002": "its price never moves"}
    assert 2 not in graph.candidates.first


def test_prices_that_never_move_at_all_are_refused() -> None:
    with pytest.raises(NotEstimable, match="its price never moves"):
        substitute_graph(columns() | {"price": np.ones(len(columns()["day"]))})


def test_errors_by_three_markets_are_refused() -> None:
    with pytest.raises(NotEstimable, match="clustered by market need at least six"):
        substitute_graph(columns(), cluster="market")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("price", 0.0, "prices are positive"),
        ("price", np.nan, "prices are positive"),
        ("quantity", -1.0, "quantities are not negative"),
        ("category", "other", "in two categories"),
        ("day", 1, "two rows for one market and day"),
    ],
)
def test_a_row_that_makes_no_sense_is_named(column: str, value: object, message: str) -> None:
    frame = columns()
    frame[column] = frame[column].astype(object)
    frame[column][0] = value
    if column in ("price", "quantity"):
        frame[column] = frame[column].astype(float)
    if column == "day":
        frame[column] = frame[column].astype(int)
    with pytest.raises(NotEstimable, match=message):
        sales_year(frame)


def test_a_missing_column_is_named() -> None:
    frame = columns()
    del frame["market"]
    with pytest.raises(NotEstimable, match="no column market"):
        substitute_graph(frame)


def with_pairs_across() -> tuple[SalesYear, list[tuple[str, str]]]:
    """Three pairs of two categories take buyers from each other."""
    market = draw_market(SMALL, 7)
    year = year_of(market)
    pairs = [(3, 45), (25, 8), (30, 50)]
    change = np.zeros_like(market.log_price)
    for one, two in pairs:
        change[one] += 0.4 * market.log_price[two]
        change[two] += 0.4 * market.log_price[one]
    names = year.products
    return replace(year, quantity=year.quantity * np.exp(change)), [(names[one], names[two]) for one, two in pairs]


def named(graph: Graph) -> set[frozenset[str]]:
    ends = zip(graph.edges.first, graph.edges.second, strict=True)
    return {frozenset((graph.products[one], graph.products[two])) for one, two in ends}


def test_substitutes_of_two_categories_are_found_among_the_pairs_that_are_asked_for() -> None:
    year, true = with_pairs_across()
    others = [(year.products[k], year.products[20 + k]) for k in range(20)]
    plain, found = substitute_graph(year), substitute_graph(year, across=[*true, *others])
    assert {frozenset(pair) for pair in true} <= named(found)
    assert len({frozenset(pair) for pair in others} & named(found)) <= 1
    assert not {frozenset(pair) for pair in true} & named(plain)
    assert len(found.candidates) == len(plain.candidates) + 23
    np.testing.assert_array_equal(found.candidates.mean[: len(plain.candidates)], plain.candidates.mean)
    np.testing.assert_array_equal(found.own, plain.own)
    at = [frozenset((year.products[i], year.products[j])) for i, j in zip(*ends_of(found), strict=True)]
    told = [found.candidates.mean[at.index(frozenset(pair))] for pair in true]
    np.testing.assert_allclose(told, 0.4, atol=0.15)


def ends_of(graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    return graph.candidates.first, graph.candidates.second


def test_an_order_of_pairs_or_of_their_ends_makes_no_difference() -> None:
    year, true = with_pairs_across()
    turned = [(two, one) for one, two in reversed(true)]
    assert substitute_graph(year, across=true).version == substitute_graph(year, across=turned).version


@pytest.mark.parametrize(
    ("pair", "message"), [(("p00001", "nobody"), "nobody of the pair"), (("p00001", "p00002"), "are of one category")]
)
def test_a_pair_across_that_cannot_be_tried_is_refused(pair: tuple[str, str], message: str) -> None:
    with pytest.raises(NotEstimable, match=message):
        substitute_graph(year_of(draw_market(SMALL, 7)), across=[pair])


def test_candidates_across_are_the_nearest_of_other_categories_whatever_the_scale() -> None:
    products, categories = ("a", "b", "c", "d"), ("x", "x", "y", "y")
    values = np.array([[0.0, 0.0], [5.0, 1.0], [0.1, 0.1], [5.2, 1.0]])
    pairs = nearest_across(products, categories, values, count=1)
    assert pairs == (("a", "c"), ("b", "d"))
    assert nearest_across(products, categories, values * [1000.0, 0.01], count=1) == pairs


def test_products_compared_with_one_product_of_a_competitor_are_candidates() -> None:
    categories = {"jam": "breakfast", "honey": "breakfast", "syrup": "baking"}
    competitors = {"jam": ["theirs-1"], "honey": ["theirs-1"], "syrup": ["theirs-1", "theirs-2"]}
    assert sharing_competitors(categories, competitors) == (("honey", "syrup"), ("jam", "syrup"))
