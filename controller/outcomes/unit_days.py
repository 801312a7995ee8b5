"""Outcomes: folding sales into unit-days. Integers throughout, so that the order of arrival cannot matter."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from controller.time.periods import local_day


@dataclass(slots=True)
class UnitDayTotal:
    """What was sold of a unit in a local day. Mutable, because a batch adds thousands of sales to it."""

    quantity: int = 0
    revenue_minor: int = 0
    cost_minor: int = 0
    #: how many of the events told their cost
    costed: int = 0
    events: int = 0

    def add(self, quantity: int, price_minor: int, cost_minor: int | None) -> None:
        """Count one sale; price and cost are those of one piece."""
        self.quantity += quantity
        self.revenue_minor += quantity * price_minor
        if cost_minor is not None:
            self.cost_minor += quantity * cost_minor
            self.costed += 1
        self.events += 1


def last_closed_day(watermark: datetime, time_zone: str) -> date:
    """The last local day of a market that ended at or before the watermark."""
    return local_day(watermark, time_zone) - timedelta(days=1)
