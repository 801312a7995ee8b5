"""What the analysis says beside its estimates: running sequences that may be looked at any time, and health checks."""

from typing import Annotated, Any, Literal

from pydantic import Field

from controller.definition.experiment import Target
from controller.definition.field_types import Day, Hash, Instant, Message, Name, Text, UnitId, Version
from controller.definition.metrics import Metric
from controller.messages.control import ControlMessage

Number = Annotated[int, Field(ge=0)]
#: units and systems that a check names
MOST_NAMED = 10
Setting = str | int | float | bool

#: "pass": nothing found; "warn": read the estimate with care; "fail": do not rely on it; "unknown": not checkable yet
HealthVerdict = Literal["pass", "warn", "fail", "unknown"]


class Look(Message):
    """One step of a running sequence: a randomisation block that has closed, and the effect over all blocks so far."""

    #: number of the block, as in the assignments; in a staggered roll-out, of the step
    block: Number
    first_day: Day
    last_day: Day
    #: of this block alone: mean of the treated clusters minus mean of the control clusters, less their forecasts
    difference: float
    #: its standard error by the draw, ``sqrt(s_T^2 / n_T + s_C^2 / n_C)``
    difference_se: float
    clusters_treated: Number
    clusters_control: Number
    #: running effect over the blocks so far, in the metric's own unit per unit-day
    effect: float
    #: anytime interval; None where that side is open
    ci_low: float | None
    ci_high: float | None
    #: valid at every look, never rising; None where the method has none
    p: float | None
    #: fixed-horizon interval: valid for one look only, on the sequence's ``planned_day``; None where it has none yet
    fixed_low: float | None
    fixed_high: float | None
    #: control's mean outcome over the blocks so far: divide by it for a relative effect; None where nothing was seen
    control_mean: float | None
    #: the running effect as a share of control's mean, with its anytime and its fixed interval; None where control's
    #: mean is too close to zero, or where the interval cannot be bounded
    relative: float | None = None
    relative_low: float | None = None
    relative_high: float | None = None
    relative_fixed_low: float | None = None
    relative_fixed_high: float | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Its values only: fifty of an experiment come from another process, each in a third of the time."""
        return _look, tuple(self.__dict__.values())


def _look(*values: Any) -> Look:
    return Look(**dict(zip(Look.model_fields, values, strict=True)))


class RunningSequence(ControlMessage):
    """The whole running sequence of one metric and arm: every look since the start, so that a chart can be drawn.

    All its anytime intervals cover at once with probability at least ``1 - alpha``, however often somebody looks.
    Where there is none, ``reason_absent`` says why and ``looks`` is empty. A later record of the same key replaces it.
    """

    version: Literal[1] = 1
    experiment: Name
    experiment_version: Version
    design_hash: Hash
    metric: Metric
    arm: Name
    #: how the looks were made: docs/methods.md has a section of this name
    method: Name
    #: what the looks are about; records that were written before this field: average
    target: Target = "average"
    alpha: float
    looks: tuple[Look, ...]
    reason_absent: Text | None
    #: the day for which the fixed-horizon intervals were planned; before it they are a preview and no decision
    planned_day: Day
    #: how many looks the plan has, and the summed variance at which the anytime interval is narrowest
    planned_looks: Number
    planned_variance: float | None
    #: rho, fixed before the first look
    mixing: float | None
    #: what the anytime interval says: the first look that excludes no effect, and on which side
    decided: Literal["decrease", "increase"] | None
    decided_on: Day | None
    #: closed blocks that give no look, by number, with the reason
    blocks_left_out: dict[str, Text]
    #: reason -> number of unit-days left out
    left_out: dict[str, int]
    #: unit-days behind the last look
    cells: Number
    settings: dict[str, Setting]
    #: the last closed day that all markets of the experiment share; the last look may end before it
    through: Day | None
    watermark: Instant | None
    offsets: dict[str, int]
    revision: Number
    computed_at_event_time: Instant | None
    code_version: Text

    @property
    def key(self) -> str:
        return f"{self.experiment}/{self.metric}/{self.arm}"


class Health(ControlMessage):
    """One assumption that an experiment's numbers rest on: what was measured, where the line lies, what to do."""

    version: Literal[1] = 1
    experiment: Name
    experiment_version: Version
    design_hash: Hash
    #: such as ``carryover``, ``sample-ratio``, ``fidelity``
    check: Name
    #: None where nothing could be measured; ``evidence`` then says why
    value: float | None
    threshold: float
    verdict: HealthVerdict
    #: the next step of the person who reads this
    what_to_do: Text
    #: the figures behind the value, in a sentence
    evidence: Text
    #: unit-days that were looked at
    cells: Number
    #: reason -> number of unit-days left out
    left_out: dict[str, int]
    settings: dict[str, Setting]
    #: the last closed day that all markets of the experiment share
    through: Day | None
    watermark: Instant | None
    offsets: dict[str, int]
    revision: Number
    computed_at_event_time: Instant | None
    code_version: Text
    #: of ``fidelity``: some of the units that did not show their arm, and which systems reported those; of
    #: ``interference`` under a graph of substitutes: the units of the worst pairs, the worst first
    units: Annotated[tuple[UnitId, ...], Field(max_length=MOST_NAMED)] = ()
    systems: Annotated[tuple[Text, ...], Field(max_length=MOST_NAMED)] = ()

    @property
    def key(self) -> str:
        return f"{self.experiment}/{self.check}"


FINDING_TYPES: dict[type[Message], str] = {
    RunningSequence: "flipside.running-sequence.v1",
    Health: "flipside.health.v1",
}
