"""What the owner's systems say: sales, rivals' prices, the catalog, what was shown, blackouts.

Inputs carry their id and version in the value, because each header costs the consumer half a microsecond.
"""

from datetime import date
from typing import Annotated, Literal, NotRequired, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator
from typing_extensions import TypedDict

from controller.definition.experiment import MinorUnits
from controller.definition.field_types import (
    MOST_A_DAY,
    Currency,
    Day,
    EventId,
    Instant,
    Message,
    Name,
    PlainText,
    SpelledInstant,
    UnitId,
    WrittenInstant,
)
from controller.time.time_zones import TimeZone

#: names a rival
Competitor = Annotated[PlainText, Field(min_length=1)]
AttributeName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Attribute = PlainText | Annotated[int, Field(ge=-(2**63), lt=2**63)] | float | bool


class CatalogEntry(Message):
    """What the owner's systems say of a unit."""

    version: Literal[1] = 1
    unit: UnitId
    #: the zone whose local days are the market's periods; the same for all units of a market
    time_zone: TimeZone
    category: Name | None = None
    attributes: Annotated[dict[AttributeName, Attribute], Field(max_length=100)] = Field(default_factory=dict)
    currency: Currency
    list_price_minor: MinorUnits
    #: unit cost; margin is computed only where it is known
    cost_minor: MinorUnits | None = None
    #: no arm may charge less, or more
    floor_minor: MinorUnits | None = None
    ceiling_minor: MinorUnits | None = None
    #: no longer sold at all
    delisted: bool = False
    #: sold, and there is something to sell
    in_stock: bool = True
    #: local days on which the unit cannot be bought: weekdays, Monday is 1, and dates. Without a sale they are missing
    closed_weekdays: Annotated[tuple[Annotated[int, Field(ge=1, le=7)], ...], Field(max_length=7)] = ()
    closed_on: Annotated[tuple[Day, ...], Field(max_length=1000)] = ()

    def closed(self, day: date) -> bool:
        """Whether the unit cannot be bought on a local day."""
        return day.isoweekday() in self.closed_weekdays or day in self.closed_on


class Sale(Message):
    """So many pieces of a unit sold at a price."""

    version: Literal[1] = 1
    id: EventId
    unit: UnitId
    #: as the seller wrote it, in the seller's offset: sales are many, and nobody needs this one in UTC
    occurred_at: WrittenInstant
    quantity: Annotated[int, Field(ge=0, le=10**9)]
    #: price of one piece
    price_minor: MinorUnits
    #: cost of one piece, where the seller knows it
    cost_minor: MinorUnits | None = None
    currency: Currency

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for what, amount in (("price_minor", self.price_minor), ("cost_minor", self.cost_minor or 0)):
            if self.quantity * amount > MOST_A_DAY:
                raise ValueError(f"quantity x {what} should be at most {MOST_A_DAY}; cut the sale into several")
        return self


class SaleRow(TypedDict):
    """A sale as a plain mapping, under the rules of `Sale`: half the work where thousands are read at a time.

    Its instant is text, in the usual spelling; what is spelled otherwise is read as a `Sale`.
    """

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")  # type: ignore[misc]

    version: NotRequired[Literal[1]]
    id: EventId
    unit: UnitId
    occurred_at: SpelledInstant
    quantity: Annotated[int, Field(ge=0, le=10**9)]
    price_minor: MinorUnits
    cost_minor: NotRequired[MinorUnits | None]
    currency: Currency


class CompetitorPrice(Message):
    """What a rival asks for the same or a substitute product; no price means out of stock."""

    version: Literal[1] = 1
    id: EventId
    unit: UnitId
    competitor: Competitor
    observed_at: Instant
    price_minor: MinorUnits | None
    currency: Currency


class CompetitorPriceRow(TypedDict):
    """A rival's price as a plain mapping, under the rules of `CompetitorPrice`, but for its instant: see `SaleRow`."""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")  # type: ignore[misc]

    version: NotRequired[Literal[1]]
    id: EventId
    unit: UnitId
    competitor: Competitor
    observed_at: SpelledInstant
    price_minor: MinorUnits | None
    currency: Currency


class Applied(Message):
    """A pricing system says what price went live, and on which assignment's word."""

    version: Literal[1] = 1
    id: EventId
    unit: UnitId
    arm: Name
    price_minor: MinorUnits | None
    applied_at: Instant
    #: id of the assignment that it follows; None where its lease had lapsed and control was shown
    assignment: EventId | None
    #: which system says so; records that were written before this field: unknown
    system: PlainText | None = None


class Scope(Message):
    """What a blackout covers."""

    kind: Literal["global", "market", "cluster", "unit"]
    #: the market, cluster or unit; empty for global
    name: Annotated[str, Field(max_length=130)] = ""


class Blackout(Message):
    """A window [starts_at, ends_at) in which no price in its scope may change."""

    version: Literal[1] = 1
    id: Name
    scope: Scope
    starts_at: Instant
    ends_at: Instant
    reason: PlainText
