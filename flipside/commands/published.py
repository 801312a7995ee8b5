"""`flipside graph publish|list|remove`: versions of the graph on their topic, with clusters to name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flipside.commands.options import AsJson, Kafka, Namespace, settings_from

if TYPE_CHECKING:
    from controller.messages.graphs import GraphVersion

#: moved products that a person is shown; all of them are in --json
SHOWN = 20


def publish(
    graph: Annotated[Path, typer.Argument(metavar="GRAPH", help="A file that `flipside graph build` wrote.")],
    max_size: Annotated[
        list[int] | None,
        typer.Option("--max-size", min=1, help="Products of a cluster, at most; again for clusters of several sizes."),
    ] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Cut clusters without regard to those of the version before.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write the published form there, and publish nothing."),
    ] = None,
    kafka: Kafka = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Publish a graph and its clusters, so that definitions can name them and the analysis uses them.

    Versions stand side by side. Clusters of a version and size never change: publishing again adds sizes. Clusters of a
    new version start from those of the newest one, and a product moves only with a reason.

    Example: flipside graph publish graph.parquet --max-size 10 --max-size 40
    """
    import asyncio

    from analysis.spillover.graph_table import read_graph
    from analysis.spillover.publication import publication
    from controller.messages.graphs import GraphVersion, PublishedGraphs
    from flipside.terminal.escape import say
    from flipside.terminal.view import print_object
    from flipside.topics import graphs
    from streams.runtime.clock import WallClock

    built = read_graph(graph)
    settings = settings_from(kafka=kafka, namespace=namespace)
    held = PublishedGraphs() if out is not None else asyncio.run(graphs.read(settings))
    records = publication(built, max_size or [40], held, WallClock().now(), anew=anew)
    if out is not None:
        graphs.to_file(records, out)
    else:
        asyncio.run(graphs.publish(settings, records))
    (head,) = (record for record in records if isinstance(record, GraphVersion))
    fresh = PublishedGraphs()
    for record in records:
        fresh.take(record.key, record)
    moved = {one.max_size: list(fresh.clusters(head.graph, one.max_size).reasons) for one in head.clusters}
    if as_json:
        print_object(row_of(head) | {"moved": {str(size): reasons for size, reasons in moved.items()}})
        return
    where = "published" if out is None else f"written to {out}"
    say(f"graph {head.graph} is {where}: {head.products:,} products, {head.pairs:,} pairs")
    for line in lines_of(head):
        say(line)
    for reasons in moved.values():
        for reason in reasons[:SHOWN]:
            say(reason)
        if len(reasons) > SHOWN:
            print(f"and {len(reasons) - SHOWN:,} more; --json has them all")


def list_versions(kafka: Kafka = None, namespace: Namespace = None, as_json: AsJson = False) -> None:
    """The published versions of the graph, the newest first, with the sizes of their clusters."""
    import asyncio

    from flipside.terminal.record_list import print_records
    from flipside.terminal.view import print_object
    from flipside.topics import graphs

    found = asyncio.run(graphs.read(settings_from(kafka=kafka, namespace=namespace)))
    heads = sorted(found.heads.values(), key=lambda one: (one.published_at, one.graph), reverse=True)
    if as_json:
        print_object({"versions": [row_of(head) for head in heads]})
        return
    if not heads:
        print("no graph is published; `flipside graph publish FILE` publishes one")
        return
    rows = [
        (head.graph, f"{head.published_at:%Y-%m-%d %H:%M}", f"{head.products:,}", f"{head.pairs:,}",
         ", ".join(f"{one.max_size} ({one.clusters:,}, {one.cut:.0%} cut)" for one in head.clusters))
        for head in heads
    ]  # fmt: skip
    print_records(("graph", "published", "products", "pairs", "clusters of at most"), rows, right=("products", "pairs"))


def remove(
    version: Annotated[str, typer.Argument(help="Of the graph, as `flipside graph list` names it.")],
    kafka: Kafka = None,
    namespace: Namespace = None,
) -> None:
    """Remove a version from the topic. Experiments whose clusters come from it keep them; their effects with spillover
    are absent from then on, with the reason."""
    import asyncio

    from controller.errors import FlipsideError
    from flipside.terminal.escape import say
    from flipside.topics import graphs

    settings = settings_from(kafka=kafka, namespace=namespace)

    async def work() -> None:
        held = await graphs.read(settings)
        if version not in held.heads:
            raise FlipsideError(f"graph {version} is not published; `flipside graph list` names those that are")
        await graphs.remove(settings, held, version)

    asyncio.run(work())
    say(f"graph {version} is removed")


def row_of(head: "GraphVersion") -> dict[str, Any]:
    """A head, for --json."""
    return {
        "version": head.graph,
        "published_at": head.published_at.isoformat(),
        "products": head.products,
        "pairs": head.pairs,
        "clusters": [one.model_dump(mode="json", exclude={"parts", "digest"}) for one in head.clusters],
    }


def lines_of(head: "GraphVersion") -> list[str]:
    """What each size of clusters cuts, and what is wrong with it."""
    from controller.validation.graph_clusters import HALF, LEAST

    lines = []
    for one in head.clusters:
        kept = "" if one.before is None else f", kept to those of {one.before}"
        lines.append(
            f"at most {one.max_size} products: {one.clusters:,} clusters, {one.cut:.1%} of the substitution leaves its"
            f" cluster, the heaviest holds {one.heaviest:.1%}{kept}"
        )
        if one.heaviest >= HALF:
            lines.append("warning: one cluster holds half of all substitution and decides the result: lower --max-size")
        if one.clusters < LEAST:
            lines.append(f"warning: an error needs {LEAST} clusters: lower --max-size")
    return lines
