"""What `flipside design` shows of a definition, as one value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from controller.definition.experiment import Experiment, Market, design_hash
from controller.definition.field_types import market_of
from controller.definition.parameters import StaggeredRollout
from controller.designs import design_of
from controller.errors import FlipsideError, InvalidExperiment
from controller.messages.inputs import Blackout, CatalogEntry
from controller.randomisation.randomisation_points import Search, search
from controller.schedule.blackout import binding
from controller.schedule.calendar import (
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
from controller.validation.definition_rules import timeless_problems
from controller.validation.registration import resolve

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


def checked(experiment: Experiment, catalog: Mapping[str, CatalogEntry]) -> Experiment:
    """The definition resolved as far as the catalog goes; raises InvalidExperiment with every broken timeless rule.

    Start, prices and other experiments are checked when it is submitted, because they need the clock and the system.
    """
    resolved = resolve(experiment, catalog) if catalog else experiment
    problems = tuple(timeless_problems(resolved))
    if problems:
        raise InvalidExperiment(problems)
    if resolved.balance.strata == "category":
        raise FlipsideError("strata by category need the catalog; give it with --catalog FILE")
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
