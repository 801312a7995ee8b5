"""Clusters that a definition takes from a published graph: the one place where they are found, or refused."""

from collections import defaultdict

from controller.definition.experiment import Experiment
from controller.definition.field_types import market_of, product_of
from controller.definition.weight_cut import WeightCut, weight_cut
from controller.errors import NotPublished, Problem
from controller.messages.graphs import PublishedGraphs
from controller.validation.definition_rules import named

#: fewer clusters tell no error of an effect with spillover; a cluster of this share of all weight decides the result
LEAST, HALF = 6, 0.5


def clusters_by_graph(experiment: Experiment, graphs: PublishedGraphs) -> tuple[Experiment, tuple[Problem, ...]]:
    """The experiment with the clusters that ``clusters_from`` asks for, by name, or why there are none.

    A definition that is resolved already must have just these.
    """
    asked = experiment.clusters_from
    if asked is None:
        return experiment, ()
    if isinstance(experiment.clusters, str) and experiment.clusters != "unit":
        return experiment, (_beside(experiment.clusters),)
    try:
        cut = graphs.clusters(asked.graph, asked.max_size)
    except NotPublished as why:
        value = f"graph {asked.graph}, max_size {asked.max_size}"
        return experiment, (Problem("clusters_from", value, why.rule, why.way_out),)
    place = {product: name for name, members in cut.clusters.items() for product in members}
    strangers = [unit for unit in experiment.units if product_of(unit) not in place]
    if strangers:
        rule = f"graph {asked.graph} has every product of the experiment"
        way_out = "publish a graph that was built with them, or leave these units out"
        return experiment, (Problem("clusters_from", named(strangers), rule, way_out),)
    found: defaultdict[str, list[str]] = defaultdict(list)
    for unit in sorted(experiment.units):
        name = place[product_of(unit)]
        found[name if asked.level == "product" else f"{market_of(unit)}/{name}"].append(unit)
    clusters = {name: tuple(units) for name, units in sorted(found.items())}
    given = experiment.clusters
    if isinstance(given, dict) and {name: tuple(sorted(units)) for name, units in given.items()} != clusters:
        return experiment, (_beside(f"{len(given)} clusters by name"),)
    return experiment.model_copy(update={"clusters": clusters}), ()


def _beside(value: str) -> Problem:
    rule = "given beside `clusters_from`, and not the clusters of its graph"
    return Problem("clusters", value, rule, "remove one of the two; `clusters_from.level` says whether markets share")


def cut_of(experiment: Experiment, graphs: PublishedGraphs | None) -> WeightCut | None:
    """How a resolved experiment's clusters cut the graph that they come from; None where they come from none.

    Raises:
        NotPublished: the version is not there, or not whole.
    """
    asked = experiment.clusters_from
    if asked is None or graphs is None:
        return None
    return weight_cut(experiment, asked.graph, graphs.pairs(asked.graph))


def cautions(experiment: Experiment, cut: WeightCut | None) -> tuple[Problem, ...]:
    """What is allowed and leaves little to be said of spillover."""
    asked = experiment.clusters_from
    if asked is None or cut is None:
        return ()
    found, clusters = [], len(experiment.cluster_names())
    smaller = "ask for a smaller max_size, or add units"
    if clusters < LEAST:
        rule = f"effects with spillover need {LEAST} clusters; with fewer only the naive number is published"
        found.append(Problem("clusters_from", f"{clusters} clusters", rule, smaller))
    if not cut.pairs:
        rule = f"graph {cut.graph} has substitutes among the experiment's units: else no spillover can be found"
        found.append(Problem("clusters_from", "no pair", rule, "randomise units, or build a graph of these products"))
    if cut.heaviest >= HALF:
        rule = "a cluster with half of the weight of substitution decides the result"
        found.append(Problem("clusters_from", f"{cut.heaviest:.0%} in one cluster", rule, smaller))
    return tuple(found)
