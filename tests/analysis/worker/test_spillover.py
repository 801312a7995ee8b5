"""From the log and a graph to naive, direct, total and spillover on every estimate, and to the check of neighbours."""

from datetime import timedelta

import pytest

from analysis.checks.health import health
from analysis.panel_data.analysis_context import Case
from analysis.panel_data.substitutes import NoGraph, Substitutes
from analysis.worker.analyse import due, job_of
from analysis.worker.spillover import published_spillover
from controller.definition.experiment import ClustersFrom, Experiment
from controller.definition.field_types import Message
from controller.errors import NotEstimable
from controller.messages.events import Estimate, ExposureEffect, Registered, SpilloverEffects
from controller.messages.findings import Health
from controller.messages.graphs import records_of
from tests.analysis.worker.substitute_shop import (
    AT,
    DIRECT,
    GRAPH,
    PAIRS,
    PRODUCTS,
    SPILL,
    definition,
    published,
    read,
    sold,
)


def case_of(messages: list[Message], substitutes: Substitutes | None = GRAPH) -> Case:
    """The last closed day."""
    ledger = read(messages, substitutes)
    (study,) = ledger.studies.values()
    through = ledger.horizon(study)
    assert through is not None
    ledger.settle_all([(study, through)])
    job = job_of(ledger, study, through, {})
    assert job is not None
    return job.last


def spillover_of(messages: list[Message], substitutes: Substitutes = GRAPH) -> SpilloverEffects:
    return published_spillover(case_of(messages, substitutes))["units"]


def interference_of(messages: list[Message], substitutes: Substitutes = GRAPH) -> Health:
    return next(check for check in health(case_of(messages, substitutes)) if check.check == "interference")


def effect(found: SpilloverEffects, name: str, estimator: str = "hajek") -> ExposureEffect:
    return next(e for e in found.effects if (e.effect, e.estimator) == (name, estimator))


def test_every_estimate_carries_what_neighbours_do_beside_the_naive_number() -> None:
    estimates = [f for f in due(read(sold(definition(days=4))), {}) if isinstance(f, Estimate)]
    assert len(estimates) == 4 * 3
    for estimate in estimates[3:]:
        assert estimate.spillover is not None
        assert {e.effect for e in estimate.spillover.effects} == {"naive", "total", "direct", "spillover"}
        assert estimate.spillover.horizon == "fixed"


def test_direct_and_spillover_are_told_apart() -> None:
    found = spillover_of(sold(definition()))
    assert (found.graph, found.probabilities) == ("g1", "exact")
    assert found.cut == pytest.approx(4 / 28)
    truths = {("total", "hajek"): 24, ("total", "linear"): 24, ("direct", "linear"): 60, ("spillover", "linear"): -36}
    for (name, estimator), truth in truths.items():
        one = effect(found, name, estimator)
        assert one.value is not None
        assert one.se is not None
        assert abs(one.value - truth) < 4 * one.se < 7
    naive = effect(found, "naive")
    assert naive.ci_low is not None
    assert naive.ci_low > 26
    alone = effect(found, "direct")
    assert alone.value is None
    assert alone.dropped == PRODUCTS
    assert alone.reason_absent is not None


@pytest.mark.parametrize(
    "design",
    [
        {"kind": "random_days", "weekday_balance": True},
        {"kind": "blocked_switchback", "block_days": 2},
        {"kind": "crossover", "washout_days": 1},
    ],
    ids=lambda design: design["kind"],
)
def test_the_linear_total_is_found_under_every_design_of_clusters(design: dict[str, object]) -> None:
    found = spillover_of(sold(definition(design=design)))
    if found.reason_absent is not None:
        assert "pre-period" in found.reason_absent
        assert design["kind"] == "crossover"
        return
    total = effect(found, "total", "linear").value
    assert total is not None
    assert abs(total - (DIRECT + SPILL)) < 3


def test_without_a_graph_nothing_is_said_of_neighbours() -> None:
    assert published_spillover(case_of(sold(definition()), None)) == {}


def test_a_graph_of_other_products_leaves_the_naive_number_and_says_so() -> None:
    found = spillover_of(sold(definition()), Substitutes("g0", (("other", "another", 1.0),)))
    assert found.effects == ()
    assert found.reason_absent is not None
    assert found.reason_absent.startswith("graph g0 has no pair among the experiment's units")


def test_five_clusters_get_no_effects_with_spillover_and_the_reason() -> None:
    few = {f"c{c}": tuple(f"m00/p{k}" for k in range(PRODUCTS) if k % 5 == c) for c in range(5)}
    found = spillover_of(sold(definition(clusters=few)))
    assert found.effects == ()
    assert "at least six" in (found.reason_absent or "")


def test_a_cluster_of_half_of_all_weight_is_a_caution() -> None:
    heavy = Substitutes("g1", (("p0", "p1", 100.0), *PAIRS[1:]))
    found = spillover_of(sold(definition(), heavy), heavy)
    assert found.heaviest is not None
    assert found.heaviest > 0.5
    assert "decides the result" in (found.caution or "")
    assert spillover_of(sold(definition())).caution is None


def test_a_graph_with_a_self_loop_is_refused() -> None:
    with pytest.raises(NotEstimable, match="p1 is its own substitute"):
        Substitutes("g1", (("p1", "p1", 1.0),))


def asking(graph: str) -> Experiment:
    """An experiment whose clusters came from a version."""
    return definition(clusters_from=ClustersFrom(graph=graph, max_size=2))


def case_under(experiment: Experiment, *several: Substitutes) -> Case:
    """The last closed day, with these versions published one a day."""
    ledger = read(sold(experiment), None)
    for day, graph in enumerate(several):
        for record in published(graph, AT + timedelta(days=day)):
            ledger.graphs.published.take(record.key, record)
    (study,) = ledger.studies.values()
    through = ledger.horizon(study)
    assert through is not None
    ledger.settle_all([(study, through)])
    job = job_of(ledger, study, through, {})
    assert job is not None
    return job.last


def test_the_version_that_the_clusters_come_from_is_used_and_no_newer_one() -> None:
    newer = Substitutes("g2", (("p0", "p5", 1.0),))
    assert published_spillover(case_under(definition(), GRAPH, newer))["units"].graph == "g2"
    under = published_spillover(case_under(asking("g1"), GRAPH, newer))
    assert under["units"].graph == "g1"
    assert under == published_spillover(case_under(asking("g1"), GRAPH))


def test_a_version_that_is_gone_leaves_the_naive_number_and_the_reason_in_estimate_and_check() -> None:
    newer = Substitutes("g2", (("p0", "p1", 1.0),))
    case = case_under(asking("g1"), newer)
    found = published_spillover(case)["margin"]
    assert (found.graph, found.effects, found.cut, found.heaviest) == ("g1", (), None, None)
    reason = "graph g1 is not published; there are g2; `flipside graph publish FILE` publishes it"
    assert found.reason_absent == reason
    check = next(one for one in health(case) if one.check == "interference")
    assert (check.verdict, check.value, check.evidence) == ("unknown", None, reason)
    estimate = [f for f in due(read(sold(asking("g1")), newer), {}) if isinstance(f, Estimate)][-1]
    assert estimate.absolute is not None, "the number itself needs no graph"
    assert estimate.spillover is not None
    assert estimate.spillover.reason_absent == reason


def test_where_none_is_named_a_version_counts_once_it_is_whole() -> None:
    ledger = read(sold(definition()), GRAPH)
    *parts, head = published(Substitutes("g2", PAIRS), AT + timedelta(days=1))
    ledger.graphs.published.take(head.key, head)
    assert ledger.graphs.of(definition()) == GRAPH
    ledger.graphs.published.take("g1", None)
    left = ledger.graphs.of(definition())
    assert isinstance(left, NoGraph)
    assert "pairs of graph g2 are not whole" in left.reason
    for part in parts:
        ledger.graphs.published.take(part.key, part)
    assert ledger.graphs.of(definition()) == Substitutes("g2", PAIRS)


def test_a_published_self_loop_is_the_reason_that_there_are_no_effects() -> None:
    ledger = read(sold(asking("bad")), None)
    for record in records_of("bad", 2, [("p0", "p0", 1.0), ("p0", "p1", 1.0)], {}, AT):
        ledger.graphs.published.take(record.key, record)
    estimate = next(f for f in due(ledger, {}) if isinstance(f, Estimate))
    assert estimate.spillover is not None
    assert "p0 is its own substitute; a graph has no self-loops" in (estimate.spillover.reason_absent or "")


def test_complements_are_no_substitutes() -> None:
    ledger = read(sold(asking("signs")), None)
    for record in records_of("signs", 2, [("p0", "p1", 1.0), ("p0", "p3", -9.0)], {}, AT):
        ledger.graphs.published.take(record.key, record)
    found = ledger.graphs.of(asking("signs"))
    assert isinstance(found, Substitutes)
    assert found.pairs == (("p0", "p1", 1.0),)


def test_interference_goes_by_the_pairs_of_the_graph_and_names_the_worst() -> None:
    messages = sold(definition())
    alone = interference_of(messages)
    assert alone.value is not None
    # four pairs of weight 1 beside twelve of weight 2 lie across clusters, and have different arms on half of the days
    assert alone.value == pytest.approx(4 / 28 / 2, abs=0.04)
    apart = Substitutes("g2", tuple((f"p{k}", f"p{k + 3}", float(k + 1)) for k in range(0, 12, 3)))
    warned = interference_of(messages, apart)
    assert warned.verdict == "warn"
    assert "worst pairs: m00/p12 and m00/p9 (weight 10" in warned.evidence
    assert warned.units[:2] == ("m00/p12", "m00/p9")


def test_the_registration_is_read_before_anything_else() -> None:
    assert isinstance(sold(definition())[0], Registered)
