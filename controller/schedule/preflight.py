"""What an experiment will do before it is registered: its units, its prices beside the regular ones. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from statistics import median_low
from typing import Any

import numpy as np

from controller.definition.experiment import Experiment
from controller.definition.money import amount, change_percent
from controller.definition.weight_cut import WeightCut
from controller.errors import Problem
from controller.messages.inputs import CatalogEntry
from controller.schedule.calendar import Calendar, calendar

#: least, median (the lower of two) and greatest, in minor units
Spread = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class ArmPrices:
    """What an arm charges, over the units whose catalog entry is known."""

    arm: str
    #: units that hold the arm on a day of the plan: least and most
    units_a_day: tuple[int, int]
    #: list prices; None where no unit's is known
    regular_minor: Spread | None
    price_minor: Spread | None
    #: units whose price under the arm is the regular price
    at_regular: int
    #: least and greatest change from the regular price, in percent; None where no regular price is above zero
    change_percent: tuple[Decimal, Decimal] | None


@dataclass(frozen=True, slots=True)
class Preview:
    """Units and prices of an experiment, and what its owner should look at before it runs."""

    currency: str
    units: int
    #: units whose list price is known
    priced: int
    by_market: Mapping[str, int]
    by_cluster: Mapping[str, int]
    arms: tuple[ArmPrices, ...]
    warnings: tuple[Problem, ...]
    #: how the clusters cut the graph that they come from; None where they come from none
    cut: WeightCut | None = None


def preview(
    experiment: Experiment,
    catalog: Mapping[str, CatalogEntry],
    warnings: tuple[Problem, ...],
    layout: Calendar | None = None,
    cut: WeightCut | None = None,
) -> Preview:
    """A resolved experiment that keeps every rule, laid out in units and prices. O(units x arms + clusters x days)."""
    clusters = experiment.cluster_by_unit()
    sizes = Counter(clusters[unit] for unit in experiment.units)
    entries = [catalog[unit] for unit in experiment.units if unit in catalog]
    plan = calendar(experiment) if layout is None else layout
    weight = np.array([sizes[cluster] for cluster in plan.clusters])
    return Preview(
        currency=experiment.currency,
        units=len(experiment.units),
        priced=len(entries),
        by_market={market: len(units) for market, units in experiment.units_by_market().items()},
        by_cluster={cluster: sizes[cluster] for cluster in plan.clusters},
        arms=tuple(
            _arm(experiment, k, entries, weight @ (plan.arms == k).astype(np.int64))
            for k in range(len(experiment.arms))
        ),
        warnings=warnings,
        cut=cut,
    )


def _arm(experiment: Experiment, number: int, entries: list[CatalogEntry], held: Any) -> ArmPrices:
    arm = experiment.arms[number]
    regular = [entry.list_price_minor for entry in entries]
    prices = [arm.price.price_minor(price) for price in regular]
    moves = [change_percent(a, b) for a, b in zip(regular, prices, strict=True) if a > 0]
    return ArmPrices(
        arm=arm.name,
        units_a_day=(int(held.min()), int(held.max())),
        regular_minor=_spread(regular),
        price_minor=_spread(prices),
        at_regular=sum(a == b for a, b in zip(regular, prices, strict=True)),
        change_percent=(min(moves), max(moves)) if moves else None,
    )


def _spread(prices: list[int]) -> Spread | None:
    return (min(prices), median_low(prices), max(prices)) if prices else None


def as_object(found: Preview) -> dict[str, Any]:
    """The preview for machines; money is in minor units, and once more as text in the currency's unit."""
    return {
        "currency": found.currency,
        "units": found.units,
        "priced": found.priced,
        "by_market": dict(found.by_market),
        "by_cluster": dict(found.by_cluster),
        "arms": {
            arm.arm: {
                "units_a_day": list(arm.units_a_day),
                "regular_minor": arm.regular_minor,
                "price_minor": arm.price_minor,
                "regular": _texts(arm.regular_minor, found.currency),
                "price": _texts(arm.price_minor, found.currency),
                "at_regular": arm.at_regular,
                "change_percent": None
                if arm.change_percent is None
                else [round(float(side), 4) for side in arm.change_percent],
            }
            for arm in found.arms
        },
        "graph": None if found.cut is None else asdict(found.cut),
        "warnings": [warning_object(warning) for warning in found.warnings],
    }


def warning_object(warning: Problem) -> dict[str, str | None]:
    """A warning for machines."""
    return {
        "where": warning.where,
        "field": warning.field,
        "value": warning.value,
        "rule": warning.rule,
        "way_out": warning.way_out,
    }


def _texts(prices: Spread | None, currency: str) -> list[str] | None:
    return None if prices is None else [amount(price, currency) for price in prices]
