"""What an owner may choose: one model for each design, and the rules that balance, trigger, limit and guard it.

Days of an experiment are counted from 1: day 1 is its ``start``. Shares are decimals or fractions in quotes ("1/3").
"""

from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, PlainSerializer, StringConstraints

from controller.definition.field_types import ClusterId, Message, Name
from controller.definition.metrics import Metric

LONGEST = 3660
DayNumber = Annotated[int, Field(ge=1, le=LONGEST)]
SomeDays = Annotated[int, Field(ge=1, le=LONGEST)]
NoOrSomeDays = Annotated[int, Field(ge=0, le=LONGEST)]
FractionText = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,5}/[1-9][0-9]{0,5}$")]
#: one spelling, whatever zeros its author wrote: hashes are taken of it
Exact = Annotated[Decimal, PlainSerializer(lambda number: format(number.normalize(), "f"), str, when_used="json")]
#: in (0, 1]: 0.25, or "1/3" where no decimal is exact
Share = Annotated[Exact, Field(gt=0, le=1, max_digits=12)] | FractionText
#: in percent of a price
Percentage = Annotated[Exact, Field(gt=0, le=1000, max_digits=9, decimal_places=4)]


def fraction(share: Decimal | str) -> Fraction:
    """A share as an exact number."""
    return Fraction(share)


# --- designs ---------------------------------------------------------------------------------------------------------


class RandomDays(Message):
    """Each local day is a block of its own, dealt anew. Valid only where an arm stops acting when it ends (m = 0)."""

    kind: Literal["random_days"] = "random_days"
    #: each cluster has every arm on the same number of Mondays, Tuesdays, ...: blocks a week apart are then dependent
    weekday_balance: bool = False


class TimeBound(Message):
    """A random part of the clusters is treated from the first day to the last; the rest are controls."""

    kind: Literal["time_bound"]
    #: days thrown out after the start
    washout_days: NoOrSomeDays = 0


class Phase(Message):
    """A run of days of a crossover."""

    first_day: DayNumber
    days: SomeDays


class Crossover(Message):
    """Half A is treated in phase 1, half B in phase 2; the first days of both phases are thrown out."""

    kind: Literal["crossover"]
    #: both phases; without them the experiment's days are halved. Between them everyone has control
    phases: tuple[Phase, Phase] | None = None
    washout_days: NoOrSomeDays = 7


class BlockedSwitchback(Message):
    """Coins at block starts; the first days of each block are burnt in."""

    kind: Literal["blocked_switchback"]
    #: length of each block in days (the last may be shorter), or
    block_days: SomeDays | None = None
    #: the days on which blocks begin, 1 first; "optimal" takes the published optimum for the carryover order
    points: Literal["optimal"] | tuple[DayNumber, ...] | None = None
    #: days thrown out at each block start; at least the carryover order
    burn_in_days: NoOrSomeDays = 0


class Step(Message):
    """From ``day`` on, ``share`` of the clusters are treated."""

    day: DayNumber
    share: Share


class StaggeredRollout(Message):
    """A planned share of the clusters enters treatment at each step and stays."""

    kind: Literal["staggered_rollout"]
    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=100)]
    #: days thrown out after a cluster's entry
    washout_days: NoOrSomeDays = 0


Hours = Annotated[int, Field(ge=1, le=24 * 90)]


class PriceDrop(Message):
    """A rival's price is lower by ``share`` than its highest within the last hours."""

    kind: Literal["price_drop"]
    share: Share
    within_hours: Hours = 24


class PriceRise(Message):
    """A rival's price is higher by ``share`` than its lowest within the last hours."""

    kind: Literal["price_rise"]
    share: Share
    within_hours: Hours = 24


class Undercut(Message):
    """A rival's price crosses from at least our list price to below it."""

    kind: Literal["undercut"]


class OutOfStock(Message):
    """A rival runs out of stock (a price event without a price)."""

    kind: Literal["out_of_stock"]


class PriceStays(Message):
    """A rival's price has not changed for so many hours; fires once for each such price."""

    kind: Literal["price_stays"]
    for_hours: Hours


TriggerRule = Annotated[PriceDrop | PriceRise | Undercut | OutOfStock | PriceStays, Field(discriminator="kind")]


class Triggered(Message):
    """Like time-bound, but each cluster's clock starts when a rival moves; the coin was tossed before that."""

    kind: Literal["triggered"]
    rule: TriggerRule
    #: one unit's event starts its cluster, or so many of the cluster's units must have fired within a day
    per: Literal["unit", "cluster"] = "unit"
    quorum: Share = Decimal("0.5")
    #: local days that an entry lasts
    treatment_days: SomeDays
    #: days thrown out after an entry begins
    washout_days: NoOrSomeDays = 0
    #: entries begin only in the first days of the experiment; None: on all of them
    enrolment_days: SomeDays | None = None
    #: days after an entry ended before the cluster may enter again
    cool_down_days: NoOrSomeDays = 0
    #: days without a trigger and without an entry before one that may start: only then is it randomisable
    quiet_days: NoOrSomeDays = 0
    #: entries of a market that may run at the same time
    max_concurrent: Annotated[int, Field(ge=1, le=10**6)] | None = None
    #: an event that is older when it arrives starts nothing and is reported
    max_staleness_minutes: Annotated[int, Field(ge=1, le=7 * 1440)] = 60
    #: None: at the next local-day boundary that is still ahead by the lead time; else so long after the event
    delay_minutes: Annotated[int, Field(ge=1, le=7 * 1440)] | None = None


#: closed set: one member a design, told apart by ``kind``
DesignParameters = Annotated[
    RandomDays | TimeBound | Crossover | BlockedSwitchback | StaggeredRollout | Triggered,
    Field(discriminator="kind"),
]


# --- balance, limits, guardrails, the catalog ------------------------------------------------------------------------


class Balance(Message):
    """How a draw is kept even beyond its shares."""

    #: clusters dealt among themselves: by category, by pre-period covariates, or by name
    strata: Literal["category", "covariates"] | dict[Name, tuple[ClusterId, ...]] | None = None
    #: size of a stratum by covariates; 2 makes pairs
    stratum_size: Annotated[int, Field(ge=2, le=10_000)] = 2
    #: pre-period numbers of each cluster, in one fixed order; the first one ranks strata
    covariates: dict[ClusterId, Annotated[tuple[FiniteFloat, ...], Field(min_length=1, max_length=16)]] = Field(
        default_factory=dict
    )
    #: draw again until sum_k n_k (x_k - x)' S^-1 (x_k - x) over arms is at most this (Morgan and Rubin 2012)
    max_distance: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = None
    #: after so many draws the one with the least distance is taken
    max_draws: Annotated[int, Field(ge=1, le=10_000)] = 200


class Limits(Message):
    """What no arm but control may do to a price, beside the catalog's floor and ceiling."""

    #: price at least so many percent above unit cost; a unit without a known cost then keeps control
    min_margin_percent: Annotated[Exact, Field(ge=0, le=1000, max_digits=9)] | None = None
    #: largest step from the last price and back to control, in percent
    max_change_percent: Percentage | None = None
    #: farthest from the list price, in percent
    max_off_list_percent: Percentage | None = None
    #: changes of a unit's price within any seven days of 24 hours, the way back to control included
    max_changes_a_week: Annotated[int, Field(ge=2, le=100)] | None = None
    #: never above the lowest price of the last days times the factor
    lowest_price_factor: Annotated[Exact, Field(gt=0, le=100, max_digits=9)] | None = None
    lowest_price_days: Annotated[int, Field(ge=1, le=366)] = 30


class Guardrail(Message):
    """A metric that must not fall by more than ``tolerance`` against control."""

    metric: Metric
    #: harm reverts to control and freezes at once; a signal only pauses
    on_breach: Literal["revert", "pause"] = "revert"
    #: loss per cluster-day that is put up with, in the metric's own unit
    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    #: chance of a false alarm over the whole experiment
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    #: blocks after which a decision is expected: where the bound is tightest
    expected_blocks: Annotated[int, Field(ge=1, le=LONGEST)] = 28


CatalogReaction = Literal["keep", "reprice", "drop"]


class CatalogPolicy(Message):
    """What a change of the catalog does to a running unit: keep its prices, price anew within limits, or drop it."""

    cost_up: CatalogReaction = "reprice"
    list_price_changed: CatalogReaction = "reprice"
    delisted: Literal["keep", "drop"] = "drop"
    out_of_stock: Literal["keep", "drop"] = "keep"
