"""Every assumption that an experiment's numbers rest on, checked on what the worker holds, as messages for the topic.

The checks themselves are pure (analysis/diagnostics); here they are fed. All of them are published after every closed
day; one that cannot be made yet, or has no meaning for the design, says so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from analysis.checks import loss_checks
from analysis.checks.arm_cells import cluster_shares
from analysis.checks.balance import interference, pre_period_balance, treated_share_of, weekday_balance_of
from analysis.checks.carryover import Redraws, carryover_test, less_other_draws, non_anticipation_test
from analysis.checks.cell_scan import Survey, survey
from analysis.checks.concentration import concentration
from analysis.checks.delivery import activation_lag, fidelity_of, reporting_of
from analysis.checks.pairs_apart import interference_of_pairs
from analysis.checks.trigger_rates import trigger_rates
from analysis.checks.verdict import Check, unknown
from analysis.panel_data.analysis_context import Case
from analysis.panel_data.panel import FloatArray, IntArray
from analysis.panel_data.study import NOT_REPORTED, State, outcome
from analysis.panel_data.substitutes import NoGraph, Substitutes, weights_between
from analysis.sequential.block_sums import clusters_of
from analysis.sequential.interim_analyses import points_of
from analysis.sequential.running_sequences import settings_of
from controller.definition.experiment import Experiment
from controller.definition.field_types import market_of
from controller.definition.parameters import BlockedSwitchback, StaggeredRollout, Triggered
from controller.errors import NotEstimable
from controller.messages.findings import MOST_NAMED, Health

#: tests by a bootstrap of clusters take this many, evenly spread over the sorted names: more would tell nothing new
CLUSTERS_TESTED = 500
#: neighbours are looked at over the last weeks: a category does not change from day to day
DAYS_OF_NEIGHBOURS = 28
TWO_ARMS = "the test compares two arms, and this experiment has more"


@dataclass(frozen=True)
class Seen:
    """What the checks look at."""

    case: Case
    survey: Survey

    @cached_property
    def cluster_days(self) -> tuple[FloatArray, IntArray]:
        """Two checks ask for them."""
        return _cluster_days(self.case)

    @cached_property
    def redraws(self) -> Redraws:
        """They follow from the design hash and the day."""
        seed = int.from_bytes(bytes.fromhex(self.case.roster.design_hash)[:8]) + self.case.through.toordinal()
        return Redraws(seed)

    @cached_property
    def pairs_apart(self) -> tuple[Check, tuple[str, ...]] | None:
        """The check by the graph's pairs, and the units of the worst; None where no graph is published."""
        return None if self.case.substitutes is None else _pairs_apart(self.case, self.case.substitutes)


def health(case: Case) -> list[Health]:
    """All checks of an experiment, in the order of ``CHECKS``."""
    words, settings = case.words, settings_of(case.roster.experiment)
    seen = Seen(case, survey(case.days, case.roster.experiment))
    left_out = {state.name.lower(): number for state, number in seen.survey.by_state.items() if number}
    found = []
    for name, check in CHECKS.items():
        result = check(seen)
        found.append(
            Health(
                check=name,
                value=None if result.value is None or not np.isfinite(result.value) else result.value,
                threshold=result.threshold,
                verdict=result.verdict,
                what_to_do=result.what_to_do,
                evidence=result.evidence[:500],
                cells=seen.survey.assigned,
                left_out=left_out,
                settings=settings,
                units=_named(seen, name, result),
                **words,
            )
        )
    return found


def _fidelity(seen: Seen) -> Check:
    experiment, found = seen.case.roster.experiment, seen.survey
    days = [str(experiment.start + timedelta(days=k)) for k in range(found.planned.shape[1])]
    return fidelity_of(found.reported, found.right, days, [arm.name for arm in experiment.arms])


def _not_shown(seen: Seen) -> tuple[str, ...]:
    """Some units of the worst arm and day that were reported on another arm."""
    days, found = seen.case.days, seen.survey
    share = np.divide(found.right, found.reported, out=np.full(found.right.shape, np.inf), where=found.reported > 0)
    arm, row = divmod(int(np.argmin(share)), share.shape[1])
    assigned, live = days.assigned[days.before + row], days.live[days.before + row]
    wrong = np.flatnonzero((assigned == arm) & (live != NOT_REPORTED) & (live != arm))
    return tuple(sorted(seen.case.units[k] for k in wrong)[:MOST_NAMED])


def _reporting(seen: Seen) -> Check:
    return reporting_of(int(seen.survey.planned.sum()), int(seen.survey.reported.sum()))


def _activation_lag(seen: Seen) -> Check:
    return activation_lag(seen.case.lags.astype(np.float64))


def _weekday_balance(seen: Seen) -> Check:
    observed = seen.survey.observed
    weekday = (np.arange(observed.shape[1]) + seen.case.roster.experiment.start.weekday()) % 7
    daily = np.stack([observed[0], observed[1:].sum(axis=0)])
    counts = np.stack([np.bincount(weekday, row, minlength=7) for row in daily]).astype(np.int64)
    return weekday_balance_of(counts)


def _treated_share(seen: Seen) -> Check:
    """On days on which every cluster is under an arm of the draw."""
    experiment, found = seen.case.roster.experiment, seen.survey
    if isinstance(experiment.design, StaggeredRollout | Triggered) or len(experiment.arms) > 2:
        return unknown("treated share", 0.05, "the design does not treat the same share of two arms in every block")
    clusters = len(found.treated)
    whole = np.flatnonzero(found.clusters_assigned == clusters)
    planned = float(experiment.shares()[1])
    if not len(whole):
        return unknown("treated share", 0.05, "on no day is every cluster under an arm of the draw")
    known = np.full(len(whole), clusters)
    # counts are rounded to whole clusters
    threshold = 0.05 + 1.0 / clusters
    return treated_share_of(found.clusters_treated[whole], known, whole, planned=planned, threshold=threshold)


def _pre_period_balance(seen: Seen) -> Check:
    days, clusters = seen.case.days, clusters_of(seen.case.days.cluster)
    before = slice(0, days.before)
    free = days.observed[before] & (days.state[before] == State.PRE_PERIOD)
    total = clusters.sums(np.where(free, days.quantity[before], 0).sum(axis=0)[np.newaxis])[0]
    count = clusters.sums(free.sum(axis=0)[np.newaxis])[0]
    treated, control = seen.survey.treated, seen.survey.control
    mean = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
    share = np.divide(treated, treated + control, out=np.full(len(total), np.nan), where=treated + control > 0)
    return pre_period_balance(mean, share)


def _trigger_rates(seen: Seen) -> Check:
    case = seen.case
    experiment, days = case.roster.experiment, case.days
    if not isinstance(experiment.design, Triggered):
        return unknown("trigger rates", 0.1, "only triggered experiments wait for triggers")
    arm = _cluster_arms(case)[days.before :]
    names = {name: number for number, name in enumerate(case.roster.clusters)}
    by_day = np.zeros((len(arm), 2), dtype=np.int64)
    for day, cluster in case.triggers:
        row = (day - experiment.start).days
        if 0 <= row < len(arm) and cluster in names and arm[row, names[cluster]] >= 0:
            by_day[row, int(arm[row, names[cluster]] > 0)] += 1
    at_risk = np.array([(arm == 0).sum(), (arm > 0).sum()], dtype=np.float64)
    return trigger_rates(np.cumsum(by_day, axis=0), at_risk)


def _interference(seen: Seen) -> Check:
    """By the pairs of the graph where one is published, by category otherwise."""
    case = seen.case
    if seen.pairs_apart is not None:
        return seen.pairs_apart[0]
    missing = len(case.units) - len(case.categories)
    if missing:
        return unknown("interference", 0.1, f"{missing} units have no category in the catalog")
    recent = case.days.state[case.days.before :][-DAYS_OF_NEIGHBOURS:]
    # Buyers switch between what they are offered together: another market's shelf is out of their reach.
    return interference(recent.T, [f"{market_of(unit)}/{case.categories[unit]}" for unit in case.units])


def _pairs_apart(case: Case, substitutes: Substitutes | NoGraph) -> tuple[Check, tuple[str, ...]]:
    if isinstance(substitutes, NoGraph):
        return unknown("interference", 0.1, substitutes.reason), ()
    recent = case.days.state[case.days.before :][-DAYS_OF_NEIGHBOURS:]
    return interference_of_pairs(recent.T, weights_between(substitutes, case.units), case.units, substitutes.version)


def _named(seen: Seen, name: str, result: Check) -> tuple[str, ...]:
    """Units that a check names, where it has found something."""
    if name == "fidelity" and result.verdict == "fail":
        return _not_shown(seen)
    if name == "interference" and result.verdict == "warn" and seen.pairs_apart is not None:
        return seen.pairs_apart[1][:MOST_NAMED]
    return ()


def _concentration(seen: Seen) -> Check:
    return concentration(cluster_shares(seen.case.days, "units"), seen.case.roster.clusters)


def _carryover(seen: Seen) -> Check:
    order = seen.case.roster.experiment.carryover_order
    return _bootstrapped(
        seen,
        "carryover",
        lambda value, arm, points, burn_in, rng: carryover_test(
            value, arm, points, assumed_order=order, longer_order=max(order, burn_in) + 1, rng=rng
        ),
    )


def _non_anticipation(seen: Seen) -> Check:
    return _bootstrapped(
        seen,
        "non-anticipation",
        lambda value, arm, points, _, rng: non_anticipation_test(
            less_other_draws(value, points), arm, points, lead=1, rng=rng
        ),
    )


Test = Callable[[FloatArray, IntArray, list[int], int, Redraws], Check]


def _bootstrapped(seen: Seen, name: str, test: Test) -> Check:
    """A test on cluster-days, less their cluster's mean."""
    experiment = seen.case.roster.experiment
    design = experiment.design
    if len(experiment.arms) > 2:
        return unknown(name, 0.05, TWO_ARMS)
    try:
        points = points_of(experiment)
    except NotEstimable as reason:
        return unknown(name, 0.05, str(reason))
    value, arm = seen.cluster_days
    periods = value.shape[1]
    points = [point for point in points if point < periods]
    if not points or points[0] != 0 or periods < 2:
        return unknown(name, 0.05, "fewer than two days have closed")
    burn_in = design.burn_in_days if isinstance(design, BlockedSwitchback) else 0
    return test(value, arm, points, burn_in, seen.redraws)


def _cluster_days(case: Case) -> tuple[FloatArray, IntArray]:
    """(G, T) means of the units' sales less their own mean, and the arms, of at most ``CLUSTERS_TESTED`` clusters."""
    days = case.days
    count = len(case.roster.clusters)
    chosen = np.unique(np.linspace(0, count - 1, min(count, CLUSTERS_TESTED)).astype(np.int64))
    units = np.flatnonzero(np.isin(days.cluster, chosen))
    _, cluster = np.unique(days.cluster[units], return_inverse=True)
    value = outcome(days, "units", units, slice(days.before, None))
    state = days.state[days.before :][:, units]
    value[state < 0] = np.nan
    seen = np.isfinite(value)
    level = np.where(seen, value, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    clusters = clusters_of(cluster)
    number = clusters.sums(seen)
    mean = np.divide(
        clusters.sums(np.where(seen, value - level, 0.0)), number, out=np.full(number.shape, np.nan), where=number > 0
    )
    return mean.T, _highest(state, cluster).T.astype(np.int64)


def _cluster_arms(case: Case) -> NDArray[np.int8]:
    """(T, G) the arm of each cluster: that of its units that have one."""
    return _highest(case.days.assigned, case.days.cluster)


def _highest(state: NDArray[np.int8], cluster: IntArray) -> NDArray[np.int8]:
    order = np.argsort(cluster, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(cluster[order]) > 0])
    return np.asarray(np.maximum.reduceat(state[:, order], starts, axis=1))


def _of(check: Callable[[Experiment, Survey], Check]) -> Callable[[Seen], Check]:
    """A check that rests on the survey alone."""
    return lambda seen: check(seen.case.roster.experiment, seen.survey)


#: name on the topic -> the check
CHECKS: dict[str, Callable[[Seen], Check]] = {
    "carryover": _carryover,
    "non-anticipation": _non_anticipation,
    "sample-ratio": _of(loss_checks.sample_ratio),
    "fidelity": _fidelity,
    "reporting": _reporting,
    "activation-lag": _activation_lag,
    "weekday-balance": _weekday_balance,
    "treated-share": _treated_share,
    "pre-period-balance": _pre_period_balance,
    "trigger-rates": _trigger_rates,
    "missingness": _of(loss_checks.missingness),
    "surprising-zeros": _of(loss_checks.surprising_zeros),
    "late-sales": _of(loss_checks.late_sales),
    "corrected-unit-days": _of(loss_checks.corrected),
    "pieces-per-sale": _of(loss_checks.pieces_per_sale),
    "revenue-per-piece": _of(loss_checks.revenue_per_piece),
    "stock-outs": _of(loss_checks.stock_outs),
    "rivals-price-staleness": _of(loss_checks.staleness),
    "interference": _interference,
    "concentration": _concentration,
}
