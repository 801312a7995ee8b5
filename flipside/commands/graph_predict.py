"""`flipside graph predict`: edges of products without sales, by their attributes."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from flipside.commands.graph import SHOWN, GraphFile
from flipside.commands.options import AsJson


def predict(
    graph: GraphFile,
    attributes: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="CSV or Parquet: product, category, and a column of numbers for each attribute. Rows of the graph's"
            " products teach, other rows get edges.",
        ),
    ],
    least: Annotated[float, typer.Option(min=0.01, max=0.99, help="Chance from which on there is an edge.")] = 0.5,
    as_json: AsJson = False,
) -> None:
    """Edges of products that have no sales yet, from attributes: predicted, and no part of the graph's file.

    Said are the chance of each edge and how far each attribute moves a product; 0 where it says nothing.

    Example: flipside graph predict graph.parquet --attributes attributes.csv
    """
    from analysis.spillover.graph_table import read_graph
    from analysis.spillover.prediction import learned, predicted
    from flipside.sales_history.product_attributes import read_attributes
    from flipside.terminal.escape import say
    from flipside.terminal.record_list import print_records
    from flipside.terminal.view import print_object

    held = read_graph(graph)
    table = read_attributes(attributes, held.products)
    student = learned(held, table.known, table.names)
    edges = sorted(predicted(held, student, table.known, table.fresh, least), key=lambda edge: -edge.chance)
    spread = (student.stretch * table.known.std(axis=0)).tolist()
    if as_json:
        rows = [
            {"first": e.first, "second": e.second, "chance": e.chance, "weight": e.weight, "predicted": True}
            for e in edges
        ]
        told = dict(zip(table.names, spread, strict=True))
        print_object({"version": held.version, "attributes": told, "products": sorted(table.fresh), "edges": rows})
        return
    say(
        f"graph {held.version}: {len(table.fresh):,} products without sales, {len(edges):,} predicted edges of a chance"
        f" of {least:g} or more; each has the graph's mean weight"
    )
    say("told by " + ", ".join(f"{name} {value:.2f}" for name, value in zip(table.names, spread, strict=True)))
    shown = [(e.first, e.second, f"{e.chance:.2f}", f"{e.weight:.3f}") for e in edges[:SHOWN]]
    print_records(("without sales", "product", "chance", "weight"), shown, right=("chance", "weight"))
    if len(edges) > SHOWN:
        print(f"and {len(edges) - SHOWN:,} more; --json has them all")


VERBS: dict[str, Callable[..., None]] = {"predict": predict}
