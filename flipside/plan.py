"""What `flipside design` shows of a definition, as one value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from controller.definition.experiment import Experiment, Market, design_hash
from controller.definition.field_types import market_of
from controller.definition.parameters import StaggeredRollout, Triggered
from controller.designs import design_of
from controller.errors import FlipsideError, InvalidExperiment
from controller.messages.graphs import PublishedGraphs
from controller.messages.inputs import Blackout, CatalogEntry
from controller.randomisation.randomisation_points import Search, search
from controller.schedule.blackout import binding
from controller.schedule.calendar import (
    WASHOUT,
    Calendar,
    Delivered,
    RiskReport,
    calendar,
    deliver,
    distances,
    price_changes,
    risk_report,
    weekday_table,
)
from controller.schedule.propensity import propensity
from controller.time.periods import day_start
from controller.validation.registration import judge

#: the zone of a market that no catalog tells of: only blackouts look at it
UNKNOWN_ZONE = "UTC"


@dataclass(frozen=True, slots=True)
class Plan:
    """A design laid out, and what it costs."""

    experiment: Experiment
    design_hash: str
    #: the catalog may still change the hash: it fills in units and time zones
    provisional: bool
    calendar: Calendar
    delivered: Delivered
    #: price changes of each cluster, in the calendar's order
    changes: tuple[int, ...]
    #: clean cluster-days, arms x weekdays
    weekdays: tuple[tuple[int, ...], ...]
    risk: RiskReport | None
    #: smallest and largest chance of each arm over clusters, in the first block
    propensity: tuple[tuple[float, float], ...]
    #: None: exact
    propensity_draws: int | None
    distances: tuple[float, ...]
    #: first day of a block -> chance of each arm from then on, where the design changes it as it goes; exact
    steps: tuple[tuple[date, tuple[float, ...]], ...] = ()


def checked(
    experiment: Experiment,
    catalog: Mapping[str, CatalogEntry] | None,
    now: datetime | None = None,
    graphs: PublishedGraphs | None = None,
) -> Experiment:
    """The definition resolved as far as the catalog goes; raises InvalidExperiment with every rule that it breaks.

    The rules are registration's own (`controller.validation.registration.judge`). Without a catalog those that need
    one are left out, without ``now`` the one on the start; other experiments are known to the running system alone.
    """
    resolved, problems = judge(experiment, catalog, (), now, graphs)
    if problems:
        raise InvalidExperiment(problems)
    known = resolved.time_zones()
    markets = sorted({market_of(unit) for unit in resolved.units})
    return resolved.model_copy(
        update={"markets": tuple(Market(name=m, time_zone=known.get(m, UNKNOWN_ZONE)) for m in markets)}
    )


def plan_of(experiment: Experiment, blackouts: Sequence[Blackout], draws: int, *, provisional: bool = False) -> Plan:
    """Lay a checked definition out."""
    layout = calendar(experiment)
    delivered = deliver(experiment, layout, blackouts)
    chances = propensity(experiment, layout.blocks[0], draws)
    by_arm = list(zip(*chances.chances.values(), strict=True))
    return Plan(
        experiment=experiment,
        design_hash=design_hash(experiment),
        provisional=provisional,
        calendar=layout,
        delivered=delivered,
        changes=tuple(int(n) for n in price_changes(delivered.arms)),
        weekdays=tuple(tuple(int(n) for n in row) for row in weekday_table(layout, len(experiment.arms))),
        risk=risk_report(experiment),
        propensity=tuple((min(values), max(values)) for values in by_arm),
        propensity_draws=chances.draws,
        distances=distances(experiment, layout),
        steps=_steps(experiment, layout),
    )


def _steps(experiment: Experiment, layout: Calendar) -> tuple[tuple[date, tuple[float, ...]], ...]:
    if not isinstance(experiment.design, StaggeredRollout):
        return ()
    design, blocks = design_of(experiment), {block.index: block for block in layout.blocks}
    return tuple((block.first, tuple(design.propensities(experiment, block))) for block in blocks.values())


def points_of(
    experiment: Experiment, blackouts: Sequence[Blackout], most_points: int | None, whole_weeks: bool
) -> Search:
    """The best points outside all blackouts that forbid a change of any of the experiment's units."""
    zones, clusters = experiment.time_zones(), experiment.cluster_by_unit()
    forbidden = {
        k + 1
        for k in range(experiment.days)
        if (whole_weeks and k % 7)
        or any(
            binding(
                blackouts, unit, clusters[unit], day_start(experiment.start + timedelta(days=k), zones[market_of(unit)])
            )
            for unit in (experiment.units if blackouts else ())
        )
    }
    try:
        return search(experiment.days, experiment.carryover_order, forbidden=forbidden, most_points=most_points)
    except ValueError as error:
        raise FlipsideError(str(error)) from error


def why_left_out(
    experiment: Experiment, layout: Calendar, delivered: Delivered, windows: Sequence[Blackout], cluster: str, day: date
) -> str | None:
    """Why the analysis leaves a cluster's day out, as far as the plan tells; None where its data count.

    ``windows``: those that bind the cluster when the day begins, see :func:`windows_on`. Washout is judged by the arms
    that blackouts leave, as the analysis judges it by the arms that were held.
    """
    row, column = layout.clusters.index(cluster), (day - experiment.start).days
    if isinstance(experiment.design, Triggered):
        return "nothing has entered yet: days count from a cluster's entry on"
    if windows:
        named = ", ".join(window.id for window in windows)
        return f"blackout {named} binds when the day begins, so that the window and not the draw decides its arm"
    if WASHOUT[type(experiment.design)](experiment, layout.blocks, delivered.arms)[row, column]:
        return "washout: the arm before it may still act"
    planned = {int(arm) for arm in layout.arms[:, column]}
    if len(planned) == 1:
        arm = experiment.arms[planned.pop()].name
        return f"the plan has every cluster on {arm} on this day, so that there is nothing to compare with"
    return None


def windows_on(experiment: Experiment, blackouts: Sequence[Blackout], cluster: str, day: date) -> tuple[Blackout, ...]:
    """The windows in which a unit of the cluster may not change its price when the local day begins."""
    zones = experiment.time_zones()
    found = {
        window.id: window
        for unit, of in experiment.cluster_by_unit().items()
        if of == cluster
        and (window := binding(blackouts, unit, cluster, day_start(day, zones[market_of(unit)]))) is not None
    }
    return tuple(found[name] for name in sorted(found))


def as_object(plan: Plan) -> dict[str, Any]:
    """The plan for machines."""
    names = [arm.name for arm in plan.experiment.arms]
    return {
        "experiment": plan.experiment.name,
        "version": plan.experiment.version,
        "design": plan.experiment.design.kind,
        "design_hash": plan.design_hash,
        "provisional": plan.provisional,
        "carryover_order": plan.experiment.carryover_order,
        "arms": names,
        "days": [str(day) for day in plan.calendar.days],
        "blocks": [block.index for block in plan.calendar.blocks],
        "calendar": {
            cluster: {
                "arms": plan.calendar.arms[row].tolist(),
                "delivered": plan.delivered.arms[row].tolist(),
                "washout": [int(k) for k in plan.calendar.washout[row].nonzero()[0]],
                "blocked": [int(k) for k in plan.delivered.blocked[row].nonzero()[0]],
                "changes": plan.changes[row],
            }
            for row, cluster in enumerate(plan.calendar.clusters)
        },
        "weekdays": dict(zip(names, plan.weekdays, strict=True)),
        "propensity": {
            "draws": plan.propensity_draws,
            "range": dict(zip(names, plan.propensity, strict=True)),
            "from": {str(day): dict(zip(names, chances, strict=True)) for day, chances in plan.steps},
        },
        "risk": None
        if plan.risk is None
        else {
            "worst_case": plan.risk.risk,
            "optimum": plan.risk.optimal_risk,
            "optimal_points": plan.risk.optimal_points,
        },
        "covariate_distances": plan.distances,
    }
