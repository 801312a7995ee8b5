"""A shop to experiment on: it follows the assignments as a pricing system would, sells, and says what it did."""

import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from controller.definition.experiment import Experiment
from controller.definition.field_types import Message, market_of, milliseconds
from controller.messages.codec import Record, key_of
from controller.messages.inputs import Applied, CompetitorPrice, Sale
from controller.randomisation.hash_scores import HASH_RANGE, score
from controller.time.periods import Period
from flipside.sales_history.history import WeekOfSales
from flipside_client import Assignments


def plain(message: Message) -> Record:
    """A record as the owner's systems write it: no headers, because each costs the consumer."""
    key = key_of(message)
    return Record(None if key is None else key.encode(), message.model_dump_json().encode(), [])


def pieces(packs: int, factor: float, seed: str, *names: str | int) -> int:
    """``packs * factor`` rounded up or down at random by a hash, so that the mean is kept."""
    return math.floor(packs * factor + score(seed, "rounding", *names) / HASH_RANGE)


#: unit -> the arm that it shows today, to unit -> pieces sold; asked once a period, in their order
Sells = Callable[[Mapping[str, str]], Mapping[str, int]]


@dataclass(slots=True)
class Shop:
    """Sells what a history says, times (1 + effect) in units that are treated at that instant.

    With ``sells`` what a unit sells follows from all units' arms, as where products take sales from each other.
    """

    assignments: Assignments
    experiment: Experiment
    effect: float
    seed: str
    #: rivals have prices of their own, which are not told with the sales
    rivals_apart: bool = False
    sells: Sells | None = None
    #: unit -> an effect of its own, where it is not `effect`
    own_effects: Mapping[str, float] = field(default_factory=dict)
    #: the arm that each unit showed last: a change is told on the applied topic
    shown: dict[str, str] = field(default_factory=dict)
    #: (unit, period) -> the arm under which the period's sales were made
    observed: dict[tuple[str, int], str] = field(default_factory=dict)
    #: units whose arm changed with the last period
    changed: int = 0

    def uninformed(self, units: Sequence[str], days: Mapping[str, Period], said: Container[str]) -> list[str]:
        """Units without an assignment that holds when their market's day begins, or that are not among ``said``."""
        starts = {market: milliseconds(day.start) for market, day in days.items()}
        return [
            unit
            for unit in units
            if unit not in said or self.assignments.assignment(unit, starts[market_of(unit)]) is None
        ]

    def treated(self, units: Sequence[str], instant: datetime) -> list[str]:
        """Units that show another arm than control at an instant."""
        at, control = milliseconds(instant), self.experiment.control.name
        return [unit for unit in units if (self.assignments.price(unit, at).arm or control) != control]

    def trade(self, number: int, days: Mapping[str, Period], sold: Sequence[WeekOfSales]) -> Mapping[str, list[Record]]:
        """One period of business; returns the records by what they are: sale, competitor-price, applied.

        ``days``: the local day of each market.
        """
        control = self.experiment.control.name
        rules = {arm.name: arm.price for arm in self.experiment.arms}
        sales, rivals, applied = [], [], []
        self.changed = 0
        middles = {market: day.start + (day.end - day.start) / 2 for market, day in days.items()}
        prices = {
            row.unit: self.assignments.price(row.unit, milliseconds(middles[market_of(row.unit)])) for row in sold
        }
        arms = {unit: price.arm or control for unit, price in prices.items()}
        together = None if self.sells is None else self.sells(arms)
        for row in sold:
            market, price, arm = market_of(row.unit), prices[row.unit], arms[row.unit]
            start, middle = days[market].start, middles[market]
            self.observed[row.unit, number] = arm
            self.changed += self.shown.get(row.unit, control) != arm
            # The first price under an assignment is reported too, though it is control's: it was looked up, and shown.
            if self.shown.get(row.unit, control if price.assignment_id is None else None) != arm:
                self.shown[row.unit] = arm
                applied.append(
                    Applied(
                        id=f"applied/{number}/{row.unit}",
                        unit=row.unit,
                        arm=arm,
                        price_minor=price.price_minor,
                        applied_at=start,
                        assignment=price.assignment_id,
                    )
                )
            if together is None:
                factor = 1.0 if arm == control else 1.0 + self.own_effects.get(row.unit, self.effect)
                quantity = pieces(row.packs, factor, self.seed, row.unit, number)
            else:
                quantity = together[row.unit]
            # A shop that sells nothing has nothing to publish.
            if quantity:
                sale = Sale(
                    id=f"sale/{number}/{row.unit}",
                    unit=row.unit,
                    occurred_at=middle,
                    quantity=quantity,
                    price_minor=rules[arm].price_minor(row.price_minor),
                    cost_minor=row.cost_minor,
                    currency=self.experiment.currency,
                )
                sales.append(sale)
            if row.rival is not None and not self.rivals_apart:
                rivals.append(
                    CompetitorPrice(
                        id=f"rival/{number}/{row.unit}",
                        unit=row.unit,
                        competitor=row.rival,
                        observed_at=start + timedelta(hours=6),
                        price_minor=row.rival_price_minor,
                        currency=self.experiment.currency,
                    )
                )
        return {
            "sale": [plain(m) for m in sales],
            "competitor-price": [plain(m) for m in rivals],
            "applied": [plain(m) for m in applied],
        }
