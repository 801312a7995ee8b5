"""The designs that are tried: each as a definition that an owner could register, or with the reason why not.

Periods are rows of the history: local days, or weeks where the history has weeks (the replay plays such a week as a
day, so that a definition means the same here and there).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from math import ceil
from typing import Any, Literal

from controller.definition.experiment import Arm, Experiment, PriceRule
from controller.definition.money import NO_CURRENCY
from controller.definition.parameters import BlockedSwitchback, RandomDays
from controller.designs.blocked_switchback import block_starts
from controller.randomisation.randomisation_points import MOST_CARRYOVER, search
from controller.validation.definition_rules import timeless_problems

Clusters = Literal["market", "product", "unit"] | dict[str, tuple[str, ...]]
#: a Monday: rehearsals need a calendar, not a date
FIRST_DAY = date(2001, 1, 1)
TRIGGERED = "a history of periods does not tell when within a day a rival moved"
KINDS = ("random_days", "blocked_switchback", "crossover", "time_bound", "staggered_rollout", "triggered")
#: m periods are washed out in all of them: burn-in of blocks, washout of the others; held windows keep what they can
#: lengths of blocks that are tried, beside twice the carryover order
BLOCKS = (2, 4, 7, 14)


@dataclass(frozen=True, slots=True)
class Constraints:
    """What the owner allows, and believes about carryover."""

    #: length of the experiment, in periods
    periods: int
    #: days in a period: 1, or 7 where the history has weeks
    period_days: int = 1
    #: m: periods that an arm still acts after it ended
    carryover: int = 0
    #: changes of a unit's price within seven days, at most
    changes_a_week: float | None = None
    #: kinds of designs that may run
    kinds: tuple[str, ...] = KINDS

    @property
    def week(self) -> int:
        """Periods in a week."""
        return 7 // self.period_days


@dataclass(frozen=True, slots=True)
class Candidate:
    """One design, fitted to the constraints."""

    name: str
    kind: str
    #: the fields of a definition that make it this design
    definition: Mapping[str, Any]
    #: periods that it runs, at most those that were asked for
    periods: int
    #: it measures changes since a pre-period
    needs_pre_period: bool = False
    #: its blocks are draws of their own and enter one after the other: a running interval exists
    sequential: bool = False
    #: why it may not run; it is then rehearsed for comparison only, or not at all
    refused: str | None = None
    #: without a definition that can be drawn there is nothing to rehearse
    drawable: bool = True


def candidates(constraints: Constraints) -> Iterator[Candidate]:
    """Every design, those that the constraints forbid with the reason."""
    for candidate in _all(constraints):
        if candidate.kind in constraints.kinds:
            yield candidate


def _all(c: Constraints) -> Iterator[Candidate]:
    m, periods = c.carryover, c.periods
    # With carryover random days may not be registered; they are shown for what they would cost.
    yield Candidate("random days", "random_days", _carried({"kind": "random_days"}, m), periods, sequential=True)
    if m == 0:
        cycle = periods - periods % 14
        balanced = {"design": {"kind": "random_days", "weekday_balance": True}}
        if c.period_days == 1:
            yield Candidate("random days, weekdays even", "random_days", balanced, cycle or 14)
    for length in sorted({max(2, 2 * m), *BLOCKS}):
        if length <= m or 2 * length > max(periods, 14):
            continue
        design = {"kind": "blocked_switchback", "block_days": length, "burn_in_days": m}
        yield Candidate(f"blocks of {length}", "blocked_switchback", _carried(design, m), periods, sequential=True)
    if m > 0:
        whole = max(periods - periods % m, 4 * m)
        design = {"kind": "blocked_switchback", "points": "optimal"}
        yield Candidate("held windows, optimal", "blocked_switchback", _carried(design, m), whole)
        yield from _searched(c)
    yield Candidate(
        "crossover",
        "crossover",
        _carried({"kind": "crossover", "washout_days": m}, m),
        periods - periods % 2,
        needs_pre_period=True,
    )
    bound = _carried({"kind": "time_bound", "washout_days": m}, m)
    yield Candidate("time-bound", "time_bound", bound, periods, needs_pre_period=True)
    pairs = {"balance": {"strata": "covariates", "stratum_size": 2}}
    yield Candidate("time-bound, pairs", "time_bound", bound | pairs, periods, needs_pre_period=True)
    steps = [{"day": 1 + k * periods // 4, "share": f"{k + 1}/4"} for k in range(3)]
    rollout = {"kind": "staggered_rollout", "steps": steps, "washout_days": m}
    yield Candidate("staggered roll-out", "staggered_rollout", _carried(rollout, m), periods, needs_pre_period=True)
    yield Candidate("triggered", "triggered", {}, periods, refused=TRIGGERED, drawable=False)


def _carried(design: Mapping[str, Any], order: int) -> dict[str, Any]:
    return {"design": dict(design), "carryover_order": order}


def _searched(c: Constraints) -> Iterator[Candidate]:
    """The points of least worst-case risk among those that change no price more often than the owner allows."""
    if c.changes_a_week is None or c.carryover > MOST_CARRYOVER:
        return
    gap = ceil(c.week / c.changes_a_week)
    if gap <= 1:
        return
    try:
        points = search(c.periods, c.carryover, least_gap=gap).points
    except ValueError:
        return
    design = {"kind": "blocked_switchback", "points": list(points)}
    yield Candidate("held windows, searched", "blocked_switchback", _carried(design, c.carryover), c.periods)


def experiment_of(
    candidate: Candidate, units: tuple[str, ...], clusters: Clusters, currency: str = NO_CURRENCY
) -> Experiment:
    """The candidate on these units, as an owner would register it; a seed is put in later."""
    base = Experiment(
        name="advice",
        currency=currency,
        units=units,
        clusters=clusters,
        arms=(Arm(name="control"), Arm(name="treatment", price=PriceRule(percent=Decimal(5)))),
        start=FIRST_DAY,
        days=candidate.periods,
        seed="advice",
    )
    body = base.model_dump(mode="json") | dict(candidate.definition)
    return Experiment.model_validate_json(json.dumps(body))


def refusal(experiment: Experiment, constraints: Constraints) -> str | None:
    """Why a definition may not run: a rule that registration would name, or too many changes of price."""
    for problem in timeless_problems(experiment):
        if not problem.field.startswith("balance.covariates"):
            return f"{problem.field} = {problem.value}: {problem.rule}"
    most = most_changes_a_week(experiment, constraints.week)
    allowed = constraints.changes_a_week
    if allowed is not None and most > allowed:
        return f"up to {most} price changes in a week, {allowed:g} are allowed"
    return None


def most_changes_a_week(experiment: Experiment, week: int) -> int:
    """The most times that a unit's arm can be drawn anew within a week's periods, whatever the draws."""
    design = experiment.design
    if isinstance(design, RandomDays):
        return week
    if not isinstance(design, BlockedSwitchback):
        return 1
    starts = block_starts(experiment)
    return max(sum(first <= other < first + week for other in starts) for first in starts)
