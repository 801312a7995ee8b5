"""Why a pair is an edge, or none: its number, both price series, and the weeks whose prices tell it."""

from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from analysis.spillover.graph import Graph
from analysis.spillover.regression import effects_basis
from analysis.spillover.sales import SalesYear
from controller.errors import NotEstimable

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PriceWeek:
    """What one week of one market tells of the price of one product."""

    market: str
    #: First day of the week, counted as in the sales.
    day: int
    #: Mean price of the week, and of the week before it in this market (NaN where there is none).
    price: float
    before: float
    #: Share of all that moves in the price once effects and the other prices are taken out.
    share: float


@dataclass(frozen=True, slots=True)
class PairExplained:
    """One candidate pair."""

    first: str
    second: str
    edge: bool
    #: Place of the pair among `Graph.candidates`.
    at: int
    #: Mean prices by week over all markets, shape (weeks, 2); NaN where a week has none.
    prices: Floats
    #: The weeks that tell most, of the second's price and of the first's.
    of_second: tuple[PriceWeek, ...]
    of_first: tuple[PriceWeek, ...]


def place_of(graph: Graph, one: str, two: str) -> int:
    """The place of a pair among the candidates.

    Raises:
        NotEstimable: a product is not in the graph, was left out, or the two are no candidates; with the reason.
    """
    for name in (one, two):
        if name not in graph.products:
            raise NotEstimable(f"{name} is not in graph {graph.version}; `flipside graph show` lists its products")
        if name in graph.left_out:
            raise NotEstimable(f"nothing can be said of {name}: {graph.left_out[name]}")
    a, b = sorted((graph.products.index(one), graph.products.index(two)))
    found = np.flatnonzero((graph.candidates.first == a) & (graph.candidates.second == b))
    if not found.size:
        where = f"{graph.categories[a]} and {graph.categories[b]}"
        raise NotEstimable(
            f"{one} and {two} were no candidates: they are of {where}, pairs are tried within a category, and"
            " across categories where they are asked for"
        )
    return int(found[0])


def explained(graph: Graph, year: SalesYear, one: str, two: str, *, days_a_period: int = 1) -> PairExplained:
    """What tells the number of a pair: the sales must be those of which the graph was made.

    A price tells as much as is left of it once market, week and weekday effects and all other prices of the category
    are taken out (Frisch and Waugh 1933); of a pair across categories, those that it was tried with.

    Raises:
        NotEstimable: the pair was no candidate, or the sales do not have its products.
    """
    at = place_of(graph, one, two)
    first, second = (graph.products[part[at]] for part in (graph.candidates.first, graph.candidates.second))
    missing = [name for name in (first, second) if name not in year.products]
    if missing:
        raise NotEstimable(f"the sales have no product {missing[0]}: they are not those of graph {graph.version}")
    place = {name: number for number, name in enumerate(graph.products)}
    gone = np.array([name not in place or name in graph.left_out for name in year.products])
    a, b = year.products.index(first), year.products.index(second)
    labels, pairs = graph.categories, graph.candidates
    ends = zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
    across = [(graph.products[i], graph.products[j]) for i, j in ends if labels[i] != labels[j]]
    blocks = chain(year.blocks(gone), (block for block, _ in year.blocks_across(across, gone)))
    block = next(block for block in blocks if {a, b} <= set(block.members.tolist()))
    week = block.day if days_a_period == 7 else block.day // 7
    basis = effects_basis(block.market, week, *([] if days_a_period == 7 else [block.day % 7]))
    x = block.log_price - basis @ (basis.T @ block.log_price)
    columns = [int(np.flatnonzero(block.members == number)[0]) for number in (a, b)]
    edges = set(zip(graph.edges.first.tolist(), graph.edges.second.tolist(), strict=True))
    pair = (int(graph.candidates.first[at]), int(graph.candidates.second[at]))
    prices = np.exp(block.log_price[:, columns])
    weeks = int(week.max()) + 1
    counted = np.bincount(week, minlength=weeks).astype(float)
    counted[counted == 0] = np.nan
    mean = np.stack([np.bincount(week, prices[:, end], minlength=weeks) / counted for end in (0, 1)], axis=1)
    told = [_weeks(x, columns[end], block.market, week, prices[:, end], year, days_a_period) for end in (0, 1)]
    return PairExplained(first, second, pair in edges, at, mean, told[1], told[0])


def _weeks(
    x: Floats, column: int, market: NDArray[np.intp], week: NDArray[np.intp], price: Floats, year: SalesYear, days: int
) -> tuple[PriceWeek, ...]:
    others = np.delete(x, column, axis=1)
    left = x[:, column] - others @ np.linalg.lstsq(others, x[:, column], rcond=None)[0]
    cell = market * (int(week.max()) + 1) + week
    total, rows = np.bincount(cell, left**2), np.bincount(cell)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(cell, price) / rows
    most = np.argsort(-total, kind="stable")[:5]
    weeks = int(week.max()) + 1
    return tuple(
        PriceWeek(
            year.markets[at // weeks],
            at % weeks * (1 if days == 7 else 7),
            float(mean[at]),
            float(mean[at - 1]) if at % weeks else float("nan"),
            float(total[at] / total.sum()),
        )
        for at in most.tolist()
    )
