"""What registration accepts and its owner may not have meant: each a warning with its way out. Pure.

Nothing here refuses an experiment. The rules that do are in `controller.validation.registration.judge`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from difflib import get_close_matches

from controller.definition.experiment import Arm, CatalogFilter, Experiment
from controller.definition.field_types import market_of, product_of
from controller.definition.money import change_percent, money
from controller.definition.parameters import Crossover, RandomDays, TimeBound, Triggered
from controller.definition.weight_cut import WeightCut
from controller.errors import Problem
from controller.messages.inputs import Blackout, CatalogEntry
from controller.validation.blackout_rules import unknown_scope
from controller.validation.cluster_minima import NEEDS, Kind, least_clusters_an_arm, requirement
from controller.validation.definition_rules import named
from controller.validation.graph_clusters import cautions

#: percent of the regular price: a larger step is rare in a shop, a smaller one is not noticed
LARGEST_CHANGE, SMALLEST_CHANGE = Decimal(30), Decimal("0.5")
#: a product whose list price is so many times that of another market was probably typed in another unit
STRANGE_RATIO = 10
#: designs whose one draw closes with the experiment: there is no earlier look
ONE_DRAW = (TimeBound, Crossover, Triggered)


def warnings(
    asked: Experiment,
    resolved: Experiment,
    catalog: Mapping[str, CatalogEntry] | None,
    blackouts: Sequence[Blackout] = (),
    now: datetime | None = None,
    cut: WeightCut | None = None,
) -> tuple[Problem, ...]:
    """Everything worth a second look in an experiment that keeps the rules.

    ``asked``: the definition as written, with its filter; ``resolved``: what `judge` made of it; ``cut``: of the graph
    that its clusters come from.
    """
    entries = {} if catalog is None else catalog
    return (
        *(_no_catalog() if catalog is None else ()),
        *_filter(asked.select, resolved, entries),
        *_prices(resolved, entries),
        *_entries(resolved, entries),
        *_clusters(resolved),
        *cautions(resolved, cut),
        *_blackouts(resolved, entries, blackouts, now),
    )


def _no_catalog() -> Iterator[Problem]:
    rule = "units, currency, prices and the market's time zones are checked against it"
    yield Problem("(catalog)", "not given", rule, "give it with --catalog FILE")


def _filter(
    select: CatalogFilter | None, resolved: Experiment, catalog: Mapping[str, CatalogEntry]
) -> Iterator[Problem]:
    if select is None:
        return
    chosen = [catalog[unit] for unit in resolved.units if unit in catalog]
    for field, of in FILTERS.items():
        values: tuple[str, ...] | None = getattr(select, field)
        known, used = {of(entry) for entry in catalog.values()}, {of(entry) for entry in chosen}
        for index, value in enumerate(values or ()):
            if value in used:
                continue
            near = get_close_matches(value, sorted(name for name in known if name), n=3, cutoff=0.5)
            if value in known:
                rule = "no unit of the catalog has it together with the other filters"
                way_out = "widen the other filters, or remove it"
            else:
                rule = "no unit of the catalog has it"
                way_out = (
                    f"did you mean {' or '.join(near)}?" if near else f"the catalog has {named(n for n in known if n)}"
                )
            yield Problem(f"select.{field}[{index}]", value, rule, way_out)


FILTERS: dict[str, Callable[[CatalogEntry], str | None]] = {
    "markets": lambda entry: market_of(entry.unit),
    "products": lambda entry: product_of(entry.unit),
    "categories": lambda entry: entry.category,
}


def _prices(experiment: Experiment, catalog: Mapping[str, CatalogEntry]) -> Iterator[Problem]:
    for index, arm in enumerate(experiment.arms):
        absolute = arm.price.absolute_minor
        field = f"arms[{index}].price." + ("percent" if absolute is None else "absolute_minor")
        said = _said(arm, experiment.currency)
        if absolute is not None:
            rule = f"every unit then costs {money(absolute, experiment.currency)}, whatever its regular price"
            yield Problem(field, said, rule, "write `percent` for a change, or keep it if one price for all is meant")
        if absolute is None and not arm.price.percent:
            continue
        back, large, small = [], [], []
        for unit in experiment.units:
            entry = catalog.get(unit)
            if entry is None:
                continue
            regular, price = entry.list_price_minor, arm.price.price_minor(entry.list_price_minor)
            change = abs(change_percent(regular, price)) if regular else Decimal(0)
            shown = f"{unit} ({money(regular, experiment.currency)} to {money(price, experiment.currency)})"
            if price == regular:
                back.append(unit)
            elif change > LARGEST_CHANGE:
                large.append(shown)
            elif change < SMALLEST_CHANGE:
                small.append(shown)
        if arm.price.percent is not None and abs(arm.price.percent) < SMALLEST_CHANGE:
            yield Problem(
                field, said, f"a change below {SMALLEST_CHANGE} % is not noticed", "5 % is written 5, not 0.05"
            )
        elif small:
            way_out = "choose a larger step, or drop these units"
            yield Problem(
                field, f"{said}: {named(small)}", f"a change below {SMALLEST_CHANGE} % is not noticed", way_out
            )
        if large:
            rule = f"a change above {LARGEST_CHANGE} % of the regular price"
            yield Problem(field, f"{said}: {named(large)}", rule, "check unit and sign, or choose a milder price")
        if back:
            rule = f"{len(back)} of {len(experiment.units)} units stay at their regular price"
            yield Problem(field, f"{said}: {named(back)}", rule, "choose a larger step, or drop these units")


def _said(arm: Arm, currency: str) -> str:
    rule = arm.price
    return (
        f"{rule.percent} %"
        if rule.absolute_minor is None
        else f"{rule.absolute_minor} ({money(rule.absolute_minor, currency)})"
    )


def _entries(experiment: Experiment, catalog: Mapping[str, CatalogEntry]) -> Iterator[Problem]:
    cheapest: dict[str, CatalogEntry] = {}
    known = [catalog[unit] for unit in experiment.units if unit in catalog]
    for entry in known:
        price, currency = entry.list_price_minor, entry.currency
        if price == 0:
            rule = "a regular price of zero has no percentage"
            yield Problem(f"catalog[{entry.unit}].list_price_minor", "0", rule, "mend the catalog, or drop the unit")
        elif entry.cost_minor is not None and entry.cost_minor >= price:
            rule = f"a unit cost below its list price, {money(price, currency)}"
            way_out = "check whether one of the two is in another unit"
            yield Problem(f"catalog[{entry.unit}].cost_minor", money(entry.cost_minor, currency), rule, way_out)
        product = product_of(entry.unit)
        if price and (product not in cheapest or price < cheapest[product].list_price_minor):
            cheapest[product] = entry
    for entry in known:
        other = cheapest.get(product_of(entry.unit))
        if other is not None and entry.list_price_minor >= STRANGE_RATIO * other.list_price_minor:
            rule = f"{other.unit} costs {money(other.list_price_minor, other.currency)}, less than a tenth"
            way_out = "check whether one of the two is in another unit"
            value = money(entry.list_price_minor, entry.currency)
            yield Problem(f"catalog[{entry.unit}].list_price_minor", value, rule, way_out)


def _clusters(experiment: Experiment) -> Iterator[Problem]:
    design, arms = experiment.design, len(experiment.arms)
    total, least = len(experiment.cluster_names()), least_clusters_an_arm(experiment)
    value = f"{total} clusters, {least} in the smallest arm"
    way_out = "cluster by product or unit, or take in more markets"
    asked: list[tuple[Kind, str]] = [] if isinstance(design, Triggered) else [("fixed", "clusters")]
    if not isinstance(design, ONE_DRAW):
        asked.append(("always_valid", "clusters"))
        asked += [("guardrail", f"guardrails[{k}]") for k in range(len(experiment.guardrails))]
    elif experiment.guardrails:
        rule = "this design's one draw closes with the experiment, so that no guardrail watches it"
        yield Problem("guardrails", design.kind, rule, "use random_days or blocked_switchback, or watch it by hand")
    if isinstance(design, RandomDays) and design.weekday_balance:
        asked.append(("weekday_balance", "design.weekday_balance"))
    for kind, field in asked:
        if least < NEEDS[kind].an_arm:
            yield Problem(field, value, f"{requirement(kind, arms)}; with fewer {NEEDS[kind].otherwise}", way_out)


def _blackouts(
    experiment: Experiment, catalog: Mapping[str, CatalogEntry], blackouts: Sequence[Blackout], now: datetime | None
) -> Iterator[Problem]:
    units = set(catalog) | set(experiment.units)
    for window in blackouts:
        yield from unknown_scope(window.scope, units, (experiment,), f"blackouts[{window.id}].scope.name")
        if now is not None and window.ends_at <= now:
            rule = f"the window is over: it ends before {now}"
            yield Problem(f"blackouts[{window.id}].ends_at", str(window.ends_at), rule, "remove it, or mend its year")
    for name, times in Counter(window.id for window in blackouts).items():
        if times > 1:
            yield Problem(f"blackouts[{name}].id", name, f"{times} windows have this id: the last replaces the others",
                          "give each window an id of its own")  # fmt: skip
