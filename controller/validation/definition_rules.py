"""The rules that a resolved experiment must keep: each broken one becomes a problem with its way out."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from zoneinfo import ZoneInfoNotFoundError

from controller.definition.experiment import COMMITMENT, Experiment, Market, PriceRule
from controller.definition.field_types import market_of
from controller.errors import Problem
from controller.messages.inputs import CatalogEntry
from controller.time.periods import day_start, zone
from controller.validation.design_rules import design_problems
from controller.validation.price_rules import static_breach

NAMED_AT_MOST = 5
LAST_ZONE = "Etc/GMT+12"


def named(items: Iterable[str]) -> str:
    """A few of many, and how many there are."""
    ordered = sorted(items)
    more = len(ordered) - NAMED_AT_MOST
    return ", ".join(ordered[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def problems(
    experiment: Experiment, catalog: Mapping[str, CatalogEntry] | None, now: datetime | None
) -> Iterator[Problem]:
    """Every rule that a resolved experiment breaks, as far as the catalog and the time are known."""
    yield from timeless_problems(experiment)
    if catalog is not None:
        yield from catalog_problems(experiment, catalog)
    if now is not None:
        yield from _times(experiment if catalog is not None else _in_the_last_zone(experiment), now)


def _in_the_last_zone(experiment: Experiment) -> Experiment:
    """Where no catalog tells the zones a start is past only if it is so in the zone whose days begin last."""
    names = sorted({market_of(unit) for unit in experiment.units})
    return experiment.model_copy(update={"markets": tuple(Market(name=n, time_zone=LAST_ZONE) for n in names)})


def timeless_problems(experiment: Experiment) -> Iterator[Problem]:
    """The rules that need neither the catalog nor the clock."""
    if experiment.units and experiment.select is not None:
        yield Problem(
            "select", "given beside `units`", "units are named or selected, not both", "remove one of the two"
        )
    if not experiment.units:
        yield Problem("units", "none", "an experiment needs units", "name units, or widen `select`")
        return
    repeated = [unit for unit, times in Counter(experiment.units).items() if times > 1]
    if repeated:
        yield Problem("units", named(repeated), "a unit is named once", "remove the repetitions")
    yield from _clusters(experiment)
    yield from _arms(experiment)
    if COMMITMENT.match(experiment.seed):
        yield Problem(
            "seed", experiment.seed[:20] + "...", "a seed, not the commitment to one", "write the seed itself"
        )
    if experiment.carryover_order >= experiment.days:
        yield Problem(
            "carryover_order",
            str(experiment.carryover_order),
            f"m is smaller than the number of days ({experiment.days})",
            "run longer, or assume a shorter carryover",
        )
    yield from design_problems(experiment)


def catalog_problems(experiment: Experiment, catalog: Mapping[str, CatalogEntry]) -> Iterator[Problem]:
    """The rules that need the catalog: units, currency, costs, categories, prices."""
    yield from _catalog(experiment, catalog)
    yield from _prices(experiment, catalog)


def _clusters(experiment: Experiment) -> Iterator[Problem]:
    units = set(experiment.units)
    if isinstance(experiment.clusters, dict):
        placed = Counter(unit for members in experiment.clusters.values() for unit in members)
        twice = [unit for unit, times in placed.items() if times > 1]
        if twice:
            yield Problem("clusters", named(twice), "each unit is in one cluster", "remove all but one of its places")
        strangers = [unit for unit in placed if unit not in units]
        if strangers:
            yield Problem(
                "clusters", named(strangers), "clusters hold units of this experiment", "add them to `units`, or remove"
            )
        empty = [name for name, members in experiment.clusters.items() if not members]
        if empty:
            yield Problem("clusters", named(empty), "a cluster has at least one unit", "remove it")
    clusters = experiment.cluster_by_unit()
    lonely = [unit for unit in experiment.units if unit not in clusters]
    if lonely:
        yield Problem("clusters", named(lonely), "each unit is in one cluster", "add the unit to a cluster")
    names = {clusters[unit] for unit in experiment.units if unit in clusters}
    if len(names) < 2:
        yield Problem(
            "clusters", named(names), "at least two clusters are compared", "cluster by product or unit, or add units"
        )
    elif len(names) < len(experiment.arms):
        yield Problem(
            "clusters", f"{len(names)}", f"at least one cluster for each of {len(experiment.arms)} arms", "add clusters"
        )


def _arms(experiment: Experiment) -> Iterator[Problem]:
    arms = [arm.name for arm in experiment.arms]
    if len(set(arms)) < len(arms):
        yield Problem("arms", ", ".join(arms), "arms have different names", "rename one")
    shares = [arm.share for arm in experiment.arms if arm.share is not None]
    if not shares:
        return
    if len(shares) < len(arms):
        without = [arm.name for arm in experiment.arms if arm.share is None]
        yield Problem("arms.share", f"none for {named(without)}", "all arms name a share or none does", "add it")
        return
    total = sum(experiment.shares())
    if total != 1:
        spelled = " + ".join(str(share) for share in shares)
        yield Problem("arms.share", f"{spelled} = {total}", "shares sum to one", "mend one; thirds are '1/3'")


def _catalog(experiment: Experiment, catalog: Mapping[str, CatalogEntry]) -> Iterator[Problem]:
    known = [catalog[unit] for unit in experiment.units if unit in catalog]
    unknown = [unit for unit in experiment.units if unit not in catalog]
    if unknown:
        yield Problem("units", named(unknown), "a unit must be in the catalog", "publish its catalog entry first")
    zones: dict[str, set[str]] = {}
    for entry in known:
        zones.setdefault(market_of(entry.unit), set()).add(entry.time_zone)
    for market, several in sorted(zones.items()):
        if len(several) > 1:
            yield Problem(
                f"markets[{market}].time_zone", ", ".join(sorted(several)), "a market has one time zone",
                "mend the catalog",
            )  # fmt: skip
    wrong = [entry.unit for entry in known if entry.currency != experiment.currency]
    if wrong:
        yield Problem("currency", experiment.currency, f"the catalog's currency for {named(wrong)}", "use that one")
    gone = [entry.unit for entry in known if entry.delisted]
    if gone:
        yield Problem("units", named(gone), "a unit on sale", "drop what the catalog calls delisted")
    costless = [entry.unit for entry in known if entry.cost_minor is None]
    needs_cost = [f"guardrails[{k}].metric" for k, g in enumerate(experiment.guardrails) if g.metric == "margin"]
    if experiment.limits.min_margin_percent is not None:
        needs_cost.append("limits.min_margin_percent")
    for field in needs_cost if costless else ():
        yield Problem(field, f"no cost for {named(costless)}", "margin needs unit costs", "publish `cost_minor`")
    if experiment.balance.strata == "category":
        yield Problem(
            "balance.strata", "category", "each cluster's units share one category, and all have one",
            "mend the catalog's categories, or name the strata",
        )  # fmt: skip


def _times(experiment: Experiment, now: datetime) -> Iterator[Problem]:
    for market in experiment.markets:
        try:
            zone(market.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            yield Problem(
                f"markets[{market.name}].time_zone", market.time_zone, "a zone of the IANA database", "mend the catalog"
            )
            continue
        announced = day_start(experiment.start, market.time_zone) - experiment.lead
        if announced < now:
            yield Problem(
                "start",
                f"{experiment.start} ({market.name})",
                f"assignments go out {experiment.lead_minutes} minutes before the first day begins",
                f"start after {now.date()}, or shorten lead_minutes",
            )
            return


def _prices(experiment: Experiment, catalog: Mapping[str, CatalogEntry]) -> Iterator[Problem]:
    for index, arm in enumerate(experiment.arms):
        broken: dict[str, list[str]] = {}
        for unit in experiment.units:
            entry = catalog.get(unit)
            if entry is None:
                continue
            price = arm.price.price_minor(entry.list_price_minor)
            breach = static_breach(
                experiment.limits, entry, experiment.control.price.price_minor(entry.list_price_minor), price,
                control=index == 0,
            )  # fmt: skip
            if breach is not None:
                broken.setdefault(breach.rule, []).append(f"{unit} ({price} against {breach.bound_minor})")
        for rule, units in broken.items():
            yield Problem(
                f"arms[{index}].price.{_field(arm.price)}",
                f"{_said(arm.price)}: {named(units)}",
                rule,
                "choose a milder price or drop units",
            )


def _field(rule: PriceRule) -> str:
    return "absolute_minor" if rule.absolute_minor is not None else "percent"


def _said(rule: PriceRule) -> str:
    if rule.absolute_minor is not None:
        return str(rule.absolute_minor)
    return "the list price" if rule.percent is None else f"{rule.percent} %"
