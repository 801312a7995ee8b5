"""A simulated market with substitution: what the graph, the clusters and the corrected effects are judged on.

The numbers are those of `scenario.json`, frozen before the first estimator was written. What the sentence "12 price
moves of sd .2" leaves open is settled here: a move goes to a fresh level, and the *change* has that standard deviation
(so the levels have it divided by the square root of two); promotions reach every market at once; zero days come at
random, as when a shelf is empty, not from low demand; substitution is symmetric: a product's substitutes have it as
theirs.
"""

import json
from dataclasses import dataclass, replace
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from analysis.spillover.sales import SalesYear

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A market in numbers; `scenario()` gives the frozen one, `dataclasses.replace` its neighbours."""

    version: int
    products: int
    categories: int
    markets: int
    days: int
    #: Of log sales, a product, market and day.
    residual_sd: float
    moves_a_year: float
    #: Of one change of the log price.
    move_sd: float
    own_elasticity: float
    cross_elasticity: float
    #: True substitutes of each product, all of its category.
    substitutes: int
    zero_share: float
    #: A whole category's prices are lower by `promotion_depth` for `promotion_days`, in all markets.
    promotions_a_year: int
    promotion_depth: float
    promotion_days: int
    level_mean: float
    level_sd: float
    weekday_sd: float
    week_sd: float
    building_seeds: tuple[int, int]
    #: First and last seed that may judge an estimator; none of them was looked at while one was built.
    judging_seeds: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Market:
    """A year of one simulated market."""

    #: Category of each product, shape (products,).
    category: NDArray[np.intp]
    #: Shape (products, markets, days).
    log_price: Floats
    #: Units sold; 0 on zero days. Shape (products, markets, days).
    quantity: Floats
    #: e[i, j]: per cent more of i for a price of j one per cent higher. Shape (products, products).
    elasticities: Floats

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """The market as a frame of `substitute_graph`: one row a product, market and day."""
        products, markets, days = self.quantity.shape
        product, market, day = (part.ravel() for part in np.indices((products, markets, days)))
        return {
            "product": np.char.add("p", np.char.zfill(product.astype(str), 5)),
            "category": np.char.add("c", np.char.zfill(self.category[product].astype(str), 4)),
            "market": np.char.add("m", market.astype(str)),
            "day": day,
            "price": np.exp(self.log_price).ravel(),
            "quantity": self.quantity.ravel(),
        }


def year_of(market: Market) -> SalesYear:
    """The market in the form that `sales_year` reads from its columns, without the detour over rows."""
    products, markets, days = market.quantity.shape
    categories = tuple(f"c{number:04d}" for number in range(int(market.category.max()) + 1))
    return SalesYear(
        tuple(f"p{number:05d}" for number in range(products)),
        categories,
        tuple(f"m{number}" for number in range(markets)),
        market.category,
        np.arange(days),
        np.exp(market.log_price),
        market.quantity,
    )


def scenario() -> Scenario:
    """The frozen scenario."""
    values = json.loads(resources.files("analysis.spillover").joinpath("scenario.json").read_text("utf-8"))
    for name in ("building_seeds", "judging_seeds"):
        values[name] = tuple(values[name])
    return Scenario(**values)


def without_substitution(given: Scenario) -> Scenario:
    """The same market without substitution between products."""
    return replace(given, cross_elasticity=0.0)


def draw_market(given: Scenario, seed: int) -> Market:
    """One year of `given`, a function of the seed.

    Raises:
        ValueError: products do not divide into categories, or a category is too small for its substitutes.
    """
    size, rest = divmod(given.products, given.categories)
    if rest or size <= given.substitutes or size * given.substitutes % 2:
        raise ValueError(
            f"{given.products} products in {given.categories} categories with {given.substitutes} substitutes each: "
            "categories must be of one size, larger than the substitutes of a product, and their product even"
        )
    rng = np.random.default_rng(seed)
    category = np.repeat(np.arange(given.categories), size)
    pairs = np.zeros((given.products, given.products))
    for first in range(0, given.products, size):
        pairs[first : first + size, first : first + size] = _regular(size, given.substitutes, rng)
    elasticities = pairs * given.cross_elasticity
    np.fill_diagonal(elasticities, given.own_elasticity)

    log_price = _prices(given, category, rng)
    sales = rng.normal(given.level_mean, given.level_sd, (given.products, given.markets, 1)) + np.zeros(log_price.shape)
    weekday = rng.normal(0, given.weekday_sd, (given.products, 1, 7))
    week = rng.normal(0, given.week_sd, (given.products, 1, given.days // 7 + 1))
    days = np.arange(given.days)
    sales += weekday[:, :, days % 7] + week[:, :, days // 7]
    sales += np.einsum("ij,jmt->imt", elasticities, log_price, optimize=True)
    sales += rng.normal(0, given.residual_sd, sales.shape)
    quantity = np.where(rng.random(sales.shape) < given.zero_share, 0.0, np.exp(sales))
    return Market(category, log_price, quantity, elasticities)


def _prices(given: Scenario, category: NDArray[np.intp], rng: np.random.Generator) -> Floats:
    shape = (given.products, given.markets, given.days)
    moves = rng.random(shape) < given.moves_a_year / 365
    moves[:, :, 0] = True
    fresh = rng.normal(0, given.move_sd / np.sqrt(2), shape)
    last = np.maximum.accumulate(np.where(moves, np.arange(given.days), 0), axis=2)
    prices: Floats = np.take_along_axis(fresh, last, axis=2)
    promoted = np.zeros((given.categories, given.days), dtype=bool)
    for number in range(given.categories):
        for start in rng.integers(0, given.days - given.promotion_days + 1, given.promotions_a_year):
            promoted[number, start : start + given.promotion_days] = True
    prices += np.log1p(-given.promotion_depth) * promoted[category][:, None, :]
    return prices


def _regular(size: int, degree: int, rng: np.random.Generator) -> Floats:
    """A random graph in which everyone has `degree` neighbours: a circulant one, its ends exchanged many times."""
    steps = list(range(1, degree // 2 + 1))
    links = [(i, (i + step) % size) for step in steps for i in range(size)]
    if degree % 2:
        links += [(i, i + size // 2) for i in range(size // 2)]
    present = {frozenset(link) for link in links}
    for _ in range(20 * len(links)):
        one, two = rng.choice(len(links), 2, replace=False)
        (a, b), (c, d) = links[one], links[two]
        if rng.random() < 0.5:
            c, d = d, c
        swapped = (frozenset((a, d)), frozenset((c, b)))
        if len({a, b, c, d}) < 4 or any(link in present for link in swapped):
            continue
        present -= {frozenset((a, b)), frozenset((c, d))}
        present |= set(swapped)
        links[one], links[two] = (a, d), (c, b)
    adjacency = np.zeros((size, size))
    for i, j in links:
        adjacency[i, j] = adjacency[j, i] = 1.0
    return adjacency
