"""What the worker would read of one experiment: registration, assignments, unit-days and closings."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np

from controller.definition.experiment import Arm, Experiment, Market, PriceRule, design_hash
from controller.definition.field_types import Message, market_of
from controller.designs import design_of
from controller.messages.events import Assignment, PeriodClosed, Reason, Registered, UnitDay
from controller.time.periods import period

START = date(2026, 3, 2)


def experiment(
    markets: int = 4,
    products: int = 2,
    days: int = 6,
    name: str = "test",
    time_zone: str = "Europe/Vienna",
    **more: object,
) -> Experiment:
    """Markets are clusters, and two arms."""
    fields: dict[str, object] = {
        "name": name,
        "currency": "EUR",
        "units": tuple(f"m{m:02d}/p{p}" for m in range(markets) for p in range(products)),
        "markets": tuple(Market(name=f"m{m:02d}", time_zone=time_zone) for m in range(markets)),
        "clusters": "market",
        "arms": (Arm(name="control"), Arm(name="low", price=PriceRule(percent=Decimal(-10)))),
        "start": START,
        "days": days,
        "seed": "seed",
        **more,
    }
    return Experiment(**fields)  # type: ignore[arg-type]


def registered(definition: Experiment) -> Registered:
    """The acceptance of an experiment."""
    return Registered(
        id=f"{definition.name}.{definition.version}",
        experiment=definition,
        design_hash=design_hash(definition),
        registered_at=datetime(2026, 3, 1, tzinfo=UTC),
    )


def assignment(
    definition: Experiment, unit: str, day: date, arm: str, code: str = "scheduled", **more: object
) -> Assignment:
    """One unit's arm on one local day."""
    span = period(day, definition.time_zones()[market_of(unit)])
    fields: dict[str, object] = {
        "id": f"{definition.name}.{definition.version}/{day}/{unit}",
        "unit": unit,
        "cluster": definition.cluster_by_unit()[unit],
        "experiment": definition.name,
        "experiment_version": definition.version,
        "design_hash": design_hash(definition),
        "block": (day - definition.start).days,
        "day": day,
        "arm": arm,
        "planned_arm": arm,
        "price_minor": None,
        "currency": definition.currency,
        "effective_at": span.start,
        "expires_at": span.end,
        "decided_at": span.start - timedelta(hours=1),
        "epoch": 1,
        "sequence": (day - definition.start).days,
        "reason": Reason(code=code),  # type: ignore[arg-type]
        **more,
    }
    return Assignment(**fields)  # type: ignore[arg-type]


def assignments(definition: Experiment) -> Iterator[Assignment]:
    """What the design draws."""
    design, clusters = design_of(definition), definition.cluster_by_unit()
    for k in range(definition.days):
        day = definition.start + timedelta(days=k)
        block = design.block_on(definition, day)
        assert block is not None
        arms = design.arms(definition, block)
        for unit in definition.units:
            yield assignment(definition, unit, day, definition.arms[arms[clusters[unit]]].name)


def unit_day(
    definition: Experiment, unit: str, day: date, quantity: int, revision: int = 0, cost: bool = True, events: int = 1
) -> UnitDay:
    """One unit's sales of one local day, at 3 a piece, costing 2."""
    span = period(day, definition.time_zones()[market_of(unit)])
    return UnitDay(
        unit=unit,
        day=day,
        starts_at=span.start,
        ends_at=span.end,
        quantity=quantity,
        revenue_minor=3 * quantity,
        cost_minor=2 * quantity if cost else None,
        currency=definition.currency,
        events=events,
        revision=revision,
    )


def closing(definition: Experiment, market: str, day: date, revision: int = 0, late: int = 0) -> PeriodClosed:
    """A market's day, closed; ``late`` sale events came after the first closing."""
    span = period(day, definition.time_zones()[market])
    units = len(definition.units_by_market()[market])
    offset = max(0, 10 * (day - definition.start).days) + int(market[1:])
    return PeriodClosed(
        market=market,
        day=day,
        watermark=span.end + timedelta(minutes=15),
        offsets={"0": offset, "1": offset + 1},
        unit_days=units,
        events=units + late,
        revised=late,
        revision=revision,
    )


def history(definition: Experiment, effect: float = -0.1, seed: int = 1, cost: bool = True) -> list[Message]:
    """A whole experiment in the order in which it happens: sales with market and day shocks, times 1 + effect."""
    rng = np.random.default_rng(seed)
    level = rng.lognormal(4, 0.5, len(definition.units))
    drawn = {(one.unit, one.day): one for one in assignments(definition)}
    messages: list[Message] = [registered(definition)]
    for k in range(definition.days):
        day = definition.start + timedelta(days=k)
        shock = rng.lognormal(0, 0.2)
        for number, unit in enumerate(definition.units):
            one = drawn[unit, day]
            mean = level[number] * shock * rng.lognormal(0, 0.2) * (1 + effect if one.arm != "control" else 1)
            messages += [one, unit_day(definition, unit, day, int(rng.poisson(mean)), cost=cost)]
        messages += [closing(definition, market, day) for market in definition.units_by_market()]
    return messages
