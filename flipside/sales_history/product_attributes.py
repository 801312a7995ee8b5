"""Attributes of products as a table: what a product without sales is known by."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from analysis.panel_data.panel import FloatArray
from controller.errors import FlipsideError

PRODUCT, CATEGORY = "product", "category"


@dataclass(frozen=True, slots=True)
class ProductAttributes:
    """Numbers of the products of a graph, and of those that it does not have."""

    names: tuple[str, ...]
    #: in the order of the graph's products, shape (products, attributes)
    known: FloatArray
    #: product -> its category and its numbers, shape (attributes,)
    fresh: Mapping[str, tuple[str, FloatArray]]


def read_attributes(path: Path, products: tuple[str, ...]) -> ProductAttributes:
    """Columns product, category and one for each attribute; CSV or Parquet.

    Args:
        products: those of the graph.

    Raises:
        FlipsideError: no such file or column, an attribute that is no number, a product twice, or one of the graph's
            without a row.
    """
    table = _table(path)
    absent = [name for name in (PRODUCT, CATEGORY) if name not in table.column_names]
    if absent:
        raise FlipsideError(f"{path} has no column {absent[0]}: needed are product, category and numbers as attributes")
    names = tuple(name for name in table.column_names if name not in (PRODUCT, CATEGORY))
    if not names:
        raise FlipsideError(f"{path} has no attributes beside product and category: add columns of numbers")
    for name in names:
        kind = table.schema.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise FlipsideError(
                f"{path}: {name} is of type {kind}; an attribute is a number: give a column of 0 and 1 for each of its"
                " values, or leave it out"
            )
    values = np.column_stack([table.column(name).cast(pa.float64()).to_numpy() for name in names])
    rows: dict[str, int] = {}
    for row, product in enumerate(map(str, table.column(PRODUCT).to_pylist())):
        if product in rows:
            raise FlipsideError(f"{path}: {product} has two rows; a product has one")
        rows[product] = row
    missing = [product for product in products if product not in rows]
    if missing:
        raise FlipsideError(
            f"{path} has no row for {missing[0]} ({len(missing):,} of the graph's {len(products):,} products): the"
            " student learns from all of them"
        )
    category = list(map(str, table.column(CATEGORY).to_pylist()))
    inside = set(products)
    fresh = {name: (category[row], values[row]) for name, row in rows.items() if name not in inside}
    if not fresh:
        raise FlipsideError(f"{path} has no product that the graph does not have: their edges are estimated from sales")
    blank = next((name for name, (_, numbers) in fresh.items() if not np.isfinite(numbers).all()), None)
    if blank is not None:
        raise FlipsideError(f"{path}: {blank} has an attribute without a number; fill it, or leave the attribute out")
    return ProductAttributes(names, values[[rows[product] for product in products]], fresh)


def _table(path: Path) -> pa.Table:
    if not path.is_file():
        raise FlipsideError(f"{path} is no file: give a table with the columns product, category and attributes")
    try:
        if path.suffix == ".parquet":
            return pyarrow.parquet.read_table(path)
        # names of products and categories may look like numbers, and stay as they are spelled
        spelled = pyarrow.csv.ConvertOptions(column_types={PRODUCT: pa.string(), CATEGORY: pa.string()})
        return pyarrow.csv.read_csv(path, convert_options=spelled)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise FlipsideError(f"{path} cannot be read as a table: {error}") from error
