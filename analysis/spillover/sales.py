"""Sales and prices of products, by category, as arrays: what the regressions of a category take."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller.errors import NotEstimable

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

COLUMNS = ("product", "category", "market", "day", "price", "quantity")


@dataclass(frozen=True, slots=True)
class CategorySales:
    """One category: rows are the markets' days on which every one of its products has a price."""

    category: str
    #: Positions in `SalesYear.products`, shape (k,).
    members: Ints
    #: Market and day of each row, shape (rows,).
    market: Ints
    day: Ints
    #: Shape (rows, k).
    log_price: Floats
    #: NaN where nothing was recorded. Shape (rows, k).
    quantity: Floats
    #: Whether rows are all days of all markets: then the effects' basis is shared by the categories.
    whole: bool


@dataclass(frozen=True, slots=True)
class SalesYear:
    """A frame, checked and sorted into cells."""

    products: tuple[str, ...]
    categories: tuple[str, ...]
    markets: tuple[str, ...]
    #: Category of each product, shape (products,).
    category: Ints
    #: The days, counted from the first one, that occur; shape (days,).
    days: Ints
    #: Shape (products, markets, days); NaN where there is no row.
    price: Floats
    quantity: Floats

    def blocks(self, leave_out: NDArray[np.bool_]) -> Iterator[CategorySales]:
        """Each category with at least two products that are not left out and any row at all."""
        for number, name in enumerate(self.categories):
            members = np.flatnonzero((self.category == number) & ~leave_out)
            if len(members) < 2:
                continue
            price = self.price[members].reshape(len(members), -1)
            rows = np.flatnonzero(np.isfinite(price).all(axis=0))
            market, day = np.divmod(rows, len(self.days))
            quantity = self.quantity[members].reshape(len(members), -1)[:, rows].T
            prices = np.log(price[:, rows]).T
            yield CategorySales(name, members, market, self.days[day], prices, quantity, len(rows) == price.shape[1])


def sales_year(frame: Mapping[str, Any] | Any) -> SalesYear:
    """Read a frame with the columns product, category, market, day, price and quantity.

    Args:
        frame: a pandas frame or a mapping of columns. `day` is a number or a date; prices are positive.

    Raises:
        NotEstimable: a column is missing, a price is not positive, a quantity negative, a product in two categories, or
            a row doubled; the message names the first culprit.
    """
    absent = [name for name in COLUMNS if name not in frame]
    if absent:
        raise NotEstimable(f"the sales have no column {', '.join(absent)}; needed are {', '.join(COLUMNS)}")
    product, products = _coded(frame["product"])
    label, categories = _coded(frame["category"])
    market, markets = _coded(frame["market"])
    day = np.asarray(frame["day"])
    if not np.issubdtype(day.dtype, np.number):
        day = day.astype("datetime64[D]").astype(np.int64)
    price = np.asarray(frame["price"], dtype=float)
    quantity = np.asarray(frame["quantity"], dtype=float)
    if not len(product):
        raise NotEstimable("the sales have no rows")
    if (bad := ~(price > 0) | ~np.isfinite(price)).any():
        row = int(np.argmax(bad))
        raise NotEstimable(f"row {row}: the price of {products[product[row]]} is {price[row]}; prices are positive")
    if (bad := quantity < 0).any():
        row = int(np.argmax(bad))
        raise NotEstimable(f"row {row}: {products[product[row]]} sold {quantity[row]}; quantities are not negative")
    category = np.zeros(len(products), dtype=np.intp)
    category[product] = label
    if (bad := category[product] != label).any():
        name = products[product[int(np.argmax(bad))]]
        raise NotEstimable(f"{name} is in two categories; a product has one")
    day = day.astype(np.int64) - int(day.min())
    days, which = np.unique(day, return_inverse=True)
    cells = np.ravel_multi_index((product, market, which), (len(products), len(markets), len(days)))
    if len(np.unique(cells)) < len(cells):
        doubled = int(np.argmax(np.bincount(cells) > 1))
        name = products[doubled // (len(markets) * len(days))]
        raise NotEstimable(f"{name} has two rows for one market and day; add them up first")
    shape = (len(products), len(markets), len(days))
    prices, quantities = np.full(shape, np.nan), np.full(shape, np.nan)
    prices.ravel()[cells], quantities.ravel()[cells] = price, quantity
    return SalesYear(products, categories, markets, category, days.astype(np.intp), prices, quantities)


def _coded(column: Any) -> tuple[Ints, tuple[str, ...]]:
    names, codes = np.unique(np.asarray(column).astype(str), return_inverse=True)
    return codes.astype(np.intp), tuple(names.tolist())
