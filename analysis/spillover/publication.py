"""A graph with its clusters as it is published: what is published already stays, new clusters keep to those before."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import ValidationError

from analysis.spillover.clustering import clusters
from analysis.spillover.graph import Graph
from controller.errors import NotPublished
from controller.messages.graphs import MOST_SIZES, MOST_VERSIONS, Cut, GraphPart, PublishedGraphs, records_of


def publication(
    graph: Graph, sizes: Sequence[int], held: PublishedGraphs, at: datetime, *, anew: bool = False
) -> list[GraphPart]:
    """The records of a version with clusters of these sizes, and of those that it is published with already.

    Clusters of one version and size never change. Those of a new version start from the newest other version's of the
    same size, and a product moves only with a reason; ``anew``: they are cut without regard to it.

    Raises:
        NotPublished: there are too many versions or sizes, or a product's name is none that a unit may have.
        NotEstimable: the graph has no substitutes to cut.
    """
    head = held.heads.get(graph.version)
    if head is None and len(held.heads) >= MOST_VERSIONS:
        oldest = min(held.heads.values(), key=lambda one: one.published_at).graph
        raise NotPublished(
            f"graph {graph.version}: {MOST_VERSIONS} versions are the most, and all are published",
            f"remove one that no experiment names, such as `flipside graph remove {oldest}`",
        )
    there = () if head is None else tuple(one.max_size for one in head.clusters)
    wanted = sorted({*sizes, *there})
    if len(wanted) > MOST_SIZES:
        raise NotPublished(
            f"graph {graph.version} would have clusters of {len(wanted)} sizes, and {MOST_SIZES} are the most",
            "name fewer by --max-size",
        )
    cuts = {size: _cut(graph, size, held, anew=anew) for size in wanted}
    kept = graph.edges
    names = graph.products
    triples = zip(kept.first.tolist(), kept.second.tolist(), kept.mean.tolist(), strict=True)
    pairs = [(names[one], names[two], float(mean)) for one, two, mean in triples]
    try:
        return list(records_of(graph.version, len(names), pairs, cuts, at if head is None else head.published_at))
    except ValidationError as error:
        bad = error.errors()[0]
        raise NotPublished(
            f"graph {graph.version}: {bad['input']!r} is no name of a product or cluster: {bad['msg']}",
            "build the graph of sales whose products have the names that the catalog has",
        ) from error


def _cut(graph: Graph, size: int, held: PublishedGraphs, *, anew: bool) -> Cut:
    try:
        return held.clusters(graph.version, size)
    except NotPublished:
        before = None if anew else _before(graph.version, size, held)
    start = None if before is None else held.clusters(before, size).clusters
    found = clusters(graph, size, before=start)
    return Cut(found.members(graph.products), found.cut, found.heaviest, before, found.reasons)


def _before(version: str, size: int, held: PublishedGraphs) -> str | None:
    """The newest other version that has whole clusters of this size."""
    for name in held.newest_first:
        if name == version:
            continue
        try:
            held.clusters(name, size)
        except NotPublished:
            continue
        return name
    return None
