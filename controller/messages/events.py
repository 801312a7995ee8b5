"""The published language: what Flipside writes, and the CloudEvents type of every message that crosses a topic."""

from typing import Annotated, Literal

from pydantic import Field

from controller.definition.experiment import Experiment, MinorUnits, Target
from controller.definition.field_types import (
    ClusterId,
    Currency,
    Day,
    DayTotal,
    EventId,
    Hash,
    Instant,
    Message,
    Name,
    Ordinal,
    PartitionName,
    PlainText,
    Text,
    UnitId,
    Version,
)
from controller.definition.metrics import Metric
from controller.messages.inputs import (
    Applied,
    Attribute,
    AttributeName,
    Blackout,
    CatalogEntry,
    CompetitorPrice,
    Sale,
)

SOURCE = "/flipside"

Count = Annotated[int, Field(ge=0, le=10**9)]
Sequence = Ordinal


# --- what Flipside decides -------------------------------------------------------------------------------------------

ReasonCode = Literal["scheduled", "blackout", "limit", "dropped", "released", "late"]


class Reason(Message):
    """Why a unit has the arm it has: a code for machines, a detail for people."""

    code: ReasonCode
    detail: Text = ""


class Assignment(Message):
    """The arm of a unit over [effective_at, expires_at); afterwards, with nothing newer, control."""

    version: Literal[1] = 1
    #: experiment.version/day/unit: the same decision has the same id, however often it is published
    id: EventId
    unit: UnitId
    cluster: ClusterId
    experiment: Name
    experiment_version: Version
    design_hash: Hash
    block: Annotated[int, Field(ge=-(2**31), lt=2**31)]
    #: the local day for which this was decided
    day: Day
    arm: Name
    #: what the draw asked for; differs from ``arm`` where a rule kept the old one
    planned_arm: Name
    #: None where the list price is not known to Flipside
    price_minor: MinorUnits | None
    currency: Currency
    effective_at: Instant
    #: end of the lease: None for a release to control, which needs none
    expires_at: Instant | None
    decided_at: Instant
    #: apply only what is newer: (epoch, sequence) greater than what you hold
    epoch: Sequence
    sequence: Sequence
    reason: Reason


class Registered(Message):
    """An experiment was accepted: its definition and hash, published before its start."""

    version: Literal[1] = 1
    id: EventId
    experiment: Experiment
    design_hash: Hash
    registered_at: Instant
    #: unit -> list price and cost in the catalog of that moment: what a change of the catalog is a change from
    listed: dict[UnitId, tuple[MinorUnits, MinorUnits | None]] = Field(default_factory=dict)
    #: attribute -> its value in the catalog of that moment, by unit in the order of the definition's units; what the
    #: catalog says later may be an outcome
    attributes: dict[AttributeName, tuple[Attribute | None, ...]] = Field(
        default_factory=dict, exclude_if=lambda given: not given
    )
    #: attributes for which there was no room in the record
    attributes_left_out: tuple[AttributeName, ...] = Field(default=(), exclude_if=lambda names: not names)


class Refused(Message):
    """A definition or a blackout was refused; every broken rule is named."""

    version: Literal[1] = 1
    id: EventId
    subject: Text
    problems: tuple[Text, ...]
    refused_at: Instant


class BlackoutSet(Message):
    """A blackout window was stored (or removed): from here on it binds every flip."""

    version: Literal[1] = 1
    id: EventId
    blackout: Name
    removed: bool
    recorded_at: Instant


class Undelivered(Message):
    """Days of a market for which no assignment went out in time: their cells are reported, never replayed late."""

    version: Literal[1] = 1
    id: EventId
    experiment: Name
    experiment_version: Version
    market: Name
    first_day: Day
    last_day: Day
    reason: Text
    decided_at: Instant


class Withheld(Message):
    """Units for which nothing was written, because another experiment holds them: they keep what they have."""

    version: Literal[1] = 1
    id: EventId
    experiment: Name
    experiment_version: Version
    market: Name
    day: Day
    units: tuple[UnitId, ...]
    reason: Text
    decided_at: Instant


class StopExperiment(Message):
    """An owner ends an experiment early: its units go back to control at the next day boundary not yet decided."""

    version: Literal[1] = 1
    experiment: Name
    reason: PlainText
    requested_at: Instant


class Stopped(Message):
    """An experiment was stopped; nothing more is drawn for it."""

    version: Literal[1] = 1
    id: EventId
    experiment: Name
    experiment_version: Version
    reason: Text
    stopped_at: Instant


# --- the clock -------------------------------------------------------------------------------------------------------


class Tick(Message):
    """It is now ``at``: recorded, so that a recorded history replays to the same decisions."""

    version: Literal[1] = 1
    kind: Literal["tick"] = "tick"
    at: Instant


class Ownership(Message):
    """A worker took over a shard: the OFFSET of this record is its epoch."""

    version: Literal[1] = 1
    kind: Literal["ownership"] = "ownership"
    worker: Text
    at: Instant


# --- what is counted and learned -------------------------------------------------------------------------------------


class UnitDay(Message):
    """All accepted sales of a unit in a period. A later record of the same key with a higher revision replaces it."""

    version: Literal[1] = 1
    unit: UnitId
    day: Day
    starts_at: Instant
    ends_at: Instant
    quantity: DayTotal
    revenue_minor: DayTotal
    #: None unless the cost of every sale of the day is known
    cost_minor: DayTotal | None
    currency: Currency
    #: number of sale events folded in
    events: Count
    revision: Count
    #: what is counted: all sales of the unit before this offset of their partition, and none from it on
    offset: Ordinal | None = None
    #: sale events among ``events`` that arrived after the day had been closed for the first time
    late: Count = 0


#: why nothing is known of a listed unit on a closed day on which no sale of it was read
MissingReason = Literal["feed_silent", "closed"]


class UnsoldUnits(Message):
    """Units that the catalog listed for a whole local day and of which no sale was read; the rows are the others.

    A unit-day in ``zeros`` sold nothing: quantity, revenue and cost are 0. One in ``missing`` is unknown. A row of the
    same unit and day replaces either. A market with many units has several parts; a later record of the same key with
    a higher revision replaces it.
    """

    version: Literal[1] = 1
    market: Name
    day: Day
    #: units are cut into parts in the order of their names: a unit stays in its part
    part: Count
    #: products: units without their market
    zeros: tuple[Name, ...]
    #: reason -> products
    missing: dict[MissingReason, tuple[Name, ...]] = Field(default_factory=dict)
    revision: Count


class PeriodClosed(Message):
    """A market's day is closed up to ``watermark``: all its unit-days (or their revisions) are in this topic."""

    version: Literal[1] = 1
    market: Name
    day: Day
    watermark: Instant
    #: sale topic partition -> next offset: everything before it is counted
    offsets: dict[PartitionName, Ordinal]
    #: unit-days and sale events of this day
    unit_days: Count
    events: Count
    #: rows of this or earlier days that were published again because sales came late
    revised: Count
    #: 0 at the first closing, then counting up
    revision: Count
    #: sale topic partition -> offset from which the days that may still change, of all markets, can be counted again
    recount: dict[PartitionName, Ordinal] = Field(default_factory=dict)
    #: units of the day that sold nothing (``UnsoldUnits.zeros``, less those that have a row by now); None in records
    #: that were written before zeros were, in which an absent row says nothing
    zeros: Count | None = None
    #: reason -> listed units of the day of which nothing is known
    missing: dict[MissingReason, Count] = Field(default_factory=dict)
    #: sale topic partition -> its sale events of this day: what later days of the same weekday are judged by
    partition_events: dict[PartitionName, Ordinal] = Field(default_factory=dict)
    #: units that sold although their catalog entry says that they were closed on this day
    sold_while_closed: Count = 0


class SaleCorrection(Message):
    """A sale that came when its day took no more: it is in no unit-day, and kept here instead.

    It may repeat a sale that is counted, because ids are forgotten with the day: compare before adding it.
    """

    version: Literal[1] = 1
    #: the unit, and a digest of it and the sale's own id: a repetition has the same
    id: EventId
    sale: Sale
    #: the local day that it belongs to
    day: Day
    #: the last day of the market that was closed when it came
    closed_through: Day
    #: where it lies in the sale topic
    partition: Count
    offset: Ordinal


#: estimator of the estimates that lean on controls instead of draws: beside a design-based one, never in its place
OBSERVATIONAL = "observational_panel"


class EffectEstimate(Message):
    """One number with what it rests on; where it cannot be given, ``reason_absent`` says why."""

    value: float
    se: float
    #: both None where the interval cannot be bounded: ``unbounded`` says why
    ci_low: float | None
    ci_high: float | None
    #: two-sided, against no effect, for one look on the planned day; the same for the absolute and the relative effect
    p: float | None = None
    unbounded: Text | None = None


class AnytimeEffect(Message):
    """An effect whose interval and p-value hold at every look."""

    value: float
    ci_low: float
    ci_high: float
    p: float | None
    #: closed randomisation blocks behind it
    blocks: Count
    #: the same as a share of control's mean; None where that is too close to zero, or the interval cannot be bounded
    relative: float | None = None
    relative_low: float | None = None
    relative_high: float | None = None


class TargetEffect(Message):
    """The fixed-horizon effect on another target than the primary one, from the same cells."""

    target: Target
    absolute: EffectEstimate | None
    relative: EffectEstimate | None
    reason_absent: Text | None = None


class ArmCells(Message):
    """What became of the unit-days of one arm: those that the draw gave it, and that no rule leaves out."""

    cells: Count
    #: a row with at least one sale event
    sold: Count
    #: listed, on a day of a living feed, and nothing sold
    zeros: Count
    #: nothing known: reason -> unit-days, ``unobserved`` where no record says why
    missing: dict[str, Count] = Field(default_factory=dict)
    #: out of stock at some time of the day, of those of which the catalog says so
    sold_out: Count = 0
    #: corrected after their day had been closed
    corrected: Count = 0
    events: Annotated[int, Field(ge=0)] = 0
    #: sale events that arrived after their day had been closed
    late_events: Annotated[int, Field(ge=0)] = 0


class SoldOutEffect(Message):
    """The effect under the other policy for unit-days that were out of stock."""

    policy: Literal["zero", "missing"]
    absolute: EffectEstimate | None
    relative: EffectEstimate | None
    reason_absent: Text | None = None


class ExposureEffect(Message):
    """One contrast of exposures to treated neighbours, in the metric's own unit per unit-day."""

    #: naive: treated against control; total: all neighbours treated against none; direct: treated alone against none;
    #: spillover: control with treated neighbours against control without
    effect: Literal["naive", "total", "direct", "spillover"]
    #: linear: a regression on the own arm and on the share of treated neighbours; its spillover is that of a full share
    estimator: Literal["hajek", "linear"]
    value: float | None
    se: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    #: units that the design can never put into one of the two exposures: no statement is about them
    dropped: Count
    reason_absent: Text | None = None


class SpilloverEffects(Message):
    """Who pays for it: effects that tell a unit's own price from its neighbours', beside the naive one."""

    #: version of the graph of substitutes that says who is whose neighbour
    graph: Text
    #: valid for one look, on the planned day
    horizon: Literal["fixed"] = "fixed"
    effects: tuple[ExposureEffect, ...]
    reason_absent: Text | None
    #: whether the probabilities of exposures follow from a formula or from redraws of the design
    probabilities: Literal["exact", "redraws"] | None
    #: share of the weight between the experiment's units that leaves its cluster, and the largest share within one;
    #: None where the graph cannot be read
    cut: float | None
    heaviest: float | None
    #: what the reader must know before relying on them
    caution: Text | None = None


class Estimate(Message):
    """A running estimate of the effect of one arm against control on one metric.

    ``absolute`` and ``relative`` are fixed-horizon numbers: valid for one look, on ``planned_day``. ``anytime`` holds
    whenever it is looked at. (Fields with defaults came later: older records lack them.)
    """

    version: Literal[1] = 1
    experiment: Name
    experiment_version: Version
    design_hash: Hash
    metric: Metric
    arm: Name
    estimator: Name
    #: in the metric's own unit per unit-day; absent with a reason where it cannot be computed
    absolute: EffectEstimate | None
    #: relative to control's mean
    relative: EffectEstimate | None
    reason_absent: Text | None
    confidence: float
    #: what ``absolute`` and ``relative`` are good for: one look, on the planned day
    horizon: Literal["fixed"] = "fixed"
    #: the experiment's last day, for which the fixed-horizon interval was planned
    planned_day: Day | None = None
    #: whether the fixed-horizon interval excludes no effect; None before its planned day, whatever it looks like
    significant: bool | None = None
    #: the last look of the running sequence, in the unit of ``absolute``
    anytime: AnytimeEffect | None = None
    anytime_reason_absent: Text | None = None
    #: the last closed day that all markets of the experiment share
    through: Day | None
    clusters: Count
    #: closed randomisation blocks (draws) with usable cells
    blocks: Count = 0
    days: Count
    units: Count = 0
    cells: Count
    #: reason -> number of unit-days left out
    left_out: dict[str, int]
    #: cells whose flip a blackout blocked: "unit day", the first 1000
    blocked_cells: tuple[str, ...]
    watermark: Instant | None
    offsets: dict[str, int]
    revision: Count
    computed_at_event_time: Instant | None
    code_version: Text
    #: what else decided the number: carryover order, washout, forecast and the like
    settings: dict[str, str | int | float | bool] = Field(default_factory=dict)
    #: what ``absolute``, ``relative`` and ``anytime`` are about; records that were written before this field: average
    target: Target = "average"
    #: the other target
    other_target: TargetEffect | None = None
    #: the largest cluster's share of control's outcome: where it is large, one cluster carries the total
    largest_cluster_share: float | None = None
    #: arm -> what became of its unit-days
    cells_by_arm: dict[str, ArmCells] = Field(default_factory=dict)
    #: the other policy for sold-out unit-days, where the definition names one
    sold_out: SoldOutEffect | None = None
    #: effects with spillover, where a graph of substitutes is published
    spillover: SpilloverEffects | None = None


#: model -> CloudEvents type
CE_TYPES: dict[type[Message], str] = {
    CatalogEntry: "flipside.catalog-entry.v1",
    Sale: "flipside.sale.v1",
    CompetitorPrice: "flipside.competitor-price.v1",
    Applied: "flipside.applied.v1",
    Blackout: "flipside.blackout.v1",
    Experiment: "flipside.experiment.v1",
    Assignment: "flipside.assignment.v1",
    Registered: "flipside.registered.v1",
    Refused: "flipside.refused.v1",
    BlackoutSet: "flipside.blackout-set.v1",
    Undelivered: "flipside.undelivered.v1",
    Withheld: "flipside.withheld.v1",
    StopExperiment: "flipside.stop-experiment.v1",
    Stopped: "flipside.stopped.v1",
    Tick: "flipside.tick.v1",
    Ownership: "flipside.ownership.v1",
    UnitDay: "flipside.unit-day.v1",
    PeriodClosed: "flipside.period-closed.v1",
    UnsoldUnits: "flipside.unsold-units.v1",
    SaleCorrection: "flipside.sale-correction.v1",
    Estimate: "flipside.estimate.v1",
}
