"""`flipside graph`: the graph of substitutes of one's own sales: build it, look at it, explain pairs, compare two."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flipside.commands import published
from flipside.commands.options import AsJson
from flipside.commands.sales_options import WITHOUT_COST, CatalogFile, tell, with_sales_columns

if TYPE_CHECKING:
    from analysis.spillover.graph import Graph
    from flipside.sales_history.columns import SalesColumns

HistoryFile = Annotated[
    Path,
    typer.Argument(metavar="HISTORY", help="Sales with prices as CSV or Parquet, or a folder as of examples/sales."),
]
GraphFile = Annotated[Path, typer.Argument(metavar="GRAPH", help="A file that `flipside graph build` wrote.")]
#: edges that a person is shown; all of them are in --json and in the file
SHOWN = 20


@partial(with_sales_columns, roles=WITHOUT_COST)
def build(
    history: HistoryFile,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The graph, as Parquet.")],
    catalog: CatalogFile = None,
    cluster: Annotated[
        Literal["week", "market", "both"], typer.Option(help="Errors by week, by market, or both ways.")
    ] = "week",
    zeros: Annotated[
        Literal["drop", "half"],
        typer.Option(help="A day without sales: an empty shelf, left out; or low demand, one half added to all."),
    ] = "drop",
    rate: Annotated[float, typer.Option(min=0.001, max=0.5, help="False-discovery rate.")] = 0.05,
    least: Annotated[float, typer.Option(min=0, help="Smallest size of an edge, an elasticity.")] = 0.05,
    week_effects: Annotated[
        bool, typer.Option("--week-effects/--no-week-effects", help="Without them promotions look like substitution.")
    ] = True,
    across: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Pairs of two categories to try too: CSV with the columns first and second."),
    ] = None,
    columns: "SalesColumns | None" = None,
    as_json: AsJson = False,
) -> None:
    """Estimate which products' sales follow which other products' prices, and write the graph.

    Pairs are tried within a category of the catalog, and those of --across. Substitutes have a positive weight,
    complements a negative one.

    Example: flipside graph build examples/sales --catalog examples/catalog.jsonl --out graph.parquet
    """
    from analysis.spillover.graph import substitute_graph
    from analysis.spillover.graph_table import write_graph
    from flipside.commands.panel_output import progress_bar
    from flipside.sales_history.graph_sales import read_for_graph, read_pairs
    from flipside.terminal.view import print_object

    pairs = () if across is None else read_pairs(across)
    sales = read_for_graph(history, columns, catalog)
    tell(sales.notes)
    with progress_bar("products", len(sales.year.products)) as (step, _):
        graph = substitute_graph(
            sales.year,
            cluster=cluster,
            zeros=zeros,
            rate=rate,
            least=least,
            days_a_period=sales.days_a_period,
            week_effects=week_effects,
            progress=step,
            across=pairs,
        )
    write_graph(graph, out)
    if as_json:
        print_object(summary(graph) | {"file": str(out)})
    else:
        _show(graph)
        print(f"written to {out}")


def show(
    graph: GraphFile,
    product: Annotated[str | None, typer.Option("--product", help="Only the pairs of this product.")] = None,
    as_json: AsJson = False,
) -> None:
    """The edges of a graph, the strongest first; with --product all pairs of one, edges or not."""
    import numpy as np

    from analysis.spillover.graph_table import read_graph
    from controller.errors import FlipsideError
    from flipside.terminal.view import print_object

    held = read_graph(graph)
    if product is None:
        if as_json:
            print_object(summary(held) | {"edges": rows(held, np.arange(len(held.edges)), edges=True)})
        else:
            _show(held)
        return
    if product not in held.products:
        raise FlipsideError(f"--product {product}: graph {held.version} has no such product")
    number = held.products.index(product)
    of = np.flatnonzero((held.candidates.first == number) | (held.candidates.second == number))
    found = rows(held, of, edges=False)
    if as_json:
        print_object({"version": held.version, "product": product, "pairs": found, "why": held.left_out.get(product)})
    elif product in held.left_out:
        print(f"{product}: {held.left_out[product]}")
    else:
        _table(found)


def explain(
    one: Annotated[str, typer.Argument(metavar="A", help="A product.")],
    two: Annotated[str, typer.Argument(metavar="B", help="Another product.")],
    graph: Annotated[Path, typer.Option("--graph", metavar="FILE", help="The graph.")],
    history: Annotated[
        Path, typer.Option("--history", metavar="HISTORY", help="The sales of which the graph was built.")
    ],
    catalog: CatalogFile = None,
    as_json: AsJson = False,
) -> None:
    """Why a pair is an edge, or none: its number with its error, both price series, the weeks that tell it.

    Example: flipside graph explain brand-1 brand-2 --graph graph.parquet --history examples/sales
    """
    import math

    from analysis.spillover.explanation import explained
    from analysis.spillover.graph_table import read_graph
    from flipside.sales_history.graph_sales import read_for_graph
    from flipside.terminal.escape import say
    from flipside.terminal.view import print_object

    held = read_graph(graph)
    sales = read_for_graph(history, None, catalog)
    found = explained(held, sales.year, one, two, days_a_period=sales.days_a_period)
    (pair,) = rows(held, [found.at], edges=False)
    word = "week" if sales.days_a_period == 7 else "day"

    def week(part: Any) -> dict[str, object]:
        before = None if math.isnan(part.before) else part.before
        return {"market": part.market, word: part.day, "price": part.price, "before": before, "share": part.share}

    moves = {found.second: [week(p) for p in found.of_second], found.first: [week(p) for p in found.of_first]}
    series = {
        name: [None if math.isnan(value) else value for value in found.prices[:, end].tolist()]
        for end, name in enumerate((found.first, found.second))
    }
    if as_json:
        print_object(pair | {"version": held.version, "prices_by_week": series, "told_by": moves})
        return
    _table([pair])
    for end, name in enumerate((found.first, found.second)):
        say(f"{name}, mean price by week: {_drawn(found.prices[:, end].tolist())}")
    for name, parts in moves.items():
        say(f"the weeks that tell most of the price of {name}, with their share of what is left of it:")
        for part in parts:
            before = "" if part["before"] is None else f"{part['before']:.2f} -> "
            say(f"  {part['market']}, from {word} {part[word]}: {before}{part['price']:.2f}  {part['share']:.1%}")


def compare(old: GraphFile, new: GraphFile, as_json: AsJson = False) -> None:
    """What has changed from one graph to another: edges gained, lost, turned, and the size of those that stay."""
    from analysis.spillover.comparison import compared
    from analysis.spillover.graph_table import read_graph
    from flipside.terminal.escape import say
    from flipside.terminal.view import print_object

    found = compared(read_graph(old), read_graph(new))
    if as_json:
        print_object(found.as_object())
        return
    for line in found.lines():
        say(line)


def summary(graph: "Graph") -> dict[str, Any]:
    """The figures of a graph, for --json."""
    positive = int((graph.edges.mean > 0).sum())
    return {
        "version": graph.version,
        "products": len(graph.products),
        "candidates": len(graph.candidates),
        "substitutes": positive,
        "complements": len(graph.edges) - positive,
        "left_out": dict(graph.left_out),
    }


def rows(graph: "Graph", places: Any, *, edges: bool) -> list[dict[str, Any]]:
    """Pairs as objects; numbers that nobody could estimate are null."""
    pairs = graph.edges if edges else graph.candidates
    kept = set(zip(graph.edges.first.tolist(), graph.edges.second.tolist(), strict=True))
    found = []
    for at in list(places):
        one, two = int(pairs.first[at]), int(pairs.second[at])
        numbers = {
            name: _number(getattr(pairs, name)[at])
            for name in ("mean", "error", "freedom", "on_first", "on_second", "p", "q", "penalised")
        }
        row = {"first": graph.products[one], "second": graph.products[two], "edge": (one, two) in kept}
        found.append(row | numbers)
    return found


def _number(value: float) -> float | None:
    import math

    return float(value) if math.isfinite(value) else None


def _show(graph: "Graph") -> None:
    import numpy as np

    from flipside.terminal.escape import say

    said = summary(graph)
    say(
        f"graph {graph.version}: {said['products']:,} products, {said['candidates']:,} pairs tried,"
        f" {said['substitutes']:,} substitutes, {said['complements']:,} complements"
    )
    order = np.argsort(-np.abs(graph.edges.mean), kind="stable")[:SHOWN]
    _table(rows(graph, order, edges=True))
    if len(graph.edges) > SHOWN:
        print(f"and {len(graph.edges) - SHOWN:,} more; --json has them all")
    for why in sorted(set(graph.left_out.values())):
        names = [name for name, reason in graph.left_out.items() if reason == why]
        say(f"left out: {', '.join(names[:5])}{' ...' if len(names) > 5 else ''} ({len(names):,}): {why}")


def _table(found: list[dict[str, Any]]) -> None:
    from flipside.terminal.record_list import print_records

    def text(value: float | None) -> str:
        return "" if value is None else f"{value:.3f}"

    columns = ("product", "product", "mean elasticity", "error", "first on second's price", "second on first's", "q")
    shown = [
        (r["first"], r["second"], text(r["mean"]), text(r["error"]), text(r["on_first"]), text(r["on_second"]),
         text(r["q"]), text(r["penalised"]), "yes" if r["edge"] else "no")
        for r in found
    ]  # fmt: skip
    print_records((*columns, "penalised", "edge"), shown, right=columns[2:])


def _drawn(values: list[float]) -> str:
    """A line of blocks, the lowest price at the bottom; a blank where there is none."""
    known = [value for value in values if value == value]
    low, span = min(known), max(known) - min(known)
    blocks = "▁▂▃▄▅▆▇█"
    drawn = "".join(
        " " if value != value else blocks[min(7, int(8 * (value - low) / span)) if span else 0] for value in values
    )
    return f"{drawn} {low:.2f} to {max(known):.2f}"


VERBS: dict[str, Callable[..., None]] = {
    "build": build,
    "show": show,
    "explain": explain,
    "compare": compare,
    "publish": published.publish,
    "list": published.list_versions,
    "remove": published.remove,
}
