"""A simulated market with an experiment on clusters of its graph: built as an owner would, played in memory."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np

from analysis.panel_data.analysis_context import Case
from analysis.panel_data.study import Study
from analysis.panel_data.substitutes import Substitutes
from analysis.spillover.clustering import clusters
from analysis.spillover.demand import Shop, Truth, play, truth_of
from analysis.spillover.graph import substitute_graph
from analysis.spillover.market import draw_market, scenario, year_of
from benchmarks.randomised.settled_day import settled_day
from controller.decisions.roster import roster
from controller.definition.experiment import Arm, Experiment, Market, PriceRule
from controller.schedule.calendar import calendar

START = date(2026, 3, 2)
#: days of history at list prices
BEFORE = 14
DAYS = 14
PRODUCTS, CATEGORIES = 200, 10
#: the year that gives the graph is of three markets, the experiment of one
SEEN_MARKETS, MARKETS = 3, 1
MAX_SIZE = 10
PRICE, COST = 1000, 600
DEAR = Decimal(10)
LOG_DEAR = float(np.log(1.1))


@dataclass(frozen=True, slots=True)
class World:
    """An experiment, the shop that it is played on, and the graph that its owner has."""

    experiment: Experiment
    shop: Shop
    substitutes: Substitutes
    #: share of the weight that leaves its cluster
    cut: float


def world_of(seed: int, *, known: bool = False, max_size: int = MAX_SIZE) -> World:
    """A market of the scenario, smaller; its graph estimated on a year without the experiment, or `known`."""
    given = replace(scenario(), products=PRODUCTS, categories=CATEGORIES, markets=SEEN_MARKETS)
    market = draw_market(given, seed)
    graph = substitute_graph(year_of(market))
    found = clusters(graph, max_size)
    if known:
        first, second = np.nonzero(np.triu(market.elasticities, 1) > 0)
        weight = market.elasticities[first, second]
    else:
        kept = graph.edges.where(graph.edges.mean > 0)
        first, second, weight = kept.first, kept.second, kept.mean
    names = graph.products
    pairs = tuple((names[i], names[j], float(w)) for i, j, w in zip(first, second, weight, strict=True))
    places = [f"m{k}" for k in range(MARKETS)]
    grouped: dict[str, list[str]] = {}
    for place in places:
        for name, label in zip(names, found.label.tolist(), strict=True):
            grouped.setdefault(f"{place}-{label:03d}", []).append(f"{place}/{name}")
    experiment = Experiment.model_validate({
        "name": "dearer", "currency": "EUR", "start": START, "days": DAYS, "seed": f"seed-{seed}",
        "units": tuple(f"{place}/{name}" for place in places for name in names),
        "markets": tuple(Market(name=place, time_zone="Europe/Vienna") for place in places),
        "clusters": {name: tuple(units) for name, units in grouped.items()}, "design": {"kind": "random_days"},
        "arms": (Arm(name="control"), Arm(name="dear", price=PriceRule(percent=DEAR))),
    })  # fmt: skip
    rng = np.random.default_rng([seed, 7])
    level = np.exp(rng.normal(given.level_mean, given.level_sd, MARKETS * PRODUCTS))
    shop = Shop(
        np.asarray(level, dtype=np.float64),
        np.kron(np.eye(MARKETS), market.elasticities).astype(np.float64),
        noise_sd=given.residual_sd,
    )
    return World(experiment, shop, Substitutes(graph.version, pairs), found.cut)


def truths(world: World) -> dict[str, Truth]:
    """What the effects on pieces and on profit are."""
    return {
        "units": truth_of(world.shop, LOG_DEAR, 1),
        "margin": truth_of(world.shop, LOG_DEAR, 1, (PRICE, COST)),
    }


def case_of(world: World, seed: int) -> Case:
    """The experiment as the analysis has it on its last day."""
    study = Study(roster(world.experiment), datetime(2026, 1, 1, tzinfo=UTC))
    drawn = calendar(world.experiment)
    # (G, T) by sorted names, as the study numbers clusters
    dear = np.vstack([np.zeros((BEFORE, len(study.units)), dtype=bool), (drawn.arms[study.cluster] == 1).T])
    assert study.units == world.experiment.units  # both sorted: markets, then products
    sold = play(world.shop, LOG_DEAR * dear, np.random.default_rng([seed, 8])).quantity
    pieces = np.random.default_rng([seed, 9]).poisson(sold)
    everyone = np.ones(len(study.units), dtype=bool)
    for number in range(BEFORE + DAYS):
        day, before = date.fromordinal(START.toordinal() + number - BEFORE), number < BEFORE
        cells = settled_day(pieces[number], everyone, dear[number], price=PRICE, cost=COST, before=before)
        study.write(day, slice(0, len(study.units)), cells)
    return Case(
        study.roster, study.units, study.unit_days(study.last_day), study.last_day, 0, (),
        np.zeros(0, dtype=np.float32), (), (), {}, world.substitutes,
    )  # fmt: skip
