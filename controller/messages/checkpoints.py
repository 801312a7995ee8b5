"""What workers put down beside the log, so that a rebuild need not read all of it.

A sum of the log and never its rival: without it, the log tells the same.
"""

from typing import Literal

from pydantic import Field

from controller.definition.experiment import Experiment, MinorUnits
from controller.definition.field_types import Instant, Message, Name, Ordinal, UnitId
from controller.messages.control import ControlMessage, Kill, LifecycleChanged, State

#: owner, day, arm, is it control, effective and expires (milliseconds, 0: never), price, sequence, epoch
HeldRow = tuple[str, int, str, bool, int, int, int | None, int, int]


def shard_key(shard: int) -> str:
    """The record key of a shard's checkpoint: no experiment has a slash in its name."""
    return f"shard/{shard}"


class Checkpoint(ControlMessage):
    """All that a shard held at a moment in which it owed the log nothing.

    What the log and the panel said before ``positions`` is in it, and whatever is in it they say by now.
    """

    version: Literal[1] = 1
    shard: Ordinal
    epoch: Ordinal
    made_at: Instant
    #: ``log:P`` or ``panel:P`` -> offset of the first record of that partition which need not be in it
    positions: dict[str, Ordinal]
    #: of the last decision
    sequence: Ordinal
    #: offset of the first tick that was not yet decided
    tick: Ordinal
    units: dict[UnitId, HeldRow]
    #: experiment.version/market -> last decided day (ordinal, -1 for none), is it released
    plans: dict[str, tuple[int, bool]]
    #: market -> last closed day (ordinal), greatest revision of a closing
    closed: dict[Name, tuple[Ordinal, Ordinal]]
    kills: tuple[Kill, ...] = ()
    #: what is known of the entries of each cluster, as the store spells it
    clusters: dict[str, str] = Field(default_factory=dict)
    #: market -> product -> whole days of its listing; market -> day (ordinal) -> events by partition of the days that
    #: silence is judged by; both as the store spells them
    listing: dict[Name, dict[Name, str]] = Field(default_factory=dict)
    history: dict[Name, dict[str, str]] = Field(default_factory=dict)
    #: experiment -> its version and the number of changes of its life: what the records of experiments must have
    experiments: dict[str, tuple[Ordinal, Ordinal]] = Field(default_factory=dict)

    @property
    def key(self) -> str:
        return shard_key(self.shard)


class KnownExperiment(ControlMessage):
    """An experiment as the workers hold it; a committed seed is withheld."""

    version: Literal[1] = 1
    experiment: Experiment
    design_hash: str
    state: State
    frozen: bool
    history: tuple[LifecycleChanged, ...] = ()
    #: unit -> list price and cost when it was registered
    listed: dict[UnitId, tuple[MinorUnits, MinorUnits | None]] = Field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.experiment.name


CHECKPOINT_TYPES: dict[type[Message], str] = {
    Checkpoint: "flipside.checkpoint.v1",
    KnownExperiment: "flipside.known-experiment.v1",
}
