"""Registration: from what an owner wrote to an experiment that can run, or all the reasons why it cannot."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from zoneinfo import ZoneInfoNotFoundError

from pydantic import ValidationError

from controller.errors import InvalidExperiment, Problem
from controller.events import CatalogEntry
from controller.experiment import CatalogFilter, Experiment, Market
from controller.periods import day_start, zone
from controller.wire import market_of

NAMED_AT_MOST = 5


def parse(document: str | bytes) -> Experiment:
    """An experiment from its JSON; raises InvalidExperiment with every field that is wrong."""
    try:
        return Experiment.model_validate_json(document)
    except ValidationError as error:
        raise InvalidExperiment(tuple(_problem(detail) for detail in error.errors(include_url=False))) from error


def register(
    experiment: Experiment, catalog: Mapping[str, CatalogEntry], others: Iterable[Experiment], now: datetime
) -> Experiment:
    """The experiment with its units and time zones filled in from the catalog.

    Raises InvalidExperiment that lists every broken rule: unknown units, units or clusters of another experiment at the
    same time, a start in the past, a price outside its limits, too few clusters.
    """
    resolved = resolve(experiment, catalog)
    problems = (*_problems(resolved, catalog, now), *_overlaps(resolved, others))
    if problems:
        raise InvalidExperiment(problems)
    return resolved


def resolve(experiment: Experiment, catalog: Mapping[str, CatalogEntry]) -> Experiment:
    """Units by the filter where none are named, sorted; markets with the time zones that the catalog gives them."""
    units = experiment.units
    if not units and experiment.select is not None:
        units = tuple(unit for unit, entry in catalog.items() if _selected(experiment.select, entry))
    units = tuple(sorted(units))
    zones = {market_of(unit): catalog[unit].time_zone for unit in units if unit in catalog}
    markets = tuple(Market(name=name, time_zone=zones[name]) for name in sorted(zones))
    return experiment.model_copy(update={"units": units, "markets": markets})


def _selected(select: CatalogFilter, entry: CatalogEntry) -> bool:
    market, _, product = entry.unit.partition("/")
    return (
        (select.markets is None or market in select.markets)
        and (select.products is None or product in select.products)
        and (select.categories is None or entry.category in select.categories)
    )


def _problem(detail: Mapping[str, object]) -> Problem:
    location = detail.get("loc", ())
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in _parts(location)).lstrip(".")
    return Problem(path or "(document)", _short(detail.get("input")), str(detail.get("msg")), "see the schema")


def _parts(location: object) -> tuple[object, ...]:
    return location if isinstance(location, tuple) else (location,)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _named(items: Iterable[str]) -> str:
    """A few of many, and how many there are."""
    ordered = sorted(items)
    more = len(ordered) - NAMED_AT_MOST
    return ", ".join(ordered[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def _problems(experiment: Experiment, catalog: Mapping[str, CatalogEntry], now: datetime) -> Iterator[Problem]:
    if not experiment.units:
        yield Problem("units", "none", "an experiment needs units", "name units, or widen `select`")
        return
    repeated = [unit for unit, times in Counter(experiment.units).items() if times > 1]
    if repeated:
        yield Problem("units", _named(repeated), "a unit is named once", "remove the repetitions")
    unknown = [unit for unit in experiment.units if unit not in catalog]
    if unknown:
        yield Problem("units", _named(unknown), "a unit must be in the catalog", "publish its catalog entry first")
    clusters = experiment.cluster_by_unit()
    lonely = [unit for unit in experiment.units if unit not in clusters]
    if lonely:
        yield Problem("clusters", _named(lonely), "each unit is in one cluster", "add the unit to a cluster")
    names = {clusters[unit] for unit in experiment.units if unit in clusters}
    if len(names) < 2:
        yield Problem(
            "clusters", _named(names), "at least two clusters are compared", "cluster by product or unit, or add units"
        )
    arms = [arm.name for arm in experiment.arms]
    if len(set(arms)) < len(arms):
        yield Problem("arms", ", ".join(arms), "arms have different names", "rename one")
    yield from _times(experiment, now)
    yield from _prices(experiment, catalog)


def _times(experiment: Experiment, now: datetime) -> Iterator[Problem]:
    for market in experiment.markets:
        try:
            zone(market.time_zone)
        except (ZoneInfoNotFoundError, ValueError):
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
        for limit, sign, words in (("floor_minor", 1, "below the floor"), ("ceiling_minor", -1, "above the ceiling")):
            broken = []
            for unit in experiment.units:
                entry = catalog.get(unit)
                bound = None if entry is None else getattr(entry, limit)
                if entry is None or bound is None:
                    continue
                price = arm.price.price_minor(entry.list_price_minor)
                if sign * (price - bound) < 0:
                    broken.append(f"{unit} ({price} against {bound})")
            if broken:
                yield Problem(
                    f"arms[{index}].price",
                    _named(broken),
                    f"no price is {words}",
                    "choose a milder price or drop units",
                )
        wrong = [u for u in experiment.units if u in catalog and catalog[u].currency != experiment.currency]
        if wrong and index == 0:
            yield Problem(
                "currency", experiment.currency, f"the catalog's currency for {_named(wrong)}", "use that one"
            )


def _overlaps(experiment: Experiment, others: Iterable[Experiment]) -> Iterator[Problem]:
    units, clusters = set(experiment.units), set(experiment.cluster_names())
    for other in others:
        if other.name == experiment.name:
            if other.version >= experiment.version:
                yield Problem(
                    "version", str(experiment.version), f"{other.name} is registered as version {other.version}",
                    f"use version {other.version + 1}, or another name",
                )  # fmt: skip
            continue
        if other.end <= experiment.start or experiment.end <= other.start:
            continue
        shared = units & set(other.units)
        together = clusters & set(other.cluster_names()) if not shared else set()
        for field, hits in (("units", shared), ("clusters", together)):
            if hits:
                yield Problem(
                    field,
                    _named(hits),
                    f"one experiment per unit and cluster at a time; {other.name} runs {other.start} to {other.end}",
                    "choose other units, or other days",
                )
