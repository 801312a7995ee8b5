"""One message of each kind, as its owner would send it."""

from datetime import UTC, datetime

from controller.definition.experiment import Experiment
from controller.definition.field_types import (
    Message,
)
from controller.messages.checkpoints import Checkpoint, KnownExperiment
from controller.messages.events import (
    Assignment,
    BlackoutSet,
    EffectEstimate,
    Estimate,
    Ownership,
    PeriodClosed,
    Reason,
    Refused,
    Registered,
    SaleCorrection,
    StopExperiment,
    Stopped,
    Tick,
    Undelivered,
    UnitDay,
    UnsoldUnits,
    Withheld,
)
from controller.messages.inputs import (
    Applied,
    Blackout,
    CatalogEntry,
    CompetitorPrice,
    Sale,
    Scope,
)
from tests.controller.builders import START, an_entry, an_experiment
from tests.controller.messages.control_examples import CONTROL_EXAMPLES
from tests.controller.messages.finding_examples import FINDING_EXAMPLES
from tests.controller.messages.graph_examples import GRAPH_EXAMPLES

AT = datetime(2026, 3, 1, 5, 0, 0, 250000, tzinfo=UTC)


A_SALE = Sale(id="s1", unit="m0/p1", occurred_at=AT, quantity=2, price_minor=299, currency="USD")


EXAMPLES: dict[type[Message], tuple[Message, str | None]] = {
    CatalogEntry: (an_entry("m0/p1", attributes={"size": 64, "own": True, "brand": "x"}), "m0/p1"),
    Sale: (A_SALE, "m0/p1"),
    Checkpoint: (
        Checkpoint(
            shard=2, epoch=5, made_at=AT, positions={"log:0": 7, "panel:0": 0}, sequence=3, tick=4,
            units={"m0/p1": ("juice.1", 739677, "low", False, 1772452800000, 0, None, 3, 5)},
            plans={"juice.1/m0": (739677, False)}, closed={"m0": (739676, 1)}, clusters={"juice.1/m0|all": "{}"},
            experiments={"juice": (1, 2)},
        ),
        "shard/2",
    ),
    KnownExperiment: (
        KnownExperiment(
            experiment=an_experiment(), design_hash="0" * 64, state="running", frozen=True,
            listed={"m0/p1": (100, None)},
        ),
        an_experiment().name,
    ),
    SaleCorrection: (
        SaleCorrection(id="m0/p1/9f", sale=A_SALE, day=START, closed_through=START, partition=1, offset=7),
        "m0/p1/9f",
    ),
    CompetitorPrice: (
        CompetitorPrice(id="c1", unit="m0/p1", competitor="rival", observed_at=AT, price_minor=None, currency="USD"),
        "m0/p1",
    ),
    Applied: (Applied(id="a1", unit="m0/p1", arm="cheap", price_minor=270, applied_at=AT, assignment=None), "m0/p1"),
    Blackout: (
        Blackout(id="b1", scope=Scope(kind="global"), starts_at=AT, ends_at=AT.replace(hour=6), reason="x"),
        "b1",
    ),
    Experiment: (an_experiment(), "oj-2026"),
    Assignment: (
        Assignment(
            id="oj-2026.1/2026-03-02/m0/p1", unit="m0/p1", cluster="m0/p1", experiment="oj-2026", experiment_version=1,
            design_hash="0" * 64, block=0, day=START, arm="cheap", planned_arm="cheap", price_minor=270, currency="USD",
            effective_at=AT, expires_at=None, decided_at=AT, epoch=3, sequence=9, reason=Reason(code="scheduled"),
        ),
        "m0/p1",
    ),
    Registered: (
        Registered(id="r1", experiment=an_experiment(), design_hash="0" * 64, registered_at=AT), "oj-2026"
    ),
    Refused: (Refused(id="r2", subject="oj-2026", problems=("units = none",), refused_at=AT), "oj-2026"),
    BlackoutSet: (BlackoutSet(id="bs", blackout="b1", removed=False, recorded_at=AT), "b1"),
    Undelivered: (
        Undelivered(id="u1", experiment="oj-2026", experiment_version=1, market="m0", first_day=START, last_day=START,
                    reason="down", decided_at=AT),
        "oj-2026/m0",
    ),
    Tick: (Tick(at=AT), None),
    Ownership: (Ownership(worker="w1", at=AT), None),
    UnitDay: (
        UnitDay(unit="m0/p1", day=START, starts_at=AT, ends_at=AT, quantity=3, revenue_minor=897, cost_minor=None,
                currency="USD", events=2, revision=0),
        "m0/p1/2026-03-02",
    ),
    PeriodClosed: (
        PeriodClosed(market="m0", day=START, watermark=AT, offsets={"0": 17}, unit_days=3, events=5, revised=0,
                     revision=0),
        "m0/2026-03-02",
    ),
    UnsoldUnits: (
        UnsoldUnits(market="m0", day=START, part=0, zeros=("p1", "p2"), missing={"closed": ("p3",)}, revision=0),
        "m0/2026-03-02/unsold/0",
    ),
    Estimate: (
        Estimate(experiment="oj-2026", experiment_version=1, design_hash="0" * 64, metric="units", arm="cheap",
                 estimator="difference", absolute=EffectEstimate(value=0.1, se=0.2, ci_low=-0.3, ci_high=0.5),
                 relative=None, reason_absent=None, confidence=0.95, through=START, clusters=6, days=1, cells=6,
                 left_out={"blackout": 1}, blocked_cells=("m0/p1 2026-03-02",), watermark=AT, offsets={"0": 17},
                 revision=0, computed_at_event_time=AT, code_version="0.1.0"),
        "oj-2026/units/cheap/difference",
    ),
    Withheld: (
        Withheld(id="w", experiment="oj-2026", experiment_version=1, market="m0", day=START, units=("m0/p1",),
                 reason="held by other", decided_at=AT),
        "oj-2026/m0",
    ),
    StopExperiment: (StopExperiment(experiment="oj-2026", reason="why", requested_at=AT), "oj-2026/request"),
    Stopped: (Stopped(id="s", experiment="oj-2026", experiment_version=1, reason="why", stopped_at=AT), "oj-2026"),
    **CONTROL_EXAMPLES,
    **FINDING_EXAMPLES,
    **GRAPH_EXAMPLES,
}  # fmt: skip
