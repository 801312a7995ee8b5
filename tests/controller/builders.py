"""Small experiments and catalogs that a reader can count on the fingers."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from controller.definition.experiment import Arm, Experiment, Market, PriceRule
from controller.messages.inputs import CatalogEntry

START = date(2026, 3, 2)  # a Monday
#: a good while before the first assignment of START goes out anywhere on earth
BEFORE = datetime(2026, 2, 1, 12, tzinfo=UTC)


def unit_names(markets: int, products: int) -> tuple[str, ...]:
    return tuple(sorted(f"m{m}/p{p}" for m in range(markets) for p in range(products)))


def an_experiment(number_of_markets: int = 2, number_of_products: int = 3, /, **changes: Any) -> Experiment:
    """Resolved: two markets in Chicago, three products in each, 10 % off."""
    zone = changes.pop("time_zone", "America/Chicago")
    fields: dict[str, Any] = {
        "name": "oj-2026",
        "currency": "USD",
        "units": unit_names(number_of_markets, number_of_products),
        "markets": tuple(Market(name=f"m{m}", time_zone=zone) for m in range(number_of_markets)),
        "arms": (Arm(name="control"), Arm(name="cheap", price=PriceRule(percent=Decimal(-10)))),
        "start": START,
        "days": 14,
        "seed": "7",
        **changes,
    }
    return Experiment(**fields)


def an_entry(unit: str, **changes: Any) -> CatalogEntry:
    fields: dict[str, Any] = {
        "unit": unit,
        "time_zone": "America/Chicago",
        "currency": "USD",
        "list_price_minor": 300,
        "floor_minor": 200,
        "ceiling_minor": 400,
        **changes,
    }
    return CatalogEntry(**fields)


def a_catalog(markets: int = 2, products: int = 3, /, **changes: Any) -> dict[str, CatalogEntry]:
    return {unit: an_entry(unit, **changes) for unit in unit_names(markets, products)}


def instants(first: int, last: int) -> st.SearchStrategy[datetime]:
    """Aware instants of the years from ``first`` to ``last``."""
    return st.datetimes(datetime(first, 1, 1), datetime(last, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
