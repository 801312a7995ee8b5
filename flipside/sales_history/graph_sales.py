"""One's own sales as the graph of substitutes takes them: products by category, markets, days."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from analysis.panel_data.panel import FloatArray
from analysis.spillover.sales import SalesYear
from controller.definition.field_types import market_of, product_of
from controller.errors import FlipsideError
from controller.messages.inputs import CatalogEntry
from flipside.documents import read_lines
from flipside.sales_history.columns import SalesColumns
from flipside.sales_history.history import as_arrays, read_history
from flipside.sales_history.own_sales import read_own
from flipside.sales_history.tables import is_own

#: the one category of products without any
ALL = "all"


@dataclass(frozen=True, slots=True)
class GraphSales:
    """What `substitute_graph` is given."""

    year: SalesYear
    days_a_period: Literal[1, 7]
    #: how it was read, a sentence each
    notes: tuple[str, ...]


def read_for_graph(path: Path, columns: SalesColumns | None, catalog: Path | None) -> GraphSales:
    """A folder or a table of sales, as `advise`, `power` and `replay` read them; categories from the catalog.

    A day on which a product sold nothing has no price of its own in a table of sales: the last one is taken, as a shelf
    keeps its price.

    Raises:
        FlipsideError: a broken rule of the sales, no prices, or a product with two categories.
    """
    if is_own(path):
        own = read_own(path, columns=columns, catalog=catalog)
        periods = own.periods
        if periods.price is None:
            raise FlipsideError(f"{path} has no prices: a graph is told by prices that move; name --price or --revenue")
        entries = own.catalog if catalog is not None else ()
        return _graph_sales(
            periods.units, periods.quantity.T, periods.price.T, _category(entries), periods.period_days, own.notes
        )
    if not path.is_dir():
        raise FlipsideError(f"{path} is a table of outcomes: a graph needs sales with prices; see docs/commands.md")
    if columns is not None:
        raise FlipsideError(f"{path} is a folder of sales: it has columns of its own; leave the options of columns out")
    history = read_history(path)
    listed = history.catalog if catalog is None else tuple(read_lines(catalog, CatalogEntry))
    sold = as_arrays(history)
    return _graph_sales(
        sold.units, sold.quantity.T, sold.price.T, _category(listed), history.period_days, history.notes
    )


def read_pairs(path: Path) -> tuple[tuple[str, str], ...]:
    """Pairs of products: a CSV with the columns first and second.

    Raises:
        FlipsideError: no such file or column, or a row without one of its two products.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FlipsideError(f"{path} cannot be read: {error}; give a CSV with the columns first and second") from error
    found = tuple((row.get("first") or "", row.get("second") or "") for row in rows)
    for line, pair in enumerate(found, start=2):
        if not all(pair):
            raise FlipsideError(f"{path}, line {line}: a pair has two products, in the columns first and second")
    return found


def _category(entries: tuple[CatalogEntry, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in entries:
        product, category = product_of(entry.unit), entry.category
        if category is not None and found.setdefault(product, category) != category:
            raise FlipsideError(
                f"{product} is of category {found[product]} in one market and of {category} in {market_of(entry.unit)}:"
                " a product of the graph has one; mend the catalog"
            )
    return found


def _graph_sales(
    units: tuple[str, ...],
    quantity: FloatArray,
    price: FloatArray,
    category: Mapping[str, str],
    period_days: int,
    notes: tuple[str, ...],
) -> GraphSales:
    products = tuple(sorted({product_of(unit) for unit in units}))
    markets = tuple(sorted({market_of(unit) for unit in units}))
    without = [name for name in products if name not in category]
    labels = tuple(sorted({category.get(name, ALL) for name in products}))
    shape = (len(products), len(markets), quantity.shape[1])
    prices, quantities = np.full(shape, np.nan), np.full(shape, np.nan)
    product_row = {name: number for number, name in enumerate(products)}
    market_row = {name: number for number, name in enumerate(markets)}
    for row, unit in enumerate(units):
        cell = product_row[product_of(unit)], market_row[market_of(unit)]
        prices[cell], quantities[cell] = _carried(price[row]), quantity[row]
    prices[~(prices > 0)] = np.nan
    said = list(notes)
    if without:
        said.append(
            f"warning: {len(without):,} of {len(products):,} products have no category: they are taken as one, {ALL};"
            " categories stand in the catalog, see --catalog"
        )
    numbered = np.array([labels.index(category.get(name, ALL)) for name in products], dtype=np.intp)
    days = np.arange(shape[2])
    year = SalesYear(products, labels, markets, numbered, days, prices, quantities)
    return GraphSales(year, 7 if period_days == 7 else 1, tuple(said))


def _carried(price: FloatArray) -> FloatArray:
    """The last known price where a day has none; nothing before the first."""
    known = np.isfinite(price)
    last = np.maximum.accumulate(np.where(known, np.arange(len(price)), -1))
    return np.where(last >= 0, price[np.maximum(last, 0)], np.nan)
