"""Limits that need no history: the catalog's floor and ceiling, margin, and distance from control and list price."""

from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from controller.definition.parameters import Limits
from controller.messages.inputs import CatalogEntry


@dataclass(frozen=True, slots=True)
class PriceChange:
    """A unit's price from an instant on."""

    at: datetime
    price_minor: int


@dataclass(frozen=True, slots=True)
class Breach:
    """A limit that a price would break."""

    rule: str
    #: the price that the rule compares with; None where the rule lacks what it compares with
    bound_minor: int | None

    def __str__(self) -> str:
        return self.rule if self.bound_minor is None else f"{self.rule} ({self.bound_minor})"


def static_breach(
    limits: Limits, entry: CatalogEntry, control_minor: int, price_minor: int, *, control: bool = False
) -> Breach | None:
    """The first limit that a price of an arm breaks whatever the unit's past; control knows floor and ceiling only."""
    if entry.floor_minor is not None and price_minor < entry.floor_minor:
        return Breach("no price is below the floor", entry.floor_minor)
    if entry.ceiling_minor is not None and price_minor > entry.ceiling_minor:
        return Breach("no price is above the ceiling", entry.ceiling_minor)
    if control:
        return None
    if limits.min_margin_percent is not None:
        if entry.cost_minor is None:
            return Breach("a minimum margin needs a known cost", None)
        if price_minor * 100 < entry.cost_minor * (100 + Fraction(limits.min_margin_percent)):
            return Breach(f"at least {limits.min_margin_percent} % above cost", entry.cost_minor)
    off = limits.max_off_list_percent
    if off is not None and abs(price_minor - entry.list_price_minor) * 100 > entry.list_price_minor * Fraction(off):
        return Breach(f"within {off} % of the list price", entry.list_price_minor)
    step = limits.max_change_percent
    if step is not None and abs(price_minor - control_minor) * 100 > min(price_minor, control_minor) * Fraction(step):
        return Breach(f"within {step} % of control, there and back", control_minor)
    return None
