"""Price limits: what no arm but control may do to a price. A breach keeps control and says so.

Control is always allowed, because going back to it is what every safety net does. So that the way back is within the
limits too, a step is measured in both directions, and a change away from control needs room for two changes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from controller.decisions.decide import Flip, Proposal
from controller.definition.parameters import Limits
from controller.messages.inputs import CatalogEntry
from controller.validation.price_rules import Breach, PriceChange, static_breach

WEEK = timedelta(days=7)


def breach(
    limits: Limits,
    entry: CatalogEntry,
    control_minor: int,
    price_minor: int,
    history: Sequence[PriceChange],
    at: datetime,
) -> Breach | None:
    """The first limit that a price would break at an instant; None where it may be charged.

    ``history``: the unit's price changes up to ``at``, in the order of time; empty where nothing is known, and then the
    unit stands at control.
    """
    found = static_breach(limits, entry, control_minor, price_minor)
    if found is not None or price_minor == control_minor:
        return found
    last = history[-1].price_minor if history else control_minor
    if limits.max_change_percent is not None and too_far(last, price_minor, limits.max_change_percent):
        return Breach(f"within {limits.max_change_percent} % of the last price", last)
    if limits.max_changes_a_week is not None and price_minor != last:
        recent = sum(at - WEEK < change.at <= at for change in history)
        if recent + 2 > limits.max_changes_a_week:
            rule = f"at most {limits.max_changes_a_week} changes within seven days, the way back included"
            return Breach(f"{rule}; {recent} were made", last)
    if limits.lowest_price_factor is not None:
        lowest = lowest_price(history, control_minor, at - timedelta(days=limits.lowest_price_days), at)
        if price_minor > lowest * Fraction(limits.lowest_price_factor):
            days = limits.lowest_price_days
            return Breach(
                f"at most {limits.lowest_price_factor} times the lowest price of the last {days} days", lowest
            )
    return None


def too_far(one: int, other: int, percent: Decimal) -> bool:
    """Whether the step between two prices exceeds so many percent of the lower one."""
    return abs(one - other) * 100 > min(one, other) * Fraction(percent)


def lowest_price(history: Sequence[PriceChange], before_minor: int, since: datetime, until: datetime) -> int:
    """The lowest price in force at some instant of [since, until); ``before_minor`` before the first known change."""
    held = before_minor
    prices: list[int] = []
    for change in history:
        if change.at <= since:
            held = change.price_minor
        elif change.at < until:
            prices.append(change.price_minor)
    return min((held, *prices))


@dataclass(frozen=True, slots=True)
class Kept:
    """A unit that keeps control because its planned arm would break a limit."""

    unit: str
    planned_arm: int
    price_minor: int
    breach: Breach


def keep_within(
    flip: Flip,
    limits: Limits,
    catalog: Mapping[str, CatalogEntry],
    history_of: Callable[[str], Sequence[PriceChange]],
) -> tuple[Flip, tuple[Kept, ...]]:
    """A flip in which every proposal keeps the limits, and the units that had to keep control.

    A unit whose list price is not known cannot be checked: its price is not ours to name, and it passes.
    """
    kept: dict[str, Kept] = {}
    for proposal in flip.proposals:
        if proposal.arm == 0:
            continue
        entry, prices = catalog.get(proposal.unit), proposal.prices_minor
        price, control = prices[proposal.arm], prices[0]
        if entry is None or price is None or control is None:
            continue
        found = breach(limits, entry, control, price, history_of(proposal.unit), flip.effective_at)
        if found is not None:
            kept[proposal.unit] = Kept(proposal.unit, proposal.arm, price, found)
    if not kept:
        return flip, ()

    def within(proposal: Proposal) -> Proposal:
        found = kept.get(proposal.unit)
        if found is None:
            return proposal
        return replace(proposal, arm=0, planned_arm=proposal.arm, detail=str(found.breach))

    return replace(flip, proposals=tuple(within(proposal) for proposal in flip.proposals)), tuple(kept.values())
