"""The language of control: what people and rules ask for while an experiment runs, and what is recorded of it."""

from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field

from controller.definition.experiment import MinorUnits, Seed
from controller.definition.field_types import (
    ClusterId,
    Day,
    EventId,
    Hash,
    Instant,
    Message,
    Name,
    Ordinal,
    PlainText,
    Text,
    UnitId,
    Version,
)
from controller.definition.metrics import Metric

State = Literal["draft", "scheduled", "running", "paused", "stopping", "stopped", "archived"]
Action = Literal[
    "submit", "withdraw", "begin", "pause", "resume", "freeze", "unfreeze", "stop", "finish", "revert", "kill",
    "washed_out", "archive",
]  # fmt: skip
#: who asks: a person who owns the experiment, the person on call, time, or a rule
Role = Literal["owner", "on_call", "clock", "guardrail"]


def request_key(experiment: str) -> str:
    """The record key of what is asked of an experiment: not its definition's, which compaction is to keep."""
    return f"{experiment}/request"


class ControlMessage(Message):
    """Base of this file's messages: each knows its record key."""

    @property
    @abstractmethod
    def key(self) -> str:
        """The record key."""


class OfVersion(ControlMessage):
    """Base of what is recorded of one version of an experiment."""

    version: Literal[1] = 1
    #: the same whenever the same fact is published again
    id: EventId
    experiment: Name
    experiment_version: Version


class LifecycleRequest(ControlMessage):
    """Somebody asks for a change of an experiment's state."""

    version: Literal[1] = 1
    id: EventId
    experiment: Name
    action: Action
    role: Role
    who: PlainText
    why: PlainText
    requested_at: Instant

    @property
    def key(self) -> str:
        return request_key(self.experiment)


class LifecycleChanged(OfVersion):
    """An experiment went from one state to another: who, when, why.

    ``id``: id of the request.
    """

    action: Action
    from_state: State
    to_state: State
    #: whether clusters may still enter
    frozen: bool
    role: Role
    who: Text
    why: Text
    changed_at: Instant

    @property
    def key(self) -> str:
        return self.experiment


class Kill(ControlMessage):
    """Control prices now: for one experiment, one market, or everything. Lifted by the same id."""

    version: Literal[1] = 1
    id: EventId
    scope: Literal["experiment", "market", "all"]
    #: the experiment or market; empty for all
    name: Annotated[str, Field(max_length=64)] = ""
    lifted: bool = False
    who: PlainText
    why: PlainText
    requested_at: Instant

    @property
    def key(self) -> str:
        return f"kill/{self.id}"


class TriggerFired(OfVersion):
    """A rule fired on a rival's price. Keyed by market, whose owner decides whether it starts anything.

    ``id``: experiment.version/cluster/event: the same event has the same id, however often it is seen.
    """

    market: Name
    cluster: ClusterId
    unit: UnitId
    competitor: Text
    #: id of the competitor-price event
    event: EventId
    rule: Text
    observed_at: Instant

    @property
    def key(self) -> str:
        return self.market


class Entered(OfVersion):
    """A cluster entered a triggered experiment, with the arm that its coin had fixed.

    ``id``: trigger id, with /entry.
    """

    design_hash: Hash
    market: Name
    cluster: ClusterId
    ordinal: Ordinal
    arm: Name
    trigger: EventId
    triggered_at: Instant
    starts_at: Instant
    first_day: Day
    end_day: Day
    decided_at: Instant

    @property
    def key(self) -> str:
        return f"{self.experiment}/{self.market}"


class TriggerIgnored(OfVersion):
    """A trigger that started nothing, and why."""

    market: Name
    cluster: ClusterId
    trigger: EventId
    triggered_at: Instant
    reason: Literal["stale", "not_running", "quorum", "frozen", "window", "running", "cool_down", "not_quiet", "cap"]
    detail: Text
    decided_at: Instant

    @property
    def key(self) -> str:
        return f"{self.experiment}/{self.market}"


class GuardrailBreached(OfVersion):
    """A guardrail's bound has left what is tolerated: harm reverts, a signal pauses."""

    design_hash: Hash
    metric: Metric
    arm: Name
    #: the effect is below this, at every look, with error at most alpha; per cluster-day in the metric's own unit
    upper_limit: float
    tolerance: float
    alpha: float
    blocks: Ordinal
    on_breach: Literal["revert", "pause"]
    breached_at: Instant

    @property
    def key(self) -> str:
        return f"{self.experiment}/{self.metric}"


class LimitKept(OfVersion):
    """A unit keeps control because its planned arm would break a price limit."""

    unit: UnitId
    day: Day
    planned_arm: Name
    price_minor: MinorUnits
    rule: Text
    bound_minor: MinorUnits | None
    decided_at: Instant

    @property
    def key(self) -> str:
        return self.unit


class CatalogActed(OfVersion):
    """A change of the catalog met a running unit, and was treated as the owner declared."""

    unit: UnitId
    changes: tuple[Literal["cost_up", "list_price_changed", "delisted", "out_of_stock"], ...]
    action: Literal["keep", "reprice", "drop"]
    reason: Text
    decided_at: Instant

    @property
    def key(self) -> str:
        return self.unit


class SetAside(ControlMessage):
    """A market, or one experiment in it, that a worker goes on without, because of an error that nobody foresaw.

    It holds as long as ``epoch`` owns the shard: the next owner tries the market again.
    """

    version: Literal[1] = 1
    id: EventId
    market: Name
    #: empty where it is not one experiment's
    experiment: Annotated[str, Field(max_length=64)] = ""
    #: what is not done for it any more
    duty: Literal["deciding", "closing", "relay"]
    #: module and function in which the error was raised
    place: Text
    error: Text
    shard: Ordinal
    epoch: Ordinal
    worker: Text
    set_aside_at: Instant

    @property
    def key(self) -> str:
        return self.market


class SeedRevealed(OfVersion):
    """The committed seed of an experiment that is over: now anyone can draw its arms."""

    design_hash: Hash
    seed: Seed
    revealed_at: Instant

    @property
    def key(self) -> str:
        return self.experiment


CONTROL_TYPES: dict[type[Message], str] = {
    LifecycleRequest: "flipside.lifecycle-request.v1",
    LifecycleChanged: "flipside.lifecycle-changed.v1",
    Kill: "flipside.kill.v1",
    TriggerFired: "flipside.trigger-fired.v1",
    Entered: "flipside.entered.v1",
    TriggerIgnored: "flipside.trigger-ignored.v1",
    GuardrailBreached: "flipside.guardrail-breached.v1",
    LimitKept: "flipside.limit-kept.v1",
    CatalogActed: "flipside.catalog-acted.v1",
    SeedRevealed: "flipside.seed-revealed.v1",
    SetAside: "flipside.set-aside.v1",
}
