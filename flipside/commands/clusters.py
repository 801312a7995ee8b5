"""`flipside clusters`: which products to randomise together, what that cuts, and whether it is worth its precision."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flipside.commands.graph import GraphFile
from flipside.commands.options import AsJson
from flipside.commands.sales_options import CatalogFile, tell

if TYPE_CHECKING:
    from analysis.spillover.design_choice import Choice
    from analysis.spillover.graph import Evidence, Graph

#: clusters that a person is shown; all of them are in --json
SHOWN = 20


def clusters(
    graph: GraphFile,
    max_size: Annotated[int, typer.Option("--max-size", min=1, help="Products of a cluster, at most.")] = 40,
    before: Annotated[
        Path | None,
        typer.Option(
            "--before", metavar="FILE", help="Clusters of an earlier graph, of --out: they stay where they can."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="The clusters, as JSON.")] = None,
    evidence: Annotated[
        Literal["edges", "all"],
        typer.Option(help="Cut by the edges, or by all pairs, weak ones shrunk: where no edge can be told."),
    ] = "edges",
    weigh: Annotated[
        Path | None,
        typer.Option("--weigh", metavar="HISTORY", help="Weigh products, clusters and days on this history of sales."),
    ] = None,
    price_change: Annotated[
        float, typer.Option(help="With --weigh: of the treated, as a share; 0.1 is ten per cent more.")
    ] = 0.1,
    weeks: Annotated[int, typer.Option(min=1, help="With --weigh: how long the experiment lasts.")] = 4,
    catalog: CatalogFile = None,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", metavar="FILE", help="Cut weight against cluster size, as .html, .svg or .png."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Cut a graph into clusters that keep substitutes together.

    Said are the share of substitution that leaves its cluster and the largest share within one. With --weigh: bias,
    standard error and their root mean square for products alone, clusters of several sizes, and days alone.

    Example: flipside clusters graph.parquet --max-size 4
    """
    import json

    from analysis.spillover.clustering import clusters as cut
    from analysis.spillover.graph_table import read_graph
    from flipside.terminal.escape import say
    from flipside.terminal.view import print_object

    held = read_graph(graph)
    found = cut(held, max_size, before=None if before is None else _read(before), evidence=evidence)
    members = found.members(held.products)
    body: dict[str, Any] = {
        "graph": found.graph,
        "max_size": max_size,
        "cut": found.cut,
        "heaviest": found.heaviest,
        "reasons": list(found.reasons),
        "clusters": members,
    }
    choices = () if weigh is None else _weighed(held, weigh, catalog, price_change, weeks, max_size, evidence)
    if picture is not None:
        _draw(held, max_size, evidence, picture)
    if out is not None:
        out.write_text(json.dumps(body, indent=2) + "\n")
    if as_json:
        from analysis.spillover.design_choice import verdict

        said = [{n: getattr(c, n) for n in ("name", "units", "cut", "bias", "se", "rmse")} for c in choices]
        print_object(body | ({"choices": said, "verdict": verdict(choices)} if choices else {}))
        return
    say(
        f"{len(members):,} clusters of at most {max_size} products; {found.cut:.1%} of the substitution leaves its"
        f" cluster, the heaviest holds {found.heaviest:.1%}"
    )
    from controller.validation.graph_clusters import HALF, LEAST

    if found.heaviest >= HALF:
        say("warning: one cluster holds half of all substitution and decides the result: lower --max-size")
    if len(members) < LEAST:
        say(f"warning: {len(members)} clusters are too few to randomise: an error needs {LEAST}; lower --max-size")
    for name, some in list(members.items())[:SHOWN]:
        say(f"  {name}: {', '.join(some[:8])}{f' and {len(some) - 8} more' if len(some) > 8 else ''}")
    if len(members) > SHOWN:
        print(f"  and {len(members) - SHOWN:,} more; --json has them all")
    for reason in found.reasons:
        say(reason)
    if choices:
        _show(choices)


#: sizes of the picture, besides the one that is asked for
SIZES = (2, 5, 10, 20, 40, 80)


def _draw(graph: "Graph", max_size: int, evidence: Literal["edges", "all"], picture: Path) -> None:
    from analysis.report.graph import cut_chart
    from analysis.report.picture import save
    from analysis.spillover.clustering import clusters as cut

    cuts = []
    for size in sorted({*SIZES, max_size}):
        found = cut(graph, size, evidence=evidence)
        cuts.append({"max_size": size, "clusters": len(found.names), "cut": found.cut})
    save(cut_chart(cuts, max_size, graph.version), picture)


def _read(path: Path) -> dict[str, list[str]]:
    import json

    from controller.errors import FlipsideError

    try:
        found = json.loads(path.read_text())["clusters"]
        return {str(name): [str(product) for product in members] for name, members in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FlipsideError(
            f"--before {path}: no clusters as `flipside clusters --out` writes them: {error}"
        ) from error


def _weighed(
    graph: "Graph",
    history: Path,
    catalog: Path | None,
    price_change: float,
    weeks: int,
    max_size: int,
    evidence: "Evidence",
) -> "tuple[Choice, ...]":
    from analysis.spillover.design_choice import stretches, weighed
    from controller.errors import FlipsideError
    from flipside.sales_history.graph_sales import read_for_graph

    if price_change <= -1 or price_change == 0:
        raise FlipsideError(
            f"--price-change {price_change}: a share of the price, above -1 and not 0; 0.1 is ten per cent"
        )
    sales = read_for_graph(history, None, catalog)
    tell(sales.notes)
    periods = weeks * 7 // sales.days_a_period
    change, days = stretches(graph, sales.year, periods)
    sizes = sorted({size for size in (5, 10, 20, 40, max_size) if size <= max(max_size, 5)})
    return weighed(graph, change, days, periods, price_change, sizes, evidence=evidence)


def _show(choices: "tuple[Choice, ...]") -> None:
    from analysis.spillover.design_choice import verdict
    from flipside.terminal.escape import say
    from flipside.terminal.record_list import print_records

    columns = ("randomised", "units", "cut", "bias", "standard error", "RMSE")
    shown = [
        (c.name, f"{c.units:,}", f"{c.cut:.1%}", f"{c.bias:+.4f}", f"{c.se:.4f}", f"{c.rmse:.4f}") for c in choices
    ]
    print_records(columns, shown, right=columns[1:])
    say(verdict(choices))
