"""Registration: from what an owner wrote to an experiment that can run, or all the reasons why it cannot."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from pydantic import ValidationError

from controller.definition.error_messages import explain
from controller.definition.experiment import CatalogFilter, Experiment, Market
from controller.definition.field_types import market_of
from controller.errors import InvalidExperiment, Problem
from controller.messages.graphs import PublishedGraphs
from controller.messages.inputs import CatalogEntry
from controller.validation.definition_rules import named, problems
from controller.validation.graph_clusters import clusters_by_graph

#: a definition that names a million units has 40 MB; what is larger is a mistake or an attack
MOST_BYTES = 64 * 1024 * 1024
#: versions may be dates, 20261124; they may not run out
MOST_JUMP = 1_000_000


def parse(document: str | bytes) -> Experiment:
    """An experiment from its JSON; raises InvalidExperiment with every field that is wrong."""
    if len(document) > MOST_BYTES:
        size = f"{len(document)} bytes"
        raise InvalidExperiment((Problem("(document)", size, f"at most {MOST_BYTES} bytes", "use `select`"),))
    try:
        return Experiment.model_validate_json(document)
    except ValidationError as error:
        raise InvalidExperiment(explain(error, Experiment)) from error


def register(
    experiment: Experiment,
    catalog: Mapping[str, CatalogEntry],
    others: Iterable[Experiment],
    now: datetime,
    graphs: PublishedGraphs | None = None,
) -> Experiment:
    """The experiment with units, time zones and strata from the catalog, and clusters from the graph that it names.

    Raises InvalidExperiment that lists every broken rule: unknown units, units or clusters of another experiment at the
    same time, a start in the past, a price outside its limits, too few clusters, parameters that contradict the design.
    """
    resolved, found = judge(experiment, catalog, others, now, graphs)
    if found:
        raise InvalidExperiment(found)
    return resolved


def judge(
    experiment: Experiment,
    catalog: Mapping[str, CatalogEntry] | None,
    others: Iterable[Experiment],
    now: datetime | None,
    graphs: PublishedGraphs | None = None,
) -> tuple[Experiment, tuple[Problem, ...]]:
    """The experiment resolved as far as the catalog is known, and every rule of registration that it breaks.

    The one list of rules: `flipside design` and `validate` ask it with what they are given, `submit` and the worker
    with everything. ``catalog`` None: rules on units, currency and prices are left out. ``now`` None: the start is.
    ``graphs`` None: clusters that are resolved already are taken as they are, so that `verify` needs no graph.
    """
    missing = (*(_needs_catalog(experiment) if catalog is None else ()), *(_needs_graph(experiment, graphs)))
    if missing:
        return experiment, missing
    placed = experiment if catalog is None else _with_units(experiment, catalog)
    clustered, unclustered = (placed, ()) if graphs is None else clusters_by_graph(placed, graphs)
    resolved = clustered if catalog is None else _with_strata(clustered, catalog)
    return resolved, (*unclustered, *problems(resolved, catalog, now), *_overlaps(resolved, others))


def _needs_graph(experiment: Experiment, graphs: PublishedGraphs | None) -> Iterator[Problem]:
    asked = experiment.clusters_from
    if asked is not None and graphs is None and not isinstance(experiment.clusters, dict):
        value = f"graph {asked.graph}, max_size {asked.max_size}"
        yield Problem(
            "clusters_from", value, "clusters stand in the published graph",
            "give it with --graph FILE, as `flipside graph publish --out FILE` writes it",
        )  # fmt: skip


def _needs_catalog(experiment: Experiment) -> Iterator[Problem]:
    if experiment.select is not None and not experiment.units:
        asked = experiment.select.model_dump_json(exclude_none=True)
        yield Problem("select", asked, "units are selected from the catalog", "give it with --catalog FILE")
    if experiment.balance.strata == "category":
        yield Problem("balance.strata", "category", "categories stand in the catalog", "give it with --catalog FILE")


def resolve(experiment: Experiment, catalog: Mapping[str, CatalogEntry]) -> Experiment:
    """Units, markets and strata as the catalog has them; clusters as they are written."""
    return _with_strata(_with_units(experiment, catalog), catalog)


def _with_units(experiment: Experiment, catalog: Mapping[str, CatalogEntry]) -> Experiment:
    """Units by the filter where none are named, sorted; markets with the time zones that the catalog gives them."""
    units = experiment.units
    changes: dict[str, object] = {}
    if not units and experiment.select is not None:
        units = tuple(unit for unit, entry in catalog.items() if _selected(experiment.select, entry))
        changes["select"] = None
    units = tuple(sorted(units))
    zones = {market_of(unit): catalog[unit].time_zone for unit in units if unit in catalog}
    markets = tuple(Market(name=name, time_zone=zones[name]) for name in sorted(zones))
    return experiment.model_copy(update={**changes, "units": units, "markets": markets})


def _with_strata(experiment: Experiment, catalog: Mapping[str, CatalogEntry]) -> Experiment:
    strata = _by_category(experiment, catalog) if experiment.balance.strata == "category" else None
    if strata is None:
        return experiment
    return experiment.model_copy(update={"balance": experiment.balance.model_copy(update={"strata": strata})})


def _by_category(experiment: Experiment, catalog: Mapping[str, CatalogEntry]) -> dict[str, tuple[str, ...]] | None:
    """Category -> its clusters; None where a cluster has no category, or several."""
    categories: dict[str, set[str | None]] = {}
    for unit, cluster in experiment.cluster_by_unit().items():
        categories.setdefault(cluster, set()).add(catalog[unit].category if unit in catalog else None)
    strata: dict[str, list[str]] = {}
    for cluster, several in sorted(categories.items()):
        category = next(iter(several))
        if len(several) > 1 or category is None:
            return None
        strata.setdefault(category, []).append(cluster)
    return {category: tuple(clusters) for category, clusters in strata.items()}


def _selected(select: CatalogFilter, entry: CatalogEntry) -> bool:
    market, _, product = entry.unit.partition("/")
    return (
        (select.markets is None or market in select.markets)
        and (select.products is None or product in select.products)
        and (select.categories is None or entry.category in select.categories)
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
            elif experiment.version - other.version > MOST_JUMP:
                # The last version there is would be the last that this name ever has.
                yield Problem(
                    "version", str(experiment.version),
                    f"at most {MOST_JUMP} above version {other.version}, which is registered",
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
                    named(hits),
                    f"one experiment per unit and cluster at a time; {other.name} runs {other.start} to {other.end}",
                    "choose other units, or other days",
                )
