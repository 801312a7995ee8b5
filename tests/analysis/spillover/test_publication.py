"""What `flipside graph publish` publishes: stable from version to version, never changed once it is there."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from analysis.spillover import Graph, substitute_graph
from analysis.spillover.market import draw_market, scenario, year_of
from analysis.spillover.publication import publication
from controller.errors import NotPublished
from controller.messages.graphs import MOST_SIZES, MOST_VERSIONS, GraphPart, GraphVersion, PublishedGraphs

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def graph() -> Graph:
    market = draw_market(replace(scenario(), products=40, categories=2, substitutes=4, moves_a_year=26), 1)
    return substitute_graph(year_of(market))


def held(*several: list[GraphPart]) -> PublishedGraphs:
    graphs = PublishedGraphs()
    for records in several:
        for record in records:
            graphs.take(record.key, record)
    return graphs


def head_of(records: list[GraphPart]) -> GraphVersion:
    head = records[-1]
    assert isinstance(head, GraphVersion)
    return head


def test_pairs_of_both_signs_and_clusters_of_each_size_are_published(graph: Graph) -> None:
    records = publication(graph, [5, 10], PublishedGraphs(), AT)
    graphs = held(records)
    assert len(graphs.pairs(graph.version)) == len(graph.edges)
    for size in (5, 10):
        cut = graphs.clusters(graph.version, size)
        assert max(map(len, cut.clusters.values())) <= size
        assert sorted(product for members in cut.clusters.values() for product in members) == sorted(graph.products)


def test_publishing_again_adds_sizes_and_changes_nothing_that_is_there(graph: Graph) -> None:
    first = publication(graph, [5], PublishedGraphs(), AT)
    again = publication(graph, [10], held(first), AT + timedelta(days=9))
    assert [one.max_size for one in head_of(again).clusters] == [5, 10]
    assert head_of(again).published_at == AT, "an old version does not become the newest"
    assert held(again).clusters(graph.version, 5) == held(first).clusters(graph.version, 5)


def test_clusters_stay_from_version_to_version_unless_there_is_a_reason(graph: Graph) -> None:
    first = publication(graph, [5], PublishedGraphs(), AT)
    before = held(first).clusters(graph.version, 5)
    fewer = graph.edges.where(graph.edges.mean > sorted(graph.edges.mean)[len(graph.edges) // 6])
    weaker = publication(replace(graph, version="weaker", edges=fewer), [5], held(first), AT)
    assert held(weaker).clusters("weaker", 5).clusters == before.clusters, "weak edges that are gone move no product"
    other = replace(graph.edges, mean=np.random.default_rng(1).permutation(graph.edges.mean) ** 3)
    later = replace(graph, version="later", edges=other)
    after = held(publication(later, [5], held(first), AT + timedelta(days=90))).clusters("later", 5)
    assert after.before == graph.version
    place = {product: name for name, members in before.clusters.items() for product in members}
    moved = [p for name, members in after.clusters.items() for p in members if place[p] != name]
    assert moved, "edges have other weights: else this shows nothing"
    assert all(any(reason.startswith(f"{product} ") for reason in after.reasons) for product in moved)
    fresh = held(publication(later, [5], held(first), AT, anew=True)).clusters("later", 5)
    assert fresh.before is None
    assert fresh.reasons == ()


def test_too_many_versions_or_sizes_are_refused_with_the_way_out(graph: Graph) -> None:
    head = head_of(publication(graph, [5], PublishedGraphs(), AT))
    others = PublishedGraphs()
    for k in range(MOST_VERSIONS):
        others.take(f"v{k}", head.model_copy(update={"graph": f"v{k}", "published_at": AT + timedelta(days=k)}))
    with pytest.raises(NotPublished, match=r"50 versions are the most.*`flipside graph remove v0`"):
        publication(graph, [5], others, AT)
    with pytest.raises(NotPublished, match="clusters of 17 sizes, and 16 are the most"):
        publication(graph, range(2, MOST_SIZES + 3), PublishedGraphs(), AT)


def test_a_product_whose_name_no_unit_can_have_is_named(graph: Graph) -> None:
    odd = replace(graph, products=("a jar", *graph.products[1:]))
    with pytest.raises(NotPublished, match="'a jar' is no name of a product or cluster"):
        publication(odd, [5], PublishedGraphs(), AT)
