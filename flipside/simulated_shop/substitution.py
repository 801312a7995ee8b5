"""A market in which products take sales from each other, and an experiment on clusters of its own graph.

Everything is made as an owner would: a year of sales without an experiment gives the graph, the graph the clusters, the
definition names the published version. The truth is known, because demand is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np

from analysis.spillover.demand import Shop, Truth, play, truth_of
from analysis.spillover.graph import substitute_graph
from analysis.spillover.market import draw_market, scenario, year_of
from analysis.spillover.publication import publication
from controller.definition.experiment import Arm, ClustersFrom, Experiment, PriceRule
from controller.messages.graphs import GraphPart, PublishedGraphs
from controller.messages.inputs import CatalogEntry
from flipside.sales_history.history import History, WeekOfSales
from flipside.simulated_shop.shop import Sells

MARKET, TIME_ZONE, CURRENCY = "vienna", "Europe/Vienna", "EUR"
#: of each product, in minor units; the treated arm's price is a tenth higher
PRICE, COST, DEARER_PERCENT = 1000, 600, 10
#: the year that gives the graph: prices move every other week, in three markets
YEAR = replace(scenario(), products=120, categories=6, moves_a_year=26, residual_sd=0.2)
MAX_SIZE = 10
#: local days ahead of the start
BEFORE = 14
#: the year that gave the graph ended before it
PUBLISHED = datetime(1990, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SubstitutionMarket:
    """What is played, and what is true of it."""

    history: History
    experiment: Experiment
    #: the published form of the graph that its clusters come from
    graph: tuple[GraphPart, ...]
    sells: Sells
    #: metric -> mean effects per unit-day
    truth: Mapping[str, Truth]
    #: effect on pieces if all units are treated, relative to none
    relative_total: float


def substitution_market(seed: int, start: date, days: int) -> SubstitutionMarket:
    """A function of its arguments; takes some seconds, most of them for the graph."""
    market = draw_market(YEAR, seed)
    graph = substitute_graph(year_of(market))
    records = publication(graph, [MAX_SIZE], PublishedGraphs(), PUBLISHED)
    units = tuple(f"{MARKET}/{product}" for product in graph.products)
    level = np.exp(np.random.default_rng([seed, 7]).normal(YEAR.level_mean, YEAR.level_sd, len(units)))
    shop = Shop(level, market.elasticities, noise_sd=YEAR.residual_sd)
    experiment = Experiment(
        name="dearer",
        owner="demo",
        description="a tenth dearer, in a market with substitution",
        currency=CURRENCY,
        units=units,
        clusters_from=ClustersFrom(graph=graph.version, max_size=MAX_SIZE),
        arms=(Arm(name="control"), Arm(name="dear", price=PriceRule(percent=Decimal(DEARER_PERCENT)))),
        start=start + timedelta(days=BEFORE),
        days=days,
        seed=str(seed),
    )
    dear = float(np.log1p(DEARER_PERCENT / 100))
    truth = {
        "units": truth_of(shop, dear, 1),
        "revenue": truth_of(shop, dear, 1, (PRICE, 0)),
        "margin": truth_of(shop, dear, 1, (PRICE, COST)),
    }
    return SubstitutionMarket(
        history_of(units, TIME_ZONE, BEFORE + days, PRICE, COST, CURRENCY),
        experiment,
        tuple(records),
        sells_of(shop, units, seed, dear),
        truth,
        truth["units"].total / float(level.mean()),
    )


def history_of(units: Sequence[str], time_zone: str, days: int, price: int, cost: int, currency: str) -> History:
    """Days at list prices; what is sold on them is the market's business."""
    catalog = tuple(
        CatalogEntry(
            unit=unit, time_zone=time_zone, category="food", currency=currency, list_price_minor=price, cost_minor=cost
        )
        for unit in units
    )
    rows = tuple(WeekOfSales(unit, 0, price, cost, None, None) for unit in units)
    return History(catalog, (rows,) * days, currency=currency, period_days=1)


def sells_of(shop: Shop, units: Sequence[str], seed: int, log_price: float, control: str = "control") -> Sells:
    """Pieces sold on one day after the other, by the arms that the units show on it.

    ``log_price``: log of every other arm's price over the list price.
    """
    noise, pieces = np.random.default_rng([seed, 8]), np.random.default_rng([seed, 9])
    place = {unit: number for number, unit in enumerate(units)}

    def sells(arms: Mapping[str, str]) -> Mapping[str, int]:
        dear = np.zeros(len(place), dtype=bool)
        for unit, arm in arms.items():
            dear[place[unit]] = arm != control
        demand = play(shop, (log_price * dear)[None], noise).quantity[0]
        return dict(zip(units, pieces.poisson(demand).tolist(), strict=True))

    return sells
