"""Units, prices and warnings as text: one block for `design`, `submit` and `experiment list --long`."""

from collections.abc import Iterator, Mapping

from controller.definition.money import amount
from controller.schedule.preflight import ArmPrices, Preview, Spread

#: markets or clusters that are counted by name; all of them are in --json
SHOWN = 12


def lines(found: Preview) -> Iterator[str]:
    """Units by market and cluster, prices by arm, warnings; money in the currency's unit."""
    yield f"units: {found.units} in {len(found.by_cluster)} clusters"
    yield f"  by market: {_counts(found.by_market)}"
    yield f"  by cluster: {_counts(found.by_cluster)}"
    if found.cut is not None:
        yield (
            f"  clusters of graph {found.cut.graph}: {found.cut.pairs:,} pairs of substitutes among the units,"
            f" {found.cut.cut:.1%} of their weight leaves its cluster, the heaviest holds {found.cut.heaviest:.1%}"
        )
    if found.priced < found.units:
        yield f"prices: of {found.priced} units; the regular price of {found.units - found.priced} is not known"
    for arm in found.arms:
        yield from _prices(arm, found)
    for warning in found.warnings:
        yield f"warning: {warning}"


def _prices(arm: ArmPrices, found: Preview) -> Iterator[str]:
    least, most = arm.units_a_day
    held = f"{least}" if least == most else f"{least} to {most}"
    yield f"arm {arm.arm}: {held} units a day"
    if arm.price_minor is None or arm.regular_minor is None:
        return
    yield f"  price {_spread(arm.price_minor, found.currency)}, regular {_spread(arm.regular_minor, found.currency)}"
    if arm.change_percent is not None:
        low, high = (f"{side:+.2f}" for side in arm.change_percent)
        change = low if low == high else f"{low} to {high}"
        yield f"  change {change} %; {arm.at_regular} of {found.priced} units at their regular price"


def _spread(prices: Spread, currency: str) -> str:
    least, median, greatest = (amount(price, currency) for price in prices)
    if least == greatest:
        return f"{least} {currency}"
    return f"{least} to {greatest} {currency} (median {median})"


def _counts(counts: Mapping[str, int]) -> str:
    shown = [f"{name} {number}" for name, number in list(counts.items())[:SHOWN]]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {more} more (--json has all)" if more else "")
