"""Sales by number, the same ones each time: what benchmarks fill the sale topic with."""

from datetime import UTC, datetime, timedelta

from controller.messages.inputs import Sale

MARKETS = 50
START = datetime(2026, 3, 2, tzinfo=UTC)


def unit(number: int) -> str:
    return f"store-{number % MARKETS}/product-{number // MARKETS}"


def sale(number: int, units: int) -> Sale:
    return Sale(
        id=f"till-{number % 7}-{number}",
        unit=unit(number * 7919 % units),
        occurred_at=START + timedelta(seconds=number % 86_400),
        quantity=1 + number % 3,
        price_minor=999 + number % 100,
        cost_minor=500,
        currency="EUR",
    )
