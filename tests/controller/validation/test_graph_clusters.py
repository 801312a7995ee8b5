"""Clusters of a published graph: by name in the registered experiment, or refused in one set of words."""

from datetime import UTC, datetime

import pytest

from controller.definition.experiment import ClustersFrom, Experiment, canonical_definition, design_hash
from controller.definition.weight_cut import WeightCut, weight_cut
from controller.errors import InvalidExperiment
from controller.messages.graphs import Cut, PublishedGraphs, records_of
from controller.validation.graph_clusters import cautions, cut_of
from controller.validation.registration import judge, parse, register
from flipside.plan import checked
from tests.controller.builders import BEFORE, a_catalog, an_entry, an_experiment

AT = datetime(2026, 1, 1, tzinfo=UTC)
PAIRS = [("p0", "p1", 0.3), ("p1", "p2", 0.1), ("p2", "p3", 0.2), ("p0", "p3", -0.4), ("p3", "elsewhere", 0.9)]
UNITS = tuple(f"{market}/p{k}" for market in ("m0", "m1") for k in range(4))
CATALOG = a_catalog() | {unit: an_entry(unit) for unit in UNITS}


def published(clusters: dict[str, tuple[str, ...]] | None = None) -> PublishedGraphs:
    graphs = PublishedGraphs()
    named = clusters or {"p0": ("p0", "p1"), "p3": ("p2", "p3"), "alone": ("elsewhere",)}
    for record in records_of("g1", 5, PAIRS, {2: Cut(named, 0.1, 0.4)}, AT):
        graphs.take(record.key, record)
    return graphs


def asking(level: str = "unit", **more: object) -> Experiment:
    asked = ClustersFrom.model_validate({"graph": "g1", "max_size": 2, "level": level})
    return an_experiment(**{"units": UNITS, "clusters_from": asked, "clusters": "unit", **more})


def refused(experiment: Experiment, graphs: PublishedGraphs | None = None) -> str:
    with pytest.raises(InvalidExperiment) as caught:
        register(experiment, CATALOG, (), BEFORE, graphs or published())
    (problem,) = caught.value.problems
    return str(problem)


def test_the_registered_experiment_has_the_clusters_by_name_each_within_its_market() -> None:
    found = register(asking(), CATALOG, (), BEFORE, published())
    assert found.clusters == {
        "m0/p0": ("m0/p0", "m0/p1"), "m0/p3": ("m0/p2", "m0/p3"), "m1/p0": ("m1/p0", "m1/p1"),
        "m1/p3": ("m1/p2", "m1/p3"),
    }  # fmt: skip
    assert found.clusters_from == ClustersFrom(graph="g1", max_size=2)


def test_clusters_span_markets_where_products_are_the_level() -> None:
    found = register(asking("product"), CATALOG, (), BEFORE, published())
    assert found.cluster_names() == ("p0", "p3")
    assert isinstance(found.clusters, dict)
    assert found.clusters == {"p0": tuple(u for u in UNITS if u[3:] in ("p0", "p1")), "p3": found.clusters["p3"]}


def test_registered_again_it_is_the_same_and_no_graph_is_needed_to_check_it() -> None:
    found = register(asking(), CATALOG, (), BEFORE, published())
    assert register(found, CATALOG, (), BEFORE, published()) == found
    assert judge(found, CATALOG, (), BEFORE) == (found, ())
    assert design_hash(checked(found, CATALOG)) == design_hash(found)


def test_a_definition_that_asks_for_none_has_the_bytes_that_it_always_had() -> None:
    assert b"clusters_from" not in canonical_definition(an_experiment())
    assert "clusters_from" not in an_experiment().model_dump_json()


def test_the_document_is_read_as_the_docs_write_it() -> None:
    body = asking().model_dump_json(exclude={"clusters"})
    assert parse(body).clusters_from == ClustersFrom(graph="g1", max_size=2, level="unit")


def test_design_and_registration_refuse_a_version_that_is_not_there_in_the_same_words() -> None:
    gone = asking(clusters_from=ClustersFrom(graph="g0", max_size=2))
    said = refused(gone)
    assert said == (
        "clusters_from = graph g0, max_size 2: graph g0 is not published; there are g1; `flipside graph publish FILE`"
        " publishes it"
    )
    with pytest.raises(InvalidExperiment) as caught:
        checked(gone, CATALOG, BEFORE, published())
    assert str(caught.value) == said


def test_a_size_that_is_not_published_is_refused_with_the_command_that_publishes_it() -> None:
    said = refused(asking(clusters_from=ClustersFrom(graph="g1", max_size=40)))
    assert "at most 2 products, not 40" in said
    assert "`flipside graph publish FILE --max-size 40`" in said


def test_units_that_the_graph_does_not_know_are_named() -> None:
    few = published({"p0": ("p0", "p1"), "p2": ("p2", "elsewhere")})
    assert "m0/p3, m1/p3: graph g1 has every product of the experiment" in refused(asking(), few)


@pytest.mark.parametrize("clusters", ["market", "product", {"mine": UNITS[:4], "yours": UNITS[4:]}])
def test_clusters_of_ones_own_beside_those_of_the_graph_are_refused(clusters: object) -> None:
    assert "given beside `clusters_from`" in refused(asking(clusters=clusters))


def test_without_the_graph_a_definition_says_where_it_is_to_come_from() -> None:
    with pytest.raises(InvalidExperiment, match="give it with --graph FILE"):
        checked(asking(), CATALOG)


def test_strata_by_category_go_by_the_graphs_clusters() -> None:
    catalog = {unit: an_entry(unit, category="tea" if unit[3:] in ("p0", "p1") else "coffee") for unit in UNITS}
    balance = asking().balance.model_copy(update={"strata": "category"})
    found = register(asking(balance=balance), catalog, (), BEFORE, published())
    assert found.balance.strata == {"coffee": ("m0/p3", "m1/p3"), "tea": ("m0/p0", "m1/p0")}


def test_the_cut_weight_is_that_between_the_experiments_units() -> None:
    found = register(asking(), CATALOG, (), BEFORE, published())
    cut = cut_of(found, published())
    assert cut is not None
    # in each of two markets .3 and .2 within clusters, .1 between them; complements and strangers do not count
    assert cut.pairs == 6
    assert (cut.cut, cut.heaviest) == pytest.approx((0.1 / 0.6, 0.3 / 1.2))


def test_few_clusters_a_heavy_one_and_no_pair_are_cautions() -> None:
    found = register(asking("product"), CATALOG, (), BEFORE, published())
    said = [str(one) for one in cautions(found, cut_of(found, published()))]
    assert "2 clusters: effects with spillover need 6" in said[0]
    assert "50% in one cluster" in said[1]
    nothing = weight_cut(found, "g1", [("p0", "p9", 1.0)])
    assert nothing == WeightCut("g1", 0, 0.0, 0.0)
    assert "else no spillover can be found" in str(cautions(found, nothing)[1])
    assert cautions(an_experiment(), None) == ()
