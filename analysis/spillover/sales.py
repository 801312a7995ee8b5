"""Sales and prices of products, by category, as arrays: what the regressions of a category take."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
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
            if len(members) >= 2:
                yield self._block(name, members)

    def blocks_across(
        self, pairs: Iterable[tuple[str, str]], leave_out: NDArray[np.bool_]
    ) -> Iterator[tuple[CategorySales, NDArray[np.bool_]]]:
        """For pairs of two categories: the first's category with the seconds, and which of its pairs are asked for.

        The mask has shape (k, k), as `CategorySales.members` are numbered, and is set above the diagonal alone.

        Raises:
            NotEstimable: a product that has no sales, or a pair of one category; named.
        """
        place = {name: number for number, name in enumerate(self.products)}
        asked: dict[int, set[tuple[int, int]]] = {}
        for pair in pairs:
            unknown = [name for name in pair if name not in place]
            if unknown:
                raise NotEstimable(f"{unknown[0]} of the pair {pair[0]}, {pair[1]} has no sales: leave the pair out")
            one, two = sorted(place[name] for name in pair)
            if self.category[one] == self.category[two]:
                raise NotEstimable(f"{pair[0]} and {pair[1]} are of one category: such pairs are tried anyway")
            if not leave_out[[one, two]].any():
                asked.setdefault(int(self.category[one]), set()).add((one, two))
        for number, wanted in sorted(asked.items()):
            inside = set(np.flatnonzero((self.category == number) & ~leave_out).tolist())
            members = np.array(sorted(inside | {two for _, two in wanted}), dtype=np.intp)
            mask = np.zeros((len(members), len(members)), dtype=bool)
            for one, two in wanted:
                mask[np.searchsorted(members, one), np.searchsorted(members, two)] = True
            yield self._block(self.categories[number], members), mask

    def _block(self, name: str, members: Ints) -> CategorySales:
        price = self.price[members].reshape(len(members), -1)
        rows = np.flatnonzero(np.isfinite(price).all(axis=0))
        market, day = np.divmod(rows, len(self.days))
        quantity = self.quantity[members].reshape(len(members), -1)[:, rows].T
        prices = np.log(price[:, rows]).T
        return CategorySales(name, members, market, self.days[day], prices, quantity, len(rows) == price.shape[1])


def nearest_across(
    products: Sequence[str], categories: Sequence[str], values: Floats, count: int = 5
) -> tuple[tuple[str, str], ...]:
    """Candidate pairs of two categories: each product with its `count` nearest in other categories.

    Args:
        values: attributes, shape (products, attributes), finite; each is divided by its standard deviation.
    """
    scale = values.std(axis=0)
    places = values / np.where(scale > 0, scale, 1.0)
    labels = np.array(categories)
    found = set()
    for at in range(len(products)):
        apart = np.where(labels == labels[at], np.inf, ((places - places[at]) ** 2).sum(axis=1))
        near = np.argsort(apart, kind="stable")[:count]
        found |= {(min(at, other), max(at, other)) for other in near.tolist() if np.isfinite(apart[other])}
    return tuple((products[one], products[two]) for one, two in sorted(found))


def sharing_competitors(
    categories: Mapping[str, str], competitors: Mapping[str, Collection[str]]
) -> tuple[tuple[str, str], ...]:
    """Candidate pairs of two categories: products that are compared with one and the same product of a competitor.

    Args:
        categories: product -> its category.
        competitors: product -> what of competitors it is compared with.
    """
    by_rival: dict[str, list[str]] = {}
    for product in sorted(competitors):
        for rival in competitors[product]:
            by_rival.setdefault(rival, []).append(product)
    pairs = (pair for products in by_rival.values() for pair in combinations(products, 2))
    return tuple(sorted({pair for pair in pairs if categories[pair[0]] != categories[pair[1]]}))


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
