"""A graph as an Arrow table, the form of its Parquet file: a row a candidate pair, the rest in the table's metadata."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from analysis.spillover.graph import Graph, Pairs
from controller.errors import NotEstimable

_META = b"flipside.graph"
_FORM = 1
#: Columns of numbers, as in `Pairs`.
_NUMBERS = tuple(name for name in Pairs.__slots__ if name not in ("first", "second"))


def to_table(graph: Graph) -> pa.Table:
    """Columns: the names of both products, the numbers of `Pairs`, and whether the pair is an edge."""
    pairs = graph.candidates
    kept = set(zip(graph.edges.first.tolist(), graph.edges.second.tolist(), strict=True))
    names = np.array(graph.products)
    columns: dict[str, Any] = {"first": names[pairs.first], "second": names[pairs.second]}
    columns |= {name: getattr(pairs, name) for name in _NUMBERS}
    columns["edge"] = [pair in kept for pair in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)]
    said = {
        "form": _FORM,
        "version": graph.version,
        "products": graph.products,
        "categories": graph.categories,
        "own": [None if np.isnan(value) else value for value in graph.own.tolist()],
        "own_error": [None if np.isnan(value) else value for value in graph.own_error.tolist()],
        "left_out": dict(graph.left_out),
    }
    return pa.table(columns).replace_schema_metadata({_META: json.dumps(said).encode()})


def write_graph(graph: Graph, path: Path) -> None:
    """Write the graph as Parquet."""
    pyarrow.parquet.write_table(to_table(graph), path)


def read_graph(path: Path) -> Graph:
    """The graph of a Parquet file.

    Raises:
        NotEstimable: the file is not there, is no graph, or its pairs are none that a graph has; the message says why.
    """
    if not path.is_file():
        raise NotEstimable(f"{path} is no file; `flipside graph build HISTORY --out {path}` writes a graph")
    try:
        return from_table(pyarrow.parquet.read_table(path))
    except pa.ArrowInvalid as error:
        raise NotEstimable(f"{path} is no Parquet file: {error}; `flipside graph build` writes one") from error


def from_table(table: pa.Table) -> Graph:
    """The graph that `to_table` has written.

    Raises:
        NotEstimable: there is no graph in the table, a pair is of one product alone, or of a product it does not have.
    """
    held = (table.schema.metadata or {}).get(_META)
    absent = [name for name in ("first", "second", "edge", *_NUMBERS) if name not in table.column_names]
    if held is None or absent:
        raise NotEstimable(
            f"the table is no graph of substitutes: {f'no column {absent[0]}' if absent else 'its metadata has none'};"
            " `flipside graph build` writes one"
        )
    said = json.loads(held)
    if said["form"] != _FORM:
        raise NotEstimable(f"the graph is of form {said['form']}, this program reads {_FORM}: build it again")
    products = tuple(said["products"])
    place = {name: number for number, name in enumerate(products)}
    ends = [table.column(name).to_pylist() for name in ("first", "second")]
    for one, two in zip(*ends, strict=True):
        if one == two:
            raise NotEstimable(f"{one} is a substitute of itself: a graph has no self-loops; build it again")
        if one not in place or two not in place:
            name = two if one in place else one
            raise NotEstimable(f"{name} is in a pair, but not among the graph's products; build it again")
    first, second = (np.array([place[name] for name in end], dtype=np.intp) for end in ends)
    numbers = {name: table.column(name).to_numpy().astype(np.float64) for name in _NUMBERS}
    candidates = Pairs(first, second, **numbers)
    edge = table.column("edge").to_numpy(zero_copy_only=False).astype(bool)
    own, error = (np.array([np.nan if v is None else v for v in said[name]]) for name in ("own", "own_error"))
    return Graph(
        said["version"], products, tuple(said["categories"]), candidates, candidates.where(edge), own, error,
        said["left_out"],
    )  # fmt: skip
