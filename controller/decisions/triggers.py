"""Triggers: when a rival's price move starts something. Folds competitor prices, says when a rule fires, knows no arm.

A rule fires on the edge: when its condition holds now and did not hold at the observation before. An observation that
is not newer than the newest one is left out, so duplicates and stragglers fire nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from math import comb
from typing import NamedTuple

from controller.definition.experiment import Experiment
from controller.definition.field_types import event_id, market_of
from controller.definition.parameters import (
    OutOfStock,
    PriceDrop,
    PriceRise,
    PriceStays,
    Triggered,
    TriggerRule,
    Undercut,
    fraction,
)
from controller.messages.control import TriggerFired
from controller.messages.inputs import CompetitorPrice

QUORUM_WINDOW = timedelta(days=1)
#: observations of one rival's price of one unit that are remembered, whatever the rule's window: a rival that changes
#: its price more often is looked back on less far
MOST_OBSERVED = 200


class Observation(NamedTuple):
    """A rival's price at an instant; None: out of stock."""

    at: datetime
    event: str
    price_minor: int | None


class RivalHistory(NamedTuple):
    """What is known of one rival's price of one unit: as far back as the rule looks, and not farther."""

    observations: tuple[Observation, ...] = ()
    #: the rule's condition held at the last observation
    holding: bool = False


def observe(
    rule: TriggerRule, history: RivalHistory, event: CompetitorPrice, list_price_minor: int
) -> tuple[RivalHistory, bool]:
    """The history with an event folded in, and whether the rule fires on it."""
    return follow(rule, history, Observation(event.observed_at, event.id, event.price_minor), list_price_minor)


def follow(
    rule: TriggerRule, history: RivalHistory, seen: Observation, list_price_minor: int
) -> tuple[RivalHistory, bool]:
    """What `observe` says, of an observation: ten thousand of them a second are read without a model of each."""
    past, held = history
    # Mostly the instant decides; then nothing is cut out of either.
    if past and seen[0] <= past[-1][0] and seen[:2] <= past[-1][:2]:
        return history, False
    kind = type(rule)
    holds = CONDITIONS[kind](rule, past, seen, list_price_minor)
    kept = (seen,) if kind in LATEST_ONLY else _reaching_back((*past, seen), seen.at - _reach(rule), rule)
    return RivalHistory(kept, holds), holds and not held


def fired(experiment: Experiment, cluster: str, event: CompetitorPrice) -> TriggerFired:
    """The record of a rule that fired on an event; the same event has the same id, however often it is seen."""
    design = experiment.design
    assert isinstance(design, Triggered)
    name = f"{experiment.plan_name}/{cluster}/{event.id}"
    return TriggerFired(
        # Its answers append to it, and are to be found by it.
        id=event_id(name, "/ignored").removesuffix("/ignored"),
        experiment=experiment.name,
        experiment_version=experiment.version,
        market=market_of(event.unit),
        cluster=cluster,
        unit=event.unit,
        competitor=event.competitor,
        event=event.id,
        rule=design.rule.kind,
        observed_at=event.observed_at,
    )


def _reach(rule: TriggerRule) -> timedelta:
    if isinstance(rule, PriceDrop | PriceRise):
        return timedelta(hours=rule.within_hours)
    return timedelta(0)


def _reaching_back(
    observations: tuple[Observation, ...], since: datetime, rule: TriggerRule
) -> tuple[Observation, ...]:
    """The observations within the window, and the one that was in force when it began."""
    if isinstance(rule, PriceStays):
        first = len(observations) - 1
        while first and observations[first - 1].price_minor == observations[-1].price_minor:
            first -= 1
        return (observations[first],) if first == len(observations) - 1 else (observations[first], observations[-1])
    first = max((k for k, seen in enumerate(observations) if seen.at <= since), default=0)
    return observations[max(min(first, len(observations) - 1), len(observations) - MOST_OBSERVED) :]


def _drops(rule: TriggerRule, past: Sequence[Observation], seen: Observation, list_price_minor: int) -> bool:
    assert isinstance(rule, PriceDrop)
    before = _in_force(past, seen.at - timedelta(hours=rule.within_hours))
    return (
        bool(before) and seen.price_minor is not None and seen.price_minor <= max(before) * (1 - fraction(rule.share))
    )


def _rises(rule: TriggerRule, past: Sequence[Observation], seen: Observation, list_price_minor: int) -> bool:
    assert isinstance(rule, PriceRise)
    before = _in_force(past, seen.at - timedelta(hours=rule.within_hours))
    return (
        bool(before) and seen.price_minor is not None and seen.price_minor >= min(before) * (1 + fraction(rule.share))
    )


def _in_force(past: Sequence[Observation], since: datetime) -> list[int]:
    """Prices in force at some instant from ``since`` on."""
    first = max((k for k, seen in enumerate(past) if seen.at <= since), default=0)
    return [seen.price_minor for seen in past[first:] if seen.price_minor is not None]


def _undercuts(rule: TriggerRule, past: Sequence[Observation], seen: Observation, list_price_minor: int) -> bool:
    # The first price ever seen crosses nothing: it may have been below ours for a year.
    if seen.price_minor is None or seen.price_minor >= list_price_minor or not past:
        return False
    before = past[-1].price_minor
    return before is not None and before >= list_price_minor


def _out(rule: TriggerRule, past: Sequence[Observation], seen: Observation, list_price_minor: int) -> bool:
    return seen.price_minor is None and bool(past)


def _stays(rule: TriggerRule, past: Sequence[Observation], seen: Observation, list_price_minor: int) -> bool:
    assert isinstance(rule, PriceStays)
    if seen.price_minor is None:
        return False
    since = seen.at
    for old in reversed(past):
        if old.price_minor != seen.price_minor:
            break
        since = old.at
    return seen.at - since >= timedelta(hours=rule.for_hours)


CONDITIONS: dict[type, Callable[[TriggerRule, Sequence[Observation], Observation, int], bool]] = {
    PriceDrop: _drops,
    PriceRise: _rises,
    Undercut: _undercuts,
    OutOfStock: _out,
    PriceStays: _stays,
}
#: rules that compare with the observation before, and with nothing farther back
LATEST_ONLY = frozenset({Undercut, OutOfStock})


def quorum_reached(design: Triggered, fired_at: Mapping[str, datetime], units_in_cluster: int, now: datetime) -> bool:
    """Whether a cluster's units have fired often enough: one, or the quorum of them within a day up to ``now``."""
    recent = sum(now - QUORUM_WINDOW < at <= now for at in fired_at.values())
    if design.per == "unit":
        return recent >= 1
    return recent >= fraction(design.quorum) * units_in_cluster


# --- does a rival react to us? ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TriggerRate:
    """How often rivals moved against clusters that held an arm."""

    arm: str
    triggers: int
    #: cluster-days at risk
    exposure: int


def reaction_p_value(control: TriggerRate, treated: TriggerRate) -> float:
    """How surprising the two rates are if rivals do not care which arm we hold: exact conditional test, two-sided.

    Given the total, the treated count is binomial with the treated share of the exposure; the p-value sums all counts
    that are no more likely than the one seen (Przyborowski and Wilenski 1940).
    """
    total, exposure = control.triggers + treated.triggers, control.exposure + treated.exposure
    if total == 0 or control.exposure == 0 or treated.exposure == 0:
        return 1.0
    share = Fraction(treated.exposure, exposure)
    weights = [comb(total, k) * share.numerator**k * (share.denominator - share.numerator) ** (total - k)
               for k in range(total + 1)]  # fmt: skip
    seen = weights[treated.triggers]
    return float(Fraction(sum(weight for weight in weights if weight <= seen), sum(weights)))


def reaction_warning(control: TriggerRate, treated: TriggerRate, alpha: float = 0.01) -> str | None:
    """A sentence for the owner where trigger rates differ between arms; None where they do not."""
    p = reaction_p_value(control, treated)
    if p >= alpha:
        return None
    rates = " against ".join(
        f"{r.triggers} triggers in {r.exposure} cluster-days with {r.arm}" for r in (treated, control)
    )
    return (
        f"rivals move at different rates: {rates} (p = {p:.2g}); they may react to our price, so entries are selected"
    )
