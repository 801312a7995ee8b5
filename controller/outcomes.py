"""Outcomes: folding sales into unit-days. Integers throughout, so that the order of arrival cannot matter."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol

from controller.periods import local_day


class Sold(Protocol):
    """What a total takes of a sale."""

    @property
    def quantity(self) -> int: ...

    @property
    def price_minor(self) -> int: ...

    @property
    def cost_minor(self) -> int | None: ...


@dataclass(slots=True)
class UnitDayTotal:
    """What was sold of a unit in a local day. Mutable, because a batch adds thousands of sales to it."""

    quantity: int = 0
    revenue_minor: int = 0
    cost_minor: int = 0
    #: how many of the events told their cost
    costed: int = 0
    events: int = 0

    def add(self, sale: Sold) -> None:
        """Count one sale."""
        quantity, cost_minor = sale.quantity, sale.cost_minor
        self.quantity += quantity
        self.revenue_minor += quantity * sale.price_minor
        if cost_minor is not None:
            self.cost_minor += quantity * cost_minor
            self.costed += 1
        self.events += 1


def last_closed_day(watermark: datetime, time_zone: str) -> date:
    """The last local day of a market that ended at or before the watermark."""
    return local_day(watermark, time_zone) - timedelta(days=1)
