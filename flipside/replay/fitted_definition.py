"""A definition fitted to a sales history: its design on the history's stores and products, in the history's weeks."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import fmean

from controller.definition.experiment import Experiment
from controller.definition.parameters import (
    Balance,
    BlockedSwitchback,
    Crossover,
    RandomDays,
    StaggeredRollout,
    TimeBound,
    Triggered,
)
from controller.designs.blocked_switchback import block_starts
from controller.errors import FlipsideError
from flipside.sales_history.history import History

#: part of the weeks that a design which is measured against them leaves before its start
PRE_PERIOD_SHARE = 3
SWITCHING = (RandomDays, BlockedSwitchback)


class DoesNotFit(FlipsideError):
    """A definition cannot run on a history; the message names field, value, rule and way out."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """An experiment on a history's units, and how many of its weeks lie before the start."""

    experiment: Experiment
    before: int


def fit(definition: Experiment, history: History, first_day: date, seed: str | None, before: int | None) -> Fitted:
    """Take design, arms, clusters, balance, carryover and seed; fit units, markets, start and days to the history.

    Limits, guardrails and the seed's disclosure are left out: a replay knows no costs of change and keeps no secret.
    Covariates are the mean units sold a day before the start, by cluster, whatever the definition has.

    Raises:
        DoesNotFit: the design needs more weeks, a pre-period, or clusters that the history does not have.
    """
    weeks = len(history.periods)
    if before is None:
        before = 0 if isinstance(definition.design, SWITCHING) else weeks // PRE_PERIOD_SHARE
    if not 0 <= before <= weeks - 2:
        raise DoesNotFit(f"--pre-weeks {before}: from 0 to {weeks - 2}, so that two of {weeks} weeks are left")
    days = CALENDARS[type(definition.design)](definition, weeks - before)
    units = tuple(sorted(entry.unit for entry in history.catalog))
    clusters = definition.clusters
    if isinstance(clusters, dict):
        strangers = sorted({unit for named in clusters.values() for unit in named} - set(units))
        if strangers:
            raise DoesNotFit(
                f"clusters name {', '.join(strangers[:3])}, which the history does not have; cluster by market, product"
                " or unit"
            )
        units = tuple(sorted(unit for named in clusters.values() for unit in named))
    fitted = definition.model_copy(
        update={
            "owner": "replay",
            "currency": history.currency,
            "units": units,
            "select": None,
            "markets": (),
            "start": first_day + timedelta(days=before),
            "days": days,
            "seed": definition.seed if seed is None else seed,
            "seed_disclosure": "published",
            "limits": type(definition.limits)(),
            "guardrails": (),
        }
    )
    return Fitted(fitted.model_copy(update={"balance": _balance(fitted, history, before)}), before)


def _random_days(definition: Experiment, weeks: int) -> int:
    """Weekday balance asks for whole cycles."""
    assert isinstance(definition.design, RandomDays)
    cycle = 7 * len(definition.arms) if definition.design.weekday_balance else 1
    if weeks < cycle:
        raise DoesNotFit(f"weekday balance needs {cycle} weeks, there are {weeks}; replay more, or leave it out")
    return weeks - weeks % cycle


def _crossover(definition: Experiment, weeks: int) -> int:
    """Phases as they are named; else all weeks, an even number of them."""
    assert isinstance(definition.design, Crossover)
    phases, washout = definition.design.phases, definition.design.washout_days
    days = weeks - weeks % 2 if phases is None else phases[1].first_day + phases[1].days - 1
    if days > weeks:
        raise DoesNotFit(f"design.phases end on day {days}, but {weeks} weeks are left; replay more or shorten them")
    if phases is None and washout >= days // 2:
        raise DoesNotFit(
            f"design.washout_days {washout} leaves nothing of phases of {days // 2} days; replay more than"
            f" {2 * washout + 1} weeks after the pre-period, or wash out less"
        )
    return days


def _time_bound(definition: Experiment, weeks: int) -> int:
    assert isinstance(definition.design, TimeBound)
    if definition.design.washout_days >= weeks:
        raise DoesNotFit(
            f"design.washout_days {definition.design.washout_days} leaves nothing of {weeks} weeks; replay more, or"
            " wash out less"
        )
    return weeks


def _blocked(definition: Experiment, weeks: int) -> int:
    """The most weeks for which the points exist: the published optimum is for multiples of the carryover order."""
    assert isinstance(definition.design, BlockedSwitchback)
    points = definition.design.points
    if isinstance(points, tuple) and points[-1] > weeks:
        raise DoesNotFit(f"design.points go to day {points[-1]}, but there are {weeks} weeks; replay more, or cut them")
    if points != "optimal":
        return weeks
    for days in range(weeks, 1, -1):
        try:
            block_starts(definition.model_copy(update={"days": days}))
        except ValueError:
            continue
        return days
    raise DoesNotFit(
        f"design.points optimal: none are published for carryover order {definition.carryover_order} in {weeks} weeks;"
        " replay more, or assume a shorter carryover"
    )


def _staggered(definition: Experiment, weeks: int) -> int:
    assert isinstance(definition.design, StaggeredRollout)
    needed = definition.design.steps[-1].day + definition.design.washout_days
    if needed > weeks:
        raise DoesNotFit(
            f"design.steps: the last one and its washout take {needed} days, but {weeks} weeks are left; replay more,"
            " or bring the steps forward"
        )
    return weeks


def _triggered(definition: Experiment, weeks: int) -> int:
    design = definition.design
    assert isinstance(design, Triggered)
    for name in ("treatment_days", "enrolment_days", "cool_down_days", "quiet_days"):
        value = getattr(design, name)
        if value is not None and value > weeks:
            raise DoesNotFit(f"design.{name} {value}, but {weeks} weeks are left; replay more, or shorten it")
    return weeks


#: design -> (definition, weeks after the pre-period) -> local days that it runs
CALENDARS: dict[type, Callable[[Experiment, int], int]] = {
    RandomDays: _random_days,
    TimeBound: _time_bound,
    Crossover: _crossover,
    BlockedSwitchback: _blocked,
    StaggeredRollout: _staggered,
    Triggered: _triggered,
}


def _balance(fitted: Experiment, history: History, before: int) -> Balance:
    """The definition's balance, with covariates of this history where it asks for any."""
    balance = fitted.balance
    if isinstance(balance.strata, dict):
        clusters = set(fitted.cluster_names())
        named = {cluster for members in balance.strata.values() for cluster in members}
        if named != clusters:
            raise DoesNotFit(
                f"balance.strata name {len(named)} clusters, the history has {len(clusters)}; use category, covariates"
            )
    if balance.strata != "covariates" and balance.max_distance is None:
        return balance.model_copy(update={"covariates": {}})
    if not before:
        raise DoesNotFit("balance asks for covariates, which are sales before the start; leave some by --pre-weeks")
    sold: dict[str, list[int]] = {}
    clusters_of = fitted.cluster_by_unit()
    for week in history.periods[:before]:
        for row in week:
            if row.unit in clusters_of:
                sold.setdefault(clusters_of[row.unit], []).append(row.packs)
    # A cluster that sold nothing before the start is ranked as such: strata may rest on anything known beforehand.
    before_start = {name: (fmean(sold.get(name, [0])),) for name in fitted.cluster_names()}
    return balance.model_copy(update={"covariates": before_start})
